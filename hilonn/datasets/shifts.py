"""Training images that are moved a little, otherwise in every epoch: more samples than were taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.errors import ConfigError
from hilonn.typing import FloatArray


@dataclass(frozen=True, slots=True)
class Shifts:
    """Square images moved by up to ``pixels`` along each side, a ``share`` of them in a batch; what moves
    in from outside is ``empty`` (features,): an image with nothing on it, as the network sees it."""

    pixels: int
    share: float
    empty: FloatArray

    def __post_init__(self) -> None:
        side = round(len(self.empty) ** 0.5)
        if side * side != len(self.empty) or not 1 <= self.pixels < side:
            raise ConfigError(
                f"samples of {len(self.empty)} features cannot be moved by {self.pixels} pixels; "
                "shift needs square images that are larger than it"
            )
        if not 0.0 < self.share <= 1.0:
            raise ConfigError(f"shift_share is a share above 0 and at most 1, got {self.share}")

    def __call__(self, inputs: FloatArray, rng: np.random.Generator) -> FloatArray:
        """(samples, features): the same images, some of them moved; ``inputs`` stay as they are."""
        side, reach = round(len(self.empty) ** 0.5), self.pixels
        by = rng.integers(-reach, reach + 1, (len(inputs), 2))
        by[rng.random(len(inputs)) >= self.share] = 0
        drawn = (inputs - self.empty).reshape(-1, side, side)
        padded = np.pad(drawn, ((0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
        moved = windows[np.arange(len(inputs)), reach - by[:, 0], reach - by[:, 1]]
        return np.asarray(moved.reshape(len(inputs), -1) + self.empty)
