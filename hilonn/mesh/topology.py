"""Where the interferometers of a mesh stand, and in which order a unitary is nulled into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.typing import IntArray

RIGHT, LEFT = 0, 1


@dataclass(frozen=True, eq=False)
class Topology:
    """Positions of the interferometers, and the nulling order of their decomposition.

    ``top`` and ``column`` (mzis,), ordered by column and then port. A nulling step k acts on the
    modes ``step_top[k]`` and the next one with interferometer ``step_mzi[k]``. Steps come in
    sweeps: sweep s holds the steps ``bounds[s]`` to ``bounds[s + 1]``, all from ``side[s]``. A
    step from the right (the input side of the mesh) nulls column ``step_top`` of row
    ``step_pivot``; a step from the left nulls row ``step_top + 1`` of column ``step_pivot``.
    Inside a sweep from the right the pivots never increase.
    """

    top: IntArray
    column: IntArray
    depth: int
    side: IntArray
    bounds: IntArray
    step_mzi: IntArray
    step_top: IntArray
    step_pivot: IntArray


Step = tuple[int, int, int]  # column, top, pivot


def rectangular(ports: int) -> Topology:
    """Clements et al., Optica 3, 1460 (2016): antidiagonals nulled from the right and the left."""
    sweeps: list[tuple[int, list[Step]]] = []
    for i in range(1, ports):
        if i % 2:
            sweeps.append((RIGHT, [(j, i - 1 - j, ports - 1 - j) for j in range(i)]))
        else:
            steps = [(ports - j, ports + j - i - 2, j - 1) for j in range(1, i + 1)]
            sweeps.append((LEFT, steps))
    return _assemble(sweeps)


def triangular(ports: int) -> Topology:
    """Reck et al., Phys. Rev. Lett. 73, 58 (1994): rows nulled from the last one up."""
    sweeps: list[tuple[int, list[Step]]] = []
    for row in range(ports - 1, 0, -1):
        first = 2 * (ports - 1 - row)
        sweeps.append((RIGHT, [(first + m, m, row) for m in range(row)]))
    return _assemble(sweeps)


def _assemble(sweeps: list[tuple[int, list[Step]]]) -> Topology:
    steps = np.array([step for _, sweep in sweeps for step in sweep], dtype=np.int64)
    column, top, pivot = steps.T
    order = np.lexsort((top, column))
    index = np.empty_like(order)
    index[order] = np.arange(order.size)
    lengths = [len(sweep) for _, sweep in sweeps]
    return Topology(
        top=top[order],
        column=column[order],
        depth=int(column.max()) + 1,
        side=np.array([side for side, _ in sweeps], dtype=np.int64),
        bounds=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        step_mzi=index,
        step_top=np.ascontiguousarray(top),
        step_pivot=np.ascontiguousarray(pivot),
    )


def light_cone(topology: Topology, ports: int) -> IntArray:
    """For each interferometer the input ports [first, end) whose light can reach it: (mzis, 2)."""
    first = np.arange(ports)
    end = first + 1
    cone = np.empty((topology.top.size, 2), dtype=np.int64)
    for k, m in enumerate(topology.top):
        cone[k] = min(first[m], first[m + 1]), max(end[m], end[m + 1])
        first[m : m + 2], end[m : m + 2] = cone[k]
    return cone
