"""Which heaters of a layout stand at which distance from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hilonn.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Distances:
    """Pairs of heaters by their distance: ``length`` (d,) pitches, ``offsets`` of each, and ``pairs`` (d,) sparse
    (heaters, heaters) of ones."""

    length: FloatArray
    offsets: tuple[IntArray, ...]
    pairs: tuple[csr_array, ...]


def distances(positions: FloatArray, reach: float) -> Distances:
    """Every distance up to ``reach`` at which heaters stand from each other."""
    place = {(int(c), int(r)): i for i, (c, r) in enumerate(np.rint(positions))}
    whole_reach = int(reach)
    steps = [
        (a, b)
        for a in range(-whole_reach, whole_reach + 1)
        for b in range(-whole_reach, whole_reach + 1)
        if 0 < a * a + b * b <= reach * reach
    ]
    kinds = sorted({a * a + b * b for a, b in steps})
    pairs, offsets = [], []
    for kind in kinds:
        own = [(a, b) for a, b in steps if a * a + b * b == kind]
        found = [
            (i, place[c + a, r + b])
            for (c, r), i in place.items()
            for a, b in own
            if (c + a, r + b) in place
        ]
        i, j = np.array(found, int).reshape(-1, 2).T
        shape = (len(place), len(place))
        pairs.append(csr_array((np.ones(len(i)), (i, j)), shape=shape))
        offsets.append(np.array(own))
    return Distances(np.sqrt(np.array(kinds, float)), tuple(offsets), tuple(pairs))
