"""Siglent SDG: golden frames, the contract on its emulated box, units and headers, newlines, the gap, light, faults."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.clock import VirtualClock
from hilonn.devices import Timing
from hilonn.drivers.siglent_sdg import SiglentSdg, SiglentSdgOptions, without_newlines
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.rack import Listener
from hilonn.simulators.emulators.siglent_sdg import SiglentSdgBox
from hilonn.testing import ModulatorsContract
from hilonn.transports import ScriptWire, Transport
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import PATIENT, TIMEOUT, scripted, wired

TIMING = Timing(1e-5)
IDN = (b"*IDN?\n", b"*IDN Siglent Technologies,SDG2042X,SDG2XCA1R0001,2.01.01.35R3B2\n")
LOADED = (b"C1:OUTP?\n", b"C1:OUTP OFF,LOAD,HZ,PLRT,NOR\n")
ON = (b"C1:OUTP?\n", b"C1:OUTP ON,LOAD,HZ,PLRT,NOR\n")


def options(**keys: object) -> SiglentSdgOptions:
    return SiglentSdgOptions(**keys)  # type: ignore[arg-type]


@pytest.fixture(params=["dc", "arbitrary"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> TcpServer:
    return TcpServer(SiglentSdgBox("sdg", Rack(), [0, 1], suffix=".bin"))


class TestSiglentSdg(ModulatorsContract):
    @pytest.fixture
    def device(self, server: TcpServer, mode: str) -> Iterator[SiglentSdg]:
        with (
            wired(server, PATIENT) as transport,
            SiglentSdg("in", transport, options(mode=mode)) as opened,
        ):
            yield opened


# -- the wire -----------------------------------------------------------------------------------------


def test_golden_lines_of_a_voltage() -> None:
    exchanges = [
        IDN,
        LOADED,
        (b"C1:BSWV WVTP,DC,OFST,1.250000\n", b""),
        (b"C1:BSWV?\n", b"C1:BSWV WVTP,DC,OFST,1.25V\n"),
        LOADED,
        (b"C1:OUTP ON\n", b""),
        ON,
        ON,  # the same voltage again: only whether the box is there and on
        (b"C1:OUTP OFF\n", b""),
        LOADED,
        LOADED,
        (b"C1:OUTP ON\n", b""),
        ON,
    ]
    with scripted(exchanges) as transport:
        device = SiglentSdg("in", transport, options(channels=1, amplifier=2.0))
        device.open()
        for _ in range(2):
            device.load(np.array([[2.5]]), TIMING)
            device.play()
        device.safe_state()
        device.play()


def test_golden_lines_of_a_burst() -> None:
    drive = np.array([1.0, -3.0, 0.0, 1.0, 1.0, 0.0, 0.0, -3.0])
    codes = np.rint((drive + 1.0) / 4.0 * 2 * 32767).astype("<i2").tobytes()
    name = f"H{zlib.crc32(codes):08X}".encode()
    exchanges = [
        IDN,
        LOADED,
        (b"C1:OUTP OFF\n", b""),
        (b"C1:BTWV STATE,OFF\n", b""),
        (
            b"C1:WVDT WVNM," + name + b",FREQ,12500,TYPE,8,AMPL,4,OFST,-1,PHASE,0.0,WAVEDATA,"
            + codes + b"\n",
            b"",
        ),
        (b"C1:ARWV NAME," + name + b"\n", b""),
        (b"C1:ARWV?\n", b"C1:ARWV INDEX,2,NAME," + name + b".bin\n"),
        (b"C1:SRATE MODE,DDS\n", b""),
        (b"C1:BSWV FRQ,12500,AMP,4,OFST,-1\n", b""),
        (b"C1:BSWV?\n", b"C1:BSWV WVTP,ARB,FRQ,12500HZ,PERI,8e-05S,AMP,4V,OFST,-1V,HLEV,1V,LLEV,-3V,PHSE,0\n"),
        (b"C1:BTWV STATE,ON\n", b""),
        (b"C1:BTWV GATE_NCYC,NCYC,TIME,3,TRSR,MAN,TRMD,RISE\n", b""),
        (b"C1:BTWV?\n", b"C1:BTWV STATE,ON,PRD,0.01S,STPS,0,TRSR,MAN,TRMD,RISE,TIME,3,DLAY,0S,GATE_NCYC,NCYC,CARR,WVTP,ARB\n"),
        LOADED,
        (b"C1:OUTP ON\n", b""),
        ON,
        ON,
        (b"C1:BTWV MTRIG\n", b""),
        (b"C1:BTWV?\n", b"C1:BTWV STATE,ON,PRD,0.01S\n"),
    ]  # fmt: skip
    chosen = options(channels=1, mode="arbitrary", trigger="internal")
    with scripted(exchanges) as transport:
        device = SiglentSdg("in", transport, chosen)
        device.open()
        device.load(drive[:, np.newaxis], Timing(1e-5, plays=3))
        device.play()


@pytest.mark.parametrize("header", ["SHORT", "LONG", "OFF"])
def test_answers_are_understood_with_any_header(server: TcpServer, header: str, mode: str) -> None:
    with wired(server, PATIENT) as transport:
        transport.write(f"CHDR {header}")
        with SiglentSdg("in", transport, options(mode=mode)) as device:
            device.load(np.ones((1, 2)), TIMING)
            device.play()


@pytest.mark.parametrize("text", [b"1250mV", b"1.25V", b"1.25", b"+1.25e0V"])
def test_values_carry_units(text: bytes) -> None:
    exchanges = [
        IDN,
        LOADED,
        (b"C1:BSWV WVTP,DC,OFST,1.250000\n", b""),
        (b"C1:BSWV?\n", b"C1:BSWV WVTP,DC,OFST," + text + b"\n"),
        ON,
    ]
    with scripted(exchanges) as transport:
        device = SiglentSdg("in", transport, options(channels=1))
        device.open()
        device.load(np.array([[1.25]]), TIMING)
        device.play()


def test_commands_keep_their_distance() -> None:
    clock = VirtualClock()
    exchanges = [
        IDN,
        LOADED,
        (b"C1:BSWV WVTP,DC,OFST,1.000000\n", b""),
        (b"C1:BSWV?\n", b"C1:BSWV WVTP,DC,OFST,1V\n"),
        ON,
    ]
    transport = Transport("box", ScriptWire(exchanges), timeout=TIMEOUT, clock=clock)
    transport.open()
    device = SiglentSdg("in", transport, options(channels=1))
    device.open()
    device.load(np.array([[1.0]]), TIMING)
    device.play()
    sent = [line.seconds for line in transport.log if line.direction == "sent"]
    assert len(sent) == 5
    assert min(np.diff(sent)) >= 0.01 - 1e-9


def test_a_box_loses_commands_that_come_too_fast() -> None:
    clock = VirtualClock()
    box = SiglentSdgBox("sdg", Rack(), [0], gap=0.01, clock=clock.now)
    session = box.session()
    session.feed(b"C1:OUTP ON\n")
    clock.sleep(0.005)
    session.feed(b"C1:OUTP OFF\n")
    assert box.channels[1].on
    assert box.lost == 1
    clock.sleep(0.011)
    session.feed(b"C1:OUTP OFF\n")
    assert not box.channels[1].on


def test_what_is_brought_to_a_limit_in_silence_is_told() -> None:
    exchanges = [
        IDN,
        LOADED,
        (b"C1:BSWV WVTP,DC,OFST,9.000000\n", b""),
        (b"C1:BSWV?\n", b"C1:BSWV WVTP,DC,OFST,5V\n"),
    ]
    with scripted(exchanges) as transport:
        device = SiglentSdg("in", transport, options(channels=1))
        device.open()
        device.load(np.array([[9.0]]), TIMING)
        with pytest.raises(
            DeviceError, match=r"BSWV OFST of channel 1 was set to 9.0, the box says 5V"
        ):
            device.play()


def test_what_cannot_be_is_refused() -> None:
    with scripted([]) as transport:
        with pytest.raises(ConfigError, match="one after another"):
            SiglentSdg("in", transport, options(mode="arbitrary", trigger="internal"))
        with pytest.raises(ConfigError, match="reaches 5 V"):
            SiglentSdg("in", transport, options(load="50", high=6.0))
    with scripted([IDN, LOADED]) as transport, pytest.raises(DeviceError, match="load of HZ"):
        SiglentSdg("in", transport, options(load="50")).open()
    other = [(b"*IDN?\n", b"Rigol Technologies,DP832A,1,2\n")]
    with scripted(other) as transport, pytest.raises(DeviceError, match="not by a Siglent SDG"):
        SiglentSdg("in", transport, options()).open()


def test_no_code_holds_a_newline() -> None:
    codes = np.arange(-32767, 32768)
    moved = without_newlines(codes)
    data = moved.astype("<i2").tobytes()
    assert b"\n" not in data
    assert np.abs(moved - codes).max() <= 129
    assert np.abs(moved).max() <= 32767
    left = ((codes >> 8) & 0xFF != 0x0A) & (codes & 0xFF != 0x0A)
    np.testing.assert_array_equal(moved[left], codes[left])


# -- light --------------------------------------------------------------------------------------------


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


def test_a_voltage_is_light() -> None:
    rack = Rack(quiet_plant())
    box = SiglentSdgBox("sdg", rack, [0, 1], amplifier=2.0)
    assert rack.plant is not None
    scale = np.full(4, rack.plant.detection.ranges[-1] / rack.responsivity)
    drive = np.array([[3.0, -4.0]])
    with wired(TcpServer(box), PATIENT) as transport:
        device = SiglentSdg("in", transport, options(amplifier=2.0))
        device.open()
        device.load(drive, TIMING)
        device.play()
        should = on_the_plant(drive)[0]
        seen, _ = rack.sample([0, 1, 2, 3], scale, 1e-5)
        np.testing.assert_allclose(seen, should, atol=1e-3 * np.abs(should).max())
        device.safe_state()
        dark, _ = rack.sample([0, 1, 2, 3], scale, 1e-5)
        still = on_the_plant(np.zeros((1, 2)))[0]
        np.testing.assert_allclose(dark, still, atol=1e-3 * np.abs(should).max())


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_its_bursts_are_light(samples: int) -> None:
    """Also short ones, constant ones, and more than one play."""
    drive = np.random.default_rng(samples).uniform(-4, 4, (samples, 2))
    drive[:, 1] = 4.0
    rack = Rack(quiet_plant())
    box = SiglentSdgBox("sdg", rack, [0, 1])
    heard: list[FloatArray] = []
    assert rack.plant is not None
    scale = np.full(4, rack.plant.detection.ranges[-1] / rack.responsivity)
    chosen = options(mode="arbitrary")
    with wired(TcpServer(box), PATIENT) as transport, SiglentSdg("in", transport, chosen) as device:
        rack.listen(
            "m",
            Listener([0, 1, 2, 3], 3 * samples, 1e-5, scale, lambda w, _: heard.append(w)),
        )
        device.load(drive, Timing(1e-5, plays=3))
        device.play()
        rack.trigger()  # somebody else's
    should = on_the_plant(np.tile(drive, (3, 1)))
    np.testing.assert_allclose(heard[0], should, atol=5e-3 * np.abs(should).max())


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does(kind: str, after: int, mode: str) -> None:
    box = SiglentSdgBox("sdg", Rack(), [0], suffix=".bin")
    server = TcpServer(box)
    samples = 1 if mode == "dc" else 8
    drive = np.linspace(1.0, -2.0, samples)[:, np.newaxis]
    chosen = options(channels=1, mode=mode, trigger="internal")
    with wired(server, PATIENT) as transport:
        device = SiglentSdg("in", transport, chosen)
        device.open()
        transport.timeout = TIMEOUT
        fault = FAULTS[kind]

        def act() -> FloatArray:
            device.load(drive, TIMING)
            device.play()
            generator = box.generator(1)
            if mode == "dc":
                return np.array([[box.channels[1].offset]])
            return np.zeros((1, 1)) if generator is None else generator.pattern

        def right(shown: FloatArray) -> bool:
            return box.channels[1].on and bool(np.allclose(shown, drive, atol=2e-2))

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
                shown = act()
                break
            except NAMED:
                continue
        assert right(shown)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    exchanges = [
        IDN,
        LOADED,
        (b"C1:BSWV WVTP,DC,OFST,1.000000\n", b""),
        (b"C1:BSWV?\n", answer),
    ]
    clock = VirtualClock()
    transport = Transport("box", ScriptWire(exchanges), timeout=TIMEOUT, clock=clock)
    transport.open()
    device = SiglentSdg("in", transport, options(channels=1))
    device.open()
    device.load(np.array([[1.0]]), TIMING)
    with pytest.raises((ConnectionLost, DeviceError, DeviceTimeout)):
        device.play()
