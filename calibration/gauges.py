"""Phases that no reading tells apart, moved to where the convention of these records has them.

A phase on an input can be moved through the chip: an interferometer's phi takes up the difference between its two
paths, and passes the rest on. So can what the heaters between an SVD chip's meshes are off by, and the phases behind
the chip. By convention inputs and outputs carry none, and the right mesh's output heaters have no offset.
"""

from __future__ import annotations

import numpy as np

from hilonn.calibration.stages import Layout
from hilonn.typing import FloatArray


def canonical(layout: Layout, offset: FloatArray, into: FloatArray, out: FloatArray) -> FloatArray:
    """Offsets (heaters,) in [0, 2 pi) that, with no phases on inputs and outputs, give the same matrices at every
    drive as ``offset`` with ``into`` and ``out`` (ports,) rad."""
    moved = np.array(offset, float)
    carried = np.array(into, float)
    last = layout.stages[-1]
    for stage, behind in zip(layout.stages, (*layout.stages[1:], None), strict=True):
        if stage.kind != "phase":
            continue
        if stage is last:
            moved[stage.index] += carried[stage.rows] + out[stage.rows]
        elif len(stage.index) == layout.ports and (behind is None or behind.kind == "attenuator"):
            carried[stage.rows] += moved[stage.index]
            moved[stage.index] = 0.0
        elif behind is not None and behind.kind == "coupler" and behind.which == 0:
            upper = stage.rows
            moved[stage.index] += carried[upper] - carried[upper + 1]
            carried[upper] = carried[upper + 1]
    return np.asarray(np.mod(moved, 2 * np.pi))
