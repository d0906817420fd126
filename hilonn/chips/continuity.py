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
    """Order and signs (..., vectors) that bring singular vectors nearest to the last ones.

    Columns of ``left``, rows of ``right`` (..., vectors, ports); leading axes are of one matrix each. ``left[:, order] * signs``
    and ``right[order] * signs[:, None]`` give the same matrix with the singular values in ``order``.
    """
    overlap = np.swapaxes(left_near, -1, -2) @ left + right_near @ np.swapaxes(right, -1, -2)
    near = np.abs(overlap)
    order: IntArray = near.argmax(axis=-1)
    ranks = np.sort(order, axis=-1)
    twice = (ranks[..., 1:] == ranks[..., :-1]).any(axis=-1)
    for at in np.argwhere(twice):
        order[tuple(at)] = linear_sum_assignment(-near[tuple(at)])[1]
    chosen = np.take_along_axis(overlap, order[..., np.newaxis], axis=-1)[..., 0]
    return order, np.where(chosen < 0.0, -1.0, 1.0)


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
