"""Does every heater answer? Turn one, read all outputs, compare with what noise alone would do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hilonn.chips.chip import Batch, Settings
from hilonn.chips.heater_chip import HeaterChip
from hilonn.chips.stillness import changes_of, rms
from hilonn.errors import SaturationError
from hilonn.typing import BoolArray, FloatArray, IntArray

SAMPLES = 16
ROUNDS = (4, 16, 64, 256)
"""Averages of a reading: heaters that do not answer are asked again, from other settings and with less
noise, since one that carries little light in one setting carries more in another."""
AMPLITUDE = 0.4
"""Of the modulators' full scale."""
FAINTER = 6
"""How often the light may be halved where the detectors' largest range does not hold it."""
SILENT = 1.25
"""Below this a heater did not answer. Noise alone gives 1.0 +- 0.05 at 16 ports."""
FEW = 5.0
"""Below one and this many standard deviations of what noise alone gives, if that is more: few ports know less."""


@dataclass(frozen=True, slots=True)
class HeaterTest:
    """``response`` (heaters,): rms change of the readings when the heater turned, in units of what
    noise alone changes, the largest of its rounds; ``passes`` that it took; ``seen`` (heaters,): those that can answer at
    all, by the ports that are used; ``threshold`` of an answer."""

    response: FloatArray
    passes: int
    seen: BoolArray
    threshold: float

    @property
    def silent(self) -> IntArray:
        """Heaters that did not answer in any round."""
        return np.flatnonzero((self.response < self.threshold) & self.seen)


def check_heaters(chip: HeaterChip, seed: int = 0) -> HeaterTest:
    """Turn each heater by a quarter turn from random settings; light must be on.

    A heater is turned up, or down where its range ends. Uses only what every device offers: what is
    written and what is read.
    """
    rng = np.random.default_rng([seed, 20])
    response = np.zeros(len(chip.layout))
    passes = 0
    seen = chip.seen
    threshold = max(SILENT, 1.0 + FEW / np.sqrt(2.0 * SAMPLES * chip.outputs))
    for turn, averages in enumerate(ROUNDS):
        asked = np.flatnonzero((response < threshold) & seen)
        if not len(asked):
            break
        answers, used = _round(chip, _matrix(chip, rng, turn), rng, asked, averages)
        response[asked] = np.maximum(response[asked], answers)
        passes += used
    return HeaterTest(response, passes, seen, threshold)


def _matrix(chip: HeaterChip, rng: np.random.Generator, turn: int) -> FloatArray:
    """A random matrix; every second one with equal singular values, since a phase before the smallest
    of 64 moves almost nothing."""
    matrix = rng.standard_normal((chip.outputs, chip.inputs))
    if turn % 2 == 0:
        return matrix
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(left @ right)


def _round(
    chip: HeaterChip,
    matrix: FloatArray,
    rng: np.random.Generator,
    asked: IntArray,
    averages: int,
) -> tuple[FloatArray, int]:
    settings = chip.compile(matrix[np.newaxis], [None])[0]
    inputs = rng.choice([-AMPLITUDE, AMPLITUDE], (SAMPLES, chip.inputs))
    readout = chip.signed_readout or "power"
    for attempt in range(FAINTER + 1):
        try:
            first = chip.run(settings, Batch(inputs, readout, averages=averages))
            break
        except SaturationError:
            if attempt == FAINTER:
                raise
            inputs = inputs / np.sqrt(2.0)
    batch = Batch(inputs, readout, averages=averages, range=first.range)

    def read(settings: Settings) -> FloatArray:
        return np.asarray(chip.run(settings, batch).values)

    changes, noise, stills = changes_of(
        lambda place: read(_turned(chip, settings, int(asked[place]))),
        len(asked),
        lambda: read(settings),
        first.values,
        rms,
    )
    return np.array(changes) / noise, len(asked) + stills + 1


def _turned(chip: HeaterChip, settings: Settings, heater: int) -> Settings:
    own = settings.self_phase.copy()
    up = own[heater] + np.pi / 2 <= chip.largest_phases[heater]
    own[heater] += np.pi / 2 if up else -np.pi / 2
    return replace(settings, drive=chip.drives_of(own), self_phase=own)
