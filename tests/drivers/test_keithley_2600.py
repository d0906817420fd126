"""Keithley 2600B: golden lines, contracts on the emulated box, compliance, triggers, faults, noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.keithley_2600 import (
    Keithley2600,
    Keithley2600Detectors,
    Keithley2600DetectorsOptions,
    Keithley2600Options,
)
from hilonn.errors import ConfigError, DeviceError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.keithley_2600 import Keithley2600Box
from hilonn.simulators.emulators.rack import Generator
from hilonn.testing import ActuatorsContract, PhotodetectorsContract
from hilonn.transports import Transport
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.supplies import AFTER, weathers
from tests.drivers.wires import scripted, wired

TIMING = Timing(sample_period=1e-3)
IDENTITY = (b"*IDN?\n", b"Keithley Instruments Inc., Model 2602B, 1234567, 3.2.1\n")
OPENING = [
    IDENTITY,
    (
        b"errorqueue.clear() format.data=format.ASCII format.asciiprecision=10\nprint(errorqueue.count)\n",
        b"0.000000000e+00\n",
    ),
    (b"print(smua~=nil, smub~=nil)\n", b"true\ttrue\n"),
]
LIMITS = (
    b"smua.source.limiti=1e-07 smua.source.rangev=8 smub.source.limiti=1e-07 smub.source.rangev=8\n"
    b"print(errorqueue.count, smua.source.limiti, smub.source.limiti)\n",
    b"0.000000000e+00\t1.000000000e-07\t1.000000000e-07\n",
)
FIRST = [
    LIMITS,
    (
        b"smua.source.levelv=1.5 smub.source.levelv=0.123456789 "
        b"smua.source.func=1 smua.source.output=1 smub.source.func=1 smub.source.output=1\n"
        b"print(errorqueue.count, smua.source.compliance, smub.source.compliance)\n",
        b"0.000000000e+00\tfalse\tfalse\n",
    ),
]


def heaters(transport: Transport, high: float = 8.0, current: float = 0.02) -> Keithley2600:
    return Keithley2600("heaters", transport, Keithley2600Options(high=high, max_current=current))


def detectors(transport: Transport, **options: object) -> Keithley2600Detectors:
    return Keithley2600Detectors(
        "meter", transport, Keithley2600DetectorsOptions.model_validate({"bias": 2.0, **options})
    )


def box(**options: object) -> Keithley2600Box:
    return Keithley2600Box("smu", Rack(), **options)  # type: ignore[arg-type]


class TestHeaters(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Keithley2600]:
        with wired(TcpServer(box())) as transport, heaters(transport) as opened:
            yield opened


class TestDetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Keithley2600Detectors]:
        lit = Keithley2600Box("smu", lit_rack(), detectors=[0, 1])
        with wired(TcpServer(lit)) as transport, detectors(transport) as opened:
            yield opened


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        *FIRST,
        (
            b"smua.source.levelv=2 smub.source.levelv=0\n"
            b"print(errorqueue.count, smua.source.compliance, smub.source.compliance)\n",
            b"0.000000000e+00\tfalse\tfalse\n",
        ),
        (
            b"smua.source.levelv=0 smua.source.output=0 smub.source.levelv=0 smub.source.output=0\n"
            b"print(errorqueue.count)\n",
            b"0.000000000e+00\n",
        ),
    ]
    with scripted(exchanges) as transport:
        device = heaters(transport, current=1e-7)  # with `%f` it would be no current at all
        device.open()
        device.write(np.array([1.5, 0.123456789]))
        device.write(np.array([2.0, 0.0]))
        device.safe_state()


def test_a_block_of_readings_may_hold_line_feeds() -> None:
    data = np.array([1.0e-6, 9.91e37, 0.0], "<f4")
    data.view("u4")[2] = 0x0A0A0A0A
    count = b"print(errorqueue.count, smua.nvbuffer1.n)\n"
    exchanges = [
        *OPENING[:2],
        (b"print(smua~=nil)\n", b"true\n"),
        (
            b"smua.source.limiti=1.01e-06 smua.source.levelv=2 smua.source.func=1 smua.measure.rangei=1e-06 "
            b"smua.source.output=1\nprint(errorqueue.count)\n",
            b"0.0e+00\n",
        ),
        (
            b"smua.measure.nplc=0.1 smua.measure.interval=0 smua.measure.count=3 smua.nvbuffer1.clear()\n"
            b"print(errorqueue.count)\n",
            b"0.0e+00\n",
        ),
        (
            b"smua.measure.overlappedi(smua.nvbuffer1) waitcomplete()\n" + count,
            b"0.0e+00\t3.0e+00\n",
        ),
        (
            b"format.data=format.REAL32 format.byteorder=format.LITTLEENDIAN\n"
            b"printbuffer(1,3,smua.nvbuffer1.readings)\n",
            b"#0" + data.tobytes() + b"\n",
        ),
    ]
    with scripted(exchanges) as transport:
        device = detectors(transport, channels=["a"], ranges=(1e-6,))
        device.open()
        device.arm(1, 3, TIMING)
        readings = device.fetch()
    assert readings.saturated.all()  # one of the three was beyond the range
    assert readings.signal[0, 0] == pytest.approx(2e-6 / 3, rel=1e-6)


def test_a_heater_that_draws_too_much_is_told_with_its_channel() -> None:
    emulated = box(load=100.0)
    with wired(TcpServer(emulated)) as transport, heaters(transport, current=0.02) as device:
        device.write(np.array([1.0, 1.9]))
        with pytest.raises(DeviceError, match=r"smub stands at its current limit of 0.02 A.*5 V"):
            device.write(np.array([1.0, 5.0]))
        np.testing.assert_allclose(emulated.outputs.volts, [1.0, 2.0])
        np.testing.assert_allclose(device.currents(), [0.01, 0.02])


def test_a_short_reaches_the_chip_as_less_voltage() -> None:
    rack = Rack(Plant("svd_mesh", 2, resolve("typical")))
    emulated = Keithley2600Box("smu", rack, heater=1)
    with wired(TcpServer(emulated)) as transport, heaters(transport, current=0.005) as device:
        with pytest.raises(DeviceError, match="smua stands"):
            device.write(np.array([5.0, 1.0]))
        assert rack.plant is not None
        expected = 0.005 * rack.plant.truth.resistance[1]
        np.testing.assert_allclose(rack.heaters[:4], [0.0, expected, 1.0, 0.0])
    np.testing.assert_array_equal(rack.heaters, 0.0)


def test_opening_changes_no_output() -> None:
    emulated = box()
    emulated.outputs.levels[:] = 3.0
    emulated.outputs.on[:] = True
    with wired(TcpServer(emulated)) as transport:
        heaters(transport).open()
        np.testing.assert_array_equal(emulated.outputs.volts, 3.0)


def test_a_model_that_reaches_less_or_has_fewer_units_is_refused() -> None:
    with (
        wired(TcpServer(box())) as transport,
        pytest.raises(DeviceError, match=r"60 V are asked for, a 2602B reaches 40 V"),
    ):
        heaters(transport, high=60.0).open()
    with (
        wired(TcpServer(box(model="2601B", channels="a"))) as transport,
        pytest.raises(DeviceError, match="2601B has no smub"),
    ):
        heaters(transport).open()
    with (
        scripted([(b"*IDN?\n", b"KEITHLEY INSTRUMENTS INC.,MODEL 2450,1,1.0.0i\n")]) as transport,
        pytest.raises(DeviceError, match="another box"),
    ):
        heaters(transport).open()


def test_what_the_error_queue_holds_is_raised() -> None:
    with wired(TcpServer(box())) as transport, heaters(transport) as device:
        device.write(np.array([1.0, 1.0]))
        transport.write("smua.source.levelv = = 3")
        with pytest.raises(DeviceError, match=r"writing.*-285 TSP Syntax error.*unexpected symbol"):
            device.write(np.array([1.0, 1.0]))
        device.write(np.array([1.0, 2.0]))
        np.testing.assert_allclose(device.read_back(), [1.0, 2.0])


def test_a_limit_that_the_box_does_not_take_is_told() -> None:
    refused = (LIMITS[0], b"0.000000000e+00\t1.000000000e-01\t1.000000000e-07\n")
    with scripted([*OPENING, refused]) as transport:
        device = heaters(transport, current=1e-7)
        device.open()
        with pytest.raises(DeviceError, match=r"1e-07 A was set, the box holds"):
            device.write(np.array([1.5, 0.123456789]))


# -- photodiodes ----------------------------------------------------------------------------------


def lit_rack() -> Rack:
    """With light on, heaters somewhere, and its kernels compiled."""
    rack = Rack(Plant("svd_mesh", 2, resolve("ideal")))
    rack.set_laser(emission=True, power=0.01)
    rack.write_heaters(0, np.linspace(1.0, 6.0, len(rack.heaters)))
    rack.sample([0, 1], np.full(2, 1e-2), 1e-3)
    return rack


def test_light_is_read_as_current_and_an_overflow_is_saturated() -> None:
    rack = lit_rack()
    emulated = Keithley2600Box("smu", rack, detectors=[0, 1])
    ranges = (1e-9, 1e-2)
    with wired(TcpServer(emulated)) as transport, detectors(transport, ranges=ranges) as device:
        device.arm(1, 8, TIMING)
        readings = device.fetch()
        assert not readings.saturated.any()
        signal, _ = rack.sample([0, 1], np.full(2, 1e-2), 1e-3)
        np.testing.assert_allclose(
            readings.signal[0], rack.responsivity * signal, rtol=0.02, atol=1e-7
        )
        assert readings.signal.max() > 1e-6
        device.set_range(0)
        device.arm(1, 2, TIMING)
        readings = device.fetch()
        assert readings.saturated.any()
        assert (np.abs(readings.signal) <= 1e-9).all()
        assert emulated.outputs.levels[0] == 2.0
    assert not emulated.outputs.on.any()


def test_a_pattern_is_read_from_the_edge_on() -> None:
    rack = lit_rack()
    emulated = Keithley2600Box("smu", rack, detectors=[0, 1])
    pattern = np.array([[0.0, 0.0], [3.0, 1.0], [6.0, 3.0]])
    with (
        wired(TcpServer(emulated)) as transport,
        detectors(transport, trigger="line", trigger_timeout=0.1) as device,
    ):
        device.arm(3, 1, TIMING)
        transport.query("*IDN?")  # the line before it has been run
        rack.prepare("awg", Generator([0, 1], pattern, 1e-3))
        rack.trigger()
        readings = device.fetch()
        assert readings.signal.shape == (3, 2)
        assert np.ptp(readings.signal, axis=0).max() > 1e-6
        device.arm(3, 1, TIMING)
        with pytest.raises(DeviceError, match="no edge came on line 1"):
            device.fetch()
        device.arm(3, 1, TIMING)
        transport.query("*IDN?")
        rack.trigger()
        np.testing.assert_allclose(device.fetch().signal, readings.signal, rtol=0.05, atol=1e-6)


def test_averages_are_of_repeats_of_the_pattern() -> None:
    rack = lit_rack()
    emulated = Keithley2600Box("smu", rack, detectors=[0, 1])
    pattern = np.array([[0.0, 0.0], [3.0, 1.0]])
    found = []
    with (
        wired(TcpServer(emulated)) as transport,
        detectors(transport, trigger="line", trigger_timeout=0.1) as device,
    ):
        rack.prepare("awg", Generator([0, 1], pattern, 1e-3))
        for averages in (1, 5):
            device.arm(2, averages, TIMING)
            transport.query("*IDN?")  # the line before it has been run
            rack.trigger()
            found.append(device.fetch().signal)
    np.testing.assert_allclose(found[0], found[1], rtol=0.05, atol=1e-6)
    assert np.ptp(found[0], axis=0).max() > 1e-6


def test_readings_faster_than_the_box_are_refused() -> None:
    with (
        wired(TcpServer(box())) as transport,
        detectors(transport, trigger="line", trigger_timeout=0.1) as device,
    ):
        with pytest.raises(ConfigError, match=r"one takes at least 2\.5e-05 s"):
            device.arm(1, 1, Timing(sample_period=1e-5))
        with pytest.raises(ConfigError, match="100 x 101 readings asked, 10000 are possible"):
            device.arm(100, 101, TIMING)


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", AFTER[:2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    weathers(TcpServer(box()), heaters, kind, after)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", range(3))
def test_whatever_the_wire_does_to_readings(kind: str, after: int) -> None:
    server = TcpServer(box(load=1e4))
    with wired(server) as transport:
        device = detectors(transport, ranges=(1e-2,))
        device.open()
        device.arm(1, 4, TIMING)
        device.fetch()  # bias is on

        def act() -> float:
            device.arm(1, 4, TIMING)
            return float(device.fetch().signal[0, 1])

        fault = FAULTS[kind]
        struck = type(fault)(fault.kind, after, fault.count, fault.seconds, fault.data)
        survives(server, struck, act, lambda amperes: amperes == pytest.approx(2e-4, rel=1e-5))
        if kind == "silence":
            return
        for _ in range(3):
            if transport.lost:
                transport.reconnect(1.0)
            try:
                amperes = act()
                break
            except NAMED:
                continue
        assert amperes == pytest.approx(2e-4, rel=1e-5)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    asked = b"print(smua.source.levelv, smub.source.levelv)\n"
    with scripted([*OPENING, (asked, answer)]) as transport:
        transport.timeout = 0.01
        device = heaters(transport)
        device.open()
        with pytest.raises((*NAMED, AssertionError)):  # the script ends with this answer
            device.read_back()


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_to_a_write_is_refused_unless_it_is_right(answer: bytes) -> None:
    with scripted([*OPENING, LIMITS, (FIRST[1][0], answer)]) as transport:
        transport.timeout = 0.01
        device = heaters(transport, current=1e-7)
        device.open()
        with pytest.raises(NAMED):
            device.write(np.array([1.5, 0.123456789]))
