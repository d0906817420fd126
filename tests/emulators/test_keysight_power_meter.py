"""The emulated Keysight meter, as its guide has it."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.simulators.emulators.keysight_power_meter import KeysightPowerMeterBox
from hilonn.simulators.emulators.rack import Rack
from tests.drivers.light import Lit


def meter(model: str = "N7744A", rack: Rack | None = None) -> KeysightPowerMeterBox:
    rack = rack or Lit(np.array([1e-6, 2e-6, 5e-3, 0.1]), lockstep=True)
    return KeysightPowerMeterBox("meter", rack, [0, 1, 2, 3], model)


def ask(box: KeysightPowerMeterBox, line: str) -> bytes:
    return b"".join(reply.data for reply in box.answer(line))


def error(box: KeysightPowerMeterBox) -> int:
    return int(ask(box, "SYST:ERR?").split(b",")[0])


def test_single_readings() -> None:
    box = meter()
    assert ask(box, "SENS1:POW:UNIT 1;:READ1:POW?") == b"+1.00000000E-006\n"
    assert ask(box, "SENSE1:CHANNEL1:POWER:UNIT?") == b"+1\n"
    assert ask(box, "READ2:POW?") == b"-2.69897000E+001\n"  # dBm, as after power-on
    assert ask(box, "SENS4:POW:UNIT 1;:READ4:POW?") == b"+3.40282347E+038\n"
    assert ask(box, "SENS3:POW:UNIT 1;RANG -10DBM;:READ3:POW?") == b"+3.40282347E+038\n"
    assert ask(box, "SENS3:POW:RANG 6MW;RANG?;RANG:AUTO?") == b"+1.00000000E+001;+0\n"
    assert ask(box, "READ3:POW?") == b"+5.00000000E-003\n"
    assert error(box) == 0


def test_a_stopped_channel_keeps_its_last_reading() -> None:
    rack = Lit(np.full(4, 1e-6), lockstep=True)
    box = meter(rack=rack)
    ask(box, "SENS1:POW:UNIT 1;:INIT1:CONT 0;:INIT1:IMM")
    rack.rest = np.full(4, 2e-6)
    assert ask(box, "FETC1:POW?") == b"+1.00000000E-006\n"
    assert ask(box, "INIT1:CONT 1;:FETC1:POW?") == b"+2.00000000E-006\n"
    ask(box, "INIT2:CONT 0")
    assert ask(box, "FETC2:POW?") == b""
    assert error(box) == -231


def test_all_channels_in_a_block() -> None:
    box = meter()
    for slot in range(1, 5):
        ask(box, f"SENS{slot}:POW:UNIT 1")
    assert (
        ask(box, "READ:POW:ALL:CONF?")
        == b"#216" + bytes([1, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 4, 0, 1, 0]) + b"\n"
    )
    answer = ask(box, "READ:POW:ALL?")
    values = np.frombuffer(answer[4:-1], "<f4")
    np.testing.assert_allclose(values, [1e-6, 2e-6, 5e-3, 3.40282347e38], rtol=1e-6)
    assert ask(box, "FETC:POW:ALL?") == answer


@pytest.mark.parametrize(("model", "watts"), [("N7744A", False), ("8163B", True)])
def test_a_log_in_decibels_is_in_watts_on_a_mainframe(model: str, watts: bool) -> None:
    box = meter(model)
    ask(box, "SENS1:FUNC:PAR:LOGG 3,1MS")
    assert ask(box, "SENS1:FUNC:STAT?") == b"NONE,COMPLETE\n"
    ask(box, "SENS1:FUNC:STAT LOGG,STAR")
    assert ask(box, "SENS1:FUNC:STAT?") == b"LOGGING_STABILITY,COMPLETE\n"
    values = np.frombuffer(ask(box, "SENS1:FUNC:RES?")[4:-1], "<f4")
    np.testing.assert_allclose(values, [1e-6 if watts else -30.0] * 3, rtol=1e-6)


def test_a_log_waits_for_its_trigger_and_a_setting_ends_it() -> None:
    rack = Lit(np.full(4, 1e-6), lockstep=True)
    box = meter(rack=rack)
    ask(box, "TRIG1:INP CME;:SENS1:FUNC:PAR:LOGG 3,1MS;STAT LOGG,STAR")
    assert error(box) == -113  # STAT after PAR:LOGG is PAR:STAT
    ask(box, "SENS1:FUNC:STAT LOGG,STAR")
    assert ask(box, "SENS1:FUNC:STAT?") == b"LOGGING_STABILITY,PROGRESS\n"
    assert ask(box, "SENS1:FUNC:RES?") == b""
    assert error(box) == -231
    assert ask(box, "READ1:POW?") == b""
    assert error(box) == -213
    ask(box, "SENS1:POW:WAV 1310NM")
    assert ask(box, "SENS1:FUNC:STAT?") == b"NONE,COMPLETE\n"
    rack.trigger()
    assert ask(box, "SENS1:FUNC:RES?") == b""


def test_in_lockstep_a_log_ends_at_whichever_moment_it_began() -> None:
    """Its end is a sum of binary fractions, the lab's time whole nanoseconds."""
    rack = Lit(np.full(4, 1e-6), lockstep=True)
    box = meter(rack=rack)
    ask(box, "TRIG1:INP CME;:SENS1:FUNC:PAR:LOGG 128,10US")
    for _ in range(50):
        ask(box, "SENS1:FUNC:STAT LOGG,STOP;:SENS1:FUNC:STAT LOGG,STAR")
        rack.trigger()
        assert ask(box, "SENS1:FUNC:STAT?") == b"LOGGING_STABILITY,COMPLETE\n"
        rack.sleep(2e-4)


@pytest.mark.parametrize(
    ("model", "line", "code"),
    [
        ("N7744A", "SENS5:POW:UNIT 1", -303),
        ("N7744A", "SENS1:CHAN2:POW:UNIT 1", -303),
        ("N7744A", "SENS1:POW:UNIT 2", -224),
        ("N7744A", "SENS1:POW:UNIT", -109),
        ("N7744A", "SENS1:POW:UNIT 1,1", -108),
        ("N7744A", "SENS1:POW:RANG 20DBM", -222),
        ("N7744A", "SENS1:POW:ATIM 0.5US", -222),
        ("N7744A", "SENS1:POW:ATIM 1NM", -131),
        ("8163B", "SENS1:POW:ATIM 50US", -222),
        ("8163B", "SENS1:POW:GAIN:AUTO 0", -113),
        ("8163B", "SENS1:FUNC:PAR:LOGG 10002,1MS", -222),
        ("N7744A", "TRIG1:INP XYZ", -224),
    ],
)
def test_what_it_refuses(model: str, line: str, code: int) -> None:
    box = meter(model)
    assert ask(box, line) == b""
    assert error(box) == code


def test_a_reboot_forgets_everything() -> None:
    box = meter()
    ask(box, "SENS1:POW:UNIT 1;:SENS1:FUNC:STAT LOGG,STAR")
    box.reboot()
    assert ask(box, "SENS1:POW:UNIT?;:SENS1:FUNC:STAT?;:SENS1:POW:WAV? MAX") == (
        b"+0;NONE,COMPLETE;+1.70000000E-006\n"
    )
    assert set(box.state()) == {"channels", "range", "logs"}
