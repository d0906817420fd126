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
    """The kernel laid over a chip, on the grid of its heaters' places.

    ``place`` (heaters,) is each heater's cell in a grid of ``shape`` that has a rim as wide as the
    kernel reaches; ``step`` (k,) are the kernel's offsets in cells and ``share`` (k,) its shares.
    Cells without a heater hold zero.
    """

    place: IntArray
    shape: tuple[int, int]
    step: IntArray
    share: FloatArray

    def add(self, own: FloatArray, base: FloatArray) -> FloatArray:
        """base + own + C own, the phases (heaters,) in rad of heaters that turn by ``own``."""
        phases = np.empty(len(base))
        _spread(own, base, self.place, self.shape[0], self.shape[1], self.step, self.share, phases)
        return phases


def lay(layout: FloatArray, shares: FloatArray) -> Stencil:
    """The stencil of heaters at ``layout`` (heaters, 2), whole pitches, for a kernel (k, 3)."""
    reach = int(np.abs(shares[:, :2]).max(initial=0.0))
    corner = layout.min(axis=0)
    column, row = (layout - corner).astype(np.int64).T + reach
    columns, rows = int(column.max()) + reach + 1, int(row.max()) + reach + 1
    # Heat that arrives here from there: the sign of the step does not matter to the amount, which
    # depends on the distance only.
    step = shares[:, 0].astype(np.int64) * rows + shares[:, 1].astype(np.int64)
    return Stencil(column * rows + row, (columns, rows), step, shares[:, 2].copy())


@kernel
def _shift(
    grid: FloatArray, first: np.uintp, step: np.uintp, share: float, spread: FloatArray
) -> None:
    for q in range(np.uintp(0), np.uintp(spread.size)):
        spread[q] += share * grid[first + step + q]


@kernel
def _shift_four(
    grid: FloatArray,
    a: np.uintp,
    b: np.uintp,
    c: np.uintp,
    d: np.uintp,
    share: FloatArray,
    spread: FloatArray,
) -> None:
    """Four at once: what each adds to is loaded and stored once."""
    wa, wb, wc, wd = share[0], share[1], share[2], share[3]
    for q in range(np.uintp(0), np.uintp(spread.size)):
        spread[q] += wa * grid[a + q] + wb * grid[b + q] + (wc * grid[c + q] + wd * grid[d + q])


@kernel
def _spread(
    own: FloatArray,
    base: FloatArray,
    place: IntArray,
    columns: int,
    rows: int,
    step: IntArray,
    share: FloatArray,
    phases: FloatArray,
) -> None:
    reach = np.abs(step).max() if step.size else 0
    grid = np.zeros(columns * rows + 2 * reach)
    for i in range(place.size):
        grid[reach + place[i]] = own[i]
    spread = np.zeros(columns * rows)
    block = 2048  # cells whose sums stay in the first cache while the kernel passes over them
    for first in range(0, spread.size, block):
        part = spread[first : first + block]
        whole = step.size // 4 * 4
        for k in range(0, whole, 4):
            at = first + reach + step[k : k + 4]
            _shift_four(
                grid,
                np.uintp(at[0]),
                np.uintp(at[1]),
                np.uintp(at[2]),
                np.uintp(at[3]),
                share[k : k + 4],
                part,
            )
        for k in range(whole, step.size):
            _shift(grid, np.uintp(first), np.uintp(reach + step[k]), share[k], part)
    for i in range(place.size):
        phases[i] = base[i] + own[i] + spread[place[i]]
