"""Sparse matrices whose elements stand in runs along diagonals: what the heaters of a mesh do to each other.

In the flat order of phases the heaters of a column follow each other, and so do those that one of them warms at a given
distance: a run is one share, times a stretch of the vector, added to a stretch of the result, in vector instructions and
without an index for each element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.mesh.jit import dense_kernel
from hilonn.typing import FloatArray, IntArray

_STRETCH = 512  # results that are worked out at once, so that they stay in the first cache


@dataclass(frozen=True, eq=False)
class RunMatrix:
    """``share[r]`` at rows ``row[r] + i`` and columns ``column[r] + i``, i < ``length[r]``, of each run r."""

    row: IntArray
    column: IntArray
    length: IntArray
    share: FloatArray

    @classmethod
    def of(cls, rows: IntArray, columns: IntArray, values: FloatArray) -> RunMatrix:
        """The matrix with ``values`` at ``rows`` and ``columns`` (elements,), each place at most once."""
        order = np.lexsort((rows, columns - rows, rows // _STRETCH))
        rows, columns, values = rows[order], columns[order], values[order]
        goes_on = (np.diff(rows) == 1) & (np.diff(columns) == 1) & (np.diff(values) == 0)
        starts = np.flatnonzero(np.concatenate(([len(rows) > 0], ~goes_on)))
        lengths = np.diff(np.concatenate((starts, [len(rows)])))
        return cls(
            rows[starts].astype(np.int64),
            columns[starts].astype(np.int64),
            lengths.astype(np.int64),
            np.ascontiguousarray(values[starts], np.float64),
        )

    def add(self, vector: FloatArray, into: FloatArray) -> None:
        """Add the matrix times ``vector`` (columns,) to ``into`` (rows,), another array."""
        _add(self.row, self.column, self.length, self.share, vector, into)


@dense_kernel
def _add(
    row: IntArray,
    column: IntArray,
    length: IntArray,
    share: FloatArray,
    vector: FloatArray,
    into: FloatArray,
) -> None:
    for r in range(row.size):
        to, source, part = np.uintp(row[r]), np.uintp(column[r]), share[r]
        for i in range(np.uintp(length[r])):
            into[to + i] += part * vector[source + i]
