"""Banks that read light."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import ClassVar

import numpy as np

from hilonn.devices.device import Bank
from hilonn.devices.spec import ChannelSpec, DetectorReadings, Timing
from hilonn.errors import ConfigError, DeviceError
from hilonn.typing import FloatArray


class Photodetectors(Bank):
    """A bank of detectors. ``ranges`` are full scales in the spec's unit, smallest first.

    A bank with one range declares one; ``range`` is then always 0. ``max_samples`` is what one reading takes,
    ``max_readings`` besides what it takes of samples times averages, where the box keeps every play's; None: no limit.
    """

    final_verbs: ClassVar[frozenset[str]] = frozenset({"arm", "fetch", "set_range", "safe_state"})

    def __init__(
        self,
        name: str,
        channels: int,
        spec: ChannelSpec,
        ranges: tuple[float, ...],
        max_samples: int,
        max_readings: int | None = None,
    ) -> None:
        super().__init__(name, channels, spec)
        if not ranges or any(b <= a for a, b in pairwise(ranges)):
            raise ConfigError(f"{name}: ranges must be given, smallest first, got {ranges}")
        self.ranges = ranges
        self.range = len(ranges) - 1
        self.max_samples = max_samples
        self.max_readings = max_readings
        self._armed: int | None = None

    def set_range(self, index: int) -> None:
        """Choose the full scale ``ranges[index]`` for every channel."""
        if not 0 <= index < len(self.ranges):
            raise ConfigError(
                f"{self.name}.set_range: no range {index}; there are {len(self.ranges)}"
            )
        self._set_range(index)
        self.range = index

    def most_samples(self, averages: int, timing: Timing) -> int:
        """The longest batch that one reading takes at so many averages and ``timing``; 1 where not even that fits, which ``arm`` refuses."""
        if self.max_readings is None:
            return self.max_samples
        return max(1, min(self.max_samples, self.max_readings // averages))

    def arm(self, samples: int, averages: int, timing: Timing) -> None:
        """Get ready to read ``samples`` samples, each the mean of ``averages`` plays."""
        if not 1 <= samples <= self.max_samples or averages < 1:
            raise ConfigError(
                f"{self.name}.arm: {samples} samples x {averages} averages asked; "
                f"1 to {self.max_samples} samples and at least 1 average are possible"
            )
        self._arm(samples, averages, timing)
        self._armed = samples

    def fetch(self) -> DetectorReadings:
        """Wait for the armed reading; signal (samples, channels) in the spec's unit."""
        if self._armed is None:
            raise DeviceError(f"{self.name}.fetch: nothing was armed; call arm() before play()")
        samples, self._armed = self._armed, None
        readings = self._fetch()
        expected = (samples, self.channels)
        if readings.signal.shape != expected or readings.saturated.shape != expected:
            raise DeviceError(
                f"{self.name}.fetch: {expected} readings were armed, {readings.signal.shape} came"
            )
        if not np.isfinite(readings.signal).all():
            channel = int(np.argwhere(~np.isfinite(readings.signal))[0][-1])
            raise DeviceError(f"{self.name}.fetch: channel {channel} answered NaN or infinity")
        return readings

    @abstractmethod
    def _set_range(self, index: int) -> None: ...

    @abstractmethod
    def _arm(self, samples: int, averages: int, timing: Timing) -> None: ...

    @abstractmethod
    def _fetch(self) -> DetectorReadings: ...


def dark_readings(detectors: Photodetectors, averages: int, timing: Timing) -> FloatArray:
    """One reading a channel with nothing played, (channels,); the caller keeps the light off."""
    detectors.arm(1, averages, timing)
    return np.asarray(detectors.fetch().signal[0], dtype=float)
