"""Keysight 33500: golden frames, the contract on its emulated box, loads, light, faults, noise on the wire."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.keysight_33500 import Keysight33500, Keysight33500Options
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.keysight_33500 import Keysight33500Box
from hilonn.simulators.emulators.rack import Listener
from hilonn.testing import ModulatorsContract
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import PATIENT, TIMEOUT, scripted, wired

TIMING = Timing(1e-5)
FINE = (b"SYST:ERR?\n", b'+0,"No error"\n')
OPENING = [
    (b"*IDN?\n", b"Agilent Technologies,33522B,MY57800256,5.00-1.19-2.00-58-00\n"),
    FINE,
    (b"OUTP1:LOAD?\n", b"+5.00000000000000E+01\n"),
    (b"SOUR1:VOLT? MAX\n", b"+1.00000000000000E+01\n"),
    (b"SOUR1:VOLT:OFFS?\n", b"+0.00000000000000E+00\n"),
]


def options(**keys: object) -> Keysight33500Options:
    return Keysight33500Options(**keys)  # type: ignore[arg-type]


@pytest.fixture
def server() -> TcpServer:
    return TcpServer(Keysight33500Box("awg", Rack(), [0, 1]))


class TestKeysight33500(ModulatorsContract):
    @pytest.fixture
    def device(self, server: TcpServer) -> Iterator[Keysight33500]:
        with (
            wired(server, PATIENT) as transport,
            Keysight33500("in", transport, options()) as opened,
        ):
            yield opened


def frame(data: bytes) -> tuple[bytes, bytes]:
    name = f"H{zlib.crc32(data):08X}".encode()
    return b"FORM:BORD NORM\nSOUR1:DATA:VOL:CLE\nSOUR1:DATA:ARB:DAC " + name + b",#216" + data, name


def test_golden_frames() -> None:
    # 1, -2, 0.5, -1 V, twice each: eight points are the fewest; stretched to all codes around -0.5 V
    codes = np.repeat(np.rint((np.array([1.0, -2.0, 0.5, -1.0]) + 0.5) / 3 * 2 * 32767), 2)
    data = codes.astype(">i2").tobytes()
    assert data[:8] == b"\x7f\xff\x7f\xff\x80\x01\x80\x01"
    upload, name = frame(data)
    setting = (
        b"\nSOUR1:VOLT:UNIT VPP\nSOUR1:VOLT MIN\nSOUR1:FUNC:ARB "
        + name
        + b"\nSOUR1:FUNC:ARB:FILT STEP\n"
        b"SOUR1:FUNC:ARB:SRAT 200000\nSOUR1:FUNC ARB\nSOUR1:VOLT:OFFS -0.5\nSOUR1:VOLT 3\nSOUR1:BURS:MODE TRIG\n"
        b"SOUR1:BURS:NCYC 2\nTRIG1:SOUR BUS\nSOUR1:BURS:STAT 1\n"
    )
    exchanges = [
        *OPENING,
        (upload + setting + b"OUTP1 1\n", b""),
        FINE,
        (b"*TRG\n", b""),
        FINE,
        FINE,
        (b"OUTP1 0\n", b""),
        FINE,
        (b"OUTP1 1\n", b""),
        FINE,
        (b"*TRG\n", b""),
        FINE,
    ]
    drive = np.array([[1.0], [-2.0], [0.5], [-1.0]])
    with scripted(exchanges) as transport:
        device = Keysight33500("in", transport, options(channels=1))
        device.open()
        device.load(drive, Timing(1e-5, plays=2))
        device.play()
        device.load(drive, Timing(1e-5, plays=2))  # nothing is sent, and the box is there
        device.safe_state()
        device.play()


def test_another_load_than_the_bench_files_is_refused() -> None:
    opening = [*OPENING[:2], (b"OUTP1:LOAD?\n", b"+9.90000000000000E+37\n")]
    with scripted(opening) as transport, pytest.raises(DeviceError, match=r"load of 9\.9e"):
        Keysight33500("in", transport, options(channels=1)).open()


def test_more_than_the_box_gives_is_refused() -> None:
    with scripted([]) as transport, pytest.raises(ConfigError, match="reaches 5 V"):
        Keysight33500("in", transport, options(high=6.0))
    opening = [*OPENING[:3], (b"SOUR1:VOLT? MAX\n", b"+6.0E+00\n"), OPENING[4]]
    with scripted(opening) as transport, pytest.raises(DeviceError, match="reaches 3 V"):
        Keysight33500("in", transport, options(channels=1)).open()
    other = [(OPENING[0][0], b"Agilent Technologies,34401A,1,2\n")]
    with scripted(other) as transport, pytest.raises(DeviceError, match="a 33500 or 33600"):
        Keysight33500("in", transport, options()).open()


def test_what_the_box_refuses_is_raised_with_its_text(server: TcpServer) -> None:
    with wired(server, PATIENT) as transport, Keysight33500("in", transport, options()) as device:
        with pytest.raises(DeviceError, match="load first"):
            device.play()
        device.load(np.zeros((2, 2)), TIMING)
        transport.write("SOUR1:VOLT:OFFS 20")
        with pytest.raises(DeviceError, match="-222"):
            device.play()
        device.load(np.ones((2, 2)), TIMING)
        device.play()
        with pytest.raises(ConfigError, match="points a second"):
            device.load(np.zeros((2, 2)), Timing(1e-9))


def quiet_plant() -> Plant:
    names = ("detector_noise", "thermal_noise", "shot_noise", "rin", "heater_drift", "lo_wander")
    more = ("modulator_bias_drift", "detector_gain_drift", "input_phase_drift")
    plant = Plant("svd_mesh", 2, resolve("typical", dict.fromkeys(names + more, False), {}))
    plant.set_laser(emission=True)
    return plant


def on_the_plant(drive: FloatArray) -> FloatArray:
    plant = quiet_plant()
    plant.load(drive)
    plant.arm(len(drive), 1, 1e-5)
    plant.play(1e-5)
    return plant.fetch()[0] / plant.parameters.responsivity


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Kernels are compiled before anyone waits for a box's answer."""
    on_the_plant(np.zeros((2, 2)))


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_its_patterns_are_light(samples: int) -> None:
    """Also short ones, constant ones, and more than one play."""
    drive = np.random.default_rng(samples).uniform(-4, 4, (samples, 2))
    drive[:, 1] = 4.0
    rack = Rack(quiet_plant())
    box = Keysight33500Box("awg", rack, [0, 1])
    heard: list[FloatArray] = []
    assert rack.plant is not None
    scale = np.full(4, rack.plant.detection.ranges[-1] / rack.responsivity)
    with (
        wired(TcpServer(box), PATIENT) as transport,
        Keysight33500("in", transport, options()) as device,
    ):
        rack.listen(
            "m", Listener([0, 1, 2, 3], 3 * samples, 1e-5, scale, lambda w, _: heard.append(w))
        )
        device.load(drive, Timing(1e-5, plays=3))
        device.play()
        should = on_the_plant(np.tile(drive, (3, 1)))
        np.testing.assert_allclose(heard[0], should, atol=2e-3 * np.abs(should).max())
        rest, _ = rack.sample([0, 1, 2, 3], scale, 1e-5)  # after a burst: the first sample
        np.testing.assert_allclose(rest, should[0], atol=2e-3 * np.abs(should).max())
        device.safe_state()
        assert not any(channel.on for channel in box.channels.values())
        rest, _ = rack.sample([0, 1, 2, 3], scale, 1e-5)
        still = on_the_plant(np.zeros((1, 2)))[0]
        np.testing.assert_allclose(rest, still, atol=1e-3 * np.abs(should).max())


def test_an_open_end_doubles_what_a_box_that_believes_in_50_ohm_says() -> None:
    box = Keysight33500Box("awg", Rack(), [0], load=None)
    with wired(TcpServer(box), PATIENT) as transport:
        with Keysight33500("in", transport, options(channels=1)) as device:
            device.load(np.array([[1.0], [-1.0]]), TIMING)
            generator = box._generator(1)
            assert generator is not None
            np.testing.assert_allclose(generator.pattern[[0, -1], 0], [2.0, -2.0], rtol=1e-4)
        transport.write("OUTP1:LOAD INF")
        with Keysight33500("in", transport, options(channels=1, load="INF")) as device:
            device.load(np.array([[1.0], [-1.0]]), TIMING)
            generator = box._generator(1)
            assert generator is not None
            np.testing.assert_allclose(generator.pattern[[0, -1], 0], [1.0, -1.0], rtol=1e-4)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does(server: TcpServer, kind: str, after: int) -> None:
    box = server.instrument
    assert isinstance(box, Keysight33500Box)
    drive = np.linspace(-1.0, 1.0, 16).reshape(8, 2)
    with wired(server, PATIENT) as transport:
        device = Keysight33500("in", transport, options())
        device.open()
        transport.timeout = TIMEOUT
        fault = FAULTS[kind]

        def act() -> list[FloatArray]:
            device.load(drive, TIMING)
            device.play()
            generators = [box._generator(k) for k in (1, 2)]
            return [np.zeros(1) if g is None else g.pattern[:, 0] for g in generators]

        def right(held: list[FloatArray]) -> bool:
            return box.played > 0 and all(
                bool(np.allclose(column, drive[:, k], atol=1e-4)) for k, column in enumerate(held)
            )

        survives(
            server, Fault(fault.kind, after, fault.count, fault.seconds, fault.data), act, right
        )
        if kind == "silence":
            return
        transport.timeout = PATIENT
        for _ in range(2):
            if transport.lost:
                transport.reconnect(1.0)
            try:
                held = act()
                break
            except NAMED:
                continue
        assert right(held)


@given(st.binary(max_size=40))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_at_opening_is_understood_or_named(answer: bytes) -> None:
    with scripted([OPENING[0], (OPENING[1][0], answer)]) as transport:
        device = Keysight33500("in", transport, options(channels=1))
        transport.timeout = 0.01
        with pytest.raises((ConnectionLost, DeviceError, DeviceTimeout)):
            device.open()
