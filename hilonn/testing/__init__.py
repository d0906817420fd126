"""Contract suites: what every driver must do, as pytest classes to subclass.

Give a subclass a fixture ``device`` that yields an opened device, simulated, emulated or real:

    class TestMyHeaters(ActuatorsContract):
        @pytest.fixture
        def device(self):
            with MyHeaters("heaters", port) as opened:
                yield opened
"""

from hilonn.testing.contracts import (
    ActuatorsContract,
    DeviceContract,
    LaserContract,
    ModulatorsContract,
    PhotodetectorsContract,
    SwitchContract,
    TemperatureControllerContract,
)

__all__ = [
    "ActuatorsContract",
    "DeviceContract",
    "LaserContract",
    "ModulatorsContract",
    "PhotodetectorsContract",
    "SwitchContract",
    "TemperatureControllerContract",
]
