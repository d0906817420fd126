"""Keysight lasers: golden frames, the contract on the emulated one, locks and waits, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.keysight_laser import KeysightLaser, KeysightLaserOptions
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.keysight_laser import KeysightLaserBox
from hilonn.testing import LaserContract
from hilonn.transports import ScriptWire, Transport
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.light import Lit
from tests.drivers.wires import TIMEOUT, scripted, wired

NO_ERROR = (b"SYST:ERR?\n", b'+0,"No error"\n')


def options(**chosen: object) -> KeysightLaserOptions:
    return KeysightLaserOptions.model_validate(chosen)


def box(rack: Rack | None = None, **chosen: object) -> KeysightLaserBox:
    quick = {"settling": 0.02, "tuning": 0.01} | chosen
    return KeysightLaserBox("laser", rack or Lit(np.zeros(1)), **quick)  # type: ignore[arg-type]


class TestKeysightLaser(LaserContract):
    @pytest.fixture(params=["tcp", "pty", "locked"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[KeysightLaser]:
        emulated = box(locked=request.param == "locked")
        server = PtyServer(emulated) if request.param == "pty" else TcpServer(emulated)
        with (
            wired(server) as transport,
            KeysightLaser("laser", transport, options(pin="1234")) as opened,
        ):
            yield opened


OPENING = [
    (b"*IDN?\n", b"Keysight Technologies,N7776C,MY59700220,V2.022\n"),
    (b"*CLS\n", b""),
    (b"LOCK 0,1234\n", b""),
    NO_ERROR,
    (b"SOUR0:POW:UNIT 1\n", b""),
    NO_ERROR,
    (b"SOUR0:POW? MIN\n", b"+1.00000000E-004\n"),
    (b"SOUR0:POW? MAX\n", b"+2.00000000E-002\n"),
    (b"SOUR0:WAV? MIN\n", b"+1.49000000E-006\n"),
    (b"SOUR0:WAV? MAX\n", b"+1.64000000E-006\n"),
]


HELD = [(b"SOUR0:POW:UNIT?\n", b"+1\n"), (b"SOUR0:POW?\n", b"+2.50000000E-003\n")]


def test_golden_frames() -> None:
    exchanges = [
        *OPENING,
        (b"SOUR0:POW 2.500000MW\n", b""),
        NO_ERROR,
        (b"SOUR0:POW:UNIT?\n", b"+1\n"),
        (b"SOUR0:POW?\n", b"+2.50000000E-003\n"),
        (b"SOUR0:WAV 1550.12000NM\n", b""),
        NO_ERROR,
        (b"*OPC?\n", b"1\n"),
        (b"SOUR0:WAV?\n", b"+1.55012000E-006\n"),
        *HELD,
        (b"SOUR0:POW:STAT 1\n", b""),
        NO_ERROR,
        (b"*OPC?\n", b"0\n"),
        (b"*OPC?\n", b"1\n"),
        (b"SOUR0:POW:STAT?\n", b"+1\n"),
        (b"SOUR0:POW:STAT 0\n", b""),
        NO_ERROR,
        (b"SOUR0:POW:STAT?\n", b"+0\n"),
    ]
    with scripted(exchanges) as transport:
        device = KeysightLaser("laser", transport, options(pin="1234"))
        device.open()
        device.set_power(2.5e-3)
        device.set_wavelength(1.55012e-6)
        device.set_emission(True)
        device.safe_state()
        device.close()


def test_light_is_settled_when_it_is_said_to_be_on() -> None:
    rack = Lit(np.zeros(1), lockstep=True)
    emulated = box(rack, settling=3.0)
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options())
        device.open()
        device.set_emission(True)
        assert rack.now() == pytest.approx(3.0)
        assert rack.emission()


def test_a_wait_has_an_end() -> None:
    emulated = box(settling=5.0)
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options(settling=0.1))
        device.open()
        with pytest.raises(DeviceTimeout, match=r"did not answer b'\*OPC\?"):
            device.set_emission(True)
    states = [(b"*OPC?\n", b"0\n")] * 3
    wire = [*OPENING[:2], *OPENING[4:], *HELD, (b"SOUR0:POW:STAT 1\n", b""), NO_ERROR, *states]
    with scripted(wire) as transport:
        device = KeysightLaser("laser", transport, options(settling=0.1))
        device.open()
        with pytest.raises(DeviceTimeout, match=r"not settled within 0\.1 s"):
            device.set_emission(True)


def test_a_locked_laser_says_so_and_keeps_its_pin_to_itself() -> None:
    emulated = box(locked=True)
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options())
        device.open()
        with pytest.raises(DeviceError, match=r"-221 .*") as told:
            device.set_emission(True)
        assert "is it locked" in str(told.value)
        assert not device.emission()
        with pytest.raises(DeviceError, match="is `pin` right") as told:
            KeysightLaser("laser", transport, options(pin="9999")).open()
        assert "9999" not in str(told.value)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"max_power": 0.05}, "0.05 W is asked for, the laser gives 0.02 W"),
        ({"wavelengths": [1.26e-6, 1.6e-6]}, "the laser goes from 1.49e-06"),
        ({"slot": 2}, "-303"),
    ],
)
def test_what_the_laser_cannot_do_is_told_at_opening(chosen: dict[str, object], words: str) -> None:
    with wired(TcpServer(box())) as transport, pytest.raises(DeviceError, match=words):
        KeysightLaser("laser", transport, options(**chosen)).open()


def test_senseless_options() -> None:
    with scripted([]) as transport, pytest.raises(ConfigError, match="shortest and longest"):
        KeysightLaser("laser", transport, options(wavelengths=[1.6e-6, 1.5e-6]))


def test_an_amplifier_stands_between_the_laser_and_the_chip() -> None:
    emulated = box(booster=10.0)
    rack = emulated.rack
    assert isinstance(rack, Lit)
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options(amplifier=10.0, max_power=0.1))
        device.open()
        device.set_power(0.05)
        assert rack.watts == pytest.approx(0.05)
        assert emulated.power == pytest.approx(5e-3)
        assert device.power() == pytest.approx(0.05)
        with pytest.raises(LimitError, match="switch it off"):
            device.set_power(1e-4)


def test_a_laser_that_was_switched_off_and_on_is_not_believed() -> None:
    emulated = box()
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options())
        device.open()
        with emulated.rack.lock:
            emulated.reboot()
        with pytest.raises(DeviceError, match="was it switched off and on"):
            device.power()


def test_light_that_an_interlock_took_is_seen() -> None:
    plant = Plant("svd_mesh", 2, resolve("ideal"))
    emulated = box(Rack(plant))
    with wired(TcpServer(emulated)) as transport:
        device = KeysightLaser("laser", transport, options())
        device.open()
        device.set_emission(True)
        assert plant.emission
        with emulated.rack.lock:
            plant.emission = False
        assert not device.emission()
        device.set_power(5e-3)
        assert plant.laser_power == pytest.approx(5e-3)
        device.safe_state()
        assert not plant.emission


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    """At the error queue, at *OPC?, at the state."""
    server = TcpServer(box())
    with wired(server) as transport:
        device = KeysightLaser("laser", transport, options(settling=TIMEOUT))
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


@given(st.one_of(st.binary(max_size=40), st.floats().map(lambda value: f"{value:+.8E}\n".encode())))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    exchanges = [(b"SOUR0:POW:UNIT?\n", b"+1\n"), (b"SOUR0:POW?\n", answer)]
    transport = Transport("box", ScriptWire(exchanges), timeout=0.01)
    transport.open()
    try:
        power = KeysightLaser("laser", transport, options()).power()
    except NAMED:
        return
    assert np.isfinite(power)
