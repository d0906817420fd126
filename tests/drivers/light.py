"""A rack with known light instead of a chip."""

from __future__ import annotations

import numpy as np

from hilonn.simulators.emulators import Rack
from hilonn.typing import FloatArray


class Lit(Rack):
    """``rest`` (columns,) in W is what detectors see at rest; ``pattern`` (samples, columns) in W what they see when
    the trigger comes, over and over."""

    def __init__(self, rest: FloatArray, *, lockstep: bool = False) -> None:
        super().__init__(lockstep=lockstep)
        self.rest = np.asarray(rest, float)
        self.pattern = self.rest[None, :]
        self.light = True
        self.watts: float | None = None

    def sample(
        self, columns: list[int], full_scale: FloatArray, period: float
    ) -> tuple[FloatArray, np.ndarray]:
        self.busy(period)
        seen = self.rest[columns]
        return np.minimum(seen, full_scale), seen > full_scale

    def trigger(self) -> float:
        listeners = list(self._listeners.values())
        self._listeners.clear()
        longest = 0.0
        for listener in listeners:
            rows = np.arange(listener.samples) % len(self.pattern)
            seen = self.pattern[rows][:, listener.columns]
            listener.deliver(np.minimum(seen, listener.full_scale), seen > listener.full_scale)
            longest = max(longest, listener.samples * listener.period)
        self.busy(longest)
        return longest

    def set_laser(self, *, emission: bool | None = None, power: float | None = None) -> None:
        if emission is not None:
            self.light = emission
        if power is not None:
            self.watts = power

    def emission(self) -> bool:
        return self.light
