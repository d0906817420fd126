"""Phases for a matrix by Gauss's and Newton's method, from phases that are near: what a step of learning needs of a chip
some of whose heaters are dead.

A decomposition cannot go around a dead heater, and a descent by gradients takes hundreds of rounds. One phase changes the
matrix by a product of a column and a row,

    dM / d phase_h = x_h y_h^T,

so that the products of the derivative with a step, sum_h x_h p_h y_h^T, and with a matrix, Re(x_h^H R y_h*), are two
small matrix products, and conjugate gradients solve the linear least squares of a round (CGLS, Bjoerck 1996, section 7.4) in a
millisecond at 16 ports. Of all steps that reach the matrix they find the shortest, so that phases move little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.chips import forward_kernels as kernels
from hilonn.chips.descent import Model
from hilonn.chips.forward import mesh_elements, svd_elements
from hilonn.mesh import SvdMesh
from hilonn.mesh.jit import kernel
from hilonn.typing import ComplexArray, FloatArray, IntArray

NEAR = 1e-2
"""Relative Frobenius error at which a matrix is reached: below what splitters cost a decomposition, and what noise costs a reading."""
UNSEEN = 0.05
"""Weight of the imaginary part: at 0.1 the same rounds leave twice as much of the real one (measured at 16 ports, steps of 1 %)."""
ROUNDS = 2
INNER = 12
"""Conjugate gradients a round."""
LONGEST = 0.7
"""rad that a phase may move in a round."""


class Derivative:
    """The derivative of a model's matrix at ``phases`` (heaters,): ``x`` (heaters, outputs) and ``y`` (heaters, inputs), zero
    where a phase is not free."""

    def __init__(self, chart: Chart, phases: FloatArray) -> None:
        model, ports = chart.model, chart.ports
        turns = np.exp(1j * phases)
        seen = np.zeros((len(chart.elements), 2, ports), np.complex128)
        sent = np.zeros_like(seen)
        leaving, towards = np.eye(ports, dtype=complex), np.eye(ports, dtype=complex)
        kernels.forward(chart.elements, turns, chart.halves, leaving, seen)
        kernels.backward(chart.elements, turns, chart.halves, towards, sent)
        self.x = np.zeros((len(phases), ports), np.complex128)
        self.y = np.zeros((len(phases), ports), np.complex128)
        _products(chart.elements, turns, chart.halves, seen, sent, self.x, self.y)
        self.x *= chart.behind
        self.y *= chart.before
        self.y[~model.free] = 0.0
        self.matrix: ComplexArray = leaving * chart.behind[:, np.newaxis] * chart.before

    def along(self, step: FloatArray) -> ComplexArray:
        """Change of the matrix (outputs, inputs) for a small ``step`` (heaters,)."""
        moved: ComplexArray = (self.x * step[:, np.newaxis]).T @ self.y
        return moved

    def against(self, matrix: ComplexArray) -> FloatArray:
        """The transpose of ``along``: (heaters,)."""
        return np.asarray((((self.x.conj() @ matrix) * self.y.conj()).sum(axis=1)).real)


@dataclass(frozen=True, eq=False)
class Chart:
    """A model's elements in the order of the light, and the phases and losses at its facets: ``before`` (inputs,), ``behind``
    (outputs,)."""

    model: Model
    ports: int
    elements: IntArray
    halves: FloatArray
    before: ComplexArray
    behind: ComplexArray
    asked: tuple[IntArray, IntArray]

    @classmethod
    def of(cls, model: Model) -> Chart:
        mesh = model.mesh
        elements = svd_elements(mesh) if isinstance(mesh, SvdMesh) else mesh_elements(mesh, 0, 0)
        a, b = mesh.splitter_errors.T + np.pi / 4
        lost = np.sqrt(mesh.mzi_transmission)
        halves = np.stack((np.cos(a), np.sin(a), np.cos(b), np.sin(b), lost), axis=1)
        turn = model.turn.conj()
        behind = turn[:, 0] / model.amplitude
        every = np.ones((mesh.ports, mesh.ports), bool) if model.asked is None else model.asked
        asked = np.flatnonzero(every.any(axis=1)), np.flatnonzero(every.any(axis=0))
        return cls(model, mesh.ports, elements, halves, turn[0] / turn[0, 0], behind, asked)


def reach(
    chart: Chart, phases: FloatArray, target: FloatArray, rounds: int = ROUNDS
) -> tuple[FloatArray, float]:
    """Phases (heaters,) at which ``chart``'s matrix is ``target`` (ports, ports) up to ``NEAR``, from ``phases`` near them; and the
    relative error that they leave, the imaginary part counted as ``UNSEEN``. It ends where nothing is gained."""
    size = max(float(np.linalg.norm(target)), 1e-30)
    missing = _weighted(chart, target - chart.model.matrix(phases))
    error = float(np.linalg.norm(missing)) / size
    for _ in range(rounds):
        if error < NEAR:
            break
        step = _least_squares(chart, Derivative(chart, phases), missing)
        step *= min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-300))
        left = _weighted(chart, target - chart.model.matrix(phases + step))
        now = float(np.linalg.norm(left)) / size
        if now >= error:
            break
        phases, missing, error = phases + step, left, now
    return phases, error


def _weighted(chart: Chart, matrix: ComplexArray) -> ComplexArray:
    counted: ComplexArray = matrix.real + 1j * UNSEEN * matrix.imag
    return chart.model.of_what_is_asked(counted)


def _least_squares(chart: Chart, here: Derivative, missing: ComplexArray) -> FloatArray:
    """The step (heaters,) that takes ``missing`` (weighted) away, as far as ``INNER`` rounds go: of all that do, nearly the
    shortest."""
    outputs, inputs = chart.asked
    x = here.x[:, outputs].astype(np.complex64)
    y = here.y[:, inputs].astype(np.complex64)
    x_back, y_back, x_on = x.conj(), y.conj(), np.ascontiguousarray(x.T)
    left = missing[outputs[:, np.newaxis], inputs].astype(np.complex64)
    seen = np.array([1.0, UNSEEN], np.float32)
    step = np.zeros(len(x), np.float32)
    direction, before = step, 1.0

    def weighted(matrix: ComplexArray) -> ComplexArray:
        parts = matrix.view(np.float32).reshape(*matrix.shape, 2) * seen
        whole: ComplexArray = parts.view(np.complex64)[..., 0]
        return whole

    for turn in range(INNER):
        downhill = np.einsum("hi,hi->h", x_back @ weighted(left), y_back).real
        slope = float(downhill @ downhill)
        if slope == 0.0:
            break
        direction = downhill if turn == 0 else downhill + np.float32(slope / before) * direction
        moved = weighted(x_on @ (direction[:, np.newaxis] * y))
        length = np.float32(slope / float(np.vdot(moved, moved).real))
        step = step + length * direction
        left = left - length * moved
        before = slope
    return np.asarray(step, dtype=float)


@kernel
def _products(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    seen: ComplexArray,
    sent: ComplexArray,
    x: ComplexArray,
    y: ComplexArray,
) -> None:
    """Column ``x`` (phases, ports) and row ``y`` (phases, ports) of each phase's derivative."""
    ports = x.shape[1]
    for e in range(elements.shape[0]):
        kind, theta = elements[e, 0], elements[e, 2]
        z = turns[theta]
        if kind == kernels.PHASE:
            for p in range(ports):
                x[theta, p] = sent[e, 0, p]
                y[theta, p] = 1j * z * seen[e, 0, p]
            continue
        h = halves[elements[e, 4]]
        ca, sa, cb, sb, lost = h[0], h[1], h[2], h[3], h[4]
        if kind == kernels.ATTENUATOR:
            for p in range(ports):
                x[theta, p] = sent[e, 0, p]
                y[theta, p] = 1j * z * lost * ca * cb * seen[e, 0, p]
            continue
        phi = elements[e, 3]
        w = turns[phi]
        upper, lower = ca * cb * z - sa * sb, 1j * (ca * sb * z + sa * cb)
        for p in range(ports):
            u, v = seen[e, 0, p], seen[e, 1, p]
            x[theta, p] = cb * sent[e, 0, p] + 1j * sb * sent[e, 1, p]
            y[theta, p] = 1j * z * lost * (ca * w * u + 1j * sa * v)
            x[phi, p] = upper * sent[e, 0, p] + lower * sent[e, 1, p]
            y[phi, p] = 1j * lost * w * u
