"""The simulated bench's boxes with one knob."""

from __future__ import annotations

from hilonn.devices import Identity, Laser, Switch, TemperatureController
from hilonn.simulators.devices import identity
from hilonn.simulators.plant import NOMINAL_POWER, Plant
from hilonn.simulators.truth import WAVELENGTH

TEMPERATURES = (15.0, 45.0)  # degC


class SimulatedLaser(Laser):
    """A laser of one wavelength, found dark; it feeds all inputs and the local oscillator."""

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        super().__init__(name, NOMINAL_POWER, (WAVELENGTH, WAVELENGTH))
        self._plant = plant

    def identity(self) -> Identity:
        return identity(self._plant, "simulated laser")

    def power(self) -> float:
        return self._plant.laser_power

    def emission(self) -> bool:
        self._plant.update()  # it may have tripped
        return self._plant.emission

    def wavelength(self) -> float:
        return WAVELENGTH

    def _set_power(self, power: float) -> None:
        self._plant.set_laser(power=power)

    def _set_emission(self, on: float) -> None:
        self._plant.set_laser(emission=bool(on))

    def _set_wavelength(self, wavelength: float) -> None:
        return None  # its limits admit only the one it has

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        self._plant.set_laser(emission=False)


class SimulatedTemperatureController(TemperatureController):
    """Holds the chip at its setpoint; a new one is reached in a few seconds."""

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        super().__init__(name, *TEMPERATURES)
        self._plant = plant

    def identity(self) -> Identity:
        return identity(self._plant, "simulated temperature controller")

    def setpoint(self) -> float:
        """The temperature wanted, degC."""
        return self._plant.temperature.setpoint

    def temperature(self) -> float:
        self._plant.update()
        return self._plant.temperature.at(self._plant.clock.now())

    def stable(self) -> bool:
        self._plant.update()
        return self._plant.temperature.stable(self._plant.clock.now())

    def _set_setpoint(self, temperature: float) -> None:
        self._plant.update()
        self._plant.temperature.set(temperature, self._plant.clock.now())

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        return None  # holding the temperature is the safe state


class SimulatedSwitch(Switch):
    """The local oscillator's shutter: position 1 lets it through, 0 blocks it.

    Declares the optional ability ``locked``: the same box watches the oscillator's phase lock.
    """

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        super().__init__(name, 2)
        self._plant = plant

    def identity(self) -> Identity:
        return identity(self._plant, "simulated switch")

    def position(self) -> int:
        return self._plant.switch

    def locked(self) -> bool:
        """Whether the local oscillator's phase is held."""
        return self._plant.locked()

    def _select(self, position: float) -> None:
        self._plant.set_switch(int(position))

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        self._plant.set_switch(0)
