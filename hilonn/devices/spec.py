"""What a bank of channels can do, and when a buffered reading happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hilonn.errors import ConfigError
from hilonn.typing import FloatArray

Limit = float | FloatArray
"""One number for the whole bank, or one a channel, shape (channels,)."""


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """Limits and grain of a bank, in the instrument's own ``unit``; each a scalar or (channels,).

    ``max_power`` is in W a channel, ``slew_rate`` in units a second, ``settling_time`` in s.
    ``resistance`` (ohm) turns a voltage or current into the power that ``max_power`` and the
    bench's total are checked against; without it no power can be checked.
    """

    unit: str
    low: Limit
    high: Limit
    resolution: Limit = 0.0
    max_power: Limit = np.inf
    max_current: Limit = np.inf
    slew_rate: Limit = np.inf
    resistance: Limit | None = None
    dtype: str = "float64"
    settling_time: float = 0.0

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
            raise ConfigError(f"channel limits must be finite, got {self.low} .. {self.high}")
        if np.any(low > high):
            raise ConfigError(f"channel limits are the wrong way round: {self.low} .. {self.high}")

    def bound(self, name: str, channels: int) -> FloatArray:
        """The limit ``name`` as an array of shape (channels,)."""
        value = getattr(self, name)
        return np.array(np.broadcast_to(np.asarray(value, float), (channels,)))


@dataclass(frozen=True, slots=True)
class Timing:
    """When samples are played and read. ``sample_period`` in s.

    ``start_order`` says who waits for whom: the first listed is armed first. ``plays`` is how often
    modulators repeat a pattern, without a gap, at one ``play``: as often as detectors average it.
    """

    sample_period: float
    samples_per_reading: int = 1
    trigger: str = "internal"
    edge: Literal["rising", "falling"] = "rising"
    start_order: tuple[str, ...] = ("photodetectors", "modulators")
    plays: int = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered: as printed on the box and in ``*IDN?``."""

    vendor: str
    model: str
    serial: str
    firmware: str = ""

    def __str__(self) -> str:
        return f"{self.vendor} {self.model} (serial {self.serial})"


@dataclass(frozen=True, slots=True)
class DetectorReadings:
    """What photodetectors measured.

    ``signal`` (samples, channels) in the spec's unit; ``saturated`` (samples, channels), True where
    the reading stands at the range's end and says only "at least this".
    """

    signal: FloatArray
    saturated: np.ndarray
