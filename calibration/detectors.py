"""Detectors: dark current, gain within each pair, linearity, noise, and which of them do not see.

The local oscillator lights both detectors of a pair alike, whatever the chip does, once its beat with what leaks from
the chip is averaged over four phases of it. What tells outputs apart (responsivity, coupling, the oscillator's share)
are products that no reading takes apart: the mean gain of a pair is the datasheet's, by convention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from scipy.optimize import nnls

from hilonn.calibration.drives import background
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.errors import CalibrationError
from hilonn.records import Quantity, Records
from hilonn.transfer import power_of_phase, voltage_of_power
from hilonn.typing import FloatArray

PHASES = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)
DIM = 0.1
"""Of the median light: a detector that sees less is dead."""


class DetectorParameters(Parameters):
    """``samples`` of each reading; ``levels``: the laser's powers, of its set power, largest first; ``rounds`` over the
    oscillator's phases that gains are read in: what wanders meanwhile is in their scatter."""

    samples: int = Field(default=2048, ge=64)
    rounds: int = Field(default=8, ge=2)
    levels: tuple[float, ...] = (1.0, 0.7, 0.4, 0.2)


class Detectors(Routine):
    name = "detectors"
    title = "detectors"
    parameters = DetectorParameters

    def applies(self, setup: Setup) -> bool:
        return setup.architecture != "crossbar" and setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        long = len(PHASES) * len(parameters.levels) + 1
        short = len(PHASES) * parameters.rounds
        samples = long * parameters.samples + len(PHASES) * parameters.samples
        return Effort(long + short, samples)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup, samples = rig.setup, parameters.samples
        total = len(parameters.levels) + 1
        if not raw.has("dark"):
            signal, index = rig.darks(samples)
            raw.save("dark", signal=signal, range=index, samples=samples)
        progress("dark", 1, total)
        dark = np.zeros((samples, setup.ports)) + known.modulators.value("bias")
        drive, volts = background(setup), _oscillator_volts(known)
        rig.let_oscillator(True)
        full = [laser.power() for laser in rig.lasers]
        top = len(setup.ranges) - 1
        try:
            for i, level in enumerate(parameters.levels):
                if raw.has(f"level-{i}"):
                    continue
                for laser, power in zip(rig.lasers, full, strict=True):
                    laser.set_power(level * power)
                rig.set_range(top)  # noise is stated for the largest range
                means, variances, low = [], [], []
                for volt in volts:
                    rig.program(np.append(drive, volt))
                    signal, saturated = rig.read(dark)
                    variances.append(signal.var(axis=0, ddof=1))
                    means.append(signal.mean(axis=0))
                    low.append(saturated.any(axis=0))
                raw.save(
                    f"level-{i}",
                    level=level,
                    mean=np.array(means),
                    variance=np.array(variances),
                    saturated=np.array(low),
                )
                if i == 0:
                    stuck = np.array(low).any(axis=0)
                    rig.set_range(_holding(setup, np.array(means)[:, ~stuck]))
                    short = dark[: max(samples // parameters.rounds, 8)]
                    gains = np.empty((parameters.rounds, len(volts), 2 * setup.ports))
                    for turn in range(parameters.rounds):
                        for k, volt in enumerate(volts):
                            rig.program(np.append(drive, volt))
                            gains[turn, k] = rig.read(short)[0].mean(axis=0)
                    raw.save("gains", mean=gains)
                progress("light levels", i + 2, total)
        finally:
            for laser, power in zip(rig.lasers, full, strict=True):
                laser.set_power(power)

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        blocks = [raw.load(name) for name in raw.blocks("level-")]
        dark_block = raw.load("dark")
        dark, samples = dark_block["signal"], int(dark_block["samples"])
        at = dark_block["range"] if "range" in dark_block else np.zeros(dark.shape, int)
        noise = np.sqrt(blocks[0]["variance"].mean(axis=0))
        stuck = np.asarray(blocks[0]["saturated"].any(axis=0))
        rounds = np.where(stuck, 0.0, raw.load("gains")["mean"].mean(axis=1) - dark)
        first = rounds.mean(axis=0)
        plus, minus = np.split(first, 2)
        nominal = setup.nominal.responsivity
        mean = np.maximum((plus + minus) / 2, 1e-300)
        light = mean / nominal
        gain = np.concatenate((plus, minus)) / np.tile(light, 2)
        # What the rounds scatter by, pooled over the detectors: noise, and what the oscillator's phase did meanwhile.
        share = (rounds[:, : setup.ports] - rounds[:, setup.ports :]) / (2 * mean)
        usable = np.minimum(plus, minus) > DIM * np.median(mean)
        scatter = share[:, usable].std(axis=0, ddof=1) if usable.any() else np.ones(1)
        told = float(np.sqrt((scatter**2).mean()) / np.sqrt(len(rounds)))
        doubt = np.full(2 * setup.ports, told * nominal)
        levels = np.array([float(b["level"]) for b in blocks])
        signals = np.stack([b["mean"].mean(axis=0) - dark for b in blocks])
        bend = _nonlinearity(levels, signals)
        powers = levels[:, np.newaxis] * np.tile(light, 2)
        variances = np.stack([b["variance"].mean(axis=0) for b in blocks])
        v, v_doubt = _noise_terms(powers, variances, len(PHASES) * samples)
        photodetectors = {
            "gain": Quantity.of(gain, doubt),
            "dark": Quantity.of(
                dark, noise * setup.ranges[at] / setup.ranges[-1] / np.sqrt(samples)
            ),
        } | {f"noise_v{i}": Quantity.of(v[i], v_doubt[i]) for i in range(3)}
        return Fit(
            photodetectors=photodetectors,
            arrays={
                "levels": levels,
                "signals": signals,
                "bend": bend,
                "saturated": stuck,
                "light": first,
            },
            figures={
                "noise_of_full_scale": float(np.median(noise) / setup.ranges[-1]),
                "largest_nonlinearity": float(np.abs(bend).max()),
            },
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        light, saturated = fit.arrays["light"], fit.arrays["saturated"]
        usual = float(np.median(light))
        if usual <= 0:
            raise CalibrationError(
                "the detectors see no light from the local oscillator: is its shutter open and the laser on?"
            )
        failures = []
        for channel in range(len(light)):
            if saturated[channel]:
                reason = "stands at its rail whatever the light"
            elif light[channel] < DIM * usual:
                reason = f"sees {light[channel] / usual:.1%} of what the others see"
            elif abs(fit.arrays["bend"][channel]) > 0.05:
                reason = f"is not linear: {fit.arrays['bend'][channel]:.1%} over the laser's range"
            else:
                continue
            failures.append(Failure("detector", channel, reason))
        return failures

    def update(self, known: Records, fit: Fit, failures: Any) -> Records:
        """A detector that does not see is not accepted; the other of its pair goes on alone, with the usual gain."""
        lost = [f.channel for f in failures]
        gain = fit.photodetectors["gain"]
        value = gain.value.copy()
        ports = len(value) // 2
        for channel in lost:
            partner = (channel + ports) % (2 * ports)
            if partner not in lost:
                value[partner] = float(np.median(np.delete(gain.value, lost)))
            value[channel] = float(np.median(np.delete(gain.value, lost)))
        now = Quantity(value, gain.uncertainty, gain.accepted)
        changed = Fit(
            fit.chip,
            fit.modulators,
            {**fit.photodetectors, "gain": now},
            fit.arrays,
            fit.figures,
        )
        return super().update(known, changed, failures)


def _oscillator_volts(known: Records) -> list[float]:
    chip = known.chip
    offset, per_pi, ohm, rise = (
        chip.value(f"heater_{name}")[-1]
        for name in ("phase_offset", "power_per_pi", "resistance", "resistance_rise")
    )
    return [
        float(voltage_of_power(power_of_phase(np.mod(p - offset, 2 * np.pi), per_pi), ohm, rise))
        for p in PHASES
    ]


def _holding(setup: Setup, signal: FloatArray) -> int:
    """The smallest range with a quarter to spare over ``signal``."""
    largest = 1.25 * float(signal.max(initial=0.0))
    return min(int((setup.ranges < largest).sum()), len(setup.ranges) - 1)


def _nonlinearity(levels: FloatArray, signals: FloatArray) -> FloatArray:
    """Largest departure (channels,) from a line through zero and the brightest level, relative to that."""
    line = levels[:, np.newaxis] * signals[0] / levels[0]
    return np.asarray(np.abs(signals - line).max(axis=0) / np.maximum(np.abs(signals[0]), 1e-300))


def _noise_terms(
    powers: FloatArray, variances: FloatArray, samples: int
) -> tuple[FloatArray, FloatArray]:
    """v0, v1, v2 (3, channels) >= 0 of the variances (levels, channels) at ``powers``, and their uncertainties."""
    channels = powers.shape[1]
    found, doubt = np.zeros((3, channels)), np.zeros((3, channels))
    for c in np.flatnonzero(variances.any(axis=0)):  # at its rail a channel has no noise
        p = powers[:, c]
        top = max(float(np.abs(p).max()), 1e-300)
        weight = 1.0 / np.maximum(variances[:, c], 1e-300)
        basis = np.stack((np.ones_like(p), p / top, (p / top) ** 2), axis=1)
        units = np.array([1.0, top, top**2])
        found[:, c] = nnls(basis * weight[:, np.newaxis], variances[:, c] * weight)[0] / units
        inner = (basis * weight[:, np.newaxis] ** 2 * samples / 2).T @ basis
        doubt[:, c] = np.sqrt(np.diag(np.linalg.pinv(inner))) / units
    return found, doubt
