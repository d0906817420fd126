"""Detectors: power to current to a reading, with everything that is lost on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hilonn.mesh.jit import dense_kernel
from hilonn.simulators.normal import NormalStream
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.randomness import generator, generator_state, restore_generator
from hilonn.simulators.truth import Truth
from hilonn.typing import BoolArray, FloatArray, Snapshot

CHARGE = 1.602176634e-19  # C
BOLTZMANN = 1.380649e-23  # J/K
ROOM = 298.15  # K
RANGES = 10
ADC_LOW = -0.125
"""The converter's lower end in full scales: noise around zero is not folded up."""


@dataclass(frozen=True)
class _Scale:
    """What turns powers into readings on one range, (channels,) each: variance without light, A^2; the rail, A; the
    converter's lowest current and its step, A, and one over it (0 without a converter)."""

    floor: FloatArray
    rail: FloatArray
    low: FloatArray
    step: FloatArray
    inverse: FloatArray


class Detection:
    """Photodiodes, amplifiers and converters, two an output. Currents in A.

    i = gain P (1 + rin) + dark, with P in W; the variance of a reading is
    v0 + v1 P + v2 P^2: v0 = (noise * full scale)^2 + 4 k T B / R + 2 q dark B, v1 = 2 q gain B,
    v2 = gain^2 RIN B, B = 1 / (2 sample period). RIN is common to all channels of a sample. The
    amplifier stands at its rail at the range's full scale, or at the onset of saturation if lower.
    """

    def __init__(self, truth: Truth, p: PlantParameters, seed: int) -> None:
        channels = 2 * truth.ports
        self._normal = NormalStream(seed, "detectors")
        self._rin_rng = generator(seed, "relative intensity noise")
        self._noise = p.detector_noise
        self._shot = 2 * CHARGE * p.shot_noise
        self._thermal = 4 * BOLTZMANN * ROOM / p.load_resistance
        self._rin = 10 ** (p.rin / 10)
        self._bits = p.adc_bits
        self._quiet = not (self._noise or self._shot or self._thermal)
        largest = p.responsivity * truth.largest_power
        self._onset = p.saturation_onset * largest
        self.ranges = tuple(2 * largest / 2**k for k in reversed(range(RANGES)))
        self.range = RANGES - 1
        self.full_scales: FloatArray | None = None
        """Full scale (channels,) of each channel where boxes of their own read them; None: ``range``. Replaced, never changed
        in place."""
        self.stages = 1
        """Gain stages of those boxes' amplifiers, a factor 2 apart: a reading is taken on the finest that holds it."""
        self._gain, self._dark = truth.gain, truth.dark
        self._dead = np.zeros(channels, dtype=bool)
        self._full = np.zeros(channels, dtype=bool)
        self._faulty = False
        self._known = (0.0, 0, 0.0)
        self._scales: list[_Scale] = []
        self._scales_of: FloatArray | None = None
        self._drifted: tuple[FloatArray, FloatArray] | None = None

    def kill(self, channel: int) -> None:
        """``channel`` reads its amplifier's noise and nothing else."""
        self._dead[channel] = self._faulty = True

    def fill(self, channel: int) -> None:
        """``channel`` stands at its rail."""
        self._full[channel] = self._faulty = True

    def read(
        self,
        powers: FloatArray,
        gain_drift: FloatArray,
        period: float,
        signal: FloatArray,
        saturated: BoolArray,
    ) -> None:
        """Add one reading of ``powers`` (samples, channels) to ``signal``, and its saturation.

        ``gain_drift`` (channels,), relative, is never changed in place: what the last one gave is kept.
        """
        shape = powers.shape
        bandwidth = 0.5 / period
        size = shape[0] * shape[1]
        noise = np.zeros(size) if self._quiet else self._normal.take(size)
        spread = math.sqrt(self._rin * bandwidth)
        rin: FloatArray = np.zeros(shape[0])
        if spread:
            rin = spread * self._rin_rng.standard_normal((shape[0],))
        if self._drifted is None or self._drifted[0] is not gain_drift:
            self._drifted = gain_drift, self._gain * (1 + gain_drift)
        gain, dark = self._drifted[1], self._dark
        if self._faulty:
            gain, dark = np.where(self._dead, 0.0, gain), np.where(self._dead, 0.0, dark)
        before = signal[:, self._full] if self._faulty else signal
        shot = self._shot * bandwidth

        def convert(scale: _Scale, into: FloatArray, over: BoolArray) -> None:
            _convert(
                powers,
                gain,
                dark,
                rin,
                noise.reshape(shape),
                scale.floor,
                shot,
                scale.rail,
                scale.low,
                scale.step,
                scale.inverse,
                into,
                over,
            )

        scales = self._stages(bandwidth)
        if len(scales) == 1:
            convert(scales[0], signal, saturated)
        else:
            found, over = np.zeros_like(signal), np.zeros_like(saturated)
            convert(scales[0], found, over)
            for scale in scales[1:]:
                finer, beyond = np.zeros_like(signal), np.zeros_like(saturated)
                convert(scale, finer, beyond)
                found = np.where(beyond, found, finer)
            signal += found
            saturated |= over
        if self._faulty:
            full_scale = self._full_scale()
            rail = np.minimum(scales[0].rail, full_scale)
            signal[:, self._full] = before + rail[self._full]
            saturated[:, self._full] = True

    def _full_scale(self) -> FloatArray:
        if self.full_scales is not None:
            return self.full_scales
        return np.full(self._gain.size, self.ranges[self.range])

    def _stages(self, bandwidth: float) -> list[_Scale]:
        """The scale of each gain stage, widest first; one where the range is chosen for all."""
        known = (float(self.ranges[self.range]), self.stages, bandwidth)
        if known != self._known or self.full_scales is not self._scales_of:
            full_scale = self._full_scale()
            rail = np.minimum(full_scale if self._bits else np.inf * full_scale, self._onset)
            self._scales = [self._scale(full_scale, rail, bandwidth)]
            for stage in range(1, 1 if self.full_scales is None else self.stages):
                scale = full_scale / 2**stage
                self._scales.append(self._scale(scale, np.minimum(scale, rail), bandwidth))
            self._known, self._scales_of = known, self.full_scales
        return self._scales

    def _scale(self, full_scale: FloatArray, rail: FloatArray, bandwidth: float) -> _Scale:
        floor = (self._noise * full_scale) ** 2 + self._thermal * bandwidth
        if not self._bits:
            nothing = np.zeros_like(full_scale)
            return _Scale(floor, rail, np.full_like(full_scale, -math.inf), nothing, nothing)
        step = (1 - ADC_LOW) * full_scale / (2**self._bits - 1)
        return _Scale(floor, rail, ADC_LOW * full_scale, step, 1 / step)

    def variance_terms(self, period: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """v0 (A^2, on the largest range, converter included), v1 (A^2/W), v2 (A^2/W^2)."""
        bandwidth = 0.5 / period
        full_scale = self.ranges[-1]
        step = (1 - ADC_LOW) * full_scale / (2**self._bits - 1) if self._bits else 0.0
        floor = (self._noise * full_scale) ** 2 + self._thermal * bandwidth + step**2 / 12
        shot = self._shot * bandwidth
        return (
            floor + shot * self._dark,
            shot * self._gain,
            self._gain**2 * self._rin * bandwidth,
        )

    def snapshot(self) -> Snapshot:
        return {
            "normal": self._normal.snapshot(),
            "rin_generator": generator_state(self._rin_rng),
            "range": self.range,
            "dead": self._dead.copy(),
            "full": self._full.copy(),
        }

    def restore(self, saved: Snapshot) -> None:
        self._normal.restore(saved["normal"])
        restore_generator(self._rin_rng, saved["rin_generator"])
        self.range = int(saved["range"])
        self._dead = np.array(saved["dead"], bool)
        self._full = np.array(saved["full"], bool)
        self._faulty = bool(self._dead.any() or self._full.any())


@dense_kernel
def _convert(
    powers: FloatArray,
    gain: FloatArray,
    dark: FloatArray,
    rin: FloatArray,
    noise: FloatArray,
    floor: FloatArray,
    shot: float,
    rail: FloatArray,
    low: FloatArray,
    step: FloatArray,
    inverse: FloatArray,
    signal: FloatArray,
    saturated: BoolArray,
) -> None:
    channels = powers.shape[1]
    readings, end = np.empty(channels), rail - 0.5 * step
    for s in range(powers.shape[0]):
        bright = 1 + rin[s]
        for k in range(channels):
            current = gain[k] * powers[s, k] * bright + dark[k]
            analogue = current + np.sqrt(floor[k] + shot * max(current, 0.0)) * noise[s, k]
            analogue = max(analogue, low[k])
            digital = low[k] + step[k] * np.rint((analogue - low[k]) * inverse[k])
            reading = digital if inverse[k] > 0 else analogue
            readings[k] = rail[k] if reading >= end[k] else reading
        for k in range(channels):
            signal[s, k] += readings[k]
            saturated[s, k] |= readings[k] >= end[k]
