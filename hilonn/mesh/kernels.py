"""Compiled kernels: matrix of a mesh, and adjoint gradient.

One interferometer (reference convention U = BS(b) diag(e^{i theta}, 1) BS(a) diag(e^{i phi}, 1))
with x = e^{i theta}, y = e^{i phi} and field transmission t is

    [[(A x - B) y,   i (C x + D)],      A = t cos(b') cos(a'),  B = t sin(b') sin(a'),
     [i (D x + C) y,  A - B x   ]]      C = t cos(b') sin(a'),  D = t sin(b') cos(a'),

where a' = pi/4 + a and b' = pi/4 + b. ``couplers`` (mzis, 4) holds A, B, C, D. Sines and cosines
come from numpy, whose vector versions are faster than scalar calls in a kernel.

Fields are held as split rows: row 2 m is the real part of mode m, row 2 m + 1 its imaginary part.
The 2x2 updates are functions of their own with unsigned indices, since the compiler only uses
vector units where it can see that rows do not overlap and indices do not wrap around.
"""

from __future__ import annotations

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.typing import ComplexArray, FloatArray, IntArray

ONE, TWO, THREE = np.uintp(1), np.uintp(2), np.uintp(3)
_WIDTH = 128  # columns of the matrix built at a time, so that a block stays in the cache


@kernel
def _elements(cosine: FloatArray, sine: FloatArray, couplers: FloatArray) -> FloatArray:
    """Real and imaginary parts of the four elements of each interferometer: (mzis, 8)."""
    mzis = couplers.shape[0]
    elements = np.empty((mzis, 8), couplers.dtype)
    for k in range(mzis):
        a, b, c, d = couplers[k, 0], couplers[k, 1], couplers[k, 2], couplers[k, 3]
        xr, xi = cosine[k], sine[k]
        yr, yi = cosine[mzis + k], sine[mzis + k]
        zr, zi = a * xr - b, a * xi
        elements[k, 0], elements[k, 1] = zr * yr - zi * yi, zr * yi + zi * yr
        elements[k, 2], elements[k, 3] = -c * xi, c * xr + d
        zr, zi = -d * xi, d * xr + c
        elements[k, 4], elements[k, 5] = zr * yr - zi * yi, zr * yi + zi * yr
        elements[k, 6], elements[k, 7] = a - b * xr, -b * xi
    return elements


@kernel
def _mix(
    field: FloatArray,
    m: np.uintp,
    low: np.uintp,
    high: np.uintp,
    ar: float,
    ai: float,
    br: float,
    bi: float,
    cr: float,
    ci: float,
    dr: float,
    di: float,
) -> None:
    for q in range(low, high):
        ur, ui, vr, vi = field[m, q], field[m + ONE, q], field[m + TWO, q], field[m + THREE, q]
        field[m, q] = ar * ur - ai * ui + br * vr - bi * vi
        field[m + ONE, q] = ar * ui + ai * ur + br * vi + bi * vr
        field[m + TWO, q] = cr * ur - ci * ui + dr * vr - di * vi
        field[m + THREE, q] = cr * ui + ci * ur + dr * vi + di * vr


@kernel
def build(
    cosine: FloatArray,
    sine: FloatArray,
    couplers: FloatArray,
    top: IntArray,
    cone: IntArray,
    matrix: ComplexArray,
) -> None:
    """Write the matrix of a mesh, by row operations inside the light cone of each element."""
    mzis = top.size
    ports = matrix.shape[0]
    width = min(ports, _WIDTH)
    e = _elements(cosine, sine, couplers)
    field = np.empty((2 * ports, width), couplers.dtype)
    for first in range(0, ports, width):
        end = min(first + width, ports)
        field[:] = 0
        for p in range(first, end):
            field[2 * p, p - first] = 1
        for k in range(mzis):
            low = max(cone[k, 0] - first, 0) & ~7  # whole vectors
            high = min((cone[k, 1] - first + 7) & ~7, width)
            if low < high:
                _mix(
                    field,
                    np.uintp(2 * top[k]),
                    np.uintp(low),
                    np.uintp(high),
                    e[k, 0],
                    e[k, 1],
                    e[k, 2],
                    e[k, 3],
                    e[k, 4],
                    e[k, 5],
                    e[k, 6],
                    e[k, 7],
                )
        for p in range(ports):
            xr, xi = cosine[2 * mzis + p], sine[2 * mzis + p]
            for q in range(first, end):
                ur, ui = field[2 * p, q - first], field[2 * p + 1, q - first]
                matrix[p, q] = complex(xr * ur - xi * ui, xr * ui + xi * ur)


@kernel
def turned(
    cosine: FloatArray,
    sine: FloatArray,
    couplers: FloatArray,
    halves: FloatArray,
    top: IntArray,
    index: int,
    factor: complex,
    matrix: ComplexArray,
) -> None:
    """Add to ``matrix`` what turning phase ``index`` by a changes, ``factor`` being e^{ia} - 1.

    One phase enters the matrix as a column times a row: what its arm sends to the outputs, and what
    the inputs send to its arm. ``halves`` (mzis, 4): cos a', sin a', cos b', sin b'.
    """
    mzis = top.size
    ports = matrix.shape[0]
    column = np.zeros(ports, np.complex128)
    row = np.zeros(ports, np.complex128)
    if index >= 2 * mzis:  # at an output
        p = index - 2 * mzis
        for q in range(ports):
            matrix[p, q] += factor * matrix[p, q]
        return
    k = index if index < mzis else index - mzis
    m = top[k]
    x = complex(cosine[k], sine[k])
    y = complex(cosine[mzis + k], sine[mzis + k])
    if index < mzis:
        # t = A / (cos b' cos a') is the transmission, taken with the row.
        ca, sa, cb, sb = halves[k, 0], halves[k, 1], halves[k, 2], halves[k, 3]
        column[m], column[m + 1] = x * cb, x * 1j * sb
        row[m], row[m + 1] = y * ca, 1j * sa
        lost = couplers[k, 0] * ca * cb + couplers[k, 1] * sa * sb
        lost += couplers[k, 2] * sa * cb + couplers[k, 3] * ca * sb
        row *= lost
    else:
        a, b, c, d = couplers[k, 0], couplers[k, 1], couplers[k, 2], couplers[k, 3]
        column[m], column[m + 1] = (a * x - b) * y, 1j * (d * x + c) * y
        row[m] = 1.0
    low, high = m, m + 1
    for j in range(k + 1, mzis):
        p = top[j]
        if p + 1 < low or p > high:
            continue
        a, b, c, d = couplers[j, 0], couplers[j, 1], couplers[j, 2], couplers[j, 3]
        xj = complex(cosine[j], sine[j])
        u = complex(cosine[mzis + j], sine[mzis + j]) * column[p]
        v = column[p + 1]
        column[p] = (a * xj - b) * u + 1j * (c * xj + d) * v
        column[p + 1] = 1j * (d * xj + c) * u + (a - b * xj) * v
        low, high = min(low, p), max(high, p + 1)
    for p in range(low, high + 1):
        column[p] *= factor * complex(cosine[2 * mzis + p], sine[2 * mzis + p])
    first, last = m, m + 1
    for j in range(k - 1, -1, -1):
        p = top[j]
        if p + 1 < first or p > last:
            continue
        a, b, c, d = couplers[j, 0], couplers[j, 1], couplers[j, 2], couplers[j, 3]
        xj = complex(cosine[j], sine[j])
        u, v = row[p], row[p + 1]
        row[p] = ((a * xj - b) * u + 1j * (d * xj + c) * v) * complex(
            cosine[mzis + j], sine[mzis + j]
        )
        row[p + 1] = 1j * (c * xj + d) * u + (a - b * xj) * v
        first, last = min(first, p), max(last, p + 1)
    for p in range(low, high + 1):
        for q in range(first, last + 1):
            matrix[p, q] += column[p] * row[q]


@kernel
def walk(
    cosine: FloatArray, sine: FloatArray, couplers: FloatArray, top: IntArray, fields: FloatArray
) -> None:
    """Take ``fields`` (2 * ports, samples) from the inputs to the outputs of a mesh, in place."""
    mzis = top.size
    none, whole = np.uintp(0), np.uintp(fields.shape[1])
    e = _elements(cosine, sine, couplers)
    for k in range(mzis):
        _mix(
            fields,
            np.uintp(2 * top[k]),
            none,
            whole,
            e[k, 0],
            e[k, 1],
            e[k, 2],
            e[k, 3],
            e[k, 4],
            e[k, 5],
            e[k, 6],
            e[k, 7],
        )
    for p in range(fields.shape[0] // 2):
        xr, xi = cosine[2 * mzis + p], sine[2 * mzis + p]
        for q in range(fields.shape[1]):
            ur, ui = fields[2 * p, q], fields[2 * p + 1, q]
            fields[2 * p, q], fields[2 * p + 1, q] = xr * ur - xi * ui, xr * ui + xi * ur


@kernel
def _mix_back(
    gradient: FloatArray,
    m: np.uintp,
    seen: FloatArray,
    k: np.uintp,
    batch: np.uintp,
    ar: float,
    ai: float,
    br: float,
    bi: float,
    cr: float,
    ci: float,
    dr: float,
    di: float,
) -> tuple[complex, complex, complex, complex]:
    """Apply the conjugate transpose, and return the sums of input times conj(output gradient)."""
    s0r, s0i, s1r, s1i, s2r, s2i, s3r, s3i = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for q in range(np.uintp(0), batch):
        ur, ui, vr, vi = seen[k, q], seen[k + ONE, q], seen[k + TWO, q], seen[k + THREE, q]
        gr, gi = gradient[m, q], gradient[m + ONE, q]
        hr, hi = gradient[m + TWO, q], gradient[m + THREE, q]
        s0r += ur * gr + ui * gi
        s0i += ui * gr - ur * gi
        s1r += vr * gr + vi * gi
        s1i += vi * gr - vr * gi
        s2r += ur * hr + ui * hi
        s2i += ui * hr - ur * hi
        s3r += vr * hr + vi * hi
        s3i += vi * hr - vr * hi
        gradient[m, q] = ar * gr + ai * gi + cr * hr + ci * hi
        gradient[m + ONE, q] = ar * gi - ai * gr + cr * hi - ci * hr
        gradient[m + TWO, q] = br * gr + bi * gi + dr * hr + di * hi
        gradient[m + THREE, q] = br * gi - bi * gr + dr * hi - di * hr
    return complex(s0r, s0i), complex(s1r, s1i), complex(s2r, s2i), complex(s3r, s3i)


@kernel
def adjoint(
    cosine: FloatArray,
    sine: FloatArray,
    couplers: FloatArray,
    top: IntArray,
    fields: FloatArray,
    gradients: FloatArray,
    seen: FloatArray,
    flat: FloatArray,
) -> None:
    """Add dL/dphase to ``flat``; ``fields`` and ``gradients`` (2 * ports, batch) are used up.

    ``fields`` enter as inputs, ``gradients`` as those of the outputs. What each interferometer
    sees is kept in ``seen`` (4 * mzis, batch or more) rather than recovered by running backwards, which
    loses digits with loss.
    """
    mzis = top.size
    ports, batch = fields.shape[0] // 2, fields.shape[1]
    e = _elements(cosine, sine, couplers)
    none, whole = np.uintp(0), np.uintp(batch)
    for k in range(mzis):
        m = 2 * top[k]
        for part in range(4):
            for q in range(batch):
                seen[4 * k + part, q] = fields[m + part, q]
        _mix(
            fields,
            np.uintp(m),
            none,
            whole,
            e[k, 0],
            e[k, 1],
            e[k, 2],
            e[k, 3],
            e[k, 4],
            e[k, 5],
            e[k, 6],
            e[k, 7],
        )
    for p in range(ports):
        xr, xi = cosine[2 * mzis + p], sine[2 * mzis + p]
        total = 0.0
        for q in range(batch):
            gr, gi = gradients[2 * p, q], gradients[2 * p + 1, q]
            hr, hi = xr * gr + xi * gi, xr * gi - xi * gr
            gradients[2 * p, q], gradients[2 * p + 1, q] = hr, hi
            total += fields[2 * p + 1, q] * hr - fields[2 * p, q] * hi
        flat[2 * mzis + p] -= 2 * total
    for k in range(mzis - 1, -1, -1):
        s0, s1, s2, s3 = _mix_back(
            gradients,
            np.uintp(2 * top[k]),
            seen,
            np.uintp(4 * k),
            whole,
            e[k, 0],
            e[k, 1],
            e[k, 2],
            e[k, 3],
            e[k, 4],
            e[k, 5],
            e[k, 6],
            e[k, 7],
        )
        a, b, c, d = couplers[k, 0], couplers[k, 1], couplers[k, 2], couplers[k, 3]
        x = complex(cosine[k], sine[k])
        y = complex(cosine[mzis + k], sine[mzis + k])
        inner = x * ((1j * a * s0 - d * s2) * y - c * s1 - 1j * b * s3)
        outer = complex(e[k, 0], e[k, 1]) * s0 + complex(e[k, 4], e[k, 5]) * s2
        flat[k] += 2 * inner.real
        flat[mzis + k] -= 2 * outer.imag
