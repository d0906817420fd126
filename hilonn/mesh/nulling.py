"""Compiled decomposition of unitaries into the phases of a mesh.

Shares no compiled function with ``hilonn.mesh.kernels``: the cache on disk notices a change in the
file of a kernel, not one in the files of the functions it calls. Fields are split rows as there.
"""

from __future__ import annotations

import math

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.typing import ComplexArray, FloatArray, IntArray

ONE, TWO, THREE = np.uintp(1), np.uintp(2), np.uintp(3)
_NOTHING = 1e-290  # a squared modulus below this has no usable phase


@kernel
def _null(ar: float, ai: float, br: float, bi: float) -> tuple[float, float, float, float]:
    """|a| and |b| as parts of their root sum of squares, and the phasor of conj(a) b.

    A field too small to have a phase counts as zero with phase zero; two such fields give (0, 1),
    which sets the bar state.
    """
    aa = ar * ar + ai * ai
    bb = br * br + bi * bi
    if aa < _NOTHING:
        aa, ar, ai = 0.0, 1.0, 0.0
    else:
        aa = math.sqrt(aa)
        ar, ai = ar / aa, ai / aa
    if bb < _NOTHING:
        bb, br, bi = 0.0, 1.0, 0.0
    else:
        bb = math.sqrt(bb)
        br, bi = br / bb, bi / bb
    size = math.sqrt(aa * aa + bb * bb)
    if size == 0.0:
        bb, size = 1.0, 1.0
    return aa / size, bb / size, ar * br + ai * bi, ar * bi - ai * br


@kernel
def _short(phase: float) -> float:
    """One turn nearer to zero: phases that pile up over a wide mesh would lose digits."""
    if phase < -math.pi:
        return phase + 2 * math.pi
    if phase > math.pi:
        return phase - 2 * math.pi
    return phase


@kernel
def _reflect(
    field: FloatArray,
    m: np.uintp,
    low: np.uintp,
    high: np.uintp,
    s: float,
    c: float,
    er: float,
    ei: float,
) -> None:
    """[[s, c], [c, -s]] after a phase er + i ei on the upper mode, along two split rows."""
    for q in range(low, high):
        ur, ui, vr, vi = field[m, q], field[m + ONE, q], field[m + TWO, q], field[m + THREE, q]
        gr, gi = er * ur - ei * ui, er * ui + ei * ur
        field[m, q] = s * gr + c * vr
        field[m + ONE, q] = s * gi + c * vi
        field[m + TWO, q] = c * gr - s * vr
        field[m + THREE, q] = c * gi - s * vi


@kernel
def decompose(
    unitaries: ComplexArray,
    side: IntArray,
    bounds: IntArray,
    step_mzi: IntArray,
    step_top: IntArray,
    step_pivot: IntArray,
    flat: FloatArray,
) -> None:
    """Write the phases (k, 2 * mzis + ports) of unitaries (k, ports, ports), in [0, 2 pi).

    Each step applies a real reflection [[s, c], [c, -s]] after a phase e on the upper mode, whose
    product is an interferometer without its common phase i e^{i theta/2}. The common phases are
    paid back at the end by one walk over all steps in the order of the light, which moves every
    phase that is not a phase shifter's own towards the output.
    """
    ports = unitaries.shape[1]
    mzis = step_mzi.size
    sweeps = side.size
    field = np.empty((2 * ports, ports))
    sines, cosines = np.empty(mzis), np.empty(mzis)
    er, ei = np.empty(mzis), np.empty(mzis)
    carried = np.empty(ports)
    turn = 2 * math.pi
    for u in range(unitaries.shape[0]):
        for p in range(ports):
            carried[p] = 0.0
            for q in range(ports):
                field[2 * p, q] = unitaries[u, p, q].real
                field[2 * p + 1, q] = unitaries[u, p, q].imag
        for w in range(sweeps):
            first, end = bounds[w], bounds[w + 1]
            if side[w] == 0:
                # Row by row, so that memory is walked along rows although columns are mixed.
                for row in range(step_pivot[first], -1, -1):
                    for k in range(first, end):
                        if step_pivot[k] < row:
                            break
                        m = step_top[k]
                        ar, ai = field[2 * row, m], field[2 * row + 1, m]
                        br, bi = field[2 * row, m + 1], field[2 * row + 1, m + 1]
                        if step_pivot[k] == row:
                            c, s, fr, fi = _null(ar, ai, br, bi)
                            cosines[k], sines[k], er[k], ei[k] = c, s, -fr, -fi
                        s, c, fr, fi = sines[k], cosines[k], er[k], ei[k]
                        gr, gi = fr * ar - fi * ai, fr * ai + fi * ar
                        field[2 * row, m], field[2 * row + 1, m] = s * gr + c * br, s * gi + c * bi
                        field[2 * row, m + 1] = c * gr - s * br
                        field[2 * row + 1, m + 1] = c * gi - s * bi
            else:
                for k in range(first, end):
                    m, col = 2 * step_top[k], step_pivot[k]
                    c, s, fr, fi = _null(
                        field[m + 2, col], field[m + 3, col], field[m, col], field[m + 1, col]
                    )
                    cosines[k], sines[k], er[k], ei[k] = c, s, fr, -fi
                    _reflect(field, np.uintp(m), np.uintp(col), np.uintp(ports), s, c, fr, -fi)
        for w in range(sweeps):
            if side[w] == 0:
                for k in range(bounds[w], bounds[w + 1]):
                    m, n = step_top[k], step_mzi[k]
                    half = math.atan2(sines[k], cosines[k])
                    flat[u, n] = 2 * half
                    flat[u, mzis + n] = math.atan2(-ei[k], er[k]) + carried[m] - carried[m + 1]
                    carried[m + 1] = _short(carried[m + 1] - half - math.pi / 2)
                    carried[m] = carried[m + 1]
        for p in range(ports):
            carried[p] += math.atan2(field[2 * p + 1, p], field[2 * p, p])
        for w in range(sweeps - 1, -1, -1):
            if side[w] == 1:
                for k in range(bounds[w + 1] - 1, bounds[w] - 1, -1):
                    m, n = step_top[k], step_mzi[k]
                    half = math.atan2(sines[k], cosines[k])
                    flat[u, n] = 2 * half
                    flat[u, mzis + n] = carried[m] - carried[m + 1]
                    carried[m + 1] = _short(carried[m + 1] - half - math.pi / 2)
                    carried[m] = _short(carried[m + 1] + math.atan2(-ei[k], er[k]))
        for p in range(ports):
            flat[u, 2 * mzis + p] = carried[p]
        for n in range(2 * mzis + ports):
            wrapped = flat[u, n] - turn * math.floor(flat[u, n] / turn)
            # Rounding can leave a phase at a whole turn; what is not finite stays so.
            flat[u, n] = 0.0 if wrapped < 0.0 or wrapped >= turn else wrapped
