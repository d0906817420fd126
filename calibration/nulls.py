"""Which interferometers are nulled after which, with what is sent, for a wanted matrix: the plan of a self-configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilonn.calibration.rig import Setup
from hilonn.calibration.stages import Layout, layout_of
from hilonn.chips.unitary_mesh import dilated
from hilonn.errors import ConfigError
from hilonn.mesh import UNITARY_MESHES
from hilonn.typing import FloatArray

METHODS = ("progressive", "parallel")
UNITARY = 1e-6
"""Largest element of U U^T - 1 of what counts as orthogonal."""


def prepared(method: str, setup: Setup, matrix: ArrayLike) -> FloatArray:
    """``whole_matrix``, of a chip that ``method`` can configure. ConfigError for another one, or for another method."""
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}: there are {' and '.join(METHODS)}")
    if setup.architecture not in UNITARY_MESHES:
        raise ConfigError(
            f"{setup.chip} is a {setup.architecture}: what configures itself is one mesh, "
            f"{' or '.join(UNITARY_MESHES)}"
        )
    if method == "progressive" and setup.architecture != "triangular_mesh":
        raise ConfigError(
            f"{setup.chip} is a {setup.architecture}: rows are nulled one after another on a triangular_mesh only; "
            "a rectangular one takes `parallel`"
        )
    return whole_matrix(matrix, setup)


def whole_matrix(matrix: ArrayLike, setup: Setup) -> FloatArray:
    """The orthogonal matrix (ports, ports) that holds ``matrix``. ConfigError for one that cannot be sent or held."""
    given = np.asarray(matrix)
    if np.iscomplexobj(given):
        raise ConfigError(
            "a complex matrix was given: modulators at their null send signed amplitudes, no other phases, so that "
            "only real matrices configure themselves"
        )
    if given.ndim != 2 or not np.isfinite(np.asarray(given, float)).all():
        raise ConfigError(f"a matrix is two-dimensional and finite, not of shape {given.shape}")
    real, ports = np.asarray(given, float), setup.ports
    if real.shape == (ports, ports):
        off = float(np.abs(real @ real.T - np.eye(ports)).max())
        if off > UNITARY:
            raise ConfigError(
                f"a {ports} x {ports} matrix for {setup.chip} must be orthogonal; the largest element of U U^T - 1 is "
                f"{off:.2g}. Any matrix of up to {ports // 2} x {ports // 2} can be had as its corner"
            )
        return real
    half = ports // 2
    if max(real.shape) > half:
        raise ConfigError(
            f"{setup.chip} has {ports} ports: it takes an orthogonal {ports} x {ports} matrix, or any of up to "
            f"{half} x {half}, not one of {real.shape[0]} x {real.shape[1]}"
        )
    corner = np.zeros((1, half, half))
    corner[0, : real.shape[0], : real.shape[1]] = real
    return np.asarray(dilated(corner, ports)[0][0])


@dataclass(frozen=True)
class Node:
    """An interferometer with its place: heaters ``theta`` and ``phi``, ``column``, upper port ``top``; ``behind``: phi's heater
    of the next one on the same two ports, or None."""

    theta: int
    phi: int
    column: int
    top: int
    behind: int | None


def nodes_of(setup: Setup) -> list[Node]:
    """All interferometers in the order of the light."""
    layout: Layout = layout_of(setup.architecture, setup.ports)
    mesh = UNITARY_MESHES[setup.architecture](setup.ports)
    where = {
        (int(c), int(m)): k for k, (c, m) in enumerate(zip(mesh.column, mesh.top, strict=True))
    }
    found = []
    for (column, top), k in sorted(where.items()):
        behind = where.get((column + 2, top))
        found.append(
            Node(
                int(layout.theta[k]),
                int(layout.phi[k]),
                column,
                top,
                None if behind is None else int(layout.phi[behind]),
            )
        )
    return found


@dataclass(frozen=True)
class Job:
    """Interferometers that are nulled at once, each with the superposition (ports,) that leaves its upper port dark."""

    nodes: tuple[Node, ...]
    sent: FloatArray


def jobs(method: str, setup: Setup, wanted: FloatArray) -> Iterator[Job]:
    """What is nulled after what."""
    nodes = nodes_of(setup)
    if method == "progressive":
        for row in range(setup.ports - 1, 0, -1):
            diagonal = [n for n in nodes if n.column - n.top == 2 * (setup.ports - 1 - row)]
            for node in sorted(diagonal, key=lambda n: n.top):
                yield Job((node,), wanted[row : row + 1])
        return
    mesh = UNITARY_MESHES[setup.architecture](setup.ports)
    phases = mesh.decompose(wanted)
    field = np.eye(setup.ports, dtype=complex)
    for column in range(mesh.depth):
        for k in np.flatnonzero(mesh.column == column):
            m = int(mesh.top[k])
            field[m : m + 2] = _interferometer(phases.theta[k], phases.phi[k]) @ field[m : m + 2]
        here = tuple(n for n in nodes if n.column == column)
        yield Job(here, np.stack([_real(field[n.top + 1]) for n in here]))


def _interferometer(theta: float, phi: float) -> np.ndarray:
    half = np.array([[1, 1j], [1j, 1]]) / np.sqrt(2)
    return np.asarray(
        half @ np.diag([np.exp(1j * theta), 1]) @ half @ np.diag([np.exp(1j * phi), 1])
    )


def _real(row: np.ndarray) -> FloatArray:
    """A row without its phase: those of a mesh's columns are real where the whole is."""
    return np.asarray((row * np.exp(-1j * np.angle(row[np.abs(row).argmax()]))).real)
