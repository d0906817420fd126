"""Phases that make up for known splitter errors, one interferometer after another.

An interferometer whose couplers are a and b off passes, but for phases on its arms, the fields

    bar:    sin(theta/2) cos(a - b)  +  i sin(a + b) cos(theta/2),
    cross:  cos(theta/2) cos(a + b)  +  i sin(a - b) sin(theta/2),

where an ideal one passes sin(theta/2) and cos(theta/2). Where the wanted field is larger than the leak beside
it, theta and the phases on the arms make it exactly what was wanted (Bandyopadhyay, Hamerly, Englund,
Optica 8, 1247, 2021). Where it is smaller, no theta does; turning the arms would only bring the leak into
line with the wanted field, of one sign in every interferometer, so that leaks add up along the mesh. There
the leak is left a quarter of a turn off, where a reading of the field in phase does not see it: with 20 mrad
and 64 ports 1.7 % of a real matrix are left in phase, 7.5 % if the leak is turned, 8.7 % without a correction.
"""

from __future__ import annotations

import math

import numpy as np

from hilonn.mesh.jit import dense_kernel, kernel
from hilonn.mesh.sincos import sincos
from hilonn.typing import FloatArray, IntArray

_WHOLE = 1.2
"""A leak is corrected where the wanted field is this many times as large, not at all where it is smaller
than the leak, and in part between, so that phases follow a wanted field without a jump."""
_NOTHING = 1e-12  # an interferometer of less range does not turn


@kernel
def _turn(phase: float) -> float:
    """``phase`` in [0, 2 pi)."""
    phase -= 2 * math.pi * math.floor(phase / (2 * math.pi))
    return 0.0 if phase >= 2 * math.pi else phase  # just below zero rounds to a full turn


@dense_kernel
def _part(wanted: float, leak: float) -> float:
    """How much of a ``leak`` to correct beside a wanted field: without a leak, whatever it is."""
    return min(max((wanted - leak) / ((_WHOLE - 1.0) * leak + 1e-300), 0.0), 1.0)


@dense_kernel
def _fields(
    theta: FloatArray,
    sine: FloatArray,
    cosine: FloatArray,
    couplers: FloatArray,
    leaks: FloatArray,
    parts: FloatArray,
    points: FloatArray,
) -> None:
    """For ideal ones at ``theta`` (n,) in [0, 2 pi), of which sine and cosine of the half are given: how much
    of the leaks at bar and cross is corrected, ``parts`` (2, n); and y, x of three angles, ``points`` (6, n): half of the inner
    phase (its turn left out), and the phases that the field gets which crosses from below, and that which stays."""
    for k in range(theta.size):
        swing = abs(cosine[k])
        bar, cross = leaks[0, k], leaks[1, k]
        at_bar, at_cross = _part(sine[k], bar), _part(swing, cross)
        least, missing = (at_bar * bar) ** 2, (at_cross * cross) ** 2
        span = 1.0 - missing - least
        stuck = abs(span) < _NOTHING
        up, down = sine[k] * sine[k], swing * swing
        up = up if stuck else max((up - least) / span, 0.0)
        down = down if stuck else max((down - missing) / span, 0.0)
        y, x = np.sqrt(up), np.sqrt(down)
        whole = up + down
        xr = (down - up) / whole
        xi = 2 * y * x / whole
        xi = xi if theta[k] <= math.pi else -xi
        a, b, c, d = couplers[0, k], couplers[1, k], couplers[2, k], couplers[3, k]
        parts[0, k], parts[1, k] = at_bar, at_cross
        points[0, k], points[1, k] = y, x
        points[2, k], points[3, k] = c * xr + d, -c * xi
        points[4, k], points[5, k] = -b * xi, a - b * xr


@dense_kernel
def _settle(
    theta: FloatArray,
    parts: FloatArray,
    angles: FloatArray,
    turned: FloatArray,
    crossing: FloatArray,
    staying: FloatArray,
) -> None:
    """What ``angles`` (3, n) of ``_fields`` come to: the inner phase, and the phases of the field that crosses and of
    the one that stays, turned towards an ideal one's as far as its leak is not corrected."""
    turn = 2 * math.pi
    for k in range(theta.size):
        below = theta[k] <= math.pi
        inner = 2 * angles[0, k]
        inner = inner if below else turn - inner
        ideal = inner / 2 + (math.pi / 2 if inner <= math.pi else 3 * math.pi / 2)
        away = angles[1, k] - ideal + math.pi
        away -= turn * np.floor(away / turn)
        crossing[k] = ideal + parts[1, k] * (away - math.pi)
        ideal = inner / 2 - math.pi / 2
        away = angles[2, k] - ideal + math.pi
        away -= turn * np.floor(away / turn)
        staying[k] = ideal + parts[0, k] * (away - math.pi)
        turned[k] = inner


def corrected(
    theta: FloatArray, couplers: FloatArray, leaks: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of interferometers one by one: inner phases for ideal ones' ``theta`` (k, n) in [0, 2 pi), and the phases that the fields get which
    cross from below, and those which stay below. ``couplers`` (n, 4), ``leaks`` (n, 2)."""
    couplers, leaks = np.ascontiguousarray(couplers.T), np.ascontiguousarray(leaks.T)
    turned, crossing, staying = np.empty((3, *theta.shape))
    parts, points = np.empty((2, theta.shape[1])), np.empty((6, theta.shape[1]))
    for tile, wanted in enumerate(theta):  # one at a time, so that all of it stays in the cache
        sine, cosine = sincos(wanted / 2)
        _fields(wanted, sine, cosine, couplers, leaks, parts, points)
        angles = np.arctan2(points[0::2], points[1::2])
        _settle(wanted, parts, angles, turned[tile], crossing[tile], staying[tile])
    return turned, crossing, staying


def attenuators(
    ideal: FloatArray, turned: FloatArray, staying: FloatArray, theta: FloatArray
) -> FloatArray:
    """For attenuators at ``ideal`` (k, ports), of which ``corrected`` found ``turned`` and ``staying``: write their ``theta``
    (k, ports); what their fields then lack in phase (k, ports)."""
    theta[:] = turned
    # The field that stays above gets theta less the phase of the one that stays below.
    return np.asarray(np.pi / 2 + ideal / 2 - (turned - staying))


def correct(
    ideal: FloatArray, couplers: FloatArray, leaks: FloatArray, top: IntArray, flat: FloatArray
) -> None:
    """Write to ``flat`` (k, phases) what makes a mesh of ``couplers`` (mzis, 4; see
    ``hilonn.mesh.kernels``) what an ideal one is at ``ideal`` (k, phases).

    ``leaks`` (mzis, 2): |sin(a + b)|, |sin(a - b)|. What a port's field lacks in phase is carried along
    with the light: an interferometer takes up the difference between its two inputs, and passes on
    the rest.
    """
    theta = np.ascontiguousarray(ideal[:, : top.size])
    turned, crossing, staying = corrected(theta, couplers, leaks)
    carry(ideal, turned, crossing, staying, top, flat)


@kernel
def carry(
    ideal: FloatArray,
    turned: FloatArray,
    crossing: FloatArray,
    staying: FloatArray,
    top: IntArray,
    flat: FloatArray,
) -> None:
    """Write to ``flat`` (k, phases) what ``corrected`` found of a mesh's interferometers (k, mzis), and what is carried along."""
    mzis = top.size
    ports = ideal.shape[1] - 2 * mzis
    owed = np.empty(ports)
    for tile in range(ideal.shape[0]):
        owed[:] = 0.0
        for k in range(mzis):
            m = top[k]
            theta = ideal[tile, k]
            upper, lower = owed[m], owed[m + 1]
            across, along = crossing[tile, k], staying[tile, k]
            wanted = theta / 2 + (math.pi / 2 if theta <= math.pi else 3 * math.pi / 2)
            flat[tile, k] = turned[tile, k]
            flat[tile, mzis + k] = (
                ideal[tile, mzis + k]
                + (upper - lower)
                + (across + along - turned[tile, k])
                + (theta / 2 + math.pi / 2 - wanted)
            )
            owed[m] = wanted + lower - across
            owed[m + 1] = theta / 2 - math.pi / 2 + lower - along
        for p in range(ports):
            flat[tile, 2 * mzis + p] = ideal[tile, 2 * mzis + p] + owed[p]
        for n in range(flat.shape[1]):
            flat[tile, n] = _turn(flat[tile, n])
