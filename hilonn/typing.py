"""Names for the array types that cross module boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
ComplexArray = NDArray[np.complexfloating[Any, Any]]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer[Any]]

Snapshot = dict[str, Any]
"""State of one owner: str keys; values are numpy arrays, numbers, strings, bools, None, lists or
further such dicts. Written to a checkpoint without pickle (see ``hilonn.runs.checkpoint``)."""
