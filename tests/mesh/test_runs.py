"""Sparse matrices in runs along diagonals."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.mesh.runs import RunMatrix


@settings(deadline=None, max_examples=25)
@given(
    st.one_of(st.integers(1, 40), st.integers(1000, 1300)),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 0.3),
    st.integers(1, 3),
)
def test_a_matrix_of_runs_is_the_dense_one(
    size: int, seed: int, density: float, kinds: int
) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(
        rng.uniform(size=(size, size)) < density, rng.integers(1, kinds + 1, (size, size)), 0
    )
    rows, columns = np.nonzero(dense)
    order = rng.permutation(len(rows))
    rows, columns = rows[order], columns[order]
    runs = RunMatrix.of(rows, columns, dense[rows, columns].astype(float))
    vector, start = rng.standard_normal((2, size))
    into = start.copy()
    runs.add(vector, into)
    np.testing.assert_allclose(into, start + dense @ vector, rtol=0, atol=1e-11)


def test_a_diagonal_is_one_run() -> None:
    n = np.arange(300)
    runs = RunMatrix.of(n, n + 5, np.full(300, 0.5))
    assert (runs.row.tolist(), runs.column.tolist(), runs.length.tolist()) == ([0], [5], [300])
