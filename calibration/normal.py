"""Normal equations of the forward model over many shots, streamed: a dense Jacobian would not fit into memory.

Residuals are in units of the noise. The phase of the oscillator at each shot is a parameter of its own, with a
prior of its wander, and is eliminated shot by shot (Schur complement), so that neither time nor memory grows with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hilonn.calibration.shots import Shots
from hilonn.chips.forward import ForwardModel, Setting
from hilonn.records import InstrumentRecord
from hilonn.typing import FloatArray

BATCH = 8
"""Shots whose Jacobians are multiplied at once."""
HUBER = 4.0
"""Residuals beyond this many standard deviations count linearly."""


@dataclass(frozen=True)
class Noise:
    """``v0`` (channels,) A^2 at the largest range, ``v1``, ``v2``; ``ranges`` full scales; ``scale`` (channels,) what the
    noise was found to be, in units of this (standard deviation)."""

    v0: FloatArray
    v1: FloatArray
    v2: FloatArray
    gain: FloatArray
    dark: FloatArray
    ranges: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, detectors: InstrumentRecord, ranges: FloatArray) -> Noise:
        v0, v1, v2, gain, dark = (
            detectors.value(n) for n in ("noise_v0", "noise_v1", "noise_v2", "gain", "dark")
        )
        return cls(v0, v1, v2, gain, dark, ranges, np.ones(len(v0)))

    def weight(self, shots: Shots, use: FloatArray) -> FloatArray:
        """1 / standard deviation of every reading (shots, samples, channels); zero where it is saturated or its channel is
        not in ``use`` (channels,)."""
        light = np.maximum(shots.signal - self.dark, 0.0) / self.gain
        full = (self.ranges[shots.range] / self.ranges[-1])[:, np.newaxis, np.newaxis]
        variance = self.v0 * full**2 + self.v1 * light + self.v2 * light**2
        sd = np.sqrt(variance / float(shots.averages)) * self.scale
        # What is not used may have no noise: it stands at its rail.
        counts = ~shots.saturated & (use > 0)
        weight: FloatArray = np.divide(use, sd, out=np.zeros_like(sd), where=counts)
        return weight


@dataclass
class Normal:
    """``matrix`` (size, size) and ``right`` (size,) of the equations matrix @ step = right; ``cost`` half the sum of squares
    (or what Huber makes of it); of each shot's oscillator its row ``coupling`` (shots, size), ``own`` and ``pull`` (shots,)."""

    matrix: FloatArray
    right: FloatArray
    cost: float
    coupling: FloatArray
    own: FloatArray
    pull: FloatArray

    def wander_step(self, step: FloatArray) -> FloatArray:
        """How far the oscillators' phases (shots,) move with a ``step`` (size,) of the parameters."""
        moved: FloatArray = (self.pull - self.coupling @ step.astype(np.float32)) / self.own
        return moved


def setting(shots: Shots, k: int, wander: FloatArray) -> Setting:
    """Shot ``k``."""
    return Setting(shots.heaters[k], shots.modulators[k], bool(shots.through[k]), float(wander[k]))


def accumulate(
    model: ForwardModel,
    vector: FloatArray,
    shots: Shots,
    weight: FloatArray,
    wander: FloatArray,
    wander_sd: float,
    check: Callable[[], None] = lambda: None,
) -> Normal:
    """The normal equations at ``vector``, the oscillators' phases ``wander`` (shots,) eliminated."""
    count, samples, channels = shots.signal.shape
    size, rows = model.names.size, samples * channels
    matrix, right = np.zeros((size, size)), np.zeros(size)
    coupling = np.zeros((count, size), np.float32)
    own, pull = np.zeros(count), np.zeros(count)
    buffer = np.empty((BATCH, size, rows), np.float32)
    wide = np.empty((size, BATCH * rows), np.float32)
    cost = 0.0
    for first in range(0, count, BATCH):
        check()
        which = range(first, min(first + BATCH, count))
        for b, k in enumerate(which):
            # Weights depend on residuals by Huber's rule; the readings come first, by the cheap way.
            missing = shots.signal[k] - model.expected(vector, setting(shots, k, wander))
            w, c = _huber(missing * weight[k], weight[k])
            cost += c
            _, turn = model.jacobian(vector, setting(shots, k, wander), w, buffer[b])
            left = (missing * w).T.ravel()
            wide[:, b * rows : (b + 1) * rows] = buffer[b]
            own[k] = float(turn @ turn) + wander_sd**-2
            coupling[k] = buffer[b] @ turn
            pull[k] = float(turn @ left) - wander[k] / wander_sd**2
            right += buffer[b] @ left.astype(np.float32)
            right -= coupling[k] * (pull[k] / own[k])
        used = wide[:, : len(which) * rows]
        product = used @ used.T
        rest = coupling[which.start : which.stop] / np.sqrt(own[which.start : which.stop, None])
        product -= rest.T.astype(np.float32) @ rest.astype(np.float32)
        matrix += product
    cost += 0.5 * float((wander**2).sum()) / wander_sd**2
    return Normal(matrix, right, cost, coupling, own, pull)


def gradient(
    model: ForwardModel,
    vector: FloatArray,
    shots: Shots,
    weight: FloatArray,
    wander: FloatArray,
    wander_sd: float,
) -> tuple[FloatArray, FloatArray, float]:
    """Minus the gradient by parameters (size,), and by every oscillator's phase (shots,); and the cost."""
    right, pull, cost = np.zeros(model.names.size), np.empty(len(shots)), 0.0
    for k in range(len(shots)):
        s = setting(shots, k, wander)
        missing = shots.signal[k] - model.expected(vector, s)
        w, c = _huber(missing * weight[k], weight[k])
        part, pull[k] = model.adjoint(vector, s, missing * w**2)
        right += part
        cost += c
    pull -= wander / wander_sd**2
    return right, pull, cost + 0.5 * float((wander**2).sum()) / wander_sd**2


def cost_of(
    model: ForwardModel,
    vector: FloatArray,
    shots: Shots,
    weight: FloatArray,
    wander: FloatArray,
    wander_sd: float,
) -> float:
    """Huber's half sum of squares and the oscillators' prior."""
    total = 0.5 * float((wander**2).sum()) / wander_sd**2
    for k in range(len(shots)):
        missing = shots.signal[k] - model.expected(vector, setting(shots, k, wander))
        total += _huber(missing * weight[k], weight[k])[1]
    return total


def _huber(t: FloatArray, weight: FloatArray) -> tuple[FloatArray, float]:
    """Weights less what Huber takes off, and the cost, of residuals ``t`` in units of their noise."""
    size = np.abs(t)
    far = size > HUBER
    cost = 0.5 * np.where(far, HUBER * (2 * size - HUBER), t * t).sum()
    return np.where(far, weight * np.sqrt(HUBER / np.maximum(size, HUBER)), weight), float(cost)
