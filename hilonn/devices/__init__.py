"""Device interfaces: vector verbs, final where they change hardware."""

from hilonn.devices.actuators import Actuators, PhaseShifters
from hilonn.devices.device import Bank, Device, put_behind
from hilonn.devices.gate import Gate, OpenGate
from hilonn.devices.modulators import Modulators
from hilonn.devices.photodetectors import Photodetectors, dark_readings
from hilonn.devices.sources import Laser, Switch, TemperatureController
from hilonn.devices.spec import ChannelSpec, DetectorReadings, Identity, Timing

__all__ = [
    "Actuators",
    "Bank",
    "ChannelSpec",
    "DetectorReadings",
    "Device",
    "Gate",
    "Identity",
    "Laser",
    "Modulators",
    "OpenGate",
    "PhaseShifters",
    "Photodetectors",
    "Switch",
    "TemperatureController",
    "Timing",
    "dark_readings",
    "put_behind",
]
