"""Keysight power meters: golden frames, the contract on the emulated box, logs, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.keysight_power_meter import KeysightPowerMeter, KeysightPowerMeterOptions
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.hislip import HislipServer
from hilonn.simulators.emulators.keysight_power_meter import KeysightPowerMeterBox
from hilonn.simulators.emulators.scpi import block
from hilonn.simulators.emulators.server import Server
from hilonn.testing import PhotodetectorsContract
from hilonn.transports import ScriptWire, Transport
from hilonn.transports.visa import VisaWire
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.light import Lit
from tests.drivers.wires import PATIENT, scripted, wired

BY_TRIGGER = Timing(sample_period=1e-4, trigger="inputs")
BY_ITSELF = Timing(sample_period=1e-4)
NO_ERROR = b'+0,"No error"\n'
POWERS = np.linspace(1e-5, 8e-5, 8)


def options(**chosen: object) -> KeysightPowerMeterOptions:
    return KeysightPowerMeterOptions.model_validate({"channels": 8, **chosen})


def box(rack: Rack | None = None, model: str = "N7745A", channels: int = 8) -> TcpServer:
    return TcpServer(
        KeysightPowerMeterBox("meter", rack or Lit(POWERS), list(range(channels)), model)
    )


def floats(*values: float) -> bytes:
    return block(np.array(values, "<f4").tobytes())


class TestByLogging(PhotodetectorsContract):
    @pytest.fixture(params=["tcp", "pty", "mainframe", "unchained"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[KeysightPowerMeter]:
        server: Server = box(model="8164B" if request.param == "mainframe" else "N7745A")
        if request.param == "pty":
            server = PtyServer(server.instrument)
        chosen = options(chained=request.param != "unchained", channels=3)
        with (
            wired(server, PATIENT) as transport,
            KeysightPowerMeter("meter", transport, chosen) as opened,
        ):
            yield opened


class TestOneByOne(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[KeysightPowerMeter]:
        with (
            wired(box(), PATIENT) as transport,
            KeysightPowerMeter("meter", transport, options(reading="single")) as opened,
        ):
            yield opened


OPENING = [
    (b"*IDN?\n", b"Keysight Technologies,N7744A,MY49000017,V1.1570\n"),
    (b"*CLS\n", b""),
    (b"READ:POW:ALL:CONF?\n", b"#216\1\0\1\0\2\0\1\0\3\0\1\0\4\0\1\0\n"),
    (b":SENS1:FUNC:STAT LOGG,STOP;:SENS2:FUNC:STAT LOGG,STOP\n", b""),
    (b"SYST:ERR?\n", NO_ERROR),
    (
        b":SENS1:POW:UNIT 1;:SENS2:POW:UNIT 1;:SENS1:POW:WAV 1550.000000NM;:SENS2:POW:WAV 1550.000000NM;"
        b":SENS1:POW:GAIN:AUTO 1;:SENS2:POW:GAIN:AUTO 1;:INIT1:CONT 0;:INIT2:CONT 0\n",
        b"",
    ),
    (b"SYST:ERR?\n", NO_ERROR),
    (
        b":SENS1:POW:RANG:AUTO 0;:SENS2:POW:RANG:AUTO 0;:SENS1:POW:RANG 10DBM;:SENS2:POW:RANG 10DBM\n",
        b"",
    ),
    (b"SYST:ERR?\n", NO_ERROR),
    (b":SENS1:POW:UNIT?;:SENS2:POW:UNIT?\n", b"+1;+1\n"),
]
SET_LOG = [
    (
        b":SENS1:FUNC:STAT LOGG,STOP;:SENS2:FUNC:STAT LOGG,STOP;:TRIG1:INP CME;:TRIG2:INP CME;"
        b":SENS1:FUNC:PAR:LOGG 4,100.000000US;:SENS2:FUNC:PAR:LOGG 4,100.000000US\n",
        b"",
    ),
    (b"SYST:ERR?\n", NO_ERROR),
    (
        b":SENS1:FUNC:PAR:LOGG?;:SENS2:FUNC:PAR:LOGG?\n",
        b"+4,+1.00000000E-004;+4,+1.00000000E-004\n",
    ),
]
STATES = b":SENS1:FUNC:STAT?;:SENS2:FUNC:STAT?\n"
START = [
    (
        b":SENS1:FUNC:STAT LOGG,STOP;:SENS2:FUNC:STAT LOGG,STOP;"
        b":SENS1:FUNC:STAT LOGG,STAR;:SENS2:FUNC:STAT LOGG,STAR\n",
        b"",
    ),
    (STATES, b"LOGGING_STABILITY,PROGRESS;LOGGING_STABILITY,PROGRESS\n"),
]
DONE = (STATES, b"LOGGING_STABILITY,COMPLETE;LOGGING_STABILITY,COMPLETE\n")
LAST = b":SENS2:FUNC:STAT?\n"
RESULTS = b":SENS1:FUNC:RES?;:SENS2:FUNC:RES?\n"


@pytest.mark.parametrize("why", ["ask_all", "apart", "edge a point"])
def test_every_slot_is_asked_where_they_may_end_apart(why: str) -> None:
    """Asked for; or one was seen to end before one that is asked later; or each counts edges of its own."""
    data = floats(1e-6, 2e-6, 3e-6, 4e-6)
    apart = [(STATES, b"LOGGING_STABILITY,COMPLETE;LOGGING_STABILITY,PROGRESS\n")]
    chosen: dict[str, object] = {}
    if why == "ask_all":
        chosen = {"ask_all": True}
    elif why == "edge a point":
        chosen = {"trigger": "sample"}
    set_log = [(a.replace(b"CME", b"SME") if chosen.get("trigger") else a, b) for a, b in SET_LOG]
    log = [*START, *(apart if why == "apart" else []), DONE, (RESULTS, data + b";" + data + b"\n")]
    exchanges = [*OPENING, *set_log, *log, *START, DONE, (RESULTS, data + b";" + data + b"\n")]
    with scripted(exchanges) as transport:
        device = KeysightPowerMeter("meter", transport, options(channels=2, **chosen))
        device.open()
        for _ in range(2):
            device.arm(4, 1, BY_TRIGGER)
            device.fetch()


def test_a_log_that_is_not_done_after_all_is_no_reading() -> None:
    """The last slot says that it is done; the other one refuses its results, or has too few."""
    data, few = floats(1e-6, 2e-6, 3e-6, 4e-6), floats(1e-6, 2e-6)
    stale = b'-231,"Data questionable"\n'
    first = [*START, DONE, (RESULTS, data + b";" + data + b"\n")]
    second = [*START, (LAST, b"LOGGING_STABILITY,COMPLETE\n")]
    errors = [(b"SYST:ERR?\n", stale), (b"SYST:ERR?\n", NO_ERROR)]
    for answer in (few + b";" + data + b"\n", b""):
        exchanges = [*OPENING, *SET_LOG, *first, *second, (RESULTS, answer), *errors]
        with scripted(exchanges) as transport:
            device = KeysightPowerMeter("meter", transport, options(channels=2))
            device.open()
            device.arm(4, 1, BY_TRIGGER)
            device.fetch()
            device.arm(4, 1, BY_TRIGGER)
            with pytest.raises(DeviceError, match="-231"):
                device.fetch()


def test_golden_frames_of_a_log() -> None:
    first = floats(1e-6, 2e-6, 3e-6, 4e-6)
    second = floats(5e-6, 6e-6, 3.40282347e38, 8e-6)
    exchanges = [
        *OPENING,
        *SET_LOG,
        *START,
        (STATES, b"LOGGING_STABILITY,PROGRESS;LOGGING_STABILITY,COMPLETE\n"),
        DONE,
        (RESULTS, first + b";" + second + b"\n"),
        *START,  # the same log again: nothing is set, one round trip, and the last slot tells for all
        (LAST, b"LOGGING_STABILITY,PROGRESS\n"),
        (LAST, b"LOGGING_STABILITY,COMPLETE\n"),
        (RESULTS, first + b";" + first + b"\r\n"),
    ]
    with scripted(exchanges) as transport:
        device = KeysightPowerMeter("meter", transport, options(channels=2))
        device.open()
        device.arm(2, 2, BY_TRIGGER)
        readings = device.fetch()
        # points 0 and 2 are sample 0, twice; one of them is over range in the second channel
        np.testing.assert_allclose(readings.signal[:, 0], [2e-6, 3e-6], rtol=1e-6)
        np.testing.assert_allclose(readings.signal[:, 1], [(5e-6 + 1e-2) / 2, 7e-6], rtol=1e-6)
        np.testing.assert_array_equal(readings.saturated, [[False, True], [False, False]])
        device.arm(2, 2, BY_TRIGGER)
        assert not device.fetch().saturated.any()
        device.close()


def test_golden_frames_of_single_readings() -> None:
    exchanges = [
        *OPENING,
        (b":SENS1:POW:ATIM 200.000000US;:SENS2:POW:ATIM 200.000000US\n", b""),
        (b"SYST:ERR?\n", NO_ERROR),
        (b"READ:POW:ALL?\n", floats(1e-6, 2e-6, 3.4028e38, -1e-9) + b"\n"),
    ]
    with scripted(exchanges) as transport:
        device = KeysightPowerMeter("meter", transport, options(channels=2, reading="single"))
        device.open()
        device.arm(1, 2, BY_ITSELF)
        readings = device.fetch()
        np.testing.assert_allclose(readings.signal, [[1e-6, 2e-6]], rtol=1e-6)
        device.close()


def logged(server: TcpServer, chosen: KeysightPowerMeterOptions, pattern: FloatArray) -> FloatArray:
    """What the meter makes of a pattern that is played at the trigger, averaged twice."""
    rack = server.instrument.rack
    assert isinstance(rack, Lit)
    rack.pattern = pattern
    with wired(server) as transport, KeysightPowerMeter("meter", transport, chosen) as device:
        device.arm(len(pattern), 2, BY_TRIGGER)
        rack.trigger()
        return device.fetch().signal


@pytest.mark.parametrize("model", ["N7745A", "8164B"])
def test_what_is_played_is_read(model: str) -> None:
    pattern = np.random.default_rng(1).uniform(1e-6, 1e-3, (5, 8))
    signal = logged(box(model=model), options(), pattern)
    np.testing.assert_allclose(signal, pattern, rtol=1e-6)


@pytest.mark.parametrize("kind", [TcpServer, HislipServer])
def test_over_visa(kind: type[TcpServer]) -> None:
    """Many commands in one message, and blocks in one answer, through pyvisa; the blocks hold line feeds."""
    rack = Lit(POWERS)
    rack.pattern = np.frombuffer(b"\n\n\n\x38" * 320, "<f4").reshape(40, 8).astype(float)
    with kind(box(rack).instrument) as server:
        address = server.address
        if kind is TcpServer:
            address = f"TCPIP::127.0.0.1::{server.port}::SOCKET"
        transport = Transport("meter", VisaWire(address), timeout=2.0)
        transport.open()
        try:
            device = KeysightPowerMeter("meter", transport, options())
            device.open()
            for _ in range(3):
                device.arm(40, 2, BY_TRIGGER)
                rack.trigger()
                np.testing.assert_allclose(device.fetch().signal, rack.pattern, rtol=1e-6)
            device.safe_state()
        finally:
            transport.close()


def test_slots_further_on_are_their_own() -> None:
    pattern = np.random.default_rng(2).uniform(1e-6, 1e-3, (5, 8))
    signal = logged(box(), options(first=3, channels=2), pattern)
    np.testing.assert_allclose(signal, pattern[:, 2:4], rtol=1e-6)


def test_a_log_is_armed_when_arm_returns_and_each_range_saturates_at_its_own() -> None:
    rack = Lit(np.full(8, 5e-5))
    with (
        wired(box(rack)) as transport,
        KeysightPowerMeter("meter", transport, options()) as device,
    ):
        for index, over in ((0, True), (1, True), (2, False), (4, False)):
            device.set_range(index)
            device.arm(3, 1, BY_TRIGGER)
            rack.trigger()
            readings = device.fetch()
            assert readings.saturated.all() == over
            assert readings.saturated.any() == over
            np.testing.assert_allclose(readings.signal, min(5e-5, device.ranges[index]), rtol=1e-6)


def test_one_edge_a_point() -> None:
    rack = Lit(POWERS)
    with (
        wired(box(rack)) as transport,
        KeysightPowerMeter("meter", transport, options(trigger="sample")) as device,
    ):
        device.arm(3, 1, BY_TRIGGER)
        for k in range(3):
            rack.pattern = (k + 1) * POWERS[None, :]
            rack.trigger()
        np.testing.assert_allclose(device.fetch().signal, np.outer([1, 2, 3], POWERS), rtol=1e-6)


def test_in_lockstep_a_log_takes_the_labs_time_and_none_of_ours() -> None:
    rack = Lit(POWERS, lockstep=True)
    slow = replace(BY_TRIGGER, sample_period=10.0)
    with (
        wired(box(rack)) as transport,
        KeysightPowerMeter("meter", transport, options()) as device,
    ):
        device._clock = Asleep()
        device.arm(3, 1, slow)
        rack.trigger()
        device.fetch()
        assert rack.now() == pytest.approx(30.0)
        device.arm(2, 1, replace(slow, trigger="internal"))
        device.fetch()
        assert rack.now() == pytest.approx(50.0)  # all slots at once


class Asleep:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def wait_until(self, instant: float) -> None:
        self.sleep(instant - self.now())


def test_a_trigger_that_never_comes_is_told_without_hammering() -> None:
    server = box()
    with wired(server) as transport, KeysightPowerMeter("meter", transport, options()) as device:
        device._clock = clock = Asleep()
        device.arm(4, 1, BY_TRIGGER)
        before = server.transactions
        with pytest.raises(DeviceTimeout, match="Does the trigger reach"):
            device.fetch()
        assert clock.slept[0] == pytest.approx(4e-4)  # first when it should be done
        assert server.transactions - before == len(clock.slept) < 15


def test_after_a_failure_everything_is_set_again() -> None:
    rack = Lit(POWERS)
    server = box(rack)
    with wired(server) as transport, KeysightPowerMeter("meter", transport, options()) as device:
        device.set_range(3)
        device.arm(2, 1, BY_TRIGGER)
        rack.trigger()
        device.fetch()
        device.arm(2, 1, BY_TRIGGER)
        with rack.lock:
            server.instrument.reboot()  # somebody switched it off and on; the wire did not notice
        with pytest.raises(DeviceError, match="did somebody change a setting"):
            device.fetch()
        device.arm(2, 1, BY_TRIGGER)
        rack.trigger()
        np.testing.assert_allclose(device.fetch().signal, [POWERS, POWERS], rtol=1e-6)
        assert server.instrument._slots[1].range == 0.0  # type: ignore[attr-defined]
        device.safe_state()
        assert server.instrument._slots[1].continuous  # type: ignore[attr-defined]
        device.arm(2, 1, BY_TRIGGER)
        assert not server.instrument._slots[1].continuous  # type: ignore[attr-defined]


def test_a_setting_ends_what_was_armed() -> None:
    rack = Lit(POWERS)
    server = box(rack)
    with wired(server) as transport, KeysightPowerMeter("meter", transport, options()) as device:
        device.arm(4, 1, BY_TRIGGER)
        device.set_range(2)
        with pytest.raises(DeviceError, match="arm again"):
            device.fetch()
        device.arm(4, 1, BY_TRIGGER)
        transport.write("SENS3:POW:WAV 1310NM")  # somebody else's
        rack.trigger()
        with pytest.raises(DeviceError, match="slot 3 was logging and says 'NONE,COMPLETE'"):
            device.fetch()


@pytest.mark.parametrize(
    ("chosen", "timing", "samples", "error", "words"),
    [
        ({"max_points": 10}, BY_TRIGGER, 6, ConfigError, "12 points"),
        ({}, replace(BY_TRIGGER, sample_period=1e-7), 6, DeviceError, r"-222 .*Data out of range"),
        ({}, replace(BY_TRIGGER, edge="falling"), 6, ConfigError, "rising"),
    ],
)
def test_logs_that_cannot_be(
    chosen: dict[str, object],
    timing: Timing,
    samples: int,
    error: type[Exception],
    words: str,
) -> None:
    with (
        wired(box()) as transport,
        KeysightPowerMeter("meter", transport, options(**chosen)) as device,
    ):
        with pytest.raises(error, match=words):
            device.arm(samples, 2, timing)
        device.arm(2, 2, replace(BY_ITSELF, sample_period=1e-4))
        assert device.fetch().signal.shape == (2, 8)


@pytest.mark.parametrize(
    ("model", "chosen", "words"),
    [
        ("N7744A", {}, "slots 1, 2, 3, 4; asked for and not there: 5, 6, 7, 8"),
        ("8164B", {"max_points": 20000}, "logs 10001"),
        ("34465A", {}, "no 816x mainframe and no N77xx"),
        ("N7744A", {"channels": 4, "wavelength": 8e-7}, r"-222 .*Data out of range"),
    ],
)
def test_boxes_that_do_not_fit_the_file(model: str, chosen: dict[str, object], words: str) -> None:
    server = box(model=model, channels=4)
    with wired(server) as transport, pytest.raises(DeviceError, match=words):
        KeysightPowerMeter("meter", transport, options(**chosen)).open()


def test_ranges_are_steps_of_ten_decibels() -> None:
    with scripted([]) as transport, pytest.raises(ConfigError, match="steps of 10 dB"):
        KeysightPowerMeter("meter", transport, options(ranges=[-15.0, 0.0]))


def test_errors_that_others_call_noise_are_raised_unless_listed() -> None:
    server = box()
    with wired(server) as transport:
        device = KeysightPowerMeter("meter", transport, options())
        device.open()
        with server.instrument.rack.lock:
            server.instrument.fail(-231, "Data questionable")  # type: ignore[attr-defined]
        with pytest.raises(DeviceError, match=r"-231 .*Data questionable"):
            device.set_range(1)
        device = KeysightPowerMeter("meter", transport, options(harmless=[-231]))
        device.open()
        with server.instrument.rack.lock:
            server.instrument.fail(-231, "Data questionable")  # type: ignore[attr-defined]
        device.set_range(1)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    """At the answer to arm, to the first look at the log, to the read-out."""
    rack = Lit(POWERS)
    server = box(rack)
    pattern = np.outer([1.0, 2.0], POWERS)
    rack.pattern = pattern

    def read(device: KeysightPowerMeter) -> FloatArray:
        device.arm(2, 2, BY_TRIGGER)
        rack.trigger()
        return device.fetch().signal

    with wired(server) as transport:
        device = KeysightPowerMeter("meter", transport, options())
        device.open()
        read(device)
        survives(
            server,
            replace(FAULTS[kind], after=after),
            lambda: read(device),
            lambda signal: bool(np.allclose(signal, pattern, rtol=1e-6)),
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
        np.testing.assert_allclose(signal, pattern, rtol=1e-6)


ANSWERS = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=32, max_size=32).map(
        lambda data: block(data[:16]) + b";" + block(data[16:]) + b"\n"
    ),
)


@given(ANSWERS)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    exchanges = [*OPENING, *SET_LOG, *START, DONE, (RESULTS, answer), (b"SYST:ERR?\n", NO_ERROR)]
    transport = Transport("box", ScriptWire(exchanges), timeout=0.01)
    transport.open()
    device = KeysightPowerMeter("meter", transport, options(channels=2))
    device.open()
    device.arm(4, 1, BY_TRIGGER)
    try:
        readings = device.fetch()
    except NAMED:
        return
    assert (np.abs(readings.signal) <= 10 * device.ranges[-1]).all()
