"""Voltage sources with a current limit each, and what they drive: the chip's heaters, or loads of their own."""

from __future__ import annotations

import numpy as np

from hilonn.simulators.emulators.rack import Rack
from hilonn.typing import FloatArray


class Outputs:
    """``channels`` sources on the chip's heaters ``first`` ...; a channel beyond the chip drives ``load`` (ohm).

    What is set, ``levels`` (V), ``limits`` (A) and ``on``, each (channels,), is changed in place and takes effect
    with ``apply``. A source that would give more than its limit stands at the limit: ``limited``.
    """

    def __init__(self, rack: Rack, channels: int, first: int = 0, load: float = 1e3) -> None:
        self._rack = rack
        self._first = first
        self.resistance: FloatArray = np.full(channels, load)
        if rack.plant is not None:
            known = rack.plant.truth.resistance[first : first + channels]
            self.resistance[: len(known)] = known
        self.levels: FloatArray = np.zeros(channels)
        self.limits: FloatArray = np.full(channels, np.inf)
        self.on = np.zeros(channels, dtype=bool)

    @property
    def limited(self) -> np.ndarray:
        """Channels that are held at their current limits."""
        return self.on & (np.abs(self.levels) / self.resistance > self.limits)

    @property
    def volts(self) -> FloatArray:
        """What stands at the outputs."""
        most = self.limits * self.resistance
        return np.where(self.on, np.clip(self.levels, -most, most), 0.0)

    @property
    def currents(self) -> FloatArray:
        """A."""
        return self.volts / self.resistance

    def apply(self) -> None:
        """Let the heaters have it."""
        self._rack.write_heaters(self._first, self.volts)

    def off(self) -> None:
        """Power-on state: all at zero, off, without limits."""
        self.levels[:] = 0.0
        self.limits[:] = np.inf
        self.on[:] = False
        self.apply()

    def state(self) -> dict[str, str]:
        """For people."""
        power = float((self.volts**2 / self.resistance).sum())
        return {
            "on": f"{int(self.on.sum())} of {len(self.on)}",
            "largest": f"{np.abs(self.volts).max():.2f} V",
            "power": f"{power:.2f} W",
        }
