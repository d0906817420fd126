"""Fringes of all heaters that stand side by side, at once.

Phase shifters on different paths of one column change the transfer matrix by a sum without products,

    T = A + sum_r e^{i q_r} B_r,    B_r = x_r y_r^T,    exactly,

so that they can be swept together, each at powers of its own, and told apart by a linear fit: a setting says as much of
each as if it had been swept alone. x_r is the field from that path to all outputs, y_r that from all inputs to it.
What each heater's q_r is at a power, is found by the fit's variable projection: only the Gram matrix of the settings
enters, whatever the number of ports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.typing import BoolArray, ComplexArray, FloatArray

SCALES = np.geomspace(0.5, 2.0, 61)
"""Trials of a common factor on the nominal frequency ..."""
SPREAD = np.linspace(0.6, 1.5, 91)
"""... and of each heater's own on that."""
SWEEPS = 2
ROUNDS = 15
PRIOR_RISE = 1.0
"""1/W: how far a column's self-heating may lie from what was known before; 0.1 at a full turn of 40 mW would be 2.5."""
SILENT = 1.5
"""A fringe's largest singular value below this many times what noise alone has is none."""


@dataclass(frozen=True, eq=False)
class ColumnFit:
    """``scale`` (n,): frequency of each heater over the nominal one; ``rise`` (1/W) of all; their uncertainties;
    ``x``, ``y`` (n, ports): columns and rows of unit length; ``size`` (n,): the fringe's, Frobenius; ``second`` (n,):
    its second singular value over the first; ``noise``: standard deviation of the real part of an element;
    ``constant`` (ports, ports); ``alive`` (n,); ``line`` (k, n): each heater's fringe alone, complex, of size 1."""

    scale: FloatArray
    scale_uncertainty: FloatArray
    rise: float
    rise_uncertainty: float
    x: ComplexArray
    y: ComplexArray
    size: FloatArray
    second: FloatArray
    noise: float
    constant: ComplexArray
    alive: BoolArray
    line: ComplexArray


def own_phase(
    cold: FloatArray, scale: FloatArray | float, rise: float, per_pi: float
) -> FloatArray:
    """rad, at ``cold`` = V^2 / R of the nominal resistance (W): P = 2 cold / (1 + sqrt(1 + 4 rise cold))."""
    power = 2 * cold / (1 + np.sqrt(1 + 4 * rise * cold))
    return np.asarray(np.pi * scale * power / per_pi)


def fit_column(
    cold: FloatArray,
    matrices: ComplexArray,
    per_pi: float,
    rise: float,
    prior: float = PRIOR_RISE,
    start: FloatArray | None = None,
) -> ColumnFit:
    """Heaters swept together: ``cold`` (k, n) W by the nominal resistance, ``matrices`` (k, ports, ports).

    ``per_pi`` (W), ``rise`` (1/W): where the search starts; ``prior``: how far ``rise`` may be off (sd);
    ``start`` (n,): scales to go on from, where a fit was made before.
    """
    k, n = cold.shape
    flat = matrices.reshape(k, -1)
    elements = flat.shape[1]
    gram = flat @ flat.conj().T
    scale = np.ones(n) if start is None else start.copy()
    every = np.ones(n, bool)
    if start is None:
        left = [_left(gram, own_phase(cold, s * scale, rise, per_pi), every) for s in SCALES]
        scale *= SCALES[int(np.argmin(left))]
        for _ in range(SWEEPS):
            for r in range(n):
                scale[r] *= _scan_one(gram, cold, scale, rise, per_pi, r)
    scale, rise, covariance = _polish(gram, cold, scale, rise, per_pi, every, prior, elements)
    alive = _alive(flat, own_phase(cold, scale, rise, per_pi), matrices.shape[1])
    if not alive.all() and alive.any():
        scale, rise, covariance = _polish(gram, cold, scale, rise, per_pi, alive, prior, elements)
    return _described(flat, cold, scale, rise, covariance, per_pi, alive, matrices.shape[1])


def _basis(own: FloatArray, alive: BoolArray) -> ComplexArray:
    waves: ComplexArray = np.exp(1j * own[:, alive])
    return np.concatenate((np.ones((len(own), 1)), waves), axis=1)


def _left(gram: ComplexArray, own: FloatArray, alive: BoolArray) -> float:
    """What the linear fit leaves: tr(G) - tr of the projection on the basis."""
    q, _ = np.linalg.qr(_basis(own, alive))
    return float(np.trace(gram).real - np.einsum("ki,kl,li->", q.conj(), gram, q).real)


def _scan_one(
    gram: ComplexArray, cold: FloatArray, scale: FloatArray, rise: float, per_pi: float, r: int
) -> float:
    """The factor on heater ``r``'s frequency that leaves least, the others as they are."""
    others = np.ones(len(scale), bool)
    others[r] = False
    q, _ = np.linalg.qr(_basis(own_phase(cold, scale, rise, per_pi), others))
    inside = gram - q @ (q.conj().T @ gram)
    inside = inside - (inside @ q) @ q.conj().T
    trial = own_phase(cold[:, r], SPREAD[:, np.newaxis] * scale[r], rise, per_pi)
    wave = np.exp(1j * trial).T
    wave = wave - q @ (q.conj().T @ wave)
    gained = np.einsum("kt,kl,lt->t", wave.conj(), inside, wave).real
    gained /= np.maximum((np.abs(wave) ** 2).sum(axis=0), 1e-9)
    return float(SPREAD[int(gained.argmax())])


def _polish(
    gram: ComplexArray,
    cold: FloatArray,
    scale: FloatArray,
    rise: float,
    per_pi: float,
    alive: BoolArray,
    prior: float,
    elements: int,
) -> tuple[FloatArray, float, FloatArray]:
    """Gauss and Newton on frequencies and rise, the amplitudes projected out (Kaufman 1975); damped by halving."""
    k = len(cold)
    used = np.flatnonzero(alive)
    scale = scale.copy()
    start = rise
    best = _left(gram, own_phase(cold, scale, rise, per_pi), alive)
    freedom = max(2 * (k - len(used) - 1), 1) * elements
    inverse = np.eye(len(used) + 1)
    for _ in range(ROUNDS):
        own = own_phase(cold, scale, rise, per_pi)[:, used]
        step_rise = 1e-3
        bend = (own_phase(cold, scale, rise + step_rise, per_pi)[:, used] - own) / step_rise
        basis = np.concatenate((np.ones((k, 1)), np.exp(1j * own)), axis=1)
        inner = np.linalg.inv(basis.conj().T @ basis) @ basis.conj().T
        outside = np.eye(k) - basis @ inner
        amplitudes = (inner @ gram @ inner.conj().T)[1:, 1:]
        wave = 1j * np.exp(1j * own)
        turning = np.concatenate((own / scale[used] * wave, bend * wave), axis=1)
        twice = np.tile(amplitudes, (2, 2))
        normal = ((turning.conj().T @ outside @ turning) * twice.T).real
        seen = outside @ gram @ inner.conj().T[:, 1:]
        downhill = np.einsum("kr,kr->r", turning.conj(), np.tile(seen, (1, 2))).real
        m = len(used)
        join = np.zeros((m + 1, 2 * m))
        join[:m, :m] = np.eye(m)
        join[m, m:] = 1.0
        matrix = join @ normal @ join.T
        gradient = join @ downhill
        variance = best / freedom  # of an element's real part
        weight = variance / prior**2 if prior > 0 else 1e300
        matrix[m, m] += weight
        gradient[m] -= weight * (rise - start)
        inverse = np.linalg.pinv(matrix)
        step = inverse @ gradient
        for _ in range(6):
            trial = scale.copy()
            trial[used] = scale[used] + step[:m]
            at = max(rise + step[m], -0.2 / max(float(cold.max()), 1e-12))
            now = _left(gram, own_phase(cold, trial, at, per_pi), alive)
            if now <= best * (1 + 1e-12):
                break
            step = step / 2
        else:
            break
        moved = float(np.abs(step[:m]).max())
        scale, rise, best = trial, at, now
        if moved < 1e-7:
            break
    return scale, rise, inverse


def _alive(flat: ComplexArray, own: FloatArray, ports: int) -> BoolArray:
    basis = _basis(own, np.ones(own.shape[1], bool))
    inner = np.linalg.pinv(basis)
    found = inner @ flat
    left = flat - basis @ found
    variance = float((np.abs(left) ** 2).sum()) / ((len(flat) - basis.shape[1]) * flat.shape[1])
    largest = np.linalg.norm(found[1:].reshape(-1, ports, ports), ord=2, axis=(1, 2))
    doubt = np.sqrt(variance * (np.abs(inner[1:]) ** 2).sum(axis=1)) * 2 * np.sqrt(ports)
    return np.asarray(largest > SILENT * doubt)


def _described(
    flat: ComplexArray,
    cold: FloatArray,
    scale: FloatArray,
    rise: float,
    inverse: FloatArray,
    per_pi: float,
    alive: BoolArray,
    ports: int,
) -> ColumnFit:
    k, n = cold.shape
    own = own_phase(cold, scale, rise, per_pi)
    basis = _basis(own, alive)
    found = np.linalg.pinv(basis) @ flat
    left = flat - basis @ found
    freedom = (k - basis.shape[1]) * flat.shape[1]
    noise = float(np.sqrt((np.abs(left) ** 2).sum() / (2 * freedom)))
    x, y = np.zeros((n, ports), complex), np.zeros((n, ports), complex)
    size, second = np.zeros(n), np.zeros(n)
    line = np.zeros((k, n), complex)
    for i, r in enumerate(np.flatnonzero(alive)):
        u, s, v = np.linalg.svd(found[1 + i].reshape(ports, ports))
        x[r], y[r], size[r], second[r] = u[:, 0], v[0], s[0], s[1] / s[0]
        alone = left + basis[:, 1 + i : 2 + i] * found[1 + i]
        line[:, r] = alone @ np.outer(u[:, 0], v[0]).conj().ravel() / s[0]
    scale_uncertainty = np.full(n, np.inf)
    deviation = noise * np.sqrt(np.maximum(np.diag(inverse), 0.0))
    scale_uncertainty[alive] = deviation[:-1]
    return ColumnFit(
        scale,
        scale_uncertainty,
        rise,
        float(deviation[-1]),
        x,
        y,
        size,
        second,
        noise,
        found[0].reshape(ports, ports),
        alive,
        line,
    )
