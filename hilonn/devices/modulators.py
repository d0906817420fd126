"""Banks that put a batch of samples on light."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from hilonn.devices.device import Bank
from hilonn.devices.spec import ChannelSpec, Timing
from hilonn.errors import LimitError
from hilonn.typing import FloatArray


class Modulators(Bank):
    """A bank that plays ``(samples, channels)`` patterns. ``max_samples`` = 1 is unbuffered.

    ``stored_patterns`` is how many patterns the box can keep and address (DMDs); 0 = none. ``max_played`` is what a box
    keeps that stores every play of a batch and every reading's share of a sample; None: it repeats by itself.
    """

    final_verbs: ClassVar[frozenset[str]] = frozenset({"load", "play", "safe_state"})

    def __init__(
        self,
        name: str,
        channels: int,
        spec: ChannelSpec,
        max_samples: int,
        stored_patterns: int = 0,
        max_played: int | None = None,
    ) -> None:
        super().__init__(name, channels, spec)
        self.max_samples = max_samples
        self.stored_patterns = stored_patterns
        self.max_played = max_played

    def most_samples(self, timing: Timing) -> int:
        """The longest batch that can be loaded with ``timing``; 1 where not even that fits, which ``load`` refuses."""
        if self.max_played is None:
            return self.max_samples
        repeats = timing.plays * timing.samples_per_reading
        return max(1, min(self.max_samples, self.max_played // repeats))

    def load(self, drive: FloatArray, timing: Timing) -> None:
        """Store ``drive`` (samples, channels), in the spec's unit, to be played ``timing.plays`` times over."""
        samples = np.shape(drive)[0] if np.ndim(drive) == 2 else 1
        array = self.check_drive(drive, "load", (samples, self.channels))
        if not 1 <= samples <= self.max_samples:
            raise LimitError(
                f"{self.name}.load: {samples} samples asked, the box holds 1 to "
                f"{self.max_samples}; split the batch. Nothing was written"
            )
        self._do("load", array, lambda: self._load(array, timing))

    def play(self) -> None:
        """Play what was loaded, as often as it was loaded for; returns when it has been started or played."""
        self._do("play", _NOTHING, self._play)

    @abstractmethod
    def _load(self, drive: FloatArray, timing: Timing) -> None: ...

    @abstractmethod
    def _play(self) -> None: ...


_NOTHING = np.zeros(0)
