"""Thorlabs TED, ITC and LDC 4000: golden lines, contracts of both sides, conditions, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.thorlabs_itc4000 import (
    LaserOptions,
    TemperatureOptions,
    ThorlabsDiode,
    ThorlabsTemperature,
    words,
)
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.thorlabs_itc4000 import ThorlabsItcBox
from hilonn.testing import LaserContract, TemperatureControllerContract
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import PATIENT, scripted, wired

OK = (b"SYST:ERR?\n", b'+0,"No error"\n')
IDENTITY = (b"*IDN?\n", b"THORLABS,ITC4020,E12345678,1.4.0/2.0.3/1.6.0\n")
OPENING = [
    IDENTITY,
    (b"*CLS\n", b""),
    OK,
    (b"UNIT:TEMP C\n", b""),
    OK,
    (b"UNIT:TEMP?\n", b"C\n"),
    (b"SOUR2:TEMP:LIM:LOW?\n", b"1.00000000E+01\n"),
    (b"SOUR2:TEMP:LIM:HIGH?\n", b"4.50000000E+01\n"),
]
DIODE = LaserOptions(slope=0.25, threshold=0.01, wavelength=1.55e-6)


def box(model: str = "ITC4020") -> ThorlabsItcBox:
    return ThorlabsItcBox("itc", Rack(Plant("svd_mesh", 2, resolve("ideal")), lockstep=True), model)


@pytest.fixture(params=["TED4015", "ITC4020"])
def cooler(request: pytest.FixtureRequest) -> ThorlabsItcBox:
    return box(request.param)


class TestTemperature(TemperatureControllerContract):
    @pytest.fixture
    def device(self, cooler: ThorlabsItcBox) -> Iterator[ThorlabsTemperature]:
        with (
            wired(TcpServer(cooler), PATIENT) as transport,
            ThorlabsTemperature("temperature", transport, TemperatureOptions()) as opened,
        ):
            opened.set_setpoint(25.0)
            yield opened


class TestDiode(LaserContract):
    @pytest.fixture(params=["LDC4005", "ITC4020"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[ThorlabsDiode]:
        with (
            wired(TcpServer(box(request.param)), PATIENT) as transport,
            ThorlabsDiode("laser", transport, DIODE) as opened,
        ):
            opened.set_power(opened.max_power / 4)  # a diode without current gives no light
            yield opened


def test_golden_lines_of_the_temperature() -> None:
    exchanges = [
        *OPENING,
        (b"SOUR2:TEMP 25.5000C\n", b""),
        OK,
        (b"SOUR2:TEMP?\n", b"2.55000000E+01\n"),
        (b"OUTP2 1\n", b""),
        OK,
        (b"OUTP2?\n", b"1\n"),
        (b"MEAS:TEMP?\n", b"2.53000000E+01\n"),
        (b"STAT:MEAS:COND?\n", b"512\n"),
        (b"OUTP2?\n", b"1\n"),
    ]
    with scripted(exchanges) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions())
        tec.open()
        tec.set_setpoint(25.5)
        assert tec.temperature() == 25.3
        assert not tec.stable()
        tec.safe_state()  # holds: nothing is sent


def test_golden_lines_of_the_diode() -> None:
    exchanges = [
        IDENTITY,
        (b"*CLS\n", b""),
        OK,
        (b"SOUR:CURR:LIM?\n", b"2.00000000E-01\n"),
        (b"SOUR:CURR 0.0500000\n", b""),
        OK,
        (b"SOUR:CURR?\n", b"5.00000000E-02\n"),
        (b"SOUR:CURR?\n", b"5.00000000E-02\n"),
        (b"OUTP 1\n", b""),
        OK,
        (b"OUTP?\n", b"1\n"),
        (b"STAT:MEAS:COND?\n", b"0\n"),
        (b"OUTP 0\n", b""),
        OK,
        (b"OUTP?\n", b"0\n"),
        (b"STAT:MEAS:COND?\n", b"0\n"),
    ]
    with scripted(exchanges) as transport:
        laser = ThorlabsDiode("laser", transport, DIODE)
        laser.open()
        assert laser.max_power == pytest.approx(0.19 * 0.25)
        laser.set_power(0.01)
        laser.set_emission(True)
        laser.safe_state()


def test_conditions_in_words() -> None:
    assert words(4 | 512) == "the interlock is open; the temperature is outside its window"
    assert words(0) == "the box gives no reason"


def test_the_mount_follows() -> None:
    itc = box()
    with wired(TcpServer(itc)) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions())
        own = ThorlabsTemperature("temperature", transport, TemperatureOptions(window=0.1))
        tec.open()
        own.open()
        with pytest.raises(DeviceError, match="output is off; set_setpoint"):
            tec.stable()
        tec.set_setpoint(30.0)
        assert not tec.stable()
        assert not own.stable()
        itc.rack.busy(600.0)
        assert tec.stable()
        assert own.stable()
        assert tec.temperature() == pytest.approx(30.0, abs=0.05)


def test_limits_are_read_back_and_kept() -> None:
    with wired(TcpServer(box())) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions(low=20.0))
        tec.open()
        assert (tec.low, tec.high) == (20.0, 45.0)
        with pytest.raises(DeviceError, match=r"the box allows 10 \.\. 45 degC"):
            ThorlabsTemperature("temperature", transport, TemperatureOptions(high=60.0)).open()
        with pytest.raises(DeviceError, match=r"limit of 0\.2 A .* gives 0\.0475 W"):
            greedy = DIODE.model_copy(update={"high": 0.06})
            ThorlabsDiode("laser", transport, greedy).open()


def test_a_lost_sensor_is_an_error_and_no_temperature() -> None:
    itc = box()
    with wired(TcpServer(itc)) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions())
        tec.open()
        itc.lose_sensor()
        with pytest.raises(DeviceError, match="is the sensor off"):
            tec.temperature()
        with pytest.raises(DeviceError, match="holds no temperature: the temperature sensor fails"):
            tec.stable()
        with pytest.raises(DeviceError, match=r"OUTP2 1: .*-221 .Settings conflict"):
            tec.set_setpoint(25.0)


def test_the_safe_state_may_switch_off() -> None:
    itc = box()
    with wired(TcpServer(itc)) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions(safe="off"))
        tec.open()
        tec.set_setpoint(25.0)
        tec.safe_state()
        assert not tec.output()
        assert not itc.regulating


def test_an_open_interlock_takes_the_light() -> None:
    itc = box()
    with wired(TcpServer(itc)) as transport:
        laser = ThorlabsDiode("laser", transport, DIODE)
        laser.open()
        laser.set_power(0.02)
        laser.set_emission(True)
        assert itc.rack.emission()
        itc.open_interlock()
        assert not laser.emission()
        with pytest.raises(LimitError, match="no light comes: the interlock is open"):
            laser.set_emission(True)
        assert not itc.rack.emission()
        itc.close_interlock()
        laser.set_emission(True)
        assert laser.emission()
        assert itc.rack.plant is not None
        assert itc.rack.plant.laser_power == pytest.approx(0.02)


def test_the_wrong_box_is_refused() -> None:
    with wired(TcpServer(box("TED4015"))) as transport, pytest.raises(DeviceError, match="LDC4"):
        ThorlabsDiode("laser", transport, DIODE).open()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = TcpServer(box())
    with wired(server) as transport:
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions())
        tec.open()

        def act() -> float:
            tec.set_setpoint(30.0)
            return tec.setpoint()

        survives(server, replace(FAULTS[kind], after=after), act, lambda value: value == 30.0)
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            if transport.lost:
                transport.reconnect(1.0)
            try:
                tec.set_setpoint(20.0)
                break
            except NAMED:
                continue
        assert tec.setpoint() == 20.0


@given(st.binary(max_size=40))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b"MEAS:TEMP?\n", answer)]) as transport:
        transport.timeout = 0.01
        tec = ThorlabsTemperature("temperature", transport, TemperatureOptions())
        tec.open()
        try:
            value = tec.temperature()
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert abs(value) < 400
