"""Compiled kernels of the record's forward model: fields through a chip, and what each parameter does to readings.

A chip is a list of elements in the order of the light, rows of (kind, port, theta, phi, interferometer): an
interferometer on ``port`` and the next one, an attenuator on ``port`` (an interferometer used from its upper
input to its upper output), or a phase on ``port``. ``theta`` and ``phi`` index phases, ``interferometer`` couplers.
``halves`` (mzis, 5) holds cos a', sin a', cos b', sin b' (a' = pi/4 + a, b' = pi/4 + b) and the field transmission.

What turns one parameter is a 2x2 matrix dT in one element: its effect on an output field is L dT u, u being the
fields that reach the element and L what it sends to the outputs. ``forward`` keeps every u, ``backward`` every L.
"""

from __future__ import annotations

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.typing import ComplexArray, FloatArray, IntArray

MZI, ATTENUATOR, PHASE = 0, 1, 2


@kernel
def _elements(x: complex, y: complex, half: FloatArray, t: ComplexArray) -> None:
    """Write the matrix of one interferometer, x = e^{i theta}, y = e^{i phi}."""
    ca, sa, cb, sb, lost = half[0], half[1], half[2], half[3], half[4]
    t[0] = lost * (ca * cb * x - sa * sb) * y
    t[1] = 1j * lost * (sa * cb * x + ca * sb)
    t[2] = 1j * lost * (ca * sb * x + sa * cb) * y
    t[3] = lost * (ca * cb - sa * sb * x)


@kernel
def forward(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    fields: ComplexArray,
    seen: ComplexArray,
) -> None:
    """Take ``fields`` (ports, samples) through the chip in place; keep what reaches each element in ``seen``
    (elements, 2, samples)."""
    samples = fields.shape[1]
    t = np.empty(4, np.complex128)
    for e in range(elements.shape[0]):
        kind, m = elements[e, 0], elements[e, 1]
        x = turns[elements[e, 2]]
        if kind == MZI:
            _elements(x, turns[elements[e, 3]], halves[elements[e, 4]], t)
            t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
            for s in range(samples):
                u, v = fields[m, s], fields[m + 1, s]
                seen[e, 0, s], seen[e, 1, s] = u, v
                fields[m, s] = t0 * u + t1 * v
                fields[m + 1, s] = t2 * u + t3 * v
        else:
            if kind == ATTENUATOR:
                _elements(x, 1.0 + 0.0j, halves[elements[e, 4]], t)
                t0 = t[0]
            else:
                t0 = x
            for s in range(samples):
                seen[e, 0, s] = fields[m, s]
                fields[m, s] *= t0


@kernel
def backward(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    towards: ComplexArray,
    sent: ComplexArray,
) -> None:
    """Keep in ``sent`` (elements, 2, ports) what each element sends to the outputs; ``towards`` (ports, ports), the unit
    matrix at first, becomes the chip's matrix transposed: (input, output)."""
    ports = towards.shape[0]
    t = np.empty(4, np.complex128)
    for e in range(elements.shape[0] - 1, -1, -1):
        kind, m = elements[e, 0], elements[e, 1]
        x = turns[elements[e, 2]]
        if kind == MZI:
            _elements(x, turns[elements[e, 3]], halves[elements[e, 4]], t)
            t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
            for j in range(ports):
                p, q = towards[m, j], towards[m + 1, j]
                sent[e, 0, j], sent[e, 1, j] = p, q
                towards[m, j] = p * t0 + q * t2
                towards[m + 1, j] = p * t1 + q * t3
        else:
            if kind == ATTENUATOR:
                _elements(x, 1.0 + 0.0j, halves[elements[e, 4]], t)
                t0 = t[0]
            else:
                t0 = x
            for j in range(ports):
                sent[e, 0, j] = towards[m, j]
                towards[m, j] *= t0


@kernel
def _row(
    out: FloatArray,
    ahead: ComplexArray,
    first: ComplexArray,
    second: ComplexArray,
    both: bool,
    plus: ComplexArray,
    minus: ComplexArray,
) -> None:
    """``out`` (2 * ports * samples,): what fields ``first``, ``second`` (samples,) added behind an element do to readings."""
    ports, samples = plus.shape
    half = ports * samples
    for j in range(ports):
        p = ahead[0, j]
        q = ahead[1, j] if both else 0.0j
        base = j * samples
        if p == 0 and q == 0:
            out[base : base + samples] = 0.0
            out[half + base : half + base + samples] = 0.0
            continue
        for s in range(samples):
            d = p * first[s]
            if both:
                d += q * second[s]
            c = plus[j, s]
            out[base + s] = c.real * d.real - c.imag * d.imag
            c = minus[j, s]
            out[half + base + s] = c.real * d.real - c.imag * d.imag


@kernel
def inner_rows(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    seen: ComplexArray,
    sent: ComplexArray,
    plus: ComplexArray,
    minus: ComplexArray,
    phases: FloatArray,
    splitters: FloatArray,
    losses: FloatArray,
) -> None:
    """Write derivatives of all readings (2 * ports * samples,) to rows of ``phases``, ``splitters`` (two an interferometer)
    and ``losses`` (by the logarithm of its power transmission).

    ``plus`` and ``minus`` (ports, samples): d reading = Re(plus dE).
    """
    samples = seen.shape[2]
    first, second = np.empty(samples, np.complex128), np.empty(samples, np.complex128)
    for e in range(elements.shape[0]):
        kind = elements[e, 0]
        x = turns[elements[e, 2]]
        u = seen[e, 0]
        if kind == PHASE:
            for s in range(samples):
                first[s] = 1j * x * u[s]
            _row(phases[elements[e, 2]], sent[e], first, second, False, plus, minus)
            continue
        k = elements[e, 4]
        h = halves[k]
        ca, sa, cb, sb, lost = h[0], h[1], h[2], h[3], h[4]
        if kind == ATTENUATOR:
            for s in range(samples):
                first[s] = 1j * x * lost * ca * cb * u[s]
            _row(phases[elements[e, 2]], sent[e], first, second, False, plus, minus)
            for s in range(samples):
                first[s] = lost * (-sa * cb * x - ca * sb) * u[s]
            _row(splitters[2 * k], sent[e], first, second, False, plus, minus)
            for s in range(samples):
                first[s] = lost * (-ca * sb * x - sa * cb) * u[s]
            _row(splitters[2 * k + 1], sent[e], first, second, False, plus, minus)
            for s in range(samples):
                first[s] = 0.5 * lost * (ca * cb * x - sa * sb) * u[s]
            _row(losses[k], sent[e], first, second, False, plus, minus)
            continue
        y = turns[elements[e, 3]]
        v = seen[e, 1]
        # theta: the field in the upper arm between the couplers, turned.
        for s in range(samples):
            arm = 1j * x * lost * (ca * y * u[s] + 1j * sa * v[s])
            first[s], second[s] = cb * arm, 1j * sb * arm
        _row(phases[elements[e, 2]], sent[e], first, second, True, plus, minus)
        for s in range(samples):
            w = 1j * lost * y * u[s]
            first[s], second[s] = (ca * cb * x - sa * sb) * w, 1j * (ca * sb * x + sa * cb) * w
        _row(phases[elements[e, 3]], sent[e], first, second, True, plus, minus)
        for s in range(samples):  # d/da: ca -> -sa, sa -> ca
            a, b = lost * y * u[s], lost * v[s]
            first[s] = (-sa * cb * x - ca * sb) * a + 1j * (ca * cb * x - sa * sb) * b
            second[s] = 1j * (-sa * sb * x + ca * cb) * a + (-sa * cb - ca * sb * x) * b
        _row(splitters[2 * k], sent[e], first, second, True, plus, minus)
        for s in range(samples):  # d/db: cb -> -sb, sb -> cb
            a, b = lost * y * u[s], lost * v[s]
            first[s] = (-ca * sb * x - sa * cb) * a + 1j * (-sa * sb * x + ca * cb) * b
            second[s] = 1j * (ca * cb * x - sa * sb) * a + (-ca * sb - sa * cb * x) * b
        _row(splitters[2 * k + 1], sent[e], first, second, True, plus, minus)
        for s in range(samples):
            a, b = 0.5 * lost * y * u[s], 0.5 * lost * v[s]
            first[s] = (ca * cb * x - sa * sb) * a + 1j * (sa * cb * x + ca * sb) * b
            second[s] = 1j * (ca * sb * x + sa * cb) * a + (ca * cb - sa * sb * x) * b
        _row(losses[k], sent[e], first, second, True, plus, minus)


@kernel
def input_rows(
    towards: ComplexArray,
    changes: ComplexArray,
    plus: ComplexArray,
    minus: ComplexArray,
    rows: FloatArray,
) -> None:
    """Write to ``rows`` (inputs, 2 * ports * samples) what ``changes`` (samples, inputs) of the input fields do;
    ``towards`` (inputs, ports)."""
    inputs = changes.shape[1]
    ahead = np.empty((2, towards.shape[1]), np.complex128)
    second = np.empty(changes.shape[0], np.complex128)
    for i in range(inputs):
        ahead[0] = towards[i]
        _row(rows[i], ahead, np.ascontiguousarray(changes[:, i]), second, False, plus, minus)


@kernel
def tangent(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    seen: ComplexArray,
    d_phases: FloatArray,
    d_splitters: FloatArray,
    d_losses: FloatArray,
    d_fields: ComplexArray,
) -> None:
    """Take small changes ``d_fields`` (ports, samples) of the input fields to the outputs in place, adding those of
    phases, splitters (mzis, 2) and ln transmissions (mzis,)."""
    samples = d_fields.shape[1]
    t = np.empty(4, np.complex128)
    for e in range(elements.shape[0]):
        kind, m = elements[e, 0], elements[e, 1]
        x = turns[elements[e, 2]]
        dx = 1j * x * d_phases[elements[e, 2]]
        if kind == PHASE:
            for s in range(samples):
                d_fields[m, s] = x * d_fields[m, s] + dx * seen[e, 0, s]
            continue
        k = elements[e, 4]
        h = halves[k]
        ca, sa, cb, sb, lost = h[0], h[1], h[2], h[3], h[4]
        da, db, dl = d_splitters[k, 0], d_splitters[k, 1], 0.5 * d_losses[k]
        y, dy = 1.0 + 0.0j, 0.0j
        if kind == MZI:
            y = turns[elements[e, 3]]
            dy = 1j * y * d_phases[elements[e, 3]]
        _elements(x, y, h, t)
        p = lost * ca * cb * dx - lost * (sa * cb * x + ca * sb) * da
        p -= lost * (ca * sb * x + sa * cb) * db
        d0 = p * y + lost * (ca * cb * x - sa * sb) * dy + t[0] * dl
        if kind == ATTENUATOR:
            for s in range(samples):
                d_fields[m, s] = t[0] * d_fields[m, s] + d0 * seen[e, 0, s]
            continue
        d1 = lost * (sa * cb * dx + (ca * cb * x - sa * sb) * da + (ca * cb - sa * sb * x) * db)
        d1 = 1j * d1 + t[1] * dl
        p = lost * (ca * sb * dx + (ca * cb - sa * sb * x) * da + (ca * cb * x - sa * sb) * db)
        d2 = 1j * (p * y + lost * (ca * sb * x + sa * cb) * dy) + t[2] * dl
        d3 = -lost * (sa * sb * dx + (sa * cb + ca * sb * x) * da + (ca * sb + sa * cb * x) * db)
        d3 += t[3] * dl
        t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
        for s in range(samples):
            u, v = seen[e, 0, s], seen[e, 1, s]
            du, dv = d_fields[m, s], d_fields[m + 1, s]
            d_fields[m, s] = t0 * du + t1 * dv + d0 * u + d1 * v
            d_fields[m + 1, s] = t2 * du + t3 * dv + d2 * u + d3 * v


@kernel
def adjoint(
    elements: IntArray,
    turns: ComplexArray,
    halves: FloatArray,
    seen: ComplexArray,
    seeds: ComplexArray,
    phases: FloatArray,
    splitters: FloatArray,
    losses: FloatArray,
) -> None:
    """The transpose of ``tangent``: add Re(seed dE) of output ``seeds`` (ports, samples) to the gradients; ``seeds`` end as
    those of the input fields."""
    samples = seeds.shape[1]
    t = np.empty(4, np.complex128)
    for e in range(elements.shape[0] - 1, -1, -1):
        kind, m = elements[e, 0], elements[e, 1]
        x = turns[elements[e, 2]]
        if kind == PHASE:
            total = 0.0j
            for s in range(samples):
                total += seeds[m, s] * seen[e, 0, s]
                seeds[m, s] *= x
            phases[elements[e, 2]] += (1j * x * total).real
            continue
        k = elements[e, 4]
        h = halves[k]
        ca, sa, cb, sb, lost = h[0], h[1], h[2], h[3], h[4]
        if kind == ATTENUATOR:
            _elements(x, 1.0 + 0.0j, h, t)
            total = 0.0j
            for s in range(samples):
                total += seeds[m, s] * seen[e, 0, s]
                seeds[m, s] *= t[0]
            phases[elements[e, 2]] += (1j * x * lost * ca * cb * total).real
            splitters[k, 0] -= (lost * (sa * cb * x + ca * sb) * total).real
            splitters[k, 1] -= (lost * (ca * sb * x + sa * cb) * total).real
            losses[k] += 0.5 * (t[0] * total).real
            continue
        y = turns[elements[e, 3]]
        _elements(x, y, h, t)
        t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
        s0, s1, s2, s3 = 0.0j, 0.0j, 0.0j, 0.0j
        for s in range(samples):
            u, v = seen[e, 0, s], seen[e, 1, s]
            p, q = seeds[m, s], seeds[m + 1, s]
            s0 += p * u
            s1 += p * v
            s2 += q * u
            s3 += q * v
            seeds[m, s] = p * t0 + q * t2
            seeds[m + 1, s] = p * t1 + q * t3
        inner = lost * (ca * cb * y * s0 + 1j * sa * cb * s1 + 1j * ca * sb * y * s2 - sa * sb * s3)
        phases[elements[e, 2]] += (1j * x * inner).real
        phases[elements[e, 3]] += (1j * (t0 * s0 + t2 * s2)).real
        one = -(sa * cb * x + ca * sb) * y * s0 + 1j * (ca * cb * x - sa * sb) * s1
        one += 1j * (ca * cb - sa * sb * x) * y * s2 - (sa * cb + ca * sb * x) * s3
        two = -(ca * sb * x + sa * cb) * y * s0 + 1j * (ca * cb - sa * sb * x) * s1
        two += 1j * (ca * cb * x - sa * sb) * y * s2 - (ca * sb + sa * cb * x) * s3
        splitters[k, 0] += (lost * one).real
        splitters[k, 1] += (lost * two).real
        losses[k] += 0.5 * (t0 * s0 + t1 * s1 + t2 * s2 + t3 * s3).real
