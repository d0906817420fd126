"""The emulated Keysight laser, as its guide has it."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.simulators.emulators.keysight_laser import KeysightLaserBox
from tests.drivers.light import Lit


def laser(**chosen: object) -> KeysightLaserBox:
    return KeysightLaserBox("laser", Lit(np.zeros(1), lockstep=True), **chosen)  # type: ignore[arg-type]


def ask(box: KeysightLaserBox, line: str) -> bytes:
    return b"".join(reply.data for reply in box.answer(line))


@pytest.mark.parametrize(
    "line",
    [
        "SOUR0:POW:UNIT 1;:SOUR0:POW 2MW",
        "SOUR0:POW:UNIT W;:SOUR0:POW 0.002",
        "sour0:pow:unit 0;:sour0:pow:lev:imm:ampl 3.0103;:source0:power:unit 1",
        "SOUR0:POW 3.0103DBM;:SOUR0:POW:UNIT 1",
    ],
)
def test_powers_in_either_unit(line: str) -> None:
    box = laser()
    ask(box, line)
    assert ask(box, "SYST:ERR?") == b'+0,"No error"\n'
    assert float(ask(box, "SOUR0:POW?")) == pytest.approx(2e-3, rel=1e-5)
    assert ask(box, "SOUR0:POW:UNIT 0;:SOUR0:POW? MAX") == b"+1.30103000E+001\n"


def test_wavelengths_are_set_in_nm_and_answered_in_m() -> None:
    box = laser()
    assert ask(box, "SOUR0:WAV 1550.12NM;WAV?;WAV? MIN") == b"+1.55012000E-006;+1.49000000E-006\n"
    assert box.answer("*OPC?")[0].wait == pytest.approx(0.3)


def test_a_lock_takes_the_light() -> None:
    box = laser(locked=True)
    assert ask(box, "LOCK?;SOUR0:POW:STAT 1") == b"+1\n"
    assert ask(box, "SYST:ERR?").startswith(b"-221,")
    assert ask(box, "LOCK 0,1234;:SOUR0:POW:STAT 1;STAT?") == b"+1\n"
    assert box.answer("*OPC?")[0].wait == pytest.approx(1.0)
    assert ask(box, "LOCK 1,1234;:SOUR0:POW:STAT?") == b"+0\n"
    assert not box.rack.emission()
    ask(box, "LOCK 0,1111")
    assert ask(box, "SYST:ERR?").startswith(b"-224,")
    box.reboot()
    assert ask(box, "LOCK?") == b"+1\n"
