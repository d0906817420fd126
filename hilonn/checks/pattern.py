"""One known pattern through the chip, and what its readings say of the chip's paths, lock and settling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.checks.boxes import power_at
from hilonn.checks.budget import Budget, budget_steps
from hilonn.checks.knowledge import CALIBRATE
from hilonn.checks.light import Darkness, dark_step, rise_step
from hilonn.checks.report import CheckedBench, CheckStep
from hilonn.chips import Batch, ChipReadings, HeaterChip, MatrixChip, Readout, Settings
from hilonn.chips.nominal import is_nominal
from hilonn.errors import HilonnError
from hilonn.typing import FloatArray, IntArray

SAMPLES = 64
ABOVE = "mend what is bad above first, then check again"
ITSELF = "mend what is named, and check again"
"""In place of ``ABOVE`` where nothing above is bad."""
AN_INPUT = 3
"""Samples for each input at least: every path is told apart from the others."""
AVERAGES = 16
AMPLITUDE = 0.5
ALONE = 0.9
"""Amplitude of an input that is played alone, where no signs are read."""
LEAST_CORRELATION = 0.5
"""Between wanted and measured values of the known pattern. Swapped wires or a dark input give about
0; a chip of the harsh preset, programmed from a poor record, gives 0.8."""
POOR = 0.75
DARK = 0.5
"""Of the readings with light, above which those without are no darkness."""
UNSETTLED = 0.05
"""Of the signal: what may still move after the settling time."""
LONG = 10.0
"""Settling times after which all has settled."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A matrix, and inputs that tell its paths apart. ``outputs``, ``inputs_at``: the chip's ports that it is at."""

    matrix: FloatArray
    inputs: FloatArray
    wanted: FloatArray
    readout: Readout
    settings: Settings
    outputs: IntArray
    inputs_at: IntArray

    @classmethod
    def of(cls, chip: MatrixChip) -> Pattern:
        """The same for every check of a chip; compiled and not written. Raises as ``compile``."""
        rng = np.random.default_rng(0)
        matrix = rng.standard_normal((chip.outputs, chip.inputs))
        readout = chip.signed_readout or "power"
        if readout == "power":
            times = -(-SAMPLES // chip.inputs)
            inputs = np.tile(ALONE * np.eye(chip.inputs), (times, 1))
            wanted = (inputs @ matrix.T) ** 2
        else:
            samples = max(SAMPLES, AN_INPUT * chip.inputs)
            inputs = rng.uniform(-AMPLITUDE, AMPLITUDE, (samples, chip.inputs))
            wanted = inputs @ matrix.T
        (settings,) = chip.compile(matrix[None], [None])
        outputs: IntArray = np.arange(chip.outputs)
        at: IntArray = np.arange(chip.inputs)
        if isinstance(chip, HeaterChip):
            outputs, at = chip.at.outputs, chip.at.inputs
        return cls(matrix, inputs, wanted, readout, settings, outputs, at)

    def batch(self, averages: int = AVERAGES, index: int | None = None) -> Batch:
        """All its inputs."""
        return Batch(self.inputs, self.readout, range=index, averages=averages)

    def budget(self, values: FloatArray) -> Budget:
        """What the chip multiplied by, from ``values`` (samples, outputs)."""
        powers = self.readout == "power"
        played = self.inputs**2 if powers else self.inputs
        found = np.linalg.lstsq(played, values, rcond=None)[0].T
        wanted = self.matrix**2 if powers else self.matrix
        decibels = 20.0 if self.readout == "homodyne" else 10.0
        return Budget(found, wanted, decibels, self.outputs, self.inputs_at)


@dataclass(frozen=True, slots=True)
class Programmed:
    """A chip that is ready for light: ``dark`` (rms) is what its pattern reads without."""

    chip: MatrixChip
    pattern: Pattern
    darkness: Darkness | None
    dark: float


def dark_steps(bench: CheckedBench, chip: MatrixChip) -> tuple[list[CheckStep], Programmed | None]:
    """Without light: every detector's zero, then the pattern programmed, and read. None where that fails."""
    steps: list[CheckStep] = []
    darkness = None
    try:
        if isinstance(chip, HeaterChip):
            darkness = Darkness.of(chip)
            steps.append(dark_step(chip, darkness))
        pattern = Pattern.of(chip)
        if isinstance(chip, HeaterChip):
            watts, total = power_at(bench, chip, pattern.settings.drive), bench.gate.total_power
            if watts > total:
                found = (
                    f"it takes {watts:.3g} W, and {total:g} W are allowed: it was not programmed"
                )
                advice = f"raise `total_power` in [safety] to {1.3 * watts:.3g} W if chip and mount bear it"
                return [*steps, _failed(chip, found, advice)], None
        top = chip.ranges - 1  # what is stuck at its rail has been told
        dark = chip.run(pattern.settings, pattern.batch(index=top)).values
    except HilonnError as error:
        return [*steps, _failed(chip, str(error))], None
    return steps, Programmed(chip, pattern, darkness, float(np.sqrt((dark**2).mean())))


def _failed(chip: MatrixChip, found: str, advice: str = "") -> CheckStep:
    return CheckStep(
        f"known pattern through {chip.id}",
        "BAD",
        found,
        advice or ABOVE,
    )


def lit_steps(ready: Programmed) -> list[CheckStep]:
    """With light: detectors, pattern, link budget, lock, settling. What fails is told, and the rest left out."""
    chip, pattern = ready.chip, ready.pattern
    steps: list[CheckStep] = []
    try:
        chip.forget()
        if isinstance(chip, HeaterChip) and ready.darkness is not None:
            rise = rise_step(chip, pattern.settings, pattern.inputs, AVERAGES, ready.darkness)
            steps.append(rise)
        first = chip.run(pattern.settings, pattern.batch())
        again = chip.run(pattern.settings, pattern.batch(index=first.range))
        steps.append(_light(chip, first, ready.dark))
        if is_nominal(chip.records.chip):
            steps.append(_unknown(chip, pattern))
        else:
            steps += budget_steps(chip.id, pattern.budget(first.values))
            steps.append(_pattern(chip, pattern, first, again))
        steps.append(_lock(chip, first, again))
        if isinstance(chip, HeaterChip):
            steps.append(_settling(chip, pattern, first))
    except HilonnError as error:
        steps.append(_failed(chip, str(error)))
    return steps


def _light(chip: MatrixChip, first: ChipReadings, dark: float) -> CheckStep:
    ratio = dark / max(float(np.sqrt((first.values**2).mean())), 1e-300)
    good = ratio < DARK
    return CheckStep(
        f"light through {chip.id}",
        "ok" if good else "BAD",
        f"with the laser off the readings are {ratio:.1%} of those with it on",
        ""
        if good
        else "no light comes through: laser, fibres, shutters; or light comes from elsewhere",
        {"dark_ratio": ratio},
    )


def _unknown(chip: MatrixChip, pattern: Pattern) -> CheckStep:
    """Phases that nobody has measured multiply by whatever they do: no path can be told from another, nor wires that are
    swapped."""
    return CheckStep(
        f"known pattern through {chip.id}",
        "warn",
        f"played, and read by {pattern.readout}; paths and products are not judged, for the record is not measured",
        CALIBRATE,
    )


def _pattern(
    chip: MatrixChip, pattern: Pattern, first: ChipReadings, again: ChipReadings
) -> CheckStep:
    values, wanted = first.values, pattern.wanted
    size = max(float(np.sqrt((values**2).mean())), 1e-300)
    noise = float(np.sqrt(((values - again.values) ** 2).mean() / 2.0)) / size
    spread = float(values.std() * wanted.std())
    correlation = float(np.corrcoef(wanted.ravel(), values.ravel())[0, 1] if spread > 0.0 else 0.0)
    relative = float(np.linalg.norm(values - wanted) / np.linalg.norm(wanted))
    advice = ""
    if correlation < -LEAST_CORRELATION:
        advice = "all signs are reversed: the local oscillator's phase is half a turn off; is its heater on its channel?"
    elif correlation < LEAST_CORRELATION:
        advice = (
            "is this the chip of the record, is every heater on its channel (`hilonn poke`), are modulators and detectors "
            "started by one trigger?"
        )
    elif correlation < POOR:
        advice = (
            "training goes on around a poor record; `hilonn poke` and a new record make it easier"
        )
    return CheckStep(
        f"known pattern through {chip.id}",
        "ok" if correlation >= POOR else "warn" if correlation >= LEAST_CORRELATION else "BAD",
        f"read by {pattern.readout}: correlation {correlation:.3f} with what was wanted, relative "
        f"error {relative:.1%}, noise {noise:.1%} of the signal at {AVERAGES} averages",
        advice,
        {"correlation": correlation, "relative_error": relative, "noise": noise},
    )


def _lock(chip: MatrixChip, first: ChipReadings, again: ChipReadings) -> CheckStep:
    locked = first.locked and again.locked
    return CheckStep(
        f"local oscillator of {chip.id}",
        "ok" if locked else "BAD",
        "in lock" if locked else "lost its lock",
        "" if locked else "see to the phase lock: its light, its set point, somebody at the table",
    )


def _settling(chip: HeaterChip, pattern: Pattern, first: ChipReadings) -> CheckStep:
    """The pattern read as soon as the device says that heaters have settled, and long after."""
    settings, batch = pattern.settings, pattern.batch(1, first.range)
    (other,) = chip.compile(-pattern.matrix[None], [None])
    chip.run(other, batch)
    fresh = chip.run(settings, batch).values
    chip.clock.sleep(LONG * max(chip.settling_time, 1e-3))
    later, last = (chip.run(settings, batch).values for _ in range(2))
    size = max(float((first.values**2).mean()), 1e-300)
    excess = ((fresh - later) ** 2).mean() - ((later - last) ** 2).mean()
    moved = float(np.sqrt(max(float(excess), 0.0) / size))
    seconds = f"{1e3 * chip.settling_time:.3g} ms"
    good = moved < UNSETTLED
    return CheckStep(
        f"settling of {chip.heaters_of.name}",
        "ok" if good else "warn",
        f"{moved:.1%} of the signal still moves {seconds} after a write",
        "" if good else f"give {chip.heaters_of.name} a longer `settling_time` in the bench file",
        {"moved": moved, "settling_time": chip.settling_time},
    )
