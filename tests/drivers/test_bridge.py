"""What bridges do whatever the library: units, ranges, switches, safe states, an instrument that clips, resets or raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pyvisa
from pydantic import ValidationError
from serial import SerialException

from hilonn.devices import Device, Identity, Timing
from hilonn.drivers.bridge import BridgeOptions, Library, Parameter
from hilonn.drivers.bridged import bridge
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.testing import (
    ActuatorsContract,
    LaserContract,
    PhotodetectorsContract,
    TemperatureControllerContract,
)
from hilonn.typing import FloatArray


class Memory(Library):
    """An instrument that keeps what is set, below ``most``, and counts how often it is constructed."""

    name = "Memory"

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.most = np.inf
        self.raises: list[Exception] = []
        self.built = self.closed = 0

    def build(self, device: str, options: BridgeOptions) -> Any:
        self.built += 1
        return self

    def find(self, instrument: Any, path: str) -> Parameter:
        return Parameter(lambda: self.read(path), lambda value: self.write(path, value))

    def read(self, path: str) -> Any:
        if self.raises:
            raise self.raises.pop()
        return self.held.get(path, 0.0)

    def write(self, path: str, value: Any) -> None:
        self.held[path] = value if isinstance(value, bool | str) else min(value, self.most)

    def identity(self, instrument: Any) -> Identity:
        return Identity("a", "b", "c")

    def resource(self, instrument: Any) -> Any:
        return None

    def close(self, instrument: Any) -> None:
        self.closed += 1


@pytest.fixture
def memory() -> Memory:
    return Memory()


def made(memory: Memory, **options: Any) -> Any:
    driver = bridge(lambda dotted: memory, BridgeOptions)
    chosen = BridgeOptions.model_validate({"instrument": "a.B", **options})
    return driver.build("box", chosen, None)


SHIFTERS = {"channels": ["x", "y"], "low": -1.0, "high": 5.0, "switches": ["x_on", "y_on"]}
METER = {"channels": ["p"], "ranges": [1e-6, 1e-3], "range_parameters": ["full"]}
LASER = {
    "power": "p",
    "emission": "on",
    "wavelength": "w",
    "max_power": 0.02,
    "wavelengths": [1.5e-6, 1.6e-6],
}
COOLER = {"setpoint": "s", "temperature": "t", "low": 10.0, "high": 40.0, "output": "on"}


class TestShifters(ActuatorsContract):
    @pytest.fixture
    def device(self, memory: Memory) -> Any:
        with made(memory, phase_shifters=SHIFTERS) as opened:
            yield opened


class TestMeter(PhotodetectorsContract):
    @pytest.fixture
    def device(self, memory: Memory) -> Any:
        with made(memory, photodetectors=METER) as opened:
            yield opened


class TestLaser(LaserContract):
    @pytest.fixture(params=[("W", "m"), ("uW", "um"), ("dBm", "nm")])
    def device(self, memory: Memory, request: pytest.FixtureRequest) -> Any:
        power, length = request.param
        memory.held |= {"w": 1550.0, "p": 0.0}
        mapped = {**LASER, "power_unit": power, "wavelength_unit": length}
        with made(memory, laser=mapped) as opened:
            yield opened


class TestCooler(TemperatureControllerContract):
    @pytest.fixture
    def device(self, memory: Memory) -> Any:
        with made(memory, temperature_controller=COOLER) as opened:
            yield opened


def test_units_are_the_library_s_on_the_wire(memory: Memory) -> None:
    mapped = {**LASER, "power_unit": "dBm", "wavelength_unit": "nm"}
    device = made(memory, laser=mapped)
    device.open()
    device.set_power(0.01)
    device.set_wavelength(1.55e-6)
    assert memory.held["p"] == pytest.approx(10.0)
    assert memory.held["w"] == pytest.approx(1550.0)
    with pytest.raises(DeviceError, match="no power in dBm"):
        device.set_power(0.0)


def test_a_library_that_clips_is_told(memory: Memory) -> None:
    memory.most = 3.0
    device = made(memory, phase_shifters=SHIFTERS)
    device.open()
    with pytest.raises(DeviceError, match="y was set to 4 and reads 3"):
        device.write(np.array([1.0, 4.0]))
    laser = made(memory, laser={**LASER, "power_unit": "mW"})
    laser.open()
    with pytest.raises(DeviceError, match=r"power was set to 0\.01 W and reads 0\.003 W"):
        laser.set_power(0.01)


def test_only_what_changes_is_set_and_all_of_it_after_the_instrument_was_made_anew(
    memory: Memory,
) -> None:
    device = made(memory, phase_shifters=SHIFTERS)
    device.open()
    device.write(np.array([1.0, 2.0]))
    memory.held["y"] = 2.0005
    device.write(np.array([1.5, 2.0]))
    assert memory.held["y"] == 2.0005  # it was not touched
    memory.raises.append(ValueError("out of sorts"))
    with pytest.raises(DeviceError, match="Memory says ValueError: out of sorts"):
        device.read_back()
    memory.held.clear()  # its constructor resets it
    device.write(np.array([1.5, 2.0]))
    assert memory.held == {"x": 1.5, "y": 2.0, "x_on": True, "y_on": True}
    assert memory.built == 2
    assert memory.closed == 1


def test_the_safe_state_goes_on_behind_a_channel_that_fails(memory: Memory) -> None:
    device = made(memory, phase_shifters=SHIFTERS)
    device.open()
    device.write(np.array([1.0, 2.0]))
    usual = memory.write

    def stuck(path: str, value: Any) -> None:
        if path == "x":
            raise OSError("stuck")
        usual(path, value)

    memory.write = stuck  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="stuck"):
        device.safe_state()
    assert memory.held["y"] == 0.0
    assert memory.held["x_on"] is False
    assert memory.held["y_on"] is False


def test_ranges_are_set_and_a_reading_beyond_is_saturated(memory: Memory) -> None:
    device = made(memory, photodetectors=METER)
    device.open()
    assert memory.held["full"] == 1e-3
    device.set_range(0)
    assert memory.held["full"] == 1e-6
    for reads, saturated in ((5e-7, False), (1e-6, True), (9.9e37, True), (np.inf, True)):
        memory.held["p"] = reads
        device.arm(1, 2, Timing(1e-3))
        readings = device.fetch()
        assert bool(readings.saturated[0, 0]) is saturated
        assert readings.signal[0, 0] == pytest.approx(min(reads, 1e-6))
    memory.held["p"] = np.nan
    device.arm(1, 1, Timing(1e-3))
    with pytest.raises(DeviceError, match="p reads NaN"):
        device.fetch()


@pytest.mark.parametrize("off", [True, False])
def test_a_cooler_holds_in_the_safe_state_unless_told_otherwise(memory: Memory, off: bool) -> None:
    device = made(memory, temperature_controller={**COOLER, "off_when_safe": off})
    device.open()
    device.set_setpoint(25.0)
    assert memory.held["on"] is True
    memory.held["t"] = 25.01
    assert device.stable()
    device.safe_state()
    assert memory.held["on"] is not off
    assert device.stable() is not off


def test_a_laser_that_does_not_go_on_is_told(memory: Memory) -> None:
    device = made(memory, laser=LASER)
    device.open()
    memory.write = lambda path, value: None  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="was switched on and is not"):
        device.set_emission(True)


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (TimeoutError("slow"), DeviceTimeout),
        (pyvisa.VisaIOError(pyvisa.constants.StatusCode.error_timeout), DeviceTimeout),
        (pyvisa.VisaIOError(pyvisa.constants.StatusCode.error_connection_lost), ConnectionLost),
        (SerialException("unplugged"), ConnectionLost),
        (ConnectionResetError(104, "reset"), ConnectionLost),
        (OSError("No sensor connected."), DeviceError),
        (KeyError("volt"), DeviceError),
        (AssertionError(), DeviceError),
    ],
)
def test_whatever_a_library_raises_gets_a_name(
    memory: Memory, raised: Exception, named: type[Exception]
) -> None:
    device = made(memory, phase_shifters=SHIFTERS)
    device.open()
    memory.raises.append(raised)
    with pytest.raises(named, match="Memory says"):
        device.read_back()
    back: FloatArray = device.read_back()
    assert back.shape == (2,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"phase_shifters": {**SHIFTERS, "switches": ["one"]}}, "2 channels and 1 switches"),
        ({"phase_shifters": {**SHIFTERS, "low": 6.0}}, "low lies above high"),
        ({"phase_shifters": {k: SHIFTERS[k] for k in ("channels", "low")}}, "high"),
        ({"photodetectors": {**METER, "range_parameters": []}}, "range_parameters"),
        ({"phase_shifters": {**SHIFTERS, "high": float("inf")}}, "finite"),
    ],
)
def test_senseless_maps_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BridgeOptions.model_validate({"instrument": "a.B", **options})


def test_devices_are_of_the_interface_that_is_mapped(memory: Memory) -> None:
    for options in (
        {"phase_shifters": SHIFTERS},
        {"photodetectors": METER},
        {"laser": LASER},
        {"temperature_controller": COOLER},
    ):
        device = made(memory, **options)
        assert isinstance(device, Device)
        assert memory.built == 0  # constructed when it is opened
