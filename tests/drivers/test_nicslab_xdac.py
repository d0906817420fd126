"""Nicslab XDAC: golden texts, the contract on the emulated box over ZeroMQ, key, thresholds, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.nicslab_xdac import NicslabXdac, NicslabXdacOptions
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.nicslab_xdac import NicslabXdacBox
from hilonn.simulators.emulators.server import Server
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from hilonn.transports.zmq_wire import ZmqWire
from tests.drivers.faults import FAULTS, NAMED
from tests.drivers.supplies import weathers
from tests.drivers.wires import TIMEOUT, scripted

pytest.importorskip("zmq")
from hilonn.simulators.emulators.zmq_server import ZmqServer

OPENING = [(b"GETINFO:HILONN\n", b"XDAC-40U-R4G8 SN0123\n")]
SET_UP = [
    (b"ZERO:1\n", b"OK\n"),
    (b"SETR:1:1\n", b"OK\n"),
    (b"SETOVT:1:8.8\n", b"OK\n"),
    (b"SETOCT:1:20\n", b"OK\n"),
]


@contextmanager
def asking(server: Server) -> Iterator[Transport]:
    """A ZeroMQ socket to a started ``server``."""
    with server:
        transport = Transport("box", ZmqWire(server.address), timeout=TIMEOUT)  # type: ignore[attr-defined]
        transport.open()
        yield transport
        transport.close()


def xdac(transport: Transport, **options: object) -> NicslabXdac:
    chosen = {"key": "HILONN", "high": 8.0, "max_current": 0.02, "channels": 3, **options}
    return NicslabXdac("heaters", transport, NicslabXdacOptions.model_validate(chosen))


def box(**options: object) -> NicslabXdacBox:
    return NicslabXdacBox("xdac", Rack(), **options)  # type: ignore[arg-type]


class TestXdac(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[NicslabXdac]:
        with asking(ZmqServer(box())) as transport, xdac(transport) as opened:
            yield opened


def test_golden_texts() -> None:
    exchanges = [
        *OPENING,
        (b"CONFIG:8:500:1000\n", b"OK\n"),
        *SET_UP,
        (b"SETV:1:1.5\n", b"OK\n"),
        (b"MEASV:1\n", b"1.4998\n"),
        (b"SETV:1:2.25\n", b"OK\n"),
        (b"MEASV:1\n", b"2.2501\n"),
        (b"MEASC:1\n", b"2.25\n"),
        (b"ZERO:1\n", b"OK\n"),
        (b"LOCK\n", b"OK\n"),
        *OPENING,
        (b"MEASV:1\n", b"0\n"),
    ]
    with scripted(exchanges) as transport:
        device = xdac(transport, channels=1, averages=8, conversion_times=(5e-4, 1e-3))
        device.open()
        device.write(np.array([1.5]))
        device.write(np.array([2.25]))
        device.write(np.array([2.25]))  # nothing changes: nothing is asked
        np.testing.assert_allclose(device.currents(), 2.25e-3)
        device.safe_state()
        np.testing.assert_array_equal(device.read_back(), 0.0)


@pytest.mark.parametrize(
    ("high", "code"), [(5.0, b"0"), (5.1, b"1"), (10.0, b"1"), (12.0, b"2"), (34.0, b"3")]
)
def test_the_smallest_range_that_holds_the_voltage_is_taken(high: float, code: bytes) -> None:
    over = f"{min(1.1 * high, 34):.6g}".encode()
    set_up = [
        SET_UP[0],
        (b"SETR:1:" + code + b"\n", b"OK\n"),
        (b"SETOVT:1:" + over + b"\n", b"OK\n"),
        SET_UP[3],
    ]
    with scripted([*OPENING, *set_up, (b"SETV:1:1\n", b"OK\n")]) as transport:
        device = xdac(transport, channels=1, high=high, check=None)
        device.open()
        device.write(np.array([1.0]))


def test_a_wrong_key_is_told_and_never_shown() -> None:
    server = ZmqServer(box(key="ANOTHER"))
    with asking(server) as transport:
        with pytest.raises(DeviceError, match="is the licence key right") as told:
            xdac(transport, key="SECRET").open()
        assert "SECRET" not in str(told.value)
        server.faults.inject(Fault("drop"))
        with pytest.raises(DeviceTimeout, match=r"did not answer GETINFO:\*") as told_too:
            xdac(transport, key="SECRET").open()
        assert "SECRET" not in str(told_too.value)


def test_a_threshold_switches_off_and_is_told() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = NicslabXdacBox("xdac", rack, first=4)
    with asking(ZmqServer(emulated)) as transport, xdac(transport, max_current=0.005) as device:
        device.write(np.array([1.0, 1.5, 2.0]))
        np.testing.assert_allclose(rack.heaters[4:7], [1.0, 1.5, 2.0], atol=1e-3)
        with pytest.raises(
            DeviceError, match=r"channel 1 \(2 on the box\).*6\.000 V.*measures 0 V"
        ):
            device.write(np.array([1.0, 6.0, 2.0]))
        np.testing.assert_allclose(rack.heaters[4:7], [1.0, 0.0, 2.0], atol=1e-3)
        device.write(np.array([1.0, 1.5, 2.0]))  # zeroed first: it goes on again
        np.testing.assert_allclose(rack.heaters[4:7], [1.0, 1.5, 2.0], atol=1e-3)
    assert not rack.heaters.any()
    assert emulated.locked


@pytest.mark.parametrize("answer", [b"ERROR range\n", b"Invalid channel\n", b"locked\n"])
def test_a_refusal_is_raised(answer: bytes) -> None:
    with scripted([*OPENING, *SET_UP, (b"SETV:1:1.5\n", answer)]) as transport:
        device = xdac(transport, channels=1)
        device.open()
        with pytest.raises(DeviceError, match=r"SETV:1:1\.5 \(channel 0\) was answered"):
            device.write(np.array([1.5]))


def test_what_a_good_set_is_answered_with_may_be_said() -> None:
    with scripted([*OPENING, (b"ZERO:1\n", b"DONE\n")]) as transport:
        device = xdac(transport, channels=1, accepted="OK")
        device.open()
        with pytest.raises(DeviceError, match="answered 'DONE'"):
            device.write(np.array([1.5]))


def test_a_channel_that_refuses_does_not_keep_the_others_from_zero() -> None:
    zeros = [
        (b"ZERO:1\n", b"ERROR 1\n"),
        (b"ZERO:2\n", b"OK\n"),
        (b"ZERO:3\n", b"OK\n"),
        (b"LOCK\n", b"OK\n"),
    ]
    with scripted([*OPENING, *zeros]) as transport:
        device = xdac(transport)
        device.open()
        with pytest.raises(DeviceError, match="ZERO:1"):
            device.safe_state()


def test_opening_changes_no_output() -> None:
    emulated = box()
    emulated.outputs.levels[:] = 3.0
    with asking(ZmqServer(emulated)) as transport:
        xdac(transport).open()
        np.testing.assert_array_equal(emulated.outputs.volts, 3.0)


def test_averages_and_conversion_times_go_together() -> None:
    with scripted([]) as transport, pytest.raises(ConfigError, match="given together"):
        xdac(transport, averages=8)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", range(4))
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    weathers(ZmqServer(box()), lambda wire: xdac(wire, channels=2), kind, after, connect=asking)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b"MEASV:1\n", answer + b"\n")]) as transport:
        transport.timeout = 0.01
        device = xdac(transport, channels=1)
        device.open()
        try:
            assert np.isfinite(device.read_back()).all()
        except NAMED:
            return
