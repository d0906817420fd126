"""PyMeasure's own drivers as devices of ours, over sockets to emulated boxes: contracts, refusals, faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hilonn.devices import Laser, PhaseShifters, Photodetectors, TemperatureController, Timing
from hilonn.drivers.bridge import same
from hilonn.drivers.pymeasure_bridge import pymeasure
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.keysight_n6700 import KeysightN6700Box
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.simulators.emulators.scpi import ScpiInstrument, number, switch
from hilonn.simulators.emulators.thorlabs_pm100 import ThorlabsPm100Box
from hilonn.testing import (
    ActuatorsContract,
    LaserContract,
    PhotodetectorsContract,
    TemperatureControllerContract,
)
from tests.drivers.bridges import bridged, built
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.light import Lit

pytest.importorskip("pymeasure", reason="the extra `pymeasure` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:It is not known whether:FutureWarning")
LINES = {"read_termination": "\n", "write_termination": "\n"}
CHANNELS = ["ch_1.voltage_setpoint", "ch_2.voltage_setpoint"]
SUPPLY: dict[str, Any] = {
    "instrument": "pymeasure.instruments.keysight.KeysightE36312A",
    "arguments": LINES,
    "error_query": "SYST:ERR?",
    "phase_shifters": {
        "channels": CHANNELS,
        "low": 0.0,
        "high": 5.0,
        "switches": ["ch_1.output_enabled", "ch_2.output_enabled"],
    },
}
METER: dict[str, Any] = {
    "instrument": "pymeasure.instruments.thorlabs.ThorlabsPM100USB",
    "arguments": LINES,
    "photodetectors": {"channels": ["power"], "ranges": [5e-3]},
}
LASER: dict[str, Any] = {
    "instrument": "pymeasure.instruments.santec.TSL570",
    "arguments": {"read_termination": "\r", "write_termination": "\r"},
    "require": {"command_set": "Legacy", "power_unit": "mW"},
    "laser": {
        "power": "power_setpoint",
        "emission": "output_enabled",
        "wavelength": "wavelength_setpoint",
        "max_power": 0.01,
        "wavelengths": [1.5e-6, 1.6e-6],
    },
}
COOLER: dict[str, Any] = {
    "instrument": "pymeasure.instruments.keithley.Keithley2510",
    "arguments": LINES,
    "temperature_controller": {
        "setpoint": "temperature_setpoint",
        "temperature": "temperature",
        "output": "source_enabled",
        "low": 15.0,
        "high": 35.0,
    },
}


class Keithley2510Box(ScpiInstrument):
    """As much of a Keithley 2510 as its driver speaks to."""

    identity = "KEITHLEY INSTRUMENTS INC.,MODEL 2510,1234567,A01"

    def __init__(self, name: str, rack: Rack) -> None:
        super().__init__(name, rack)
        self.setpoint, self.on = 25.0, False
        self.command("OUTPut[:STATe]", self._switch)
        self.command("OUTPut[:STATe]?", lambda: str(int(self.on)))
        self.command("[SOURce:]TEMPerature", self._set)
        self.command("[SOURce:]TEMPerature?", lambda: f"{self.setpoint:+.6E}")
        self.command("MEASure:TEMPerature?", lambda: f"{self.setpoint if self.on else 22.0:+.6E}")

    def _switch(self, text: str) -> None:
        self.on = switch(text)

    def _set(self, text: str) -> None:
        self.setpoint = number(text, -50, 225)

    def state(self) -> dict[str, str]:
        return {}


def supply() -> TcpServer:
    return TcpServer(KeysightN6700Box("supply", Rack(), channels=3))


def meter() -> TcpServer:
    return TcpServer(ThorlabsPm100Box("meter", Lit(np.array([2e-4])), 0, "PM100USB"))


def laser() -> TcpServer:
    box = SantecTslBox("laser", Rack(Plant("svd_mesh", 2, resolve("ideal"))))
    for line in (":SYST:COMM:COD 0", ":POW:UNIT 1"):
        box.answer(line)
    return TcpServer(box)


class TestPhaseShifters(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[PhaseShifters]:
        with bridged(pymeasure, supply(), **SUPPLY) as opened:
            yield opened


class TestPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Photodetectors]:
        with bridged(pymeasure, meter(), **METER) as opened:
            yield opened


class TestLaser(LaserContract):
    @pytest.fixture
    def device(self) -> Iterator[Laser]:
        with bridged(pymeasure, laser(), **LASER) as opened:
            yield opened


class TestTemperatureController(TemperatureControllerContract):
    @pytest.fixture
    def device(self) -> Iterator[TemperatureController]:
        with bridged(pymeasure, TcpServer(Keithley2510Box("cooler", Rack())), **COOLER) as opened:
            yield opened


def test_opening_changes_no_output_and_the_safe_state_switches_off() -> None:
    server = supply()
    box = server.instrument
    assert isinstance(box, KeysightN6700Box)
    box.outputs.levels[0] = 3.0
    with bridged(pymeasure, server, **SUPPLY) as device:
        assert box.outputs.levels[0] == 3.0
        np.testing.assert_array_equal(device.read_back(), 0.0)  # it is off
        device.write(np.array([1.0, 2.0]))
        np.testing.assert_array_equal(box.outputs.levels, [1.0, 2.0, 0.0])
        np.testing.assert_array_equal(box.on, [True, True, False])
        device.safe_state()
        np.testing.assert_array_equal(box.on, False)
        np.testing.assert_array_equal(box.outputs.levels, 0.0)


def test_our_limit_holds_where_theirs_is_wider_and_theirs_is_told() -> None:
    with (
        bridged(pymeasure, supply(), **SUPPLY) as device,
        pytest.raises(LimitError, match=r"5\.5 V on channel 1"),
    ):
        device.write(np.array([1.0, 5.5]))
    wider = {**SUPPLY, "phase_shifters": {**SUPPLY["phase_shifters"], "high": 20.0}}
    with bridged(pymeasure, supply(), **wider) as device:
        with pytest.raises(
            DeviceError, match=r"PyMeasure says ValueError.*ch_1|ch_1.*PyMeasure says ValueError"
        ):
            device.write(np.array([7.0, 1.0]))  # channel 1 of an E36312A goes to 6 V
        device.write(np.array([6.0, 1.0]))


def test_what_the_box_refuses_is_no_success() -> None:
    server = TcpServer(KeysightN6700Box("supply", Rack(), channels=3, volts=4.0))
    with (
        bridged(pymeasure, server, **SUPPLY) as device,
        pytest.raises(DeviceError, match=r"the instrument says -222"),
    ):
        device.write(np.array([5.0, 1.0]))
    without = {**SUPPLY, "error_query": None}
    with (
        bridged(pymeasure, server, **without) as device,
        pytest.raises(DeviceError, match=r"was set to 5 and reads 0 .*clip"),
    ):
        device.write(np.array([5.0, 1.0]))


def test_from_full_scale_on_a_reading_is_saturated() -> None:
    server = meter()
    small = {**METER, "photodetectors": {"channels": ["power"], "ranges": [1e-4]}}
    with bridged(pymeasure, server, **small) as device:
        device.arm(1, 2, Timing(1e-4))
        readings = device.fetch()
        assert readings.saturated.all()
        np.testing.assert_allclose(readings.signal, 1e-4)


def test_a_laser_in_other_units_is_refused_and_not_set() -> None:
    server = laser()
    box = server.instrument
    assert isinstance(box, SantecTslBox)
    box.answer(":POW:UNIT 0")
    with server, pytest.raises(DeviceError, match=r"power_unit reads 'dBm'.*requires 'mW'"):
        built(pymeasure, server, **LASER).open()
    assert box.answer(":POW:UNIT?")[0].data.strip() in (b"0", b"+0")


def test_six_digits_of_a_wavelength_are_told() -> None:
    with (
        bridged(pymeasure, laser(), **LASER) as device,
        pytest.raises(
            DeviceError, match=r"wavelength was set to 1\.5501234e-06 m and reads 1\.55012e-06"
        ),
    ):
        device.set_wavelength(1550.1234e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instrument": "os.system"}, "no installed package"),
        ({"instrument": "my_daq.py"}, "no installed package|cannot be imported"),
        ({"instrument": "numpy.ndarray"}, r"is no pymeasure\.instruments"),
        ({"instrument": "pymeasure.instruments.keysight.Nothing"}, "cannot be imported"),
        ({"instrument": "Keysight"}, "no dotted name"),
        ({"instrument": "pymeasure..x; import os"}, "no dotted name"),
    ],
)
def test_only_an_instrument_of_an_installed_package_is_taken(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        built(pymeasure, supply(), **{**SUPPLY, **changes})


@pytest.mark.parametrize("path", ["ch_1.voltage_setpont", "ch_9.voltage_setpoint", "adapter.close"])
def test_a_name_that_is_no_property_is_told_when_it_is_opened(path: str) -> None:
    server = supply()
    mapped = {**SUPPLY["phase_shifters"], "channels": [path], "switches": []}
    with server, pytest.raises(DeviceError, match=f"{path}.*has no"):
        built(pymeasure, server, **{**SUPPLY, "phase_shifters": mapped}).open()


def test_what_it_is_has_to_be_said_once() -> None:
    for changes in ({"phase_shifters": None}, {"laser": LASER["laser"]}):
        with pytest.raises(ValidationError, match="give one of"):
            pymeasure.options.model_validate({**SUPPLY, **changes})
    with pytest.raises(ConfigError, match="opens its instrument itself"):
        pymeasure.build("box", pymeasure.options.model_validate(SUPPLY), object())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = supply()
    with bridged(pymeasure, server, **SUPPLY) as device:
        device.write(np.array([1.0, 1.0]))
        survives(
            server,
            replace(FAULTS[kind], after=after),
            lambda: (device.write(np.array([3.0, 2.0])), device.read_back())[1],
            lambda back: bool(np.allclose(back, [3.0, 2.0], atol=1e-3)),
            most=16,
        )
        if kind == "silence":
            return
        for _ in range(2):
            try:
                device.write(np.array([4.0, 2.5]))
                break
            except NAMED:
                pass
        np.testing.assert_allclose(device.read_back(), [4.0, 2.5], atol=1e-3)


def test_a_dead_box_is_lost_and_back_when_it_is_back() -> None:
    server = supply()
    with bridged(pymeasure, server, **SUPPLY) as device:
        device.write(np.array([1.0, 1.0]))
        identity = device.identity()
        server.stop()
        for _ in range(2):
            with pytest.raises((ConnectionLost, DeviceTimeout, DeviceError)):
                device.identity()
        again = TcpServer(server.instrument, port=server.port)
        with again:
            assert device.identity() == identity
            device.write(np.array([2.0, 1.0]))


def test_a_box_that_starts_anew_is_switched_on_again() -> None:
    server = supply()
    box = server.instrument
    assert isinstance(box, KeysightN6700Box)
    with bridged(pymeasure, server, **SUPPLY) as device:
        device.write(np.array([1.0, 2.0]))
        server.faults.inject(Fault("reboot"))
        with pytest.raises(NAMED):
            device.write(np.array([1.5, 2.0]))
        server.faults.clear()
        assert not box.on.any()
        device.write(np.array([1.5, 2.0]))
        np.testing.assert_array_equal(box.on, [True, True, False])
        np.testing.assert_array_equal(box.outputs.levels, [1.5, 2.0, 0.0])


def test_words_and_numbers_are_the_same_in_any_dress() -> None:
    assert same("ON", "on")
    assert same(True, 1)
    assert same(1.0, True)
    assert same("1", True)
    assert not same("off", "on")
    assert not same(None, 0)
