"""Boxes with one knob: laser, temperature controller, switch."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from hilonn.devices.device import Device
from hilonn.errors import LimitError
from hilonn.typing import FloatArray

ROUNDED = 0.01
"""Of a laser's largest power: an instrument that tells its own to so much is believed to keep to it."""


class Scalar(Device):
    """What one-knob devices share: a checked, gated, final verb."""

    def _change(self, verb: str, value: float, low: float, high: float, unit: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise LimitError(f"{self.name}.{verb}: {value!r} is not a number") from None
        if not low <= number <= high:  # False for NaN too
            raise LimitError(
                f"{self.name}.{verb}: {number:g} {unit} is outside {low:g} .. {high:g} {unit}; "
                "nothing was written"
            )
        self._do(verb, np.array([number]), lambda: getattr(self, f"_{verb}")(number))
        return number


class Laser(Scalar):
    """A light source. Powers in W, wavelengths in m."""

    final_verbs: ClassVar[frozenset[str]] = frozenset(
        {"set_power", "set_emission", "set_wavelength", "safe_state"}
    )

    def __init__(self, name: str, max_power: float, wavelengths: tuple[float, float]) -> None:
        super().__init__(name)
        self.max_power = max_power
        self.wavelengths = wavelengths

    def set_power(self, power: float) -> None:
        """Optical power in W."""
        self._change("set_power", power, 0.0, self.max_power, "W")

    def set_emission(self, on: bool) -> None:
        """Light on or off. LimitError, with the light as it was, where the box is set to more than ``max_power``: an earlier
        program or its front panel left it so."""
        if on:
            held = self.power()
            if not held <= self.max_power * (1 + ROUNDED):
                raise LimitError(
                    f"{self.name}.set_emission: the box is set to {held:.4g} W, {self.max_power:.4g} W are allowed; light stays "
                    "as it was. Say `power` (W) for it in the bench file, which is set before light goes on, or call "
                    "set_power, or turn it down at its front panel"
                )
        self._change("set_emission", float(on), 0.0, 1.0, "(on or off)")

    def set_wavelength(self, wavelength: float) -> None:
        """Wavelength in m."""
        low, high = self.wavelengths
        self._change("set_wavelength", wavelength, low, high, "m")

    def eases(self, verb: str, value: FloatArray) -> bool:
        return verb == "set_emission" and not value.any()

    @abstractmethod
    def power(self) -> float:
        """The power the box says it is set to, W."""

    @abstractmethod
    def emission(self) -> bool:
        """Whether the box says that light is on."""

    @abstractmethod
    def wavelength(self) -> float:
        """The wavelength the box says it is set to, m."""

    @abstractmethod
    def _set_power(self, power: float) -> None: ...

    @abstractmethod
    def _set_emission(self, on: float) -> None: ...

    @abstractmethod
    def _set_wavelength(self, wavelength: float) -> None: ...


class TemperatureController(Scalar):
    """Holds the chip's temperature, degC."""

    final_verbs: ClassVar[frozenset[str]] = frozenset({"set_setpoint", "safe_state"})

    def __init__(self, name: str, low: float, high: float) -> None:
        super().__init__(name)
        self.low, self.high = low, high

    def set_setpoint(self, temperature: float) -> None:
        """Wanted temperature in degC."""
        self._change("set_setpoint", temperature, self.low, self.high, "degC")

    def eases(self, verb: str, value: FloatArray) -> bool:
        return True  # it moves the temperature that an interlock watches

    def calms(self, verb: str, value: FloatArray) -> bool:
        return False  # many boxes switch their output on for it

    @abstractmethod
    def temperature(self) -> float:
        """Measured temperature, degC."""

    @abstractmethod
    def stable(self) -> bool:
        """Whether the box says that the temperature stands within its window."""

    @abstractmethod
    def _set_setpoint(self, temperature: float) -> None: ...


class Switch(Scalar):
    """An optical switch with ``positions`` positions, numbered from 0."""

    final_verbs: ClassVar[frozenset[str]] = frozenset({"select", "safe_state"})

    def __init__(self, name: str, positions: int) -> None:
        super().__init__(name)
        self.positions = positions

    def select(self, position: int) -> None:
        """Connect ``position``."""
        if not np.isfinite(position) or position != int(position):
            raise LimitError(f"{self.name}.select: {position} is not a whole number")
        self._change("select", position, 0, self.positions - 1, "")

    def locked(self) -> bool:
        """Whether the light that the switch carries is in lock; True where the box cannot tell."""
        return True

    @abstractmethod
    def position(self) -> int:
        """The position the box says it is in."""

    @abstractmethod
    def _select(self, position: float) -> None: ...
