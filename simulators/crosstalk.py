"""Heat that spreads: the share of a heater's phase that its neighbours get, by distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.simulators.presets import PlantParameters
from hilonn.typing import FloatArray, IntArray


def crosstalk_kernel(p: PlantParameters) -> FloatArray:
    """Rows (columns away, rows away, share): share = crosstalk * exp(-(d - 1) / length), d <= reach.

    (k, 3); (0, 3) without crosstalk. d is the distance in pitches.
    """
    if p.crosstalk == 0:
        return np.zeros((0, 3))
    reach = int(p.crosstalk_reach)
    steps = np.arange(-reach, reach + 1)
    columns, rows = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    distance = np.hypot(columns, rows)
    near = (distance > 0) & (distance <= p.crosstalk_reach)
    share = p.crosstalk * np.exp(-(distance[near] - 1) / p.crosstalk_length)
    return np.stack((columns[near], rows[near], share), axis=1)


@dataclass(frozen=True, eq=False)
class Stencil:
    """The kernel laid over a chip: a sparse matrix (heaters, heaters) by rows, diagonal left out."""

    start: IntArray
    source: IntArray
    share: FloatArray

    def add(self, own: FloatArray, base: FloatArray) -> FloatArray:
        """base + own + C own, the phases (heaters,) in rad of heaters that turn by ``own``."""
        phases = np.empty(len(base))
        _gather(own, base, self.start, self.source, self.share, phases)
        return phases


def lay(layout: FloatArray, shares: FloatArray) -> Stencil:
    """The stencil of heaters at ``layout`` (heaters, 2), whole pitches, for a kernel (k, 3)."""
    places = {(int(c), int(r)): index for index, (c, r) in enumerate(layout)}
    start, source, share = [0], [], []
    for column, row in layout:
        for columns, rows, part in shares:
            # Heat that arrives here from there: the sign of the step does not matter to the
            # amount, which depends on the distance only.
            index = places.get((int(column + columns), int(row + rows)))
            if index is not None:
                source.append(index)
                share.append(part)
        start.append(len(source))
    return Stencil(
        np.array(start, dtype=np.int64), np.array(source, dtype=np.int64), np.array(share, float)
    )


@kernel
def _gather(
    own: FloatArray,
    base: FloatArray,
    start: IntArray,
    source: IntArray,
    share: FloatArray,
    phases: FloatArray,
) -> None:
    for i in range(phases.size):
        total = base[i] + own[i]
        for k in range(start[i], start[i + 1]):
            total += share[k] * own[source[k]]
        phases[i] = total
