"""Readings of a chip with something turned, beside readings of the undisturbed chip before and after it.

What drifts in between is no answer, and what noise alone changes is known from the same readings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hilonn.typing import FloatArray

REFRESH = 16
"""Turns, at most, between two readings of the undisturbed chip."""
NOISES = 8
"""Pairs of such readings, at least: the noise of one pair of few ports is known to a tenth, with drift to less."""


def changes_of(
    turned: Sequence[Callable[[], FloatArray]], still: Callable[[], FloatArray], before: FloatArray
) -> tuple[FloatArray, float, int]:
    """What each of ``turned`` changes (turned, ...) against the undisturbed chip at its moment, scaled so that noise alone
    gives what two undisturbed readings differ by; that difference's rms; how often ``still`` was read. ``before``: it, read
    just now."""
    changes, noises = np.empty((len(turned), *before.shape)), []
    group = min(REFRESH, max(1, len(turned) // NOISES))
    for begin in range(0, len(turned), group):
        read = [each() for each in turned[begin : begin + group]]
        after = still()
        for index, values in enumerate(read):
            late = (index + 1) / (len(read) + 1)
            between = (1 - late) * before + late * after
            spread = np.sqrt((1 + late**2 + (1 - late) ** 2) / 2)  # of noise, in a difference's
            changes[begin + index] = (values - between) / spread
        noises.append(rms(after - before))
        before = after
    while len(noises) < NOISES:
        after = still()
        noises.append(rms(after - before))
        before = after
    noise = max(float(np.median(noises)), 1e-12 * float(np.abs(before).max(initial=0.0)), 1e-300)
    return changes, noise, len(noises)


def rms(values: FloatArray) -> float:
    """Root mean square of all."""
    return float(np.sqrt(np.mean(values**2)))
