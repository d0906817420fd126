"""Heat that spreads: the share of a heater's phase that its neighbours get, by distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.mesh.runs import RunMatrix
from hilonn.simulators.presets import PlantParameters
from hilonn.typing import FloatArray


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
class Crosstalk:
    """The kernel laid over a chip: what every heater takes of the phases that the others give themselves."""

    warmth: RunMatrix

    def add(self, own: FloatArray, base: FloatArray) -> FloatArray:
        """base + own + C own, the phases (heaters,) in rad of heaters that turn by ``own``."""
        phases = base + own
        self.warmth.add(own, phases)
        return phases


def lay(layout: FloatArray, shares: FloatArray) -> Crosstalk:
    """What heaters at ``layout`` (heaters, 2), whole pitches, do to each other by a kernel (k, 3)."""
    reach = int(np.abs(shares[:, :2]).max(initial=0.0))
    column, row = (layout - layout.min(axis=0)).astype(np.int64).T + reach
    heater = np.full((int(column.max()) + reach + 1, int(row.max()) + reach + 1), -1)
    heater[column, row] = np.arange(len(layout))
    rows, columns, values = [], [], []
    for columns_away, rows_away, share in shares:
        source = heater[column + int(columns_away), row + int(rows_away)]
        warmed = np.flatnonzero(source >= 0)
        rows.append(warmed)
        columns.append(source[warmed])
        values.append(np.full(len(warmed), share))
    if not rows:
        nothing = np.zeros(0, np.int64)
        return Crosstalk(RunMatrix.of(nothing, nothing, np.zeros(0)))
    return Crosstalk(
        RunMatrix.of(np.concatenate(rows), np.concatenate(columns), np.concatenate(values))
    )
