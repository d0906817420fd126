"""A rack with known light instead of a chip."""

from __future__ import annotations

import numpy as np

from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.rack import Listener
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

    def trigger(self) -> float:
        listeners = list(self._listeners.values())
        self._listeners.clear()
        return self._lit(listeners, self.pattern)

    def read(self, listener: Listener) -> float:
        return self._lit([listener], self.rest[None, :])

    def _lit(self, listeners: list[Listener], pattern: FloatArray) -> float:
        for listener in listeners:
            seen = pattern[np.arange(listener.samples) % len(pattern)][:, listener.columns]
            listener.deliver(np.minimum(seen, listener.full_scale), seen > listener.full_scale)
        seconds = max([m.samples * m.period for m in listeners], default=0.0)
        self.busy(seconds)
        return seconds

    def set_laser(self, *, emission: bool | None = None, power: float | None = None) -> None:
        if emission is not None:
            self.light = emission
        if power is not None:
            self.watts = power

    def emission(self) -> bool:
        return self.light
