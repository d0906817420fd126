"""Keysight N6700: golden lines, the contract on the emulated mainframe, protections, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.keysight_n6700 import (
    KeysightN6700,
    KeysightN6700Options,
    channel_list,
    fault,
)
from hilonn.errors import ConfigError, DeviceError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.keysight_n6700 import KeysightN6700Box
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from tests.drivers.faults import FAULTS, NAMED
from tests.drivers.supplies import AFTER, weathers
from tests.drivers.wires import scripted, wired

OPENING = [
    (b"*IDN?\n", b"Agilent Technologies,N6705B,MY50001897,D.01.08\n"),
    (b"SYST:ERR?\n", b'+0,"No error"\n'),
    (b"VOLT? MAX,(@1:3)\n", b"+2.040000E+01,+2.040000E+01,+2.040000E+01\n"),
    (b"CURR? MAX,(@1:3)\n", b"+5.100000E+00,+5.100000E+00,+5.100000E+00\n"),
]
CHECK = b"OUTP? (@1:3);:STAT:QUES:COND? (@1:3);:SYST:ERR?\n"
LIMITS = [
    (
        b"OUTP OFF,(@1:3);:CURR 0.02,(@1:3);:VOLT:PROT 8.8,(@1:3);:CURR:PROT:STAT ON,(@1:3)\n"
        + CHECK,
        b'0,0,0;+0,+0,+0;+0,"No error"\n',
    ),
    (b"CURR? (@1:3)\n", b"+2.000000E-02,+2.000000E-02,+2.000000E-02\n"),
    (b"VOLT:PROT? (@1:3)\n", b"+8.800000E+00,+8.800000E+00,+8.800000E+00\n"),
]
FIRST = (
    b"VOLT 1.5,(@1,3);:VOLT 0.25,(@2);:OUTP ON,(@1:3)\n" + CHECK,
    b'1,1,1;+0,+0,+0;+0,"No error"\n',
)


def supply(transport: Transport, **options: object) -> KeysightN6700:
    chosen = {"high": 8.0, "max_current": 0.02, "channels": [1, 2, 3], **options}
    return KeysightN6700("heaters", transport, KeysightN6700Options.model_validate(chosen))


def box(**options: object) -> KeysightN6700Box:
    return KeysightN6700Box("supply", Rack(), **options)  # type: ignore[arg-type]


class TestSupply(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[KeysightN6700]:
        with wired(TcpServer(box())) as transport, supply(transport) as opened:
            yield opened


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        *LIMITS,
        FIRST,
        (
            b"VOLT 0,(@1:2);:VOLT 3.00001,(@3)\n" + CHECK,
            b'1,1,1;+0,+0,+0;+0,"No error"\n',
        ),
        (b"STAT:QUES:COND? (@1:3)\n", b"+0,+0,+0\n"),
        (b"OUTP? (@1:3)\n", b"1,1,0\n"),
        (b"VOLT? (@1:3)\n", b"+0.000000E+00,+0.000000E+00,+3.000010E+00\n"),
        (b"VOLT 0,(@1:3);:OUTP OFF,(@1:3)\n" + CHECK, b'0,0,0;+0,+0,+0;+0,"No error"\n'),
    ]
    with scripted(exchanges) as transport:
        device = supply(transport)
        device.open()
        device.write(np.array([1.5, 0.25, 1.5]))
        device.write(np.array([0.0, 0.0, 3.00001]))
        np.testing.assert_array_equal(device.read_back(), 0.0)
        device.safe_state()


@pytest.mark.parametrize(
    ("channels", "text"), [([1], "(@1)"), ([1, 3], "(@1,3)"), ([2, 3, 4], "(@2:4)")]
)
def test_channel_lists(channels: list[int], text: str) -> None:
    assert channel_list(channels) == text


def test_faults_in_words() -> None:
    assert fault(3) == "over-voltage, over-current"
    assert fault(1 << 14 | 16) == "over-temperature, bits 16384"


def test_an_over_current_trips_is_told_and_stays_until_it_is_cleared() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = KeysightN6700Box("supply", rack, first=1)
    with wired(TcpServer(emulated)) as transport, supply(transport, max_current=5e-3) as device:
        device.write(np.array([1.0, 1.0, 1.0]))
        np.testing.assert_allclose(rack.heaters[:5], [0.0, 1.0, 1.0, 1.0, 0.0])
        with pytest.raises(DeviceError, match=r"output 2 has tripped: over-current"):
            device.write(np.array([1.0, 6.0, 1.0]))
        np.testing.assert_allclose(rack.heaters[:5], [0.0, 1.0, 0.0, 1.0, 0.0])
        for again in (device.read_back, lambda: device.write(np.ones(3))):
            with pytest.raises(DeviceError, match="output 2 has tripped"):
                again()
        device.clear_faults()
        device.write(np.array([1.0, 1.5, 1.0]))
        np.testing.assert_allclose(rack.heaters[:5], [0.0, 1.0, 1.5, 1.0, 0.0])
        emulated.inhibited[0] = True
        with pytest.raises(DeviceError, match="output 1 has tripped: inhibit input"):
            device.read_back()
        with pytest.raises(DeviceError, match="output 1 has tripped: inhibit input"):
            device.clear_faults()
        device.safe_state()  # a tripped channel is no obstacle
        emulated.inhibited[0] = False


def test_a_limit_that_the_box_did_not_take_is_told() -> None:
    """As after ``VOLT:PROT 8.8,@(1:3)``: refused, and nothing on the line says so."""
    emulated = box()
    emulated.answer("VOLT:PROT 8.8,@(1)")
    assert emulated.answer("SYST:ERR?")[0].data.startswith(b"-104")
    unset = (LIMITS[2][0], b"+2.448000E+01,+8.800000E+00,+8.800000E+00\n")
    with scripted([*OPENING, *LIMITS[:2], unset]) as transport:
        device = supply(transport)
        device.open()
        with pytest.raises(DeviceError, match=r"a limit of 8\.8 V was set \(VOLT:PROT\), the box"):
            device.write(np.array([1.5, 0.25, 1.5]))


def test_opening_changes_no_output_and_refuses_what_modules_cannot_do() -> None:
    emulated = box(amperes=0.015)
    emulated.outputs.levels[:], emulated.on[:], emulated.outputs.limits[:] = 3.0, True, 1.0
    emulated.update()
    with wired(TcpServer(emulated)) as transport:
        supply(transport, max_current=0.01).open()
        np.testing.assert_array_equal(emulated.outputs.volts, 3.0)
        with pytest.raises(DeviceError, match=r"0\.02 A are asked for, output 1 reaches 0\.015 A"):
            supply(transport).open()
        with pytest.raises(DeviceError, match=r"40 V are asked for, output 1 reaches 20\.4 V"):
            supply(transport, high=40.0).open()


def test_what_the_error_queue_holds_is_raised() -> None:
    with wired(TcpServer(box())) as transport, supply(transport) as device:
        device.write(np.ones(3))
        transport.write("VOLT 5,(@7)")
        transport.write("NONSENSE")
        with pytest.raises(DeviceError, match=r"writing.*-222.*range.*-113"):
            device.write(np.ones(3))
        device.write(np.ones(3))


def test_an_output_that_stays_off_or_on_is_told() -> None:
    off = (FIRST[0], FIRST[1].replace(b"1,1,1", b"1,0,1"))
    stays = (b"VOLT 0,(@1:3);:OUTP OFF,(@1:3)\n" + CHECK, b'0,0,1;+0,+0,+0;+0,"No error"\n')
    with scripted([*OPENING, *LIMITS, off, stays]) as transport:
        device = supply(transport)
        device.open()
        with pytest.raises(DeviceError, match="output 2 is off, though it was switched on"):
            device.write(np.array([1.5, 0.25, 1.5]))
        with pytest.raises(DeviceError, match="output 3 is on, though it was switched off"):
            device.safe_state()


def test_another_box_and_senseless_channels_are_refused() -> None:
    with (
        scripted([(b"*IDN?\n", b"RIGOL TECHNOLOGIES,DP832,DP8C1,00.01.14\n")]) as transport,
        pytest.raises(DeviceError, match="an N6700 or N6705 was expected"),
    ):
        supply(transport).open()
    for channels in ([1, 1], [0, 1]):
        with scripted([]) as transport, pytest.raises(ConfigError, match="each once"):
            supply(transport, channels=channels)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", AFTER)
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    weathers(TcpServer(box()), supply, kind, after)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_to_a_write_is_refused_unless_it_is_right(answer: bytes) -> None:
    with scripted([*OPENING, *LIMITS, (FIRST[0], answer)]) as transport:
        transport.timeout = 0.01
        device = supply(transport)
        device.open()
        with pytest.raises(NAMED):
            device.write(np.array([1.5, 0.25, 1.5]))
