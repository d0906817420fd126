"""Detectors: power to current to a reading, with everything that is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat

import numpy as np

from hilonn.mesh.jit import kernel
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.randomness import generator, generator_state, restore_generator
from hilonn.simulators.truth import Truth
from hilonn.typing import BoolArray, FloatArray, Snapshot

CHARGE = 1.602176634e-19  # C
BOLTZMANN = 1.380649e-23  # J/K
ROOM = 298.15  # K
RANGES = 10
WORTH_A_THREAD = 8192
"""Random numbers that take longer to draw than it takes to hand them to another thread."""
ADC_LOW = -0.125
"""The converter's lower end in full scales: noise around zero is not folded up."""


AHEAD = 1 << 18
"""Random numbers drawn ahead of the light, 2 MB."""


class Detection:
    """Photodiodes, amplifiers and converters, two an output. Currents in A.

    i = gain P (1 + rin) + dark, with P in W; the variance of a reading is
    v0 + v1 P + v2 P^2: v0 = (noise * full scale)^2 + 4 k T B / R + 2 q dark B, v1 = 2 q gain B,
    v2 = gain^2 RIN B, B = 1 / (2 sample period). RIN is common to all channels of a sample. The
    amplifier stands at its rail at the range's full scale, or at the onset of saturation if lower.
    """

    def __init__(self, truth: Truth, p: PlantParameters, seed: int) -> None:
        channels = 2 * truth.ports
        self._rng = generator(seed, "detectors")
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
        """Full scale (channels,) of each channel where boxes of their own read them; None: ``range``."""
        self.stages = 1
        """Gain stages of those boxes' amplifiers, a factor 2 apart: a reading is taken on the finest that holds it."""
        self._gain, self._dark = truth.gain, truth.dark
        self._dead = np.zeros(channels, dtype=bool)
        self._full = np.zeros(channels, dtype=bool)
        self._faulty = False
        self._worker: ThreadPoolExecutor | None = None

    def kill(self, channel: int) -> None:
        """``channel`` reads its amplifier's noise and nothing else."""
        self._dead[channel] = self._faulty = True

    def fill(self, channel: int) -> None:
        """``channel`` stands at its rail."""
        self._full[channel] = self._faulty = True

    def noises(self, samples: int, repeats: int) -> Iterator[FloatArray]:
        """Standard normal numbers (samples, channels) for each of ``repeats`` readings.

        They take as long to draw as the light takes to compute, so that those of a large reading
        are drawn by the other core meanwhile; the numbers are the same.
        """
        shape = (samples, self._gain.size)
        if self._quiet:
            return repeat(np.zeros(shape), repeats)
        if samples * self._gain.size < WORTH_A_THREAD:
            return (self._rng.standard_normal(shape) for _ in range(repeats))
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "detector noise")
        return self._drawn_ahead(self._worker, shape, repeats)

    def _drawn_ahead(
        self, worker: ThreadPoolExecutor, shape: tuple[int, int], repeats: int
    ) -> Iterator[FloatArray]:
        most = max(1, AHEAD // (shape[0] * shape[1]))  # readings drawn at once

        def draw(count: int) -> Future[FloatArray]:
            return worker.submit(self._rng.standard_normal, (count, *shape))

        def drawn() -> Iterator[FloatArray]:
            coming, left = first, repeats - min(most, repeats)
            while True:
                block = coming.result()
                if left:
                    coming = draw(min(most, left))
                yield from block
                if not left:
                    return
                left -= min(most, left)

        first = draw(min(most, repeats))  # begins now, not at the first use
        return drawn()

    def read(
        self,
        powers: FloatArray,
        noise: FloatArray,
        gain_drift: FloatArray,
        period: float,
        signal: FloatArray,
        saturated: BoolArray,
    ) -> None:
        """Add one reading of ``powers`` (samples, channels) to ``signal``, and its saturation.

        ``noise`` (samples, channels) is one of ``noises``.
        """
        samples = len(powers)
        bandwidth = 0.5 / period
        full_scale: FloatArray = (
            np.full(self._gain.size, self.ranges[self.range])
            if self.full_scales is None
            else self.full_scales
        )
        rail = np.minimum(full_scale if self._bits else np.inf * full_scale, self._onset)
        spread = math.sqrt(self._rin * bandwidth)
        rin: FloatArray = np.zeros(samples)
        if spread:
            rin = spread * self._rin_rng.standard_normal((samples,))
        gain, dark = self._gain * (1 + gain_drift), self._dark
        if self._faulty:
            gain, dark = np.where(self._dead, 0.0, gain), np.where(self._dead, 0.0, dark)
        before = signal[:, self._full] if self._faulty else signal

        def convert(scale: FloatArray, rail: FloatArray, into: FloatArray, over: BoolArray) -> None:
            _convert(
                powers,
                gain,
                dark,
                rin,
                noise,
                (self._noise * scale) ** 2 + self._thermal * bandwidth,
                self._shot * bandwidth,
                rail,
                ADC_LOW * scale if self._bits else np.full_like(scale, -math.inf),
                (1 - ADC_LOW) * scale / (2**self._bits - 1) if self._bits else 0.0 * scale,
                into,
                over,
            )

        if self.full_scales is None or self.stages == 1:
            convert(full_scale, rail, signal, saturated)
        else:
            found, over = np.zeros_like(signal), np.zeros_like(saturated)
            convert(full_scale, rail, found, over)
            for stage in range(1, self.stages):
                finer, beyond = np.zeros_like(signal), np.zeros_like(saturated)
                scale = full_scale / 2**stage
                convert(scale, np.minimum(scale, rail), finer, beyond)
                found = np.where(beyond, found, finer)
            signal += found
            saturated |= over
        if self._faulty:
            signal[:, self._full] = before + np.minimum(rail, full_scale)[self._full]
            saturated[:, self._full] = True

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
            "generator": generator_state(self._rng),
            "rin_generator": generator_state(self._rin_rng),
            "range": self.range,
            "dead": self._dead.copy(),
            "full": self._full.copy(),
        }

    def restore(self, saved: Snapshot) -> None:
        restore_generator(self._rng, saved["generator"])
        restore_generator(self._rin_rng, saved["rin_generator"])
        self.range = int(saved["range"])
        self._dead = np.array(saved["dead"], bool)
        self._full = np.array(saved["full"], bool)
        self._faulty = bool(self._dead.any() or self._full.any())


@kernel
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
    signal: FloatArray,
    saturated: BoolArray,
) -> None:
    for s in range(powers.shape[0]):
        for k in range(powers.shape[1]):
            current = gain[k] * powers[s, k] * (1 + rin[s]) + dark[k]
            reading = current + np.sqrt(floor[k] + shot * max(current, 0.0)) * noise[s, k]
            reading = max(reading, low[k])
            if step[k] > 0:
                reading = low[k] + step[k] * np.rint((reading - low[k]) / step[k])
            if reading >= rail[k] - 0.5 * step[k]:
                reading = rail[k]
                saturated[s, k] = True
            signal[s, k] += reading
