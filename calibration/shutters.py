"""Bar and cross of every interferometer of a mesh, column by column from the back, all of a column at once.

With all columns behind it in bar or cross state, no matter which, an interferometer's two outputs lead to one output of the
chip each: nothing interferes there. At its inputs light of the columns before it does; the mean of readings with phi half a
turn apart is without that, and what every input of the chip gives is then A + B cos(theta): its ends are bar and
cross. The interferometers of a column are driven in an order each of its own, which tells whose light an output sees.

Which end is bar follows from where light goes: an output that an interferometer is seen at, behind another one, says which way
that one stands; in the first column, inputs say. With all in bar state each is then looked at again, near it: every input
comes straight to it. What leaks turns its sign with phi, its own and that of the next column.

Every reading is bright, however large the mesh, and nothing is tried: 52 passes a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from hilonn.calibration.drives import background, nominal_ohm, on_grid, top_of
from hilonn.calibration.rig import Setup
from hilonn.calibration.superpositions import Superpositions
from hilonn.mesh import UNITARY_MESHES, UnitaryMesh
from hilonn.typing import BoolArray, FloatArray

POINTS, TURNS = 10, 1.2
LOW, HIGH, TRIALS = 0.8, 1.25, 46
"""Of the datasheet's turns a watt, between which an interferometer's own is looked for."""
NEAR = 0.8
"""rad to either side, of a second look."""
SEEN = 0.5
"""Of an output's changes, explained by one interferometer's drive, from which on they are its ..."""
FAINT = 2e-4
"""... unless they are so small a share of all light, squared, that they are noise."""


@dataclass(frozen=True)
class Shutters:
    """``bar``, ``cross`` (mzis,): V^2 / R (W) of the inner heater, the least there is; ``half``: that of half a turn; ``lit``
    (mzis,): those whose fringe was seen."""

    bar: FloatArray
    cross: FloatArray
    half: FloatArray
    lit: BoolArray


def passes(setup: Setup) -> int:
    """What ``find`` takes."""
    return 4 * (POINTS + 3) * UNITARY_MESHES[setup.architecture](setup.ports).depth + 1


def find(
    light: Superpositions, progress: Callable[[int, int], None] = lambda i, n: None
) -> Shutters:
    """All shutters of the mesh that ``light`` sees; inputs and outputs need not be compared yet."""
    setup = light.rig.setup
    mesh = UNITARY_MESHES[setup.architecture](setup.ports)
    one_hot, rng = np.eye(setup.ports), np.random.default_rng([setup.ports, 56])
    volts = background(setup)
    ends, half = np.zeros(mesh.mzis), np.full(mesh.mzis, setup.nominal.power_per_pi)
    lit, seen = np.zeros(mesh.mzis, bool), np.zeros((mesh.mzis, 2), int)
    for done, column in enumerate(range(mesh.depth - 1, -1, -1)):
        own = np.flatnonzero(mesh.column == column)
        thetas = own
        shares = rng.permuted(np.tile(np.linspace(0.0, 1.0, POINTS), (len(own), 1)), axis=1).T
        driven = _volts(setup, shares * top_of(setup, TURNS)[thetas])
        read = np.zeros((POINTS, setup.ports, setup.ports))
        for start in _flips(mesh, column, setup, volts):
            for j, drive in enumerate(driven):
                trial = start.copy()
                trial[thetas] = drive
                read[j] += light.powers(trial, one_hot)
        cold = driven**2 / nominal_ohm(setup)
        explained, found = _fringes(cold, read, np.pi / setup.nominal.power_per_pi)
        changes = _changes(read)
        whole = POINTS * float((read.mean(axis=0).sum(axis=1) ** 2).sum())
        # Each interferometer has two outputs, and no two of them the same.
        rows, outputs = linear_sum_assignment(-np.repeat(explained / changes.max(), 2, axis=0))
        for i, k in enumerate(own):
            seen[k] = outputs[rows // 2 == i]
            gained = explained[i, seen[k]].sum()
            lit[k] = gained > max(SEEN * changes[seen[k]].sum(), FAINT * whole)
            frequency, angle = found(i, seen[k])
            half[k] = np.pi / frequency
            ends[k] = np.mod(angle, np.pi) / frequency
        volts[thetas] = _volts(setup, ends[own])
        progress(done + 1, 2 * mesh.depth)
    leaves = light.powers(volts, one_hot).argmax(axis=1)
    straight = which_are_straight(mesh.column, mesh.top, seen, leaves)
    bar = np.where(straight, ends, ends + half)
    for column in range(mesh.depth):
        own = np.flatnonzero(mesh.column == column)
        volts[: mesh.mzis] = _volts(setup, bar)
        bar[own] = _nearer(light, mesh, column, volts, bar[own], half[own])
        progress(mesh.depth + column + 1, 2 * mesh.depth)
    cross = np.where(bar > half, bar - half, bar + half)
    return Shutters(bar, cross, half, lit)


def _flips(mesh: UnitaryMesh, column: int, setup: Setup, volts: FloatArray) -> Iterator[FloatArray]:
    """``volts`` with phi of a column, and of the one behind it, as they are and half a turn off: what interferes before it, and
    behind it, turns its sign."""
    phis = mesh.mzis + np.flatnonzero(mesh.column == column)
    behind = mesh.mzis + np.flatnonzero(mesh.column == column + 1)
    for turned in ([], phis, behind, [*phis, *behind]):
        start = volts.copy()
        start[turned] = _volts(setup, _other(setup, volts[turned]))
        yield start


def _nearer(
    light: Superpositions,
    mesh: UnitaryMesh,
    column: int,
    volts: FloatArray,
    bar: FloatArray,
    half: FloatArray,
) -> FloatArray:
    """Bar states (n,) of a column by three readings about each, with mirrors everywhere: every input comes straight to it,
    and straight out."""
    setup, own = light.rig.setup, np.flatnonzero(mesh.column == column)
    top, one_hot = mesh.top[own], np.eye(setup.ports)
    middle = np.maximum(bar, NEAR * half / np.pi)
    read, angle = np.zeros((3, len(own))), np.zeros((3, len(own)))
    for start in _flips(mesh, column, setup, volts):
        for k, step in enumerate((-NEAR, 0.0, NEAR)):
            trial = start.copy()
            trial[own] = _volts(setup, middle + step * half / np.pi)
            angle[k] = (trial[own] ** 2 / nominal_ohm(setup) - middle) * np.pi / half
            powers = light.powers(trial, one_hot)
            read[k] += powers[top, top] + powers[top + 1, top + 1]
            read[k] -= powers[top, top + 1] + powers[top + 1, top]
    basis = np.stack((np.ones_like(angle), np.cos(angle), np.sin(angle)), axis=-1)
    _, cosine, sine = np.linalg.solve(basis.swapaxes(0, 1), read.T[..., np.newaxis])[..., 0].T
    step = np.clip(np.arctan2(sine, cosine), -2 * NEAR, 2 * NEAR)
    found = middle + step * half / np.pi
    return np.asarray(np.where(found < 0, found + 2 * half, found))


def _other(setup: Setup, volts: FloatArray) -> FloatArray:
    """V^2 / R half a turn above, or below where that is more than a turn."""
    cold, half = volts**2 / nominal_ohm(setup), setup.nominal.power_per_pi
    return np.asarray(np.where(cold < half, cold + half, cold - half))


def _volts(setup: Setup, cold: FloatArray) -> FloatArray:
    return on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))


def _changes(read: FloatArray) -> FloatArray:
    """How much each output (outputs,) changes, all inputs together."""
    return np.asarray(((read - read.mean(axis=0)) ** 2).sum(axis=(0, 1)))


def _fringes(
    cold: FloatArray, read: FloatArray, about: float
) -> tuple[FloatArray, Callable[[int, np.ndarray], tuple[float, float]]]:
    """Of ``read`` (points, inputs, outputs) the changes (n, outputs) that each one's drive ``cold`` (points, n) explains at
    best; and the frequency and angle of one's fringe, up to half a turn, from the outputs it is seen at."""
    trials = about * np.linspace(LOW, HIGH, TRIALS)
    flat = read.reshape(len(read), -1)
    centred = flat - flat.mean(axis=0)
    shape = (read.shape[1], read.shape[2])

    def solved(i: int, frequency: float) -> tuple[FloatArray, FloatArray]:
        angle = frequency * cold[:, i]
        basis = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        basis = basis - basis.mean(axis=0)
        parts = np.linalg.lstsq(basis, centred, rcond=None)[0]
        gained = ((basis @ parts) ** 2).sum(axis=0).reshape(shape).sum(axis=0)
        return gained, parts.reshape(2, *shape)

    gained = np.array([[solved(i, t)[0] for t in trials] for i in range(cold.shape[1])])

    def found(i: int, outputs: np.ndarray) -> tuple[float, float]:
        best = int(gained[i][:, outputs].sum(axis=1).argmax())
        parts = solved(i, float(trials[best]))[1][:, :, outputs].reshape(2, -1)
        axis = np.linalg.svd(parts)[0][:, 0]
        return float(trials[best]), float(np.arctan2(axis[1], axis[0]))

    return gained.max(axis=1), found


def which_are_straight(
    column: np.ndarray, top: np.ndarray, seen: np.ndarray, leaves: np.ndarray
) -> BoolArray:
    """Which interferometers (mzis,) are in bar state, from the two outputs that each was ``seen`` at (mzis, 2), and the
    output that each input ``leaves`` by.

    Walks from the back: ``ways`` holds for every port the outputs that it may lead to, two of them as long as it is
    not told how the interferometer behind it stands.
    """
    ways: list[set[int]] = [{int(p)} for p in range(len(leaves))]
    before: list[int | None] = [None] * len(leaves)  # the interferometer that a port leads into
    onward = np.zeros((len(column), 2), int)
    straight = np.zeros(len(column), bool)

    def tell(port: int, output: int) -> None:
        """The interferometer behind ``port`` takes it to ``output``."""
        k = before[port]
        if k is not None and len(ways[port]) > 1:
            m = int(top[k])
            sibling = m + 1 if port == m else m
            straight[k] = onward[k, port - m] == output
            if before[sibling] == k:
                ways[sibling] = ways[sibling] - {output}
        ways[port] = {output}

    for k in np.lexsort((top, -column)):
        m, pair = int(top[k]), {int(o) for o in seen[k]}
        for port in (m, m + 1):
            both = ways[port] & pair
            if len(both) == 1:
                tell(port, both.pop())
        for side, port in enumerate((m, m + 1)):
            onward[k, side] = min(ways[port])
            before[port], ways[port] = int(k), set(pair)
    for port, output in enumerate(leaves):
        tell(port, int(output))
    return straight
