"""Readings of a chip with something turned, beside readings of the undisturbed chip before and after it.

What drifts in between is no answer, and what noise alone changes is known from the same readings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from hilonn.typing import FloatArray

Kept = TypeVar("Kept")
REFRESH = 16
"""Turns, at most, between two readings of the undisturbed chip."""
NOISES = 8
"""Pairs of such readings, at least: the noise of one pair of few ports is known to a tenth, with drift to less."""


def changes_of(
    turned: Callable[[int], FloatArray],
    count: int,
    still: Callable[[], FloatArray],
    before: FloatArray,
    keep: Callable[[FloatArray], Kept],
) -> tuple[list[Kept], float, int]:
    """What ``turned(0)`` .. ``turned(count - 1)`` change against the undisturbed chip at their moments, scaled so that noise
    alone gives what two undisturbed readings differ by: what ``keep`` makes of each; that difference's rms; how often
    ``still`` was read. ``before``: it, read just now."""
    kept: list[Kept] = []
    noises: list[float] = []
    group = min(REFRESH, max(1, count // NOISES))
    for begin in range(0, count, group):
        read = [turned(place) for place in range(begin, min(begin + group, count))]
        after = still()
        for index, values in enumerate(read):
            late = (index + 1) / (len(read) + 1)
            between = (1 - late) * before + late * after
            spread = np.sqrt((1 + late**2 + (1 - late) ** 2) / 2)  # of noise, in a difference's
            kept.append(keep((values - between) / spread))
        noises.append(rms(after - before))
        before = after
    while len(noises) < NOISES:
        after = still()
        noises.append(rms(after - before))
        before = after
    noise = max(float(np.median(noises)), 1e-12 * float(np.abs(before).max(initial=0.0)), 1e-300)
    return kept, noise, len(noises)


def rms(values: FloatArray) -> float:
    """Root mean square of all."""
    return float(np.sqrt(np.mean(values**2)))
