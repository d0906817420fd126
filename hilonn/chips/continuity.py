"""Of the many singular-value decompositions of one matrix, the one nearest to the last."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from hilonn.typing import FloatArray, IntArray


def match_singular_vectors(
    left: FloatArray, right: FloatArray, left_near: FloatArray, right_near: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Order and signs that bring singular vectors nearest to the last ones.

    Columns of ``left``, rows of ``right`` (ports, ports). ``left[:, order] * signs`` and
    ``right[order] * signs[:, None]`` give the same matrix with the singular values in ``order``.
    """
    overlap = left_near.T @ left + right_near @ right.T
    order: IntArray = np.abs(overlap).argmax(axis=1)
    if len(np.unique(order)) < len(order):
        order = np.asarray(linear_sum_assignment(-np.abs(overlap))[1])
    signs = np.where(overlap[np.arange(len(order)), order] < 0.0, -1.0, 1.0)
    return order, signs
