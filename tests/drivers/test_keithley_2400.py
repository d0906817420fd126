"""Keithley 2400: golden lines, contracts on the emulated box over TCP and a serial line, compliance, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.keithley_2400 import (
    Keithley2400,
    Keithley2400Detectors,
    Keithley2400DetectorsOptions,
    Keithley2400Options,
)
from hilonn.errors import ConfigError, DeviceError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.keithley_2400 import Keithley2400Box
from hilonn.testing import ActuatorsContract, PhotodetectorsContract
from hilonn.transports import Transport
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.supplies import AFTER, weathers
from tests.drivers.wires import scripted, wired

TIMING = Timing(sample_period=1e-3)
IDENTITY = (
    b"*IDN?\n",
    b"KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J\n",
)
CHECK = b":SENS:CURR:PROT:TRIP?;:OUTP?;:SYST:ERR?\n"
OPENING = [
    IDENTITY,
    (b"SYST:ERR?\n", b'0,"No error"\n'),
    (b":SOUR:VOLT? MAX\n", b"+2.100000E+02\n"),
]
GOOD = b'0;1;0,"No error"\n'
OFF = b'0;0;0,"No error"\n'
LIMITS = [
    (
        b":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:CURR:PROT 0.02;:SOUR:VOLT:RANG 8\n" + CHECK,
        OFF,
    ),
    (b":SENS:CURR:PROT?\n", b"+2.000000E-02\n"),
]
FIRST = b":SOUR:VOLT 1.5;:OUTP ON\n" + CHECK


def heater(transport: Transport, **options: object) -> Keithley2400:
    chosen = {"high": 8.0, "max_current": 0.02, **options}
    return Keithley2400("heater", transport, Keithley2400Options.model_validate(chosen))


def detector(transport: Transport, **options: object) -> Keithley2400Detectors:
    chosen = Keithley2400DetectorsOptions.model_validate({"bias": 2.0, **options})
    return Keithley2400Detectors("meter", transport, chosen)


def box(**options: object) -> Keithley2400Box:
    return Keithley2400Box("smu", Rack(), **options)  # type: ignore[arg-type]


class TestHeater(ActuatorsContract):
    @pytest.fixture(params=["tcp", "pty"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[Keithley2400]:
        serial = request.param == "pty"
        server = PtyServer(box(serial=True, terminator=b"\r")) if serial else TcpServer(box())
        end = "CR" if serial else "LF"
        with wired(server) as transport, heater(transport, terminator=end) as opened:
            yield opened


class TestDetector(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Keithley2400Detectors]:
        rack = lit_rack()
        emulated = Keithley2400Box("smu", rack, detector=0, serial=True)
        with wired(TcpServer(emulated)) as transport, detector(transport) as opened:
            yield opened


def lit_rack() -> Rack:
    rack = Rack(Plant("svd_mesh", 2, resolve("ideal")))
    rack.set_laser(emission=True, power=0.01)
    rack.sample([0], np.full(1, 1e-2), 1e-3)
    return rack


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        *LIMITS,
        (FIRST, GOOD),
        (b":SOUR:VOLT 0.123456789\n" + CHECK, GOOD),
        (b":SOUR:VOLT?;:OUTP?\n", b"+1.234568E-01;1\n"),
        (b":SOUR:VOLT 0;:OUTP OFF\n" + CHECK, b'0;0;0,"No error"\n'),
    ]
    with scripted(exchanges) as transport:
        device = heater(transport)
        device.open()
        device.write(np.array([1.5]))
        device.write(np.array([0.123456789]))
        assert device.read_back() == pytest.approx([0.1234568])
        device.safe_state()


def fetching(answer: bytes, averages: int = 1) -> tuple[float, bool]:
    setting = (
        b':SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:FUNC "CURR";:SENS:CURR:PROT 0.00105;:SENS:CURR:RANG 0.001;'
        b":SENS:CURR:NPLC 0.1;:FORM:DATA ASC;:FORM:ELEM CURR,STAT;:SOUR:VOLT 2;:OUTP ON;:TRIG:COUN "
        + str(averages).encode()
        + b"\n"
        + CHECK
    )
    with scripted([*OPENING, (setting, GOOD), (b":READ?\n", answer)]) as transport:
        device = detector(transport, ranges=(1e-3,))
        device.open()
        device.arm(1, averages, TIMING)
        readings = device.fetch()
    return float(readings.signal[0, 0]), bool(readings.saturated[0, 0])


@pytest.mark.parametrize(
    ("answer", "signal", "saturated"),
    [
        (b"+1.000000E-04,+4.813200E+04\n", 1e-4, False),
        (b"+1.050000E-03,+4.814000E+04\n", 1.05e-3, True),  # bit 3: compliance
        (b"+9.900000E+37,+4.813300E+04\n", 1e-3, True),  # overflow
        (b"-9.900000E+37,+0.000000E+00\n", -1e-3, True),
    ],
)
def test_readings_and_their_status(answer: bytes, signal: float, saturated: bool) -> None:
    assert fetching(answer) == (pytest.approx(signal), saturated)


def test_readings_are_averaged() -> None:
    answer = b"+1.0E-04,+4.8132E+04,+2.0E-04,+4.8132E+04,+6.0E-04,+4.8132E+04\n"
    assert fetching(answer, 3) == (pytest.approx(3e-4), False)


@pytest.mark.parametrize(
    "answer",
    [
        b"+9.910000E+37,+4.813200E+04\n",
        b"+1.000000E-04\n",
        b"+1.000000E-04,+4.813250E-04\n",
        b"+1.000000E-04,+9.910000E+37\n",
        b"\n",
    ],
)
def test_what_is_no_reading_is_an_error(answer: bytes) -> None:
    with pytest.raises(DeviceError):
        fetching(answer)


def test_a_heater_that_draws_too_much_is_told() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = Keithley2400Box("smu", rack, heater=2)
    with wired(TcpServer(emulated)) as transport, heater(transport, max_current=5e-3) as device:
        device.write(np.array([1.0]))
        assert rack.heaters[2] == pytest.approx(1.0)
        with pytest.raises(DeviceError, match=r"current limit of 0\.005 A and does not reach 5 V"):
            device.write(np.array([5.0]))
        assert rack.plant is not None
        assert rack.heaters[2] == pytest.approx(5e-3 * rack.plant.truth.resistance[2])
    assert not rack.heaters.any()


def test_an_open_interlock_is_told() -> None:
    emulated = box()
    emulated.interlock = False
    with wired(TcpServer(emulated)) as transport, heater(transport) as device:
        with pytest.raises(DeviceError, match=r"802.*blocked by interlock"):
            device.write(np.array([1.0]))
        np.testing.assert_array_equal(device.read_back(), 0.0)
    with scripted([*OPENING, *LIMITS, (FIRST, OFF), (b":OUTP:ENAB:TRIP?\n", b"0\n")]) as wire:
        device = heater(wire)
        device.open()
        with pytest.raises(DeviceError, match="does not go on; its interlock is open"):
            device.write(np.array([1.5]))


def test_a_limit_that_the_box_does_not_take_is_told_before_it_is_on() -> None:
    with scripted([*OPENING, LIMITS[0], (LIMITS[1][0], b"+1.050000E-04\n")]) as transport:
        device = heater(transport)
        device.open()
        with pytest.raises(DeviceError, match=r"0\.02 A was set, the box holds 0\.000105 A"):
            device.write(np.array([1.5]))


def test_opening_changes_no_output_and_refuses_what_the_box_cannot_do() -> None:
    emulated = box()
    emulated.outputs.levels[:], emulated.outputs.on[:], emulated.outputs.limits[:] = 3.0, True, 1.0
    with wired(TcpServer(emulated)) as transport:
        heater(transport).open()
        assert emulated.outputs.volts == pytest.approx(3.0)
        with pytest.raises(DeviceError, match="400 V are asked for, the box reaches 210 V"):
            heater(transport, high=400.0).open()
        transport.write(":NONSENSE")
        heater(transport).open()  # an earlier client's errors are its own
        assert not emulated._errors
        emulated.fail(-330, "Self-test failed")
        with pytest.raises(DeviceError, match=r"before anything was asked.*-330"):
            heater(transport).open()


def test_another_box_is_told() -> None:
    with (
        scripted([(b"*IDN?\n", b"KEITHLEY INSTRUMENTS INC.,MODEL 2450,1,1.0.0i\n")]) as transport,
        pytest.raises(DeviceError, match="2450 answers, which speaks otherwise"),
    ):
        heater(transport).open()


def test_only_text_goes_over_a_serial_line() -> None:
    with wired(PtyServer(box(serial=True))) as transport, heater(transport) as device:
        transport.write(":FORM:DATA SRE")
        with pytest.raises(DeviceError, match="-224"):
            device.write(np.array([1.0]))


def test_light_is_read_on_every_range_and_too_many_averages_are_refused() -> None:
    emulated = Keithley2400Box("smu", lit_rack(), detector=0, serial=True)
    with (
        wired(PtyServer(emulated)) as transport,
        detector(transport, ranges=(1e-6, 1e-2)) as device,
    ):
        device.arm(1, 4, TIMING)
        readings = device.fetch()
        assert readings.signal[0, 0] == pytest.approx(4.5e-5, rel=0.05)
        assert not readings.saturated.any()
        device.set_range(0)
        device.arm(1, 1, TIMING)
        readings = device.fetch()
        assert readings.signal[0, 0] == pytest.approx(1e-6)
        assert readings.saturated.all()
        with pytest.raises(ConfigError, match="2501 averages"):
            device.arm(1, 2501, TIMING)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", AFTER[:2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    weathers(TcpServer(box()), heater, kind, after)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", AFTER[:2])
def test_whatever_the_wire_does_to_readings(kind: str, after: int) -> None:
    server = TcpServer(box(load=1e4))
    with wired(server) as transport:
        device = detector(transport, ranges=(1e-2,))
        device.open()
        device.arm(1, 2, TIMING)
        device.fetch()

        def act() -> float:
            device.arm(1, 2, TIMING)
            return float(device.fetch().signal[0, 0])

        fault = FAULTS[kind]
        struck = type(fault)(fault.kind, after, fault.count, fault.seconds, fault.data)
        survives(server, struck, act, lambda amperes: amperes == pytest.approx(2e-4))


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b":SOUR:VOLT?;:OUTP?\n", answer)]) as transport:
        transport.timeout = 0.01
        device = heater(transport)
        device.open()
        try:
            assert np.isfinite(device.read_back()).all()
        except NAMED:
            return
