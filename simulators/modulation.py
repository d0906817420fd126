"""Modulators: voltage to field."""

from __future__ import annotations

import math

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.mesh.sincos import sincos
from hilonn.simulators.drift import angles_to_field
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.truth import Truth
from hilonn.typing import ComplexArray, FloatArray


class Modulation:
    """A bank of push-pull Mach-Zehnder modulators around their null, one an input.

    E = sqrt(P0) [sin(u) + i leak cos(u)], u = pi (V - V0) / (2 V_pi) + bias drift, and then the
    facet. The leak is what an imperfect extinction ratio leaves: leak^2 of the full power at null.
    """

    def __init__(self, truth: Truth, p: PlantParameters) -> None:
        self._turn = math.pi / (2 * truth.v_pi)
        self._null = self._turn * truth.bias
        self._leak = truth.leak
        self._seen: tuple[FloatArray, FloatArray, FloatArray, FloatArray] | None = None
        self._into = truth.launched_field * truth.input_facet
        self.high = modulator_limit(p)
        self.step = 2 * self.high / (2**p.drive_bits - 1) if p.drive_bits else 0.0

    def quantised(self, drive: FloatArray) -> FloatArray:
        """``drive`` on the converter's grid, which has no code at exactly 0 V."""
        if not self.step:
            return drive.copy()
        half = self.high
        grid: FloatArray = np.rint((drive + half) / self.step) * self.step - half
        return grid

    def fields(
        self, drive: FloatArray, bias: FloatArray, fibre: FloatArray, power: float
    ) -> ComplexArray:
        """Fields on the chip (samples, ports), sqrt(W), for voltages (samples, ports).

        ``bias`` and ``fibre`` (ports,) are drifts in rad; ``power`` is the laser's, in units of
        its nominal power. Neither ``drive`` nor ``bias`` is ever changed in place: what the last
        ones gave is kept, for repeated plays.
        """
        if self._seen is None or self._seen[0] is not drive or self._seen[1] is not bias:
            sine, cosine = sincos(drive * self._turn + (bias - self._null))
            self._seen = (drive, bias, sine, cosine)
        scale = math.sqrt(power) * self._into * angles_to_field(fibre)
        fields: ComplexArray = np.empty(drive.shape, np.complex128)
        _leaking(self._seen[2], self._seen[3], self._leak, scale, fields)
        return fields


@kernel
def _leaking(
    sine: FloatArray,
    cosine: FloatArray,
    leak: FloatArray,
    scale: ComplexArray,
    fields: ComplexArray,
) -> None:
    for s in range(fields.shape[0]):
        for k in range(fields.shape[1]):
            fields[s, k] = complex(sine[s, k], leak[k] * cosine[s, k]) * scale[k]


def modulator_limit(p: PlantParameters) -> float:
    """The supply's voltage: full drive both ways on the worst modulator, up to 0.5 V."""
    worst = p.v_pi * (1 + 3 * p.v_pi_spread + 3 * p.modulator_bias_spread)
    return math.ceil(2 * worst * 1.02) / 2
