"""Thorlabs meters: golden frames, the contract on the emulated one, another client on it, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import pyvisa
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.chips.chip import ChipStatistics
from hilonn.chips.detection import Detection
from hilonn.devices import ChannelSpec, Identity, Modulators, Timing
from hilonn.drivers.bank import BankOfPhotodetectors
from hilonn.drivers.thorlabs_pm100 import ThorlabsPm100, ThorlabsPm100Options
from hilonn.errors import DeviceError
from hilonn.records import InstrumentRecord, Quantity
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.thorlabs_pm100 import ThorlabsPm100Box
from hilonn.testing import PhotodetectorsContract
from hilonn.transports import ScriptWire, Transport
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.light import Lit
from tests.drivers.wires import scripted, wire_to, wired

TIMING = Timing(sample_period=1e-4)
NO_ERROR = (b"SYST:ERR?\n", b'+0,"No error"\n')


def options(**chosen: object) -> ThorlabsPm100Options:
    return ThorlabsPm100Options.model_validate(chosen)


def box(rack: Rack | None = None, column: int | None = 0, model: str = "PM100D") -> TcpServer:
    return TcpServer(ThorlabsPm100Box("pm", rack or Lit(np.array([2e-4])), column, model))


class TestPm100(PhotodetectorsContract):
    @pytest.fixture(params=["PM100D", "PM400", "PM100USB", "PM16-122"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[ThorlabsPm100]:
        with (
            wired(box(model=request.param)) as transport,
            ThorlabsPm100("pm", transport, options()) as opened,
        ):
            yield opened


OPENING = [
    (b"*IDN?\n", b"Thorlabs,PM100D,P0012345,2.4.0\n"),
    (b"*CLS\n", b""),
    (b"SYST:SENS:IDN?\n", b'"S155C","12040","12-Mar-2024",1,18,289\n'),
    (b"SENS:POW:RANG? MAX\n", b"1.20000000E-002\n"),
    (b"CONF:POW\n", b""),
    NO_ERROR,
    (b"SENS:POW:UNIT W\n", b""),
    NO_ERROR,
    (b"SENS:CORR:WAV? MIN\n", b"8.00000000E+002\n"),
    (b"SENS:CORR:WAV? MAX\n", b"1.700000E+03\n"),
    (b"SENS:CORR:WAV 1550.000\n", b""),
    NO_ERROR,
    (b"SENS:CORR:WAV?\n", b"1550\n"),
    (b"SENS:POW:RANG:AUTO 0\n", b""),
    NO_ERROR,
    (b"SENS:POW:RANG 1.000000E-02\n", b""),
    NO_ERROR,
    (b"SENS:POW:RANG?\n", b"1.20000000E-002\n"),
    (b"SENS:POW:RANG:AUTO?\n", b"0\n"),
]
COUNT = [(b"SENS:AVER:COUN 4\n", b""), NO_ERROR, (b"SENS:AVER:COUN?\n", b"4\n")]


def test_golden_frames() -> None:
    exchanges = [
        *OPENING,
        *COUNT,
        (b"READ?\n", b"1.23456789E-003\n"),
        (b"READ?\n", b"9.90000000E+037\n"),
    ]
    with scripted(exchanges) as transport:
        device = ThorlabsPm100("pm", transport, options())
        device.open()
        for value, over in ((1.23456789e-3, False), (1e-2, True)):
            device.arm(1, 4, TIMING)  # the count is set once
            readings = device.fetch()
            assert readings.signal[0, 0] == pytest.approx(value)
            assert readings.saturated[0, 0] == over
        device.close()


def test_it_reads_and_averages() -> None:
    server = box()
    with wired(server) as transport, ThorlabsPm100("pm", transport, options()) as device:
        device.arm(1, 5, TIMING)
        assert device.fetch().signal[0, 0] == pytest.approx(2e-4)
        assert server.instrument.averages == 5  # type: ignore[attr-defined]
        device.set_range(2)
        device.arm(1, 5, TIMING)
        readings = device.fetch()
        assert readings.saturated.all()
        assert readings.signal[0, 0] == device.ranges[2]
        device.set_range(3)
        device.arm(1, 5, TIMING)
        assert not device.fetch().saturated.any()


@pytest.mark.parametrize(
    ("column", "chosen", "words"),
    [
        (None, {}, "no sensor is plugged"),
        (0, {"wavelength": 6.33e-7}, "633 nm is asked for, .* from 800 to 1700 nm"),
        (0, {"ranges": [1e-3, 0.5]}, "0.5 W is asked for, this sensor reaches 0.012 W"),
        (0, {"averaging": 4000}, r"-222 .*Data out of range"),
    ],
)
def test_what_the_meter_cannot_do_is_told(
    column: int | None, chosen: dict[str, object], words: str
) -> None:
    with wired(box(column=column)) as transport, pytest.raises(DeviceError, match=words):
        device = ThorlabsPm100("pm", transport, options(**chosen))
        device.open()
        device.arm(1, 1, TIMING)


@pytest.mark.parametrize(
    ("at", "answer", "words"),
    [
        (0, b"Newport,1936-R,1,1\n", "no PM100"),
        (2, b"S401C,1,1,1,1,2\n", "measures no power"),
        (2, b"S401C\n", "not name, serial number"),
        (12, b"1310\n", "1310 nm"),
        (17, b"1.2E-3\n", "the meter is at 0.0012 W"),
        (18, b"1\n", "ranges by itself"),
    ],
)
def test_answers_that_do_not_fit_end_the_opening(at: int, answer: bytes, words: str) -> None:
    exchanges = [*OPENING[:at], (OPENING[at][0], answer), *OPENING[at + 1 :]]
    transport = Transport("box", ScriptWire(exchanges), timeout=0.01)
    transport.open()
    with pytest.raises(DeviceError, match=words):
        ThorlabsPm100("pm", transport, options()).open()


def test_a_count_that_is_not_taken_is_told() -> None:
    exchanges = [*OPENING, *COUNT[:2], (b"SENS:AVER:COUN?\n", b"1\n")]
    with scripted(exchanges) as transport:
        device = ThorlabsPm100("pm", transport, options())
        device.open()
        with pytest.raises(DeviceError, match="4 averages were set, the meter takes 1"):
            device.arm(1, 4, TIMING)


def test_after_a_failure_everything_is_set_again() -> None:
    server = box()
    with wired(server) as transport, ThorlabsPm100("pm", transport, options()) as device:
        device.set_range(2)
        device.arm(1, 3, TIMING)
        with server.instrument.rack.lock:
            server.instrument.reboot()  # somebody switched it off and on; the wire did not notice
            server.instrument.unit = "DBM"  # type: ignore[attr-defined]
        server.faults.inject(FAULTS["drop"])
        with pytest.raises(NAMED):
            device.fetch()
        device.arm(1, 3, TIMING)
        assert device.fetch().saturated.all()
        assert server.instrument.averages == 3  # type: ignore[attr-defined]


def test_no_number_is_an_error() -> None:
    with scripted([*OPENING, *COUNT, (b"READ?\n", b"9.91E+37\n")]) as transport:
        device = ThorlabsPm100("pm", transport, options())
        device.open()
        device.arm(1, 4, TIMING)
        with pytest.raises(DeviceError, match=r"9\.91e\+37 W"):
            device.fetch()


class Shown(Modulators):
    """Unbuffered modulators; what they show is on the rack's detectors."""

    def __init__(self, rack: Lit) -> None:
        super().__init__("inputs", 1, ChannelSpec("V", 0.0, 5.0), 1)
        self.rack = rack
        self._next: FloatArray = np.zeros((1, 1))

    def identity(self) -> Identity:
        return Identity("lab", "inputs", "1")

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        self._next = drive

    def _play(self) -> None:
        self.rack.rest = 1e-4 * self._next[0, 0] * np.array([1.0, 0.25])

    def _safe_state(self) -> None:
        return None


def test_unbuffered_meters_and_modulators_read_a_batch_one_sample_at_a_time() -> None:
    rack = Lit(np.zeros(2))
    inputs = Shown(rack)
    record = InstrumentRecord(
        created="2026-01-01",
        source="test",
        serial="1",
        kind="photodetectors",
        quantities={"gain": Quantity.of(np.ones(2))},
    )
    batch = np.linspace(0.5, 5.0, 7)[:, None]
    with box(rack, 0) as first, box(rack, 1) as second:
        wires = [Transport("pm", wire_to(server)) for server in (first, second)]
        for wire in wires:
            wire.open()
        members = [ThorlabsPm100(f"pm{k}", wire, options()) for k, wire in enumerate(wires)]
        meter = BankOfPhotodetectors("meter", members)
        with inputs, members[0], members[1], meter:
            detection = Detection(meter, np.arange(2), record, TIMING, ChipStatistics())
            watts, index, clipped = detection.read(
                inputs, batch, 2, None, difference=True, null=np.zeros(1)
            )
        for wire in wires:
            wire.close()
    assert clipped == 0.0
    assert meter.ranges[index] == 1e-3
    np.testing.assert_allclose(watts[:, 0], 0.75e-4 * batch[:, 0], rtol=1e-6)


def test_the_package_that_others_wrote_reads_the_emulated_meter() -> None:
    package = pytest.importorskip("ThorlabsPM100")
    with box() as server:
        manager = pyvisa.ResourceManager("@py")
        resource = manager.open_resource(
            f"TCPIP0::127.0.0.1::{server.port}::SOCKET",
            read_termination="\n",
            write_termination="\n",
        )
        try:
            meter = package.ThorlabsPM100(inst=resource)
            assert meter.read == pytest.approx(2e-4)
            assert meter.fetch == pytest.approx(2e-4)
            assert meter.sense.correction.minimum_wavelength == 800
            meter.sense.correction.wavelength = 1310
            assert meter.sense.correction.wavelength == 1310
            meter.sense.average.count = 7
            assert meter.sense.average.count == 7
            meter.sense.power.dc.range.upper = 1e-4
            assert meter.sense.power.dc.range.upper == pytest.approx(1.2e-4)
            assert meter.sense.power.dc.range.auto == 0
            assert meter.read == pytest.approx(9.9e37)
            meter.sense.power.dc.range.auto = "ON"
            meter.sense.power.dc.unit = "DBM"
            assert meter.read == pytest.approx(10 * np.log10(0.2))
            assert meter.system.sensor.idn.split(",")[5] == "289"
            assert meter.status.operation.condition == 512
            assert meter.getconfigure == "POW"
            assert meter.system.error.next == '+0,"No error"'
        finally:
            resource.close()
            manager.close()


@pytest.mark.parametrize("kind", FAULTS)
def test_whatever_the_wire_does(kind: str) -> None:
    server = box()

    def read(device: ThorlabsPm100) -> FloatArray:
        device.arm(1, 2, TIMING)
        return device.fetch().signal

    with wired(server) as transport:
        device = ThorlabsPm100("pm", transport, options())
        device.open()
        read(device)
        survives(
            server,
            replace(FAULTS[kind], after=0),
            lambda: read(device),
            lambda signal: bool(np.allclose(signal, 2e-4)),
        )
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            try:
                if transport.lost:
                    transport.reconnect(1.0)
                signal = read(device)
                break
            except NAMED:
                continue
        np.testing.assert_allclose(signal, 2e-4)


@given(st.one_of(st.binary(max_size=40), st.floats().map(lambda value: f"{value:.8E}\n".encode())))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    transport = Transport("box", ScriptWire([*OPENING, *COUNT, (b"READ?\n", answer)]), timeout=0.01)
    transport.open()
    device = ThorlabsPm100("pm", transport, options())
    device.open()
    device.arm(1, 4, TIMING)
    try:
        readings = device.fetch()
    except NAMED:
        return
    assert abs(readings.signal[0, 0]) <= 100 * device.ranges[-1]
