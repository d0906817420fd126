"""Nicslab XPOW: golden lines, the contract on the emulated box, slopes, answers to sets, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.nicslab_xpow import DIALECT, NicslabXpow, NicslabXpowOptions
from hilonn.errors import ConfigError, DeviceError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.nicslab_xpow import NicslabXpowBox
from hilonn.simulators.emulators.server import Server
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from tests.drivers.faults import FAULTS, NAMED
from tests.drivers.supplies import weathers
from tests.drivers.wires import TIMEOUT, scripted, wire_to

OPENING = [(b"*IDN?\n", b"NICSLAB,XPOW-40AX,X40-0123,1.2\r\n")]


@contextmanager
def hasty(server: Server) -> Iterator[Transport]:
    """A wire without the gap of 10 ms, which would make every test slow."""
    with server:
        transport = Transport("box", wire_to(server), timeout=TIMEOUT, gap=0.0)
        transport.open()
        yield transport
        transport.close()


def xpow(transport: Transport, **options: object) -> NicslabXpow:
    chosen = {"high": 8.0, "max_current": 0.02, "channels": 4, **options}
    return NicslabXpow("heaters", transport, NicslabXpowOptions.model_validate(chosen))


def box(**options: object) -> NicslabXpowBox:
    return NicslabXpowBox("xpow", Rack(), **options)  # type: ignore[arg-type]


class TestXpow(ActuatorsContract):
    @pytest.fixture(params=["tcp", "pty"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[NicslabXpow]:
        emulated = box(echo=request.param == "pty")
        server = PtyServer(emulated) if request.param == "pty" else TcpServer(emulated)
        with hasty(server) as transport, xpow(transport) as opened:
            yield opened


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        (b"CH:1-2:VOLT:1638\n", b""),
        (b"CH:3:VOLT:3277\n", b"CH:3:VOLT:3277\r\n"),  # a set may be answered
        (b"CH:4:VOLT:0\n", b""),
        (b"CH:1-4:CUR:4369\n", b""),  # 20 mA of 300 mA
        (b"CH:1:VAL?\n", b"CH 1 = 1.00V, 1.00mA\r\n"),
        (b"CH:2:VAL?\n", b"OK\nCH 2=1.00V,1.00mA\r\n"),
        (b"CH:3:VAL?\n", b"CH 3 = 2.00V, 2.00mA\r\n"),
        (b"CH:4:VAL?\n", b"CH 4 = 0.01V, 0.00mA\r\n"),
        (b"CH:4:VOLT:4915\n", b""),  # what changes, alone
        (b"CH:4:VAL?\n", b"CH 4 = 3.00V, 3.00mA\r\n"),
        (b"CH:1-4:CUR:0\n", b""),
        (b"CH:1-4:VOLT:0\n", b""),
        (b"CH:1:VAL?\n", b"CH 1 = 0.00V, 0.00mA\r\n"),
    ]
    with scripted(exchanges) as transport:
        device = xpow(transport)
        device.open()
        device.write(np.array([1.0, 1.0, 2.0, 0.0]))
        device.write(np.array([1.0, 1.0, 2.0, 3.0]))
        device.safe_state()


def test_a_gap_is_kept_between_commands() -> None:
    assert DIALECT.gap >= 0.01


def test_slopes_turn_codes_into_volts() -> None:
    slopes = np.array([1.02, 0.97, 1.0, 1.01])
    with hasty(TcpServer(box(channels=4, slopes=slopes))) as transport:
        wanted = np.array([1.0, 5.0, 7.5, 0.5])
        with xpow(transport, slopes=slopes.tolist()) as device:
            device.write(wanted)
            np.testing.assert_allclose(device.read_back(), wanted, atol=0.006)
            np.testing.assert_allclose(device.currents(), wanted / 1e3, atol=6e-6)
        with (
            xpow(transport, max_current=0.1) as device,
            pytest.raises(
                DeviceError,
                match=r"channel 1 \(2 on the box\) was set to 5\.000 V and measures 4\.85 V",
            ),
        ):
            device.write(wanted)


def test_senseless_slopes_are_refused() -> None:
    with scripted([]) as transport:
        for slopes in ([1.0], [1.0, 1.0, 1.0, -1.0]):
            with pytest.raises(ConfigError, match="slopes"):
                xpow(transport, slopes=slopes)
        with pytest.raises(ConfigError, match=r"high = 40 V: channel 1 reaches 39\.2 V"):
            xpow(transport, high=40.0, slopes=[1.0, 0.98, 1.0, 1.0])


def test_a_heater_that_draws_too_much_is_told() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = NicslabXpowBox("xpow", rack, channels=4, first=3)
    with hasty(TcpServer(emulated)) as transport, xpow(transport, max_current=0.005) as device:
        device.write(np.array([1.0, 1.0, 2.0, 0.0]))
        np.testing.assert_allclose(rack.heaters[3:7], [1.0, 1.0, 2.0, 0.0], atol=1e-3)
        with pytest.raises(
            DeviceError, match=r"channel 1 \(2 on the box\) was set to 6\.000 V.*limit 0\.005 A"
        ):
            device.write(np.array([1.0, 6.0, 2.0, 0.0]))
        assert rack.plant is not None
        most = 0.005 * rack.plant.truth.resistance[4]
        assert rack.heaters[4] == pytest.approx(most, rel=1e-3)
    assert not rack.heaters.any()


def test_an_error_that_answers_a_set_is_raised() -> None:
    sets = [(b"CH:1:VOLT:1638\n", b"ERROR 3\r\n"), (b"CH:1:CUR:4369\n", b"")]
    with scripted([*OPENING, *sets]) as transport:
        device = xpow(transport, channels=1, check=None)
        device.open()
        with pytest.raises(DeviceError, match="the box says ERROR 3"):
            device.write(np.array([1.0]))


def test_what_the_box_holds_after_safe_state_is_looked_at() -> None:
    off = [
        (b"CH:1-4:CUR:0\n", b""),
        (b"CH:1-4:VOLT:0\n", b""),
        (b"CH:1:VAL?\n", b"CH 1 = 4.00V, 1.00mA\r\n"),
    ]
    with scripted([*OPENING, *off]) as transport:
        device = xpow(transport)
        device.open()
        with pytest.raises(DeviceError, match="channel 0 measures 4 V"):
            device.safe_state()


def test_opening_changes_no_output() -> None:
    emulated = box(channels=4)
    emulated.outputs.levels[:], emulated.outputs.limits[:] = 3.0, 0.1
    with hasty(TcpServer(emulated)) as transport:
        xpow(transport).open()
        np.testing.assert_array_equal(emulated.outputs.volts, 3.0)


def test_an_answer_of_another_channel_is_refused() -> None:
    with scripted([*OPENING, (b"CH:1:VAL?\n", b"CH 2 = 1.00V, 1.00mA\r\n")]) as transport:
        device = xpow(transport, channels=1)
        device.open()
        with pytest.raises(DeviceError, match="of another channel"):
            device.read_back()


ON_A_LINE = [kind for kind in FAULTS if kind not in ("half_close", "reset")]
"""A serial line has no sides to shut and no connection to break."""


@pytest.mark.parametrize(
    ("wire", "kind"),
    [("tcp", kind) for kind in FAULTS] + [("pty", kind) for kind in ON_A_LINE],
)
@pytest.mark.parametrize("after", range(3))
def test_whatever_the_wire_does(wire: str, kind: str, after: int) -> None:
    emulated = box(echo=False)
    server = TcpServer(emulated) if wire == "tcp" else PtyServer(emulated)
    weathers(server, lambda w: xpow(w, channels=2), kind, after, connect=hasty)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b"CH:1:VAL?\n", answer)]) as transport:
        transport.timeout = 0.01
        device = xpow(transport, channels=1)
        device.open()
        try:
            assert np.isfinite(device.read_back()).all()
        except NAMED:
            return
