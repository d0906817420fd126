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
    carried = _pushed(layout, moved, np.array(into, float), 0)
    moved[layout.stages[-1].index] += carried + out
    return np.asarray(np.mod(moved, 2 * np.pi))


def mirrored(layout: Layout, offset: FloatArray, mzi: int) -> FloatArray:
    """Offsets (heaters,) with theta of the interferometer ``mzi`` at -theta, phi at phi + pi, and what stands behind
    it turned accordingly: the same matrices where its couplers are ideal, as long as theta does not move."""
    moved = np.array(offset, float)
    theta, top = moved[layout.theta[mzi]], int(layout.top[mzi])
    moved[layout.theta[mzi]] = -theta
    moved[layout.phi[mzi]] += np.pi
    carried = np.zeros(layout.ports)
    carried[top], carried[top + 1] = theta, theta + np.pi
    behind = 1 + max(
        i for i, s in enumerate(layout.stages) if s.kind == "coupler" and mzi in s.mzis
    )
    left = _pushed(layout, moved, carried, behind)
    moved[layout.stages[-1].index] += left
    return np.asarray(np.mod(moved, 2 * np.pi))


def _pushed(layout: Layout, moved: FloatArray, carried: FloatArray, first: int) -> FloatArray:
    """Take phases ``carried`` (ports,) from before stage ``first`` to the chip's end, changing ``moved`` on the way;
    what is left there."""
    stages = layout.stages
    for i in range(first, len(stages) - 1):
        stage, behind = stages[i], stages[i + 1]
        if stage.kind != "phase":
            continue
        if behind.kind == "attenuator":
            carried[stage.rows] += moved[stage.index]
            moved[stage.index] = 0.0
        elif behind.kind == "coupler" and behind.which == 0:
            upper = stage.rows
            moved[stage.index] += carried[upper] - carried[upper + 1]
            carried[upper] = carried[upper + 1]
    return carried
