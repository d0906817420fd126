"""Of the many singular-value decompositions of one matrix, the one nearest to the last."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from hilonn.typing import FloatArray, IntArray

_ORTHONORMAL = 1e-13
_ROUNDS = 8


def match_singular_vectors(
    left: FloatArray, right: FloatArray, left_near: FloatArray, right_near: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Order and signs that bring singular vectors nearest to the last ones.

    Columns of ``left``, rows of ``right`` (vectors, ports). ``left[:, order] * signs`` and
    ``right[order] * signs[:, None]`` give the same matrix with the singular values in ``order``.
    """
    overlap = left_near.T @ left + right_near @ right.T
    order: IntArray = np.abs(overlap).argmax(axis=1)
    if len(np.unique(order)) < len(order):
        order = np.asarray(linear_sum_assignment(-np.abs(overlap))[1])
    signs = np.where(overlap[np.arange(len(order)), order] < 0.0, -1.0, 1.0)
    return order, signs


def completed(basis: FloatArray, near: FloatArray) -> FloatArray | None:
    """Orthonormal columns (ports, rest) that fill up ``basis`` (ports, vectors), nearest to ``near``.

    The singular vectors of singular values that are zero are arbitrary, and light that leaks into
    them comes back: a completion drawn anew at each programming would turn most phases of the mesh
    for nothing, and make other errors each time. None where ``near`` is too far away to be followed.
    """
    found = near - basis @ (basis.T @ near)
    one = np.eye(found.shape[1])
    for _ in range(_ROUNDS):  # Newton and Schulz, towards the polar factor (Higham 1986)
        missing = one - found.T @ found
        largest = float(np.abs(missing).sum(axis=1).max(initial=0.0))
        if largest < _ORTHONORMAL * len(found):
            return found
        if largest > 1.0:
            return None
        found = found + 0.5 * found @ missing
    return None
