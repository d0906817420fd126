"""What modulators launch that do not modulate: constant fields, found beside everything else by the global fit.

Such a modulator stands at 0 V in the forward model, whatever it is asked for; its bias then says how much it launches, and
the phase of its input's field, a convention otherwise, goes with the phases that were found of the heaters behind it. A
homodyne reading is linear in the field, so that a start is had by least squares.
"""

from __future__ import annotations

import numpy as np

from hilonn.calibration.normal import setting
from hilonn.calibration.shots import Shots
from hilonn.chips.forward import ForwardModel
from hilonn.typing import BoolArray, FloatArray

SHOTS = 64
"""By which a start is found."""
BRIGHTEST = 0.8
"""Of full drive: the size of an input's field is taken larger where what is stuck on it would be more."""


def stuck_light(
    model: ForwardModel, values: FloatArray, shots: Shots, use: BoolArray
) -> FloatArray:
    """``values`` (size,) with bias, phase and size of the inputs that do not move as ``shots`` show them, all else as it
    is. ``use`` (channels,): detectors that are believed."""
    stuck = np.flatnonzero(~model.moving)
    if not len(stuck):
        return values
    values = values.copy()
    part = model.names.split(values)
    full = np.exp(part["v_pi"])
    part["bias"][stuck] = part["extinction_leak"][stuck] = 0.0
    pairs = np.logical_and(*np.split(use, 2))
    some = shots.part(np.flatnonzero(shots.through)[:SHOTS])
    gain = np.exp(part["gain"])
    counted = ~some.saturated & use

    def differences(signal: FloatArray) -> FloatArray:
        watts = np.where(counted, signal, 0.0) / gain
        plus, minus = np.split(watts, 2, axis=-1)
        both = np.logical_and(*np.split(counted, 2, axis=-1))
        return np.asarray(np.where(both, plus - minus, 0.0)[..., pairs].ravel())

    def expected(vector: FloatArray) -> FloatArray:
        still = np.zeros(len(some))
        return differences(
            np.stack([model.expected(vector, setting(some, k, still)) for k in range(len(some))])
        )

    dark = expected(values)
    columns = []
    for port in stuck:
        for turn in (0.0, np.pi / 2):
            lit = values.copy()
            own = model.names.split(lit)
            own["bias"][port] = -full[port]
            own["input_phase"][port] += turn
            columns.append(expected(lit) - dark)
    found = np.linalg.lstsq(np.stack(columns, axis=1), differences(some.signal) - dark, rcond=None)[
        0
    ]
    for port, (real, imaginary) in zip(stuck, found.reshape(-1, 2), strict=True):
        size = float(np.hypot(real, imaginary))
        more = max(1.0, size / BRIGHTEST)
        part["input_size"][port] += np.log(more)
        part["input_phase"][port] += np.arctan2(imaginary, real)
        part["bias"][port] = -2 * full[port] / np.pi * np.arcsin(size / more)
    return values
