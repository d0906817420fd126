"""A coherent chip as a row of stages, walked from both ends.

Between two stages every path of light has a field that left the inputs (a row vector over inputs) and a field that
reaches the outputs (a column vector over outputs). A phase shifter, a coupler's angle and a gain each change the
transfer matrix by a product of one such column and one such row, so that the normal equations of a fit over all
heaters need only the inner products of columns and of rows: N H^2 operations a setting, and no Jacobian of N^2 H.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hilonn.errors import ConfigError
from hilonn.mesh import UNITARY_MESHES, SvdMesh, UnitaryMesh
from hilonn.typing import ComplexArray, FloatArray, IntArray

MESHES = ("svd_mesh", *UNITARY_MESHES)
"""Architectures whose light interferes."""
Kind = Literal["phase", "coupler", "attenuator"]


@dataclass(frozen=True, eq=False)
class Stage:
    """``index`` (n,): heaters of a "phase" or "attenuator", interferometers of a "coupler"; ``rows`` (n,): the
    port of each, the upper one of a coupler; ``mzis`` (n,): interferometers of couplers and attenuators; ``which``
    coupler of them; ``column`` counts columns of interferometers."""

    kind: Kind
    index: IntArray
    rows: IntArray
    mzis: IntArray
    which: int
    column: int
    part: Literal["right", "row", "left"]


@dataclass(frozen=True, eq=False)
class Layout:
    """``stages`` in the order of the light; ``heaters``, ``mzis``: how many there are; ``positions`` (heaters, 2):
    column and row in pitches."""

    ports: int
    stages: tuple[Stage, ...]
    heaters: int
    mzis: int
    positions: FloatArray
    theta: IntArray
    """Heater inside each interferometer (mzis,)."""
    phi: IntArray
    """Heater before it (mzis,); -1 for an attenuator, which has none."""
    top: IntArray
    """Upper port of each interferometer (mzis,)."""


def layout_of(architecture: str, ports: int) -> Layout:
    """Stages of a chip; ConfigError for one whose light does not interfere."""
    if architecture in UNITARY_MESHES:
        mesh = UNITARY_MESHES[architecture](ports)
        stages = tuple(_mesh(mesh, 0, 0, "right"))
        m = mesh.mzis
        return Layout(
            ports, stages, mesh.phases, m, mesh.layout, np.arange(m), m + np.arange(m), mesh.top
        )
    if architecture != "svd_mesh":
        raise ConfigError(f"a {architecture} has no stages of interfering light")
    svd = SvdMesh(ports)
    m, phases = svd.mzis, svd.right.phases
    row = np.arange(ports)
    attenuators = Stage("attenuator", phases + row, row, m + row, 0, svd.right.depth, "row")
    stages = (
        *_mesh(svd.right, 0, 0, "right"),
        attenuators,
        *_mesh(svd.left, phases + ports, m + ports, "left"),
    )
    own = np.arange(m)
    theta = np.concatenate((own, phases + row, phases + ports + own))
    phi = np.concatenate((m + own, np.full(ports, -1), phases + ports + m + own))
    top = np.concatenate((svd.right.top, row, svd.left.top))
    return Layout(ports, stages, svd.phases, 2 * m + ports, svd.layout, theta, phi, top)


def _mesh(
    mesh: UnitaryMesh, first: int, mzi: int, part: Literal["right", "left"]
) -> Iterator[Stage]:
    none = np.zeros(0, int)
    for column in range(mesh.depth):
        own = np.flatnonzero(mesh.column == column)
        rows, k = mesh.top[own], mzi + own
        yield Stage("phase", first + mesh.mzis + own, rows, none, 0, column, part)
        yield Stage("coupler", k, rows, k, 0, column, part)
        yield Stage("phase", first + own, rows, none, 0, column, part)
        yield Stage("coupler", k, rows, k, 1, column, part)
    row = np.arange(mesh.ports)
    yield Stage("phase", first + 2 * mesh.mzis + row, row, none, 0, mesh.depth, part)


@dataclass(frozen=True, eq=False)
class Optics:
    """What light meets besides phases: ``errors`` (mzis, 2) rad, ``transmission`` (mzis,) power, gains of the fields
    ``into`` (ports,) and ``out`` (ports,), complex."""

    errors: FloatArray
    transmission: FloatArray
    into: ComplexArray
    out: ComplexArray


def attenuation(theta: FloatArray, errors: FloatArray, transmission: FloatArray) -> ComplexArray:
    """Field (..., n) of attenuators, from upper input to upper output."""
    a, b = (np.pi / 4 + errors).T
    field: ComplexArray = np.sqrt(transmission) * (
        np.exp(1j * theta) * np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b)
    )
    return field


def _coupler(optics: Optics, stage: Stage) -> tuple[FloatArray, FloatArray]:
    angle = np.pi / 4 + optics.errors[stage.mzis, stage.which]
    size = np.sqrt(optics.transmission[stage.mzis]) if stage.which else 1.0
    return size * np.cos(angle), size * np.sin(angle)


def transfer(layout: Layout, psi: FloatArray, optics: Optics) -> ComplexArray:
    """Matrices (s, ports, ports) of the fields at total phases ``psi`` (s, heaters) rad."""
    fields = _start(layout, len(psi), optics.into)
    for stage in layout.stages:
        _forward(stage, fields, psi, optics)
    return fields * optics.out[:, np.newaxis]


@dataclass(frozen=True, eq=False)
class Walk:
    """``matrix`` (s, ports, ports), and the columns ``x`` and rows ``y`` of every term of rank one in its
    differential (s, terms, ports): heater h is term h with the factor i; a coupler's angle is the two terms
    ``couplers[:, w, 0]`` and ``couplers[:, w, 1]`` (mzis, 2, 2) with the factor i, only the first (the other -1) for
    an attenuator's; the logarithm of an interferometer's field transmission is the two terms ``losses`` (mzis, 2),
    likewise, with the factor 1; the terms ``into`` and ``out`` (ports,) are those of the logarithms of the gains, with
    the factor 1."""

    matrix: ComplexArray
    x: ComplexArray
    y: ComplexArray
    couplers: IntArray
    losses: IntArray
    into: IntArray
    out: IntArray


def walk(layout: Layout, psi: FloatArray, optics: Optics) -> Walk:
    """``transfer`` with its differential."""
    s, n, h = len(psi), layout.ports, layout.heaters
    couplers, losses = np.full((layout.mzis, 2, 2), -1), np.full((layout.mzis, 2), -1)
    count = h
    for stage in layout.stages:
        k = len(stage.mzis)
        if stage.kind == "coupler":
            couplers[stage.mzis, stage.which] = count + np.arange(2 * k).reshape(k, 2)
            count += 2 * k
            if stage.which:
                losses[stage.mzis] = count + np.arange(2 * k).reshape(k, 2)
                count += 2 * k
        elif stage.kind == "attenuator":
            couplers[stage.mzis, :, 0] = count + np.arange(2 * k).reshape(k, 2)
            losses[stage.mzis, 0] = count + 2 * k + np.arange(k)
            count += 3 * k
    into, out = count + np.arange(n), count + n + np.arange(n)
    x = np.empty((s, count + 2 * n, n), np.complex128)
    y = np.empty_like(x)
    fields = _start(layout, s, optics.into)
    y[:, into] = fields
    for stage in layout.stages:
        before = fields[:, stage.rows].copy() if stage.kind == "attenuator" else fields
        _forward(stage, fields, psi, optics)
        if stage.kind == "phase":
            y[:, stage.index] = fields[:, stage.rows]
        elif stage.kind == "attenuator":
            a, b = (np.pi / 4 + optics.errors[stage.mzis]).T
            size = np.sqrt(optics.transmission[stage.mzis])
            z = np.exp(1j * psi[:, stage.index])
            own = couplers[stage.mzis, :, 0]
            for term, slope in (
                (stage.index, np.cos(a) * np.cos(b) * z),
                (own[:, 0], 1j * (np.sin(a) * np.cos(b) * z + np.cos(a) * np.sin(b))),
                (own[:, 1], 1j * (np.cos(a) * np.sin(b) * z + np.sin(a) * np.cos(b))),
            ):
                y[:, term] = (size * slope)[:, :, np.newaxis] * before
            y[:, losses[stage.mzis, 0]] = fields[:, stage.rows]
        else:
            first = couplers[stage.mzis, stage.which]
            y[:, first[:, 0]] = fields[:, stage.rows + 1]
            y[:, first[:, 1]] = fields[:, stage.rows]
            if stage.which:
                y[:, losses[stage.mzis, 0]] = fields[:, stage.rows]
                y[:, losses[stage.mzis, 1]] = fields[:, stage.rows + 1]
    y[:, out] = fields
    matrix = fields * optics.out[:, np.newaxis]
    back = _start(layout, s, optics.out)  # rows: what reaches the outputs from each path
    x[:, out] = back
    for stage in reversed(layout.stages):
        if stage.kind == "coupler":
            first = couplers[stage.mzis, stage.which]
            x[:, first[:, 0]] = back[:, stage.rows]
            x[:, first[:, 1]] = back[:, stage.rows + 1]
            if stage.which:
                x[:, losses[stage.mzis, 0]] = back[:, stage.rows]
                x[:, losses[stage.mzis, 1]] = back[:, stage.rows + 1]
        else:
            x[:, stage.index] = back[:, stage.rows]
            if stage.kind == "attenuator":
                for term in (*couplers[stage.mzis, :, 0].T, losses[stage.mzis, 0]):
                    x[:, term] = back[:, stage.rows]
        _forward(stage, back, psi, optics)  # every stage is its own transpose
    x[:, into] = back
    return Walk(matrix, x, y, couplers, losses, into, out)


def _start(layout: Layout, settings: int, gains: ComplexArray) -> ComplexArray:
    fields = np.zeros((settings, layout.ports, layout.ports), np.complex128)
    row = np.arange(layout.ports)
    fields[:, row, row] = gains
    return fields


def _forward(stage: Stage, fields: ComplexArray, psi: FloatArray, optics: Optics) -> None:
    rows = stage.rows
    if stage.kind == "phase":
        fields[:, rows] *= np.exp(1j * psi[:, stage.index])[:, :, np.newaxis]
    elif stage.kind == "attenuator":
        factor = attenuation(
            psi[:, stage.index], optics.errors[stage.mzis], optics.transmission[stage.mzis]
        )
        fields[:, rows] *= factor[:, :, np.newaxis]
    else:
        c, s = _coupler(optics, stage)
        upper, lower = fields[:, rows], fields[:, rows + 1]
        straight, across = c[:, np.newaxis], 1j * s[:, np.newaxis]
        fields[:, rows] = straight * upper + across * lower
        fields[:, rows + 1] = across * upper + straight * lower
