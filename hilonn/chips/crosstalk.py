"""Crosstalk as a stencil: fractions by distance, over the layout of the heaters."""

from __future__ import annotations

from scipy.sparse import csr_array

from hilonn.typing import FloatArray

CELL = 1e-6
"""Positions nearer than this (in heater pitches) are the same place."""


def stencil(kernel: FloatArray, layout: FloatArray) -> csr_array:
    """(heaters, heaters) sparse: row i holds what fraction of each heater's own phase i takes.

    ``kernel`` (k, 3): column offset, row offset (in heater pitches), fraction; ``layout``
    (heaters, 2): column and row of each heater.
    """
    heaters = len(layout)
    place = {(round(c / CELL), round(r / CELL)): i for i, (c, r) in enumerate(layout)}
    rows, columns, values = [], [], []
    for i, (column, row) in enumerate(layout):
        for dcolumn, drow, fraction in kernel:
            j = place.get((round((column + dcolumn) / CELL), round((row + drow) / CELL)))
            if j is not None and j != i and fraction != 0.0:
                rows.append(i)
                columns.append(j)
                values.append(fraction)
    return csr_array((values, (rows, columns)), shape=(heaters, heaters))
