"""Modulators: voltage to field."""

from __future__ import annotations

import math

import numpy as np

from hilonn.mesh.jit import dense_kernel, kernel
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
        self._launched: tuple[FloatArray, float, ComplexArray] | None = None
        self._into = truth.launched_field * truth.input_facet
        self.high = modulator_limit(p)
        self.step = 2 * self.high / (2**p.drive_bits - 1) if p.drive_bits else 0.0

    def quantised(self, drive: FloatArray) -> FloatArray:
        """``drive`` on the converter's grid, which has no code at exactly 0 V."""
        if not self.step:
            return drive.copy()
        grid = np.empty_like(drive, np.float64, "C")
        _on_grid(drive, self.high, self.step, grid)
        return grid

    def fields(
        self, drive: FloatArray, bias: FloatArray, fibre: FloatArray, power: float
    ) -> ComplexArray:
        """Fields on the chip (samples, ports), sqrt(W), for voltages (samples, ports).

        ``bias`` and ``fibre`` (ports,) are drifts in rad; ``power`` is the laser's, in units of
        its nominal power. None of the arrays is ever changed in place: what the last ones gave is
        kept for repeated plays, and the same array is then returned.
        """
        seen = self._seen
        if seen is None or seen[0] is not drive or seen[1] is not bias:
            angle = np.empty(drive.shape)
            _angle(drive, self._turn, bias - self._null, angle)
            seen = (drive, bias, *sincos(angle))
            self._seen, self._launched = seen, None
        launched = self._launched
        if launched is None or launched[0] is not fibre or launched[1] != power:
            scale = math.sqrt(power) * self._into * angles_to_field(fibre)
            fields: ComplexArray = np.empty(drive.shape, np.complex128)
            _leaking(seen[2], seen[3], self._leak, scale, fields)
            launched = self._launched = (fibre, power, fields)
        return launched[2]


@dense_kernel
def _on_grid(drive: FloatArray, half: float, step: float, grid: FloatArray) -> None:
    for s in range(grid.shape[0]):
        for k in range(grid.shape[1]):
            grid[s, k] = np.rint((drive[s, k] + half) / step) * step - half


@dense_kernel
def _angle(drive: FloatArray, turn: FloatArray, shift: FloatArray, angle: FloatArray) -> None:
    for s in range(angle.shape[0]):
        for k in range(angle.shape[1]):
            angle[s, k] = drive[s, k] * turn[k] + shift[k]


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
