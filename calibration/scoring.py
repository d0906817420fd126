"""How well a record predicts settings that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.calibration.normal import Noise, setting
from hilonn.calibration.shots import Shots
from hilonn.calibration.solving import tracked
from hilonn.chips.forward import ForwardModel
from hilonn.records import Records
from hilonn.typing import FloatArray

WANDER = 0.3
"""rad: prior of the oscillator's phase at a shot."""


@dataclass(frozen=True)
class Score:
    """``error``: |predicted - measured| / |measured|, readings less their darks; ``noise``: the same of one measurement
    against its expectation, from two of the same settings: |first - second| / (sqrt 2 |measured|). Both count the same
    readings. ``ratio`` is their quotient; ``shots`` how many settings."""

    error: float
    noise: float
    shots: int

    @property
    def ratio(self) -> float:
        return self.error / self.noise


def score(records: Records, first: Shots, second: Shots, ranges: FloatArray) -> Score:
    """The score of ``records`` on held-out shots and the same ones again. The oscillator's phase, which wanders, is tracked at
    each shot: one number for all its readings."""
    rows = records.chip.value("crosstalk_kernel")
    model, estimate = ForwardModel.of(records, rows[:, :2])
    vector, dark = estimate.values, records.photodetectors.value("dark")
    weight = Noise.of(records.photodetectors, ranges).weight(
        first, records.photodetectors.accepted("gain").astype(float)
    )
    weight = np.where(second.saturated, 0.0, weight)
    away, apart, size = 0.0, 0.0, 0.0
    predicted = predict(model, vector, first, weight)
    again = predict(model, vector, second, weight)
    counts = weight > 0
    away = float(np.sum((first.signal - predicted)[counts] ** 2))
    # What the oscillator moved between the two is not the detectors' noise.
    moved = (first.signal - predicted) - (second.signal - again)
    apart = float(np.sum(moved[counts] ** 2)) / 2
    size = float(np.sum((first.signal - dark)[counts] ** 2))
    return Score(float(np.sqrt(away / size)), float(np.sqrt(apart / size)), len(first))


def predict(
    model: ForwardModel, vector: FloatArray, shots: Shots, weight: FloatArray
) -> FloatArray:
    """Expected readings (shots, samples, channels), the oscillator's phase tracked."""
    wander = np.zeros(len(shots))
    found = []
    for k in range(len(shots)):
        wander[k] = tracked(model, vector, shots, k, weight[k], WANDER)
        found.append(model.expected(vector, setting(shots, k, wander)))
    return np.stack(found)
