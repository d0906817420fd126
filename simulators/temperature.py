"""The chip's temperature under its controller."""

from __future__ import annotations

import math

from hilonn.typing import Snapshot

REFERENCE = 25.0  # degC, at which the chip's phases are what the truth says
WINDOW = 0.05  # K, within which the controller reports stability
SMALL = 1e-4  # K: less than 10 urad on the least balanced heater; taken as none


class Temperature:
    """Relaxes exponentially towards the setpoint."""

    def __init__(self, time_constant: float) -> None:
        self._tau = time_constant
        self.setpoint = REFERENCE
        self._gap = 0.0
        self._since = 0.0

    def at(self, now: float) -> float:
        """Temperature in degC."""
        if self._gap == 0.0:
            return self.setpoint
        return self.setpoint + self._gap * math.exp(-(now - self._since) / self._tau)

    def excess(self, now: float) -> float:
        """Temperature above the reference, K; exactly 0 when too small to matter."""
        if self._gap == 0.0 and self.setpoint == REFERENCE:
            return 0.0
        excess = self.at(now) - REFERENCE
        return excess if abs(excess) > SMALL else 0.0

    def stable(self, now: float) -> bool:
        return abs(self.at(now) - self.setpoint) < WINDOW

    def set(self, setpoint: float, now: float) -> None:
        """Start towards ``setpoint``, degC."""
        self._gap, self._since = self.at(now) - setpoint, now
        self.setpoint = setpoint

    def disturb(self, step: float, now: float) -> None:
        """A sudden step of ``step`` K that the controller then removes."""
        self._gap, self._since = self.at(now) - self.setpoint + step, now

    def snapshot(self) -> Snapshot:
        return {"setpoint": self.setpoint, "gap": self._gap, "since": self._since}

    def restore(self, saved: Snapshot) -> None:
        self.setpoint = float(saved["setpoint"])
        self._gap = float(saved["gap"])
        self._since = float(saved["since"])
