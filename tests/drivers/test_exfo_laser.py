"""EXFO lasers: golden frames, the contract on the emulated one, prompts and buses, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.exfo_laser import ExfoLaser, ExfoLaserOptions
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.exfo_laser import ExfoLaserBox
from hilonn.testing import LaserContract
from hilonn.transports import ScriptWire, Transport
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.light import Lit
from tests.drivers.wires import TIMEOUT, scripted, wired


def options(**chosen: object) -> ExfoLaserOptions:
    return ExfoLaserOptions.model_validate(chosen)


def box(rack: Rack | None = None, **chosen: object) -> ExfoLaserBox:
    quick = {"starting": 0.02} | chosen
    return ExfoLaserBox("laser", rack or Lit(np.zeros(1)), **quick)  # type: ignore[arg-type]


class TestExfoLaser(LaserContract):
    @pytest.fixture(params=["tcp", "pty", "osics", "gpib"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[ExfoLaser]:
        channel = 1 if request.param == "osics" else None
        bus = request.param == "gpib"
        emulated = box(channel=channel, bus=bus)
        server = PtyServer(emulated) if request.param == "pty" else TcpServer(emulated)
        chosen = options(channel=channel, interface="gpib" if bus else "serial")
        with wired(server) as transport, ExfoLaser("laser", transport, chosen) as opened:
            yield opened


OPENING = [
    (b"*IDN?\r", b"EXFO,T100S-HP,0,6.06\r> "),
    (b"DBM\r", b"OK\r> "),
    (b"L? MIN\r", b"L=1500.000\r> "),
    (b"L? MAX\r", b"1630.000\r> "),
]


def test_golden_frames() -> None:
    exchanges = [
        *OPENING,
        (b"DBM\r", b"OK\r> "),
        (b"P=3.00\r", b"OK\r> "),
        (b"P?\r", b"DISABLED\r> "),
        (b"P?\r", b"DISABLED\r> "),
        (b"P?\r", b"DISABLED\r> "),
        (b"ENABLE\r", b"OK\r> "),
        (b"P?\r", b"DISABLED\r> "),
        (b"P?\r", b"P=+3.00\r> "),
        (b"L=1550.000\r", b"OK\r> "),
        (b"L?\r", b"L=1550.000\r> "),
        (b"DISABLE\r", b"OK\r> "),
        (b"P?\r", b"DISABLED\r> "),
    ]
    with scripted(exchanges) as transport:
        device = ExfoLaser("laser", transport, options())
        device.open()
        device.set_power(1e-3 * 10**0.3)
        assert device.power() == pytest.approx(1.995e-3, rel=1e-3)  # what was set
        device.set_emission(True)
        device.set_wavelength(1.55e-6)
        device.safe_state()
        device.close()


def test_golden_frames_of_a_module() -> None:
    exchanges = [
        OPENING[0],
        (b"CH3:DBM\r", b"OK\r> "),
        (b"CH3:P?\r", b"CH3:P=-2.50\r> "),
        (b"CH3:P?\r", b"CH3:DISABLED\r> "),
    ]
    with scripted(exchanges) as transport:
        device = ExfoLaser("laser", transport, options(channel=3, read_limits=False))
        device.open()
        assert device.power() == pytest.approx(1e-3 * 10**-0.25)
        assert not device.emission()


def test_power_without_light_is_not_known_until_it_was_set() -> None:
    with wired(TcpServer(box())) as transport:
        device = ExfoLaser("laser", transport, options())
        device.open()
        with pytest.raises(DeviceError, match="without light: state `power`"):
            device.power()
        device.set_power(2e-3)
        assert device.power() == pytest.approx(2e-3, rel=3e-3)
        assert device.power() <= 2e-3


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda device: device.set_power(1e-5), "P=-20.00 was answered 'VALUE ERROR', not OK"),
        (lambda device: device._tell("NONSENSE"), "'COMMAND ERROR', not OK"),
    ],
)
def test_what_is_not_ok_is_an_error(act: object, words: str) -> None:
    with wired(TcpServer(box())) as transport:
        device = ExfoLaser("laser", transport, options())
        device.open()
        device.set_power(1e-3)
        with pytest.raises(DeviceError, match=words):
            act(device)  # type: ignore[operator]


def test_on_a_bus_what_was_refused_is_found_out_and_light_goes_off_again() -> None:
    emulated = box(bus=True)
    with wired(TcpServer(emulated)) as transport:
        device = ExfoLaser("laser", transport, options(interface="gpib"))
        device.open()
        device.set_power(1e-5)  # less than it can; a bus says nothing
        with pytest.raises(DeviceError, match=r"-20\.00 dBm was set, the laser says 0\.00 dBm"):
            device.set_emission(True)
        assert not device.emission()
        device.set_power(1e-3)
        device.set_emission(True)
        with pytest.raises(DeviceError, match=r"-20\.00 dBm was set"):
            device.set_power(1e-5)


def test_light_that_does_not_come_is_told() -> None:
    with wired(TcpServer(box(starting=60.0))) as transport:
        device = ExfoLaser("laser", transport, options(settling=0.1))
        device.open()
        device.set_power(1e-3)
        with pytest.raises(DeviceTimeout, match="no light came within"):
            device.set_emission(True)


def test_in_lockstep_the_labs_time_passes() -> None:
    rack = Lit(np.zeros(1), lockstep=True)
    with wired(TcpServer(box(rack, starting=2.0))) as transport:
        device = ExfoLaser("laser", transport, options())
        device.open()
        with pytest.raises(DeviceError, match="state `power`"):
            device.set_emission(True)
        device.set_power(1e-3)
        device.set_emission(True)
        assert rack.now() == pytest.approx(2.0)


def test_the_light_is_the_racks() -> None:
    emulated = box(booster=10.0)
    rack = emulated.rack
    assert isinstance(rack, Lit)
    with wired(TcpServer(emulated)) as transport:
        device = ExfoLaser("laser", transport, options(amplifier=10.0, max_power=0.1))
        device.open()
        device.set_power(0.05)
        device.set_emission(True)
        assert rack.watts == pytest.approx(0.05, rel=3e-3)
        assert rack.light
        with pytest.raises(LimitError, match="switch it off"):
            device.set_power(0.0)
        device.safe_state()
        assert not rack.light


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ({"wavelengths": [1.26e-6, 1.6e-6]}, DeviceError, "the laser goes from 1.5e-06"),
        ({"wavelengths": [1.6e-6, 1.5e-6]}, ConfigError, "shortest and longest"),
        ({"channel": 2}, DeviceError, "'COMMAND ERROR', not OK"),
    ],
)
def test_what_does_not_fit_is_told_at_opening(
    chosen: dict[str, object], error: type[Exception], words: str
) -> None:
    with wired(TcpServer(box(channel=1))) as transport, pytest.raises(error, match=words):
        ExfoLaser("laser", transport, options(**{"channel": 1} | chosen)).open()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = TcpServer(box(starting=0.0))
    with wired(server) as transport:
        device = ExfoLaser("laser", transport, options(settling=TIMEOUT))
        device.open()
        survives(
            server,
            replace(FAULTS[kind], after=after),
            lambda: (device.set_emission(True), device.emission())[1],
            lambda on: on,
        )
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            try:
                if transport.lost:
                    transport.reconnect(1.0)
                device.set_emission(False)
                break
            except NAMED:
                continue
        assert not device.emission()


@given(
    st.one_of(st.binary(max_size=40), st.floats().map(lambda value: f"P={value:+.2f}\r> ".encode()))
)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    transport = Transport("box", ScriptWire([(b"P?\r", answer)]), timeout=0.01)
    transport.open()
    try:
        power = ExfoLaser("laser", transport, options()).power()
    except NAMED:
        return
    assert 0.0 < power <= 10.0
