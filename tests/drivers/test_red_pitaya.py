"""Red Pitaya: golden frames, the contracts on its emulated box, light, averages, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.bank import BankOfModulators
from hilonn.drivers.red_pitaya import (
    RedPitayaModulators,
    RedPitayaModulatorsOptions,
    RedPitayaPhotodetectors,
    RedPitayaPhotodetectorsOptions,
)
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.rack import Listener
from hilonn.simulators.emulators.red_pitaya import RedPitayaBox
from hilonn.testing import ModulatorsContract, PhotodetectorsContract
from hilonn.transports import Transport
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import PATIENT, TIMEOUT, scripted, wire_to, wired

TIMING = Timing(1e-5)
IDN = (b"*IDN?\r\n", b"REDPITAYA,INSTR2024,0,01-02\r\n")
FINE = (b"SYST:ERR:NEXT?\r\n", b'0,"No error"\r\n')
QUIET = dict.fromkeys(
    (
        "detector_noise",
        "thermal_noise",
        "shot_noise",
        "rin",
        "heater_drift",
        "modulator_bias_drift",
        "detector_gain_drift",
        "lo_wander",
        "input_phase_drift",
    ),
    False,
)
NOW = RedPitayaPhotodetectorsOptions(trigger="now")


def outputs(**keys: object) -> RedPitayaModulatorsOptions:
    return RedPitayaModulatorsOptions(**keys)  # type: ignore[arg-type]


@pytest.fixture
def server() -> TcpServer:
    return TcpServer(RedPitayaBox("rp", Rack(), [0, 1], amplifier=8.0, detectors=[0, 1]))


class TestModulators(ModulatorsContract):
    @pytest.fixture
    def device(self, server: TcpServer) -> Iterator[RedPitayaModulators]:
        chosen = outputs(amplifier=8.0)
        with (
            wired(server, PATIENT) as transport,
            RedPitayaModulators("in", transport, chosen) as opened,
        ):
            yield opened


class TestPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self, server: TcpServer) -> Iterator[RedPitayaPhotodetectors]:
        with (
            wired(server, PATIENT) as transport,
            RedPitayaPhotodetectors("det", transport, NOW) as opened,
        ):
            yield opened


# -- the wire -----------------------------------------------------------------------------------------


def test_golden_lines_of_a_pattern() -> None:
    first = (
        b"SOUR1:FUNC ARBITRARY\r\nSOUR1:VOLT:OFFS 0\r\nSOUR1:VOLT 1\r\n"
        b"SOUR1:TRAC:DATA:DATA 0.25000,-0.50000\r\nSOUR1:FREQ:FIX 50000\r\nSOUR1:BURS:STAT BURST\r\n"
        b"SOUR1:BURS:NCYC 1\r\nSOUR1:TRIG:SOUR INT\r\nOUTPUT1:STATE ON\r\n"
    )
    exchanges = [
        IDN,
        FINE,
        (first, b""),
        FINE,
        (b"SOUR:TRIG:INT\r\n", b""),
        FINE,
        FINE,  # the same pattern again: nothing is sent, and the box is asked whether it is there
        (b"SOUR1:BURS:NCYC 4\r\n", b""),
        FINE,
        (b"SOUR1:TRAC:DATA:DATA 0.25000,0.12500\r\n", b""),
        FINE,
        (b"OUTPUT1:STATE OFF\r\n", b""),
        FINE,
        (b"OUTPUT1:STATE ON\r\n", b""),
        FINE,
        (b"SOUR:TRIG:INT\r\n", b""),
        FINE,
    ]
    with scripted(exchanges) as transport:
        device = RedPitayaModulators("in", transport, outputs(channels=1, amplifier=4.0))
        device.open()
        device.load(np.array([[1.0], [-2.0]]), TIMING)
        device.play()
        device.load(np.array([[1.0], [-2.0]]), TIMING)
        device.load(np.array([[1.0], [-2.0]]), Timing(1e-5, plays=4))
        device.load(np.array([[1.0], [0.5]]), Timing(1e-5, plays=4))
        device.safe_state()
        device.play()


def test_golden_lines_of_a_reading() -> None:
    arming = (
        b"ACQ:STOP\r\nACQ:DEC 128\r\nACQ:AVG ON\r\nACQ:DATA:UNITS VOLTS\r\nACQ:TRIG:DLY 8192\r\n"
        b"ACQ:START\r\nACQ:TRIG EXT_PE\r\n"
    )
    volts = np.repeat([0.5, 0.25], [10, 9]).astype(">f4").tobytes()
    exchanges = [
        IDN,
        FINE,
        (b"ACQ:SOUR1:GAIN HV\r\n", b""),
        FINE,
        (arming, b""),
        FINE,
        (b"ACQ:TRIG:STAT?\r\n", b"WAIT\r\n"),
        (b"ACQ:TRIG:STAT?\r\n", b"TD\r\n"),
        (b"ACQ:TRIG:FILL?\r\n", b"0\r\n"),
        (b"ACQ:TRIG:FILL?\r\n", b"1\r\n"),
        (b"ACQ:DATA:FORMAT BIN\r\n", b""),
        (b"ACQ:SOUR1:DATA:OLD:N? 19\r\n", b"#276" + volts + b"\r\n"),
    ]
    chosen = RedPitayaPhotodetectorsOptions(
        channels=1, ranges="HV", byte_order="big", volts_per_unit=100.0
    )
    with scripted(exchanges) as transport:
        device = RedPitayaPhotodetectors("det", transport, chosen)
        device.open()
        device.arm(2, 1, TIMING)
        readings = device.fetch()
        np.testing.assert_allclose(readings.signal, [[0.005], [0.0025]])
        assert not readings.saturated.any()


def test_what_the_box_refuses_is_raised_with_its_text(server: TcpServer) -> None:
    box = server.instrument
    assert isinstance(box, RedPitayaBox)
    with (
        wired(server, PATIENT) as transport,
        RedPitayaModulators("in", transport, outputs()) as device,
    ):
        transport.write("SOUR2:VOLT 0.2;OFFS 0.1")  # -113: the path ends at VOLT
        with pytest.raises(DeviceError, match="-113"):
            device.load(np.zeros((2, 2)), TIMING)
        with pytest.raises(DeviceError, match="load first"):
            device.play()
        device.load(np.zeros((2, 2)), TIMING)
        device.play()
        with pytest.raises(LimitError, match="16384"):
            device.load(np.zeros((16385, 2)), TIMING)
        with pytest.raises(ConfigError, match="8e-09 s or more"):
            device.load(np.zeros((2, 2)), Timing(1e-9))
        with pytest.raises(LimitError, match="outside the limits"):
            device.load(np.full((2, 2), 1.01), TIMING)


def test_another_box_is_not_taken_for_one() -> None:
    with scripted([(b"*IDN?\r\n", b"ACME,SCOPE,1,2\r\n")]) as transport:
        device = RedPitayaModulators("in", transport, outputs())
        with pytest.raises(DeviceError, match="redpitaya was expected"):
            device.open()


def test_limits_follow_amplifier_and_load() -> None:
    with scripted([]) as transport:
        device = RedPitayaModulators("in", transport, outputs(amplifier=3.0, load="high"))
        assert device.spec.high == 6.0


def test_safe_state_switches_outputs_off_and_play_on_again(server: TcpServer) -> None:
    box = server.instrument
    assert isinstance(box, RedPitayaBox)
    with (
        wired(server, PATIENT) as transport,
        RedPitayaModulators("in", transport, outputs()) as device,
    ):
        assert not box.outputs[1].on  # opening changed nothing
        device.load(np.full((3, 2), 0.5), TIMING)
        device.play()
        assert box.outputs[1].on
        device.safe_state()
        assert not (box.outputs[1].on or box.outputs[2].on)
        device.play()
        assert box.outputs[1].on
        assert box.played == 2


@pytest.mark.parametrize(("counted", "frequency"), [("pattern", 25000.0), ("buffer", 6.103515625)])
def test_what_the_frequency_counts_is_an_option(
    server: TcpServer, counted: str, frequency: float
) -> None:
    box = server.instrument
    assert isinstance(box, RedPitayaBox)
    chosen = outputs(frequency_of=counted, at_opening=["SOUR2:FREQ:FIX 7"])
    with (
        wired(server, PATIENT) as transport,
        RedPitayaModulators("in", transport, chosen) as device,
    ):
        assert box.outputs[2].frequency == 7.0
        device.load(np.zeros((4, 2)), TIMING)
        assert box.outputs[2].frequency == pytest.approx(frequency)


def test_a_box_that_rebooted_is_loaded_anew(server: TcpServer) -> None:
    box = server.instrument
    assert isinstance(box, RedPitayaBox)
    drive = np.full((3, 2), 0.5)
    with wired(server, PATIENT) as transport:
        device = RedPitayaModulators("in", transport, outputs())
        device.open()
        device.load(drive, TIMING)
        server.faults.inject(Fault("reboot"))
        with pytest.raises(ConnectionLost):
            device.load(drive, TIMING)
        with pytest.raises(NAMED):
            device.play()
        transport.reconnect(1.0)
        device.open()
        device.load(drive, TIMING)
        np.testing.assert_allclose(box.outputs[2].data, 0.5)
        assert box.outputs[2].on


# -- light --------------------------------------------------------------------------------------------


def quiet_plant() -> Plant:
    plant = Plant("svd_mesh", 4, resolve("typical", QUIET, {}))
    plant.set_laser(emission=True)
    return plant


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Kernels are compiled before anyone waits for a box's answer."""
    expected(np.zeros((2, 4)), 1e-5)
    plant = quiet_plant()
    plant.write_heaters(np.full(plant.truth.heaters, 1.0))
    plant.load(np.zeros((2, 4)))
    plant.arm(2, 1, 1e-5)
    plant.play(1e-5)


def expected(drive: FloatArray, period: float) -> FloatArray:
    """What the plant itself gives, A."""
    plant = quiet_plant()
    plant.load(drive)
    plant.arm(len(drive), 1, period)
    plant.play(period)
    return plant.fetch()[0]


@contextmanager
def opened(server: TcpServer) -> Iterator[Transport]:
    transport = Transport("box", wire_to(server), timeout=PATIENT)
    transport.open()
    yield transport
    transport.close()


def test_two_boxes_play_as_one_and_averages_repeat_the_pattern() -> None:
    """What a meter that listens to the trigger gets: every play of the pattern, at all modulators."""
    rng = np.random.default_rng(0)
    drive = rng.uniform(-4.0, 4.0, (6, 4))
    rack = Rack(quiet_plant(), lockstep=True)
    boxes = [
        RedPitayaBox(f"rp{k}", rack, [2 * k, 2 * k + 1], amplifier=8.0, master=k == 1)
        for k in range(2)
    ]
    first, last = TcpServer(boxes[0]), TcpServer(boxes[1])
    heard: list[FloatArray] = []
    with first, last, opened(first) as one, opened(last) as other:
        members = [
            RedPitayaModulators("in0", one, outputs(amplifier=8.0, trigger="external")),
            RedPitayaModulators("in1", other, outputs(amplifier=8.0)),
        ]
        with members[0], members[1], BankOfModulators("inputs", members, "in1") as bank:
            for plays in (1, 3):
                scale = np.full(8, rack.plant.detection.ranges[-1] / rack.responsivity)  # type: ignore[union-attr]
                rack.listen(
                    "meter",
                    Listener(list(range(8)), 6 * plays, 1e-5, scale, lambda w, _: heard.append(w)),
                )
                started = rack.now()
                bank.load(drive, Timing(1e-5, plays=plays))
                bank.play()
                assert rack.now() - started == pytest.approx(6 * plays * 1e-5)
    should = expected(drive, 1e-5) / rack.responsivity
    grain = 2e-3 * np.abs(should).max()  # 14 bits of 8 V
    np.testing.assert_allclose(heard[0], should, atol=grain)
    np.testing.assert_allclose(heard[1].reshape(3, 6, 8), np.stack([should] * 3), atol=grain)


@pytest.mark.parametrize("averages", [1, 3])
@pytest.mark.parametrize("order", [">f4", "<f4"])
def test_outputs_and_inputs_of_one_box(averages: int, order: str) -> None:
    """A box that starts nobody else, and reads what it plays."""
    drive = np.array([[3.0, 0.0], [0.0, -2.0], [1.0, 1.0], [-4.0, 4.0]])
    plant = quiet_plant()
    rack = Rack(plant)
    should = expected(np.pad(drive, ((0, 0), (0, 2))), 1e-5)[:, [1, 5]] / rack.responsivity
    per_watt = 0.8 / float(np.abs(should).max())
    box = RedPitayaBox(
        "rp",
        rack,
        [0, 1],
        amplifier=5.0,
        detectors=[1, 5],
        volts_per_watt=per_watt,
        float_order=order,
        master=False,
    )
    inputs = RedPitayaPhotodetectorsOptions(trigger="generator", volts_per_unit=per_watt)
    with wired(TcpServer(box), PATIENT) as transport:
        playing = RedPitayaModulators("in", transport, outputs(amplifier=5.0))
        reading = RedPitayaPhotodetectors("det", transport, inputs)
        with playing, reading:
            for _ in range(2):  # the first finds out the order of the bytes
                reading.arm(4, averages, TIMING)
                playing.load(drive, Timing(1e-5, plays=averages))
                playing.play()
                readings = reading.fetch()
                assert not readings.saturated.any()
                np.testing.assert_allclose(readings.signal * per_watt, should * per_watt, atol=4e-3)


def test_too_much_light_is_saturated() -> None:
    rack = Rack(quiet_plant())
    box = RedPitayaBox("rp", rack, [0, 1], amplifier=5.0, detectors=[0, 1], volts_per_watt=1e9)
    chosen = RedPitayaPhotodetectorsOptions(trigger="now", volts_per_unit=1e9)
    with (
        wired(TcpServer(box), PATIENT) as transport,
        RedPitayaPhotodetectors("det", transport, chosen) as device,
    ):
        device.arm(2, 1, TIMING)
        assert device.fetch().saturated.all()


def test_a_trigger_that_does_not_come_is_told(server: TcpServer) -> None:
    chosen = RedPitayaPhotodetectorsOptions()
    with (
        wired(server) as transport,
        RedPitayaPhotodetectors("det", transport, chosen) as device,
    ):
        device.arm(2, 1, TIMING)
        with pytest.raises(DeviceTimeout, match=r"no trigger came \(external\)"):
            device.fetch()
        device.arm(1, 16, TIMING)  # a dark reading, for which nobody plays
        assert device.fetch().signal.shape == (1, 2)


def test_more_than_the_buffer_holds_is_refused_beforehand(server: TcpServer) -> None:
    with (
        wired(server, PATIENT) as transport,
        RedPitayaPhotodetectors("det", transport, NOW) as device,
    ):
        with pytest.raises(ConfigError, match="fewer averages"):
            device.arm(4000, 16, TIMING)
        with pytest.raises(ConfigError, match="fewer averages"):
            device.arm(4, 1, Timing(1e-8))


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does_to_a_pattern(server: TcpServer, kind: str, after: int) -> None:
    box = server.instrument
    assert isinstance(box, RedPitayaBox)
    drive = np.linspace(-1.0, 1.0, 8).reshape(4, 2)
    with wired(server, PATIENT) as transport:
        device = RedPitayaModulators("in", transport, outputs())
        device.open()
        transport.timeout = TIMEOUT
        fault = FAULTS[kind]

        def act() -> FloatArray:
            device.load(drive, TIMING)
            device.play()
            return np.stack([box.outputs[1].data, box.outputs[2].data], axis=1)

        def right(held: FloatArray) -> bool:
            return bool(np.allclose(held, drive, atol=1e-5)) and box.played > 0

        survives(
            server, Fault(fault.kind, after, fault.count, fault.seconds, fault.data), act, right
        )
        recovers(transport, act, right, kind)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
def test_whatever_the_wire_does_to_a_reading(kind: str, after: int) -> None:
    rack = Rack(quiet_plant())
    box = RedPitayaBox("rp", rack, [0, 1], detectors=[0, 4], volts_per_watt=500.0)
    chosen = RedPitayaPhotodetectorsOptions(trigger="now", volts_per_unit=500.0)
    server = TcpServer(box)
    with wired(server, PATIENT) as transport:
        device = RedPitayaPhotodetectors("det", transport, chosen)
        device.open()
        device.arm(3, 1, TIMING)
        good = device.fetch().signal
        transport.timeout = TIMEOUT
        fault = FAULTS[kind]

        def act() -> FloatArray:
            device.arm(3, 1, TIMING)
            return device.fetch().signal

        def right(signal: FloatArray) -> bool:
            return bool(np.allclose(signal, good, atol=1e-6))

        survives(
            server, Fault(fault.kind, after, fault.count, fault.seconds, fault.data), act, right
        )
        recovers(transport, act, right, kind)


def recovers(transport: object, act: object, right: object, kind: str) -> None:
    """After a fault: at most one verb is spent on what was left on the wire, and the next is right."""
    if kind == "silence":
        return
    transport.timeout = PATIENT  # type: ignore[attr-defined]
    for _ in range(2):
        if transport.lost:  # type: ignore[attr-defined]
            transport.reconnect(1.0)  # type: ignore[attr-defined]
        try:
            value = act()  # type: ignore[operator]
            break
        except NAMED:
            continue
    assert right(value)  # type: ignore[operator]


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_to_a_reading_gives_a_value_or_a_named_error(answer: bytes) -> None:
    arming = b"ACQ:STOP\r\nACQ:DEC 128\r\nACQ:AVG ON\r\nACQ:DATA:UNITS VOLTS\r\nACQ:TRIG:DLY 8192\r\nACQ:START\r\n"
    wire = [
        IDN,
        FINE,
        (b"ACQ:SOUR1:GAIN LV\r\n", b""),
        FINE,
        (arming, b""),
        FINE,
        (b"ACQ:TRIG NOW\r\n", b""),
        FINE,
        (b"ACQ:TRIG:STAT?\r\n", b"TD\r\n"),
        (b"ACQ:TRIG:FILL?\r\n", b"1\r\n"),
        (b"ACQ:DATA:FORMAT BIN\r\n", b""),
        (b"ACQ:SOUR1:DATA:OLD:N? 9\r\n", answer),
    ]
    chosen = RedPitayaPhotodetectorsOptions(channels=1, trigger="now", byte_order="big")
    with scripted(wire) as transport:
        device = RedPitayaPhotodetectors("det", transport, chosen)
        device.open()
        device.arm(1, 1, TIMING)
        transport.timeout = 0.01
        try:
            readings = device.fetch()
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert np.isfinite(readings.signal).all()


@given(st.binary(max_size=40).filter(lambda answer: not answer.startswith((b"0", b"+0", b"-0"))))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_no_answer_but_no_error_is_taken_for_success(answer: bytes) -> None:
    with scripted([IDN, FINE, (b"OUTPUT1:STATE OFF\r\n", b""), (FINE[0], answer)]) as transport:
        device = RedPitayaModulators("in", transport, outputs(channels=1))
        device.open()
        transport.timeout = 0.01
        with pytest.raises((ConnectionLost, DeviceError, DeviceTimeout, AssertionError)):
            device.safe_state()
