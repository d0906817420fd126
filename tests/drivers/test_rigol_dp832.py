"""Rigol DP832: golden lines, the contract on the emulated box, lost commands, protections, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.rigol_dp832 import DIALECT, RigolDp832, RigolDp832Options
from hilonn.errors import ConfigError, DeviceError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.rigol_dp832 import RigolDp832Box
from hilonn.simulators.emulators.server import Server
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire
from tests.drivers.faults import FAULTS, NAMED
from tests.drivers.supplies import weathers
from tests.drivers.wires import TIMEOUT, scripted

ONE = [1]
OPENING = [
    (b"*IDN?\n", b"RIGOL TECHNOLOGIES,DP832,DP8C123456789,00.01.14\n"),
    (b":SYST:ERR?\n", b'0,"No error"\n'),
]
FIRST = [
    (b":APPL CH1,0.000,0.024\n", b""),
    (b":APPL? CH1\n", b"CH1:30V/3A,0.000,0.0240\n"),
    (b":OUTP:OVP:VAL CH1,6.000\n", b""),
    (b":OUTP:OVP CH1,ON\n", b""),
    (b":OUTP:OVP:VAL? CH1\n", b"6.0000\n"),
    (b":OUTP:OVP? CH1\n", b"ON\n"),
    (b":OUTP:OCP:VAL CH1,0.020\n", b""),
    (b":OUTP:OCP CH1,ON\n", b""),
    (b":OUTP:OCP:VAL? CH1\n", b"0.0200\n"),
    (b":OUTP:OCP? CH1\n", b"ON\n"),
    (b":APPL CH1,1.500,0.024\n", b""),
    (b":APPL? CH1\n", b"CH1,1.500,0.0240\n"),
    (b":OUTP CH1,ON\n", b""),
    (b":SYST:ERR?\n", b'0,"No error"\n'),
    (b":OUTP? CH1\n", b"ON\n"),
]


def supply(transport: Transport, **options: object) -> RigolDp832:
    chosen = {"high": 5.0, "max_current": 0.02, **options}
    return RigolDp832("heaters", transport, RigolDp832Options.model_validate(chosen))


@contextmanager
def patient(server: Server, gap: float = 0.0) -> Iterator[Transport]:
    """A wire to a box that hears everything; a gap of 20 ms would make every test slow."""
    with server:
        transport = Transport("box", TcpWire("127.0.0.1", server.port), timeout=TIMEOUT, gap=gap)  # type: ignore[attr-defined]
        transport.open()
        yield transport
        transport.close()


def box(**options: object) -> RigolDp832Box:
    return RigolDp832Box("supply", Rack(), **{"deaf": 0.0, **options})  # type: ignore[arg-type]


class TestSupply(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[RigolDp832]:
        with patient(TcpServer(box())) as transport, supply(transport) as opened:
            yield opened


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        *FIRST,
        (b":APPL CH1,2.000,0.024\n", b""),
        (b":APPL? CH1\n", b"CH1:30V/3A,2.000,0.0240\n"),
        (b":SYST:ERR?\n", b'0,"No error"\n'),
        (b":OUTP? CH1\n", b"ON\n"),
        (b":SYST:ERR?\n", b'0,"No error"\n'),  # nothing changes: nothing is set
        (b":OUTP? CH1\n", b"ON\n"),
        (b":OUTP? CH1\n", b"ON\n"),
        (b":APPL? CH1\n", b"CH1:30V/3A,2.000,0.0240\n"),
        (b":OUTP CH1,OFF\n", b""),
        (b":OUTP? CH1\n", b"OFF\n"),
        (b":APPL CH1,0.000,0.024\n", b""),
        (b":APPL? CH1\n", b"CH1:30V/3A,0.000,0.0240\n"),
    ]
    with scripted(exchanges) as transport:
        device = supply(transport, channels=ONE)
        device.open()
        device.write(np.array([1.5]))
        device.write(np.array([2.0]))
        device.write(np.array([2.0]))
        np.testing.assert_array_equal(device.read_back(), 2.0)
        device.safe_state()


def test_a_gap_is_kept_between_commands() -> None:
    assert DIALECT.gap >= 0.02


def test_a_box_loses_what_comes_too_fast() -> None:
    emulated = box(deaf=10.0)
    for line in (":APPL CH1,1,0.1", ":APPL CH2,2,0.1"):
        assert all(not reply.data for reply in emulated.answer(line))
    np.testing.assert_array_equal(emulated.outputs.levels[:2], [1.0, 0.0])
    assert emulated.lost == 1


def test_a_lost_command_is_told_and_a_slower_wire_loses_none() -> None:
    lost = (FIRST[11][0], b"CH1:30V/3A,0.000,0.0240\n")
    with scripted([*OPENING, *FIRST[:11], lost]) as transport:
        device = supply(transport, channels=ONE)
        device.open()
        with pytest.raises(DeviceError, match=r"set to 1\.500 V.*holds 0 V.*command lost.*`gap`"):
            device.write(np.array([1.5]))
    emulated = box(deaf=1e-3)
    with patient(TcpServer(emulated), gap=0.03) as transport:
        device = supply(transport, channels=ONE)
        device.open()
        device.write(np.array([1.5]))
        np.testing.assert_allclose(device.read_back(), 1.5)
    assert emulated.lost == 0


@pytest.mark.parametrize("rated", [True, False])
def test_answers_are_read_from_the_right(rated: bool) -> None:
    with patient(TcpServer(box(rated=rated))) as transport, supply(transport) as device:
        device.write(np.array([1.5, 0.25, 5.0]))
        np.testing.assert_allclose(device.read_back(), [1.5, 0.25, 5.0])


@pytest.mark.parametrize(
    "answer", [b"CH2:30V/3A,2.0,0.024\n", b"2.0,0.024\n", b"CH1,ON,1\n", b"\n"]
)
def test_another_answer_is_refused(answer: bytes) -> None:
    with scripted([*OPENING, (b":OUTP? CH1\n", b"ON\n"), (b":APPL? CH1\n", answer)]) as transport:
        device = supply(transport, channels=ONE)
        device.open()
        with pytest.raises(DeviceError, match=r"APPL\? CH1 was answered"):
            device.read_back()


def test_an_over_current_trips_is_told_and_stays_until_it_is_cleared() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = RigolDp832Box("supply", rack, first=2, deaf=0.0)
    with patient(TcpServer(emulated)) as transport, supply(transport, max_current=0.005) as device:
        device.write(np.array([1.0, 1.0, 1.0]))
        np.testing.assert_allclose(rack.heaters[2:5], 1.0)
        with pytest.raises(DeviceError, match="protection of output 2 has tripped: over-current"):
            device.write(np.array([1.0, 4.0, 1.0]))
        np.testing.assert_allclose(rack.heaters[2:5], [1.0, 0.0, 1.0])
        np.testing.assert_allclose(device.read_back(), [1.0, 0.0, 1.0])
        with pytest.raises(DeviceError, match="output 2 has tripped"):
            device.write(np.array([1.0, 1.0, 1.0]))
        device.clear_faults()
        device.write(np.array([1.0, 1.5, 1.0]))
        np.testing.assert_allclose(rack.heaters[2:5], [1.0, 1.5, 1.0])
        emulated.outputs.on[2] = False  # somebody presses its key
        with pytest.raises(DeviceError, match=r"output 3 is off.*pressed its key"):
            device.write(np.array([1.0, 1.5, 1.0]))


def test_opening_changes_no_output_and_refuses_what_a_channel_cannot_do() -> None:
    emulated = box()
    emulated.outputs.levels[:], emulated.outputs.on[:] = 3.0, True
    with patient(TcpServer(emulated)) as transport:
        supply(transport).open()
        np.testing.assert_array_equal(emulated.outputs.volts, 3.0)
        with pytest.raises(DeviceError, match=r"8 V are asked for, output 3 reaches 5\.3 V"):
            supply(transport, high=8.0).open()
        supply(transport, high=8.0, channels=[1, 2]).open()
        for channels in ([1, 1], [4]):
            with pytest.raises(ConfigError, match="each of 1, 2, 3 once"):
                supply(transport, channels=channels)


def test_what_the_error_queue_holds_is_raised() -> None:
    with patient(TcpServer(box())) as transport, supply(transport) as device:
        device.write(np.ones(3))
        transport.write(":APPL CH9,1,1")
        with pytest.raises(DeviceError, match=r"writing.*-224"):
            device.write(np.ones(3))
        device.write(np.ones(3))


def test_every_channel_is_switched_off_whatever_one_of_them_does() -> None:
    off = [
        (b":OUTP CH1,OFF\n", b""),
        (b":OUTP? CH1\n", b"ON\n"),
        (b":OUTP CH2,OFF\n", b""),
        (b":OUTP? CH2\n", b"OFF\n"),
        (b":APPL CH2,0.000,0.024\n", b""),
        (b":APPL? CH2\n", b"CH2:30V/3A,0.000,0.0240\n"),
    ]
    with scripted([*OPENING, *off]) as transport:
        device = supply(transport, channels=[1, 2])
        device.open()
        with pytest.raises(DeviceError, match="output 1 is on"):
            device.safe_state()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", range(4))
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    weathers(
        TcpServer(box()), lambda wire: supply(wire, channels=[1, 3]), kind, after, connect=patient
    )


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b":OUTP? CH1\n", b"ON\n"), (b":APPL? CH1\n", answer)]) as transport:
        transport.timeout = 0.01
        device = supply(transport, channels=ONE)
        device.open()
        try:
            assert np.isfinite(device.read_back()).all()
        except NAMED:
            return
