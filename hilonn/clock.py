"""Time, which has one owner: the bench's clock. Nothing else in hilonn sleeps."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Seconds since an arbitrary origin, and ways to let time pass."""

    def now(self) -> float:
        """Time in seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass; zero or less returns at once."""
        ...

    def wait_until(self, instant: float) -> None:
        """Return at ``instant`` (seconds on this clock), or at once if it has passed."""
        ...


class WallClock:
    """The lab's clock: monotonic, and sleeping takes as long as it says."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def wait_until(self, instant: float) -> None:
        self.sleep(instant - self.now())


class VirtualClock:
    """A simulated bench's clock: sleeping moves it on and costs no real time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._now += seconds

    def wait_until(self, instant: float) -> None:
        if instant > self._now:
            self._now = instant
