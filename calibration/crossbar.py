"""Crossbars: inputs add as powers, so that every weight has a fringe of its own, and all are read at once.

With one input lit at a time, an output's two buses read A +- B cos(theta) of one interferometer. All heaters are driven
at random together: each reading is a point of its own fringe at its own power, moved a little by what its neighbours
warm, which a regression over all of them tells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from hilonn.calibration.distances import Distances, distances
from hilonn.calibration.drives import background, nominal_ohm, random_settings
from hilonn.calibration.fringes import fit_fringe
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.chips.detection import pair_watts
from hilonn.errors import CalibrationError
from hilonn.records import InstrumentRecord, Quantity, Records
from hilonn.typing import FloatArray

RISE_PRIOR = 0.25
"""Relative: how far one heater's self-heating may lie from all others' mean."""


class InputPowerParameters(Parameters):
    """``points`` of each modulator's sweep, ``averages`` of each play."""

    points: int = Field(default=96, ge=16)
    averages: int = Field(default=64, ge=1)


class InputPowers(Routine):
    """V_pi, bias and extinction of modulators whose power alone is seen, in the sum of all detectors."""

    name = "input_powers"
    title = "input powers"
    parameters = InputPowerParameters

    def applies(self, setup: Setup) -> bool:
        return setup.architecture == "crossbar" or not setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        samples = (setup.ports + 1) * parameters.points * parameters.averages
        return Effort(2, samples + parameters.points * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup, points = rig.setup, parameters.points
        rig.let_oscillator(False)
        if not raw.has("dark"):
            signal = rig.dark(points * parameters.averages)
            raw.save(
                "dark",
                mean=signal.mean(axis=0),
                variance=signal.var(axis=0, ddof=1),
                samples=len(signal),
            )
        progress("dark", 1, 2)
        if not raw.has("sweep"):
            rig.program(background(setup))
            rest = np.minimum(
                np.maximum(known.modulators.value("bias"), setup.modulator_low),
                setup.modulator_high,
            )
            volts = np.tile(rest, ((setup.ports + 1) * points, 1))
            for j in range(setup.ports):
                sweep = np.linspace(setup.modulator_low[j], setup.modulator_high[j], points)
                volts[j * points : (j + 1) * points, j] = sweep
            signal, saturated = rig.ranged(volts, parameters.averages, rig.railed(volts[-8:]))
            raw.save("sweep", volts=volts, signal=signal, saturated=saturated.any(axis=0))
        progress(self.title, 2, 2)

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        dark, block, points = raw.load("dark"), raw.load("sweep"), parameters.points
        light = block["signal"] - dark["mean"]
        light = light[:, ~block["saturated"]].sum(axis=1)
        found, doubt = np.zeros((4, setup.ports)), np.zeros((3, setup.ports))
        low, high = (np.pi / (setup.nominal.v_pi * f) for f in (2.0, 0.5))
        for j in range(setup.ports):
            own = slice(j * points, (j + 1) * points)
            v, y = block["volts"][own, j], light[own]
            fringe = fit_fringe(v, y, low, high)
            v_pi = np.pi / fringe.frequency
            # A + B cos(k V + c) is least at the null: k V0 + c = pi, the nearest to 0 V.
            null = float(np.angle(np.exp(1j * (np.pi - fringe.phase))))
            bias = null / fringe.frequency
            others = float(np.median(light[setup.ports * points :]))
            least = max(fringe.mean - fringe.size - others, 0.0)
            leak = np.sqrt(least / max(2 * fringe.size, 1e-300))
            told = fringe.uncertainty
            found[:, j] = v_pi, bias, min(leak, 1.0), 2 * fringe.size
            turn = np.array([-null / fringe.frequency**2, -1 / fringe.frequency])
            both = fringe.covariance[2:, 2:]
            doubt[:, j] = (
                v_pi * told[2] / fringe.frequency,
                np.sqrt(turn @ both @ turn),
                max(told[0] / max(2 * fringe.size, 1e-300), 0.01),
            )
        ones = np.ones(2 * setup.ports)
        return Fit(
            modulators={
                name: Quantity.of(found[i], doubt[i])
                for i, name in enumerate(("v_pi", "bias", "extinction_leak"))
            },
            photodetectors={
                "dark": Quantity.of(
                    dark["mean"], np.sqrt(dark["variance"] / float(dark["samples"]))
                ),
                "noise_v0": Quantity.of(dark["variance"]),
                "noise_v1": Quantity.of(0.0 * ones),
                "noise_v2": Quantity.of(0.0 * ones),
            },
            arrays={"size": found[3], "saturated": block["saturated"]},
            figures={"v_pi": float(np.median(found[0]))},
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        size = fit.arrays["size"]
        usual = float(np.median(size))
        if usual <= 0:
            raise CalibrationError("no modulator moves any light: is the laser on?")
        failures = [
            Failure(
                "modulator", j, f"moves {size[j] / usual:.1%} of the light that the others move"
            )
            for j in np.flatnonzero(size < 0.05 * usual).tolist()
        ]
        railed = np.flatnonzero(fit.arrays["saturated"]).tolist()
        return failures + [
            Failure("detector", c, "stands at its rail whatever the light") for c in railed
        ]


class WeightParameters(Parameters):
    """``settings``: random ones, each a point of every weight's fringe; ``averages`` of each one-hot input."""

    settings: int = Field(default=64, ge=16)
    averages: int = Field(default=16, ge=1)
    turns: float = Field(default=1.2, gt=0.5)
    reach: float = Field(default=3.0, gt=0)
    rounds: int = Field(default=4, ge=1)


class Weights(Routine):
    """Every weight's fringe, its gain, the crosstalk between them, and the gains of each pair of detectors."""

    name = "weights"
    title = "weights"
    parameters = WeightParameters

    def applies(self, setup: Setup) -> bool:
        return setup.architecture == "crossbar"

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        samples = (setup.ports + NULLS) * parameters.averages
        return Effort(parameters.settings, parameters.settings * samples)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        mods = known.modulators
        rest, usable = mods.value("bias"), mods.accepted("v_pi")
        volts = np.tile(rest, (setup.ports + NULLS, 1))
        full = np.where(usable, rest + mods.value("v_pi"), rest)
        row = np.arange(setup.ports)
        volts[row, row] = np.minimum(full, setup.modulator_high)
        ignore = np.asarray(~known.photodetectors.accepted("dark"))
        drives = random_settings(setup, parameters.settings, parameters.turns, 0)
        for first in range(0, len(drives), BLOCK):
            name, block = f"random-{first // BLOCK:03d}", drives[first : first + BLOCK]
            if not raw.has(name):
                signals = []
                for k, drive in enumerate(block):
                    rig.program(drive)
                    signals.append(rig.ranged(volts, parameters.averages, ignore)[0])
                    progress(self.title, first + k + 1, len(drives))
                raw.save(name, drive=block, signal=np.array(signals, np.float32))
            progress(self.title, first + len(block), len(drives))

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        n = setup.ports
        blocks = [raw.load(name) for name in raw.blocks("random-")]
        cold = np.concatenate([b["drive"] for b in blocks]) ** 2 / nominal_ohm(setup)
        signal = np.concatenate([b["signal"] for b in blocks]).astype(float)
        light = signal[:, :n] - signal[:, n:].mean(axis=1, keepdims=True)
        # (settings, inputs, 2 outputs) -> (settings, heaters), heaters counted output by output.
        plus = light[:, :, :n].swapaxes(1, 2).reshape(len(cold), -1)
        minus = light[:, :, n:].swapaxes(1, 2).reshape(len(cold), -1)
        near = distances(setup.layout, parameters.reach)
        shape = _Shapes(setup, cold, near)
        shape.start(plus - minus)
        for _ in range(parameters.rounds):
            shape.improve(plus - minus)
        return shape.described(setup, known, plus, minus)

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        size, noise = fit.arrays["size"], fit.arrays["noise"]
        inputs = known.modulators.accepted("v_pi")
        failures = []
        n = setup.ports
        gain = fit.arrays["gain_ratio"]
        for c in np.flatnonzero(gain == 0):
            if known.photodetectors.accepted("dark")[c]:
                failures.append(Failure("detector", int(c), "sees no weight's fringe"))
        lit = np.tile(inputs, n) & np.repeat((gain[:n] > 0) | (gain[n:] > 0), n)
        for h in range(setup.heaters):
            if not lit[h]:
                continue
            if size[h] < 6 * noise[h] / np.sqrt(parameters.settings):
                failures.append(Failure("heater", h, "no fringe: nothing changes with its drive"))
            elif not 0.5 < fit.arrays["scale"][h] < 2.0:
                reason = (
                    f"its power per pi is {1 / fit.arrays['scale'][h]:.2f} times the datasheet's"
                )
                failures.append(Failure("heater", h, reason))
        if len(failures) > setup.heaters // 2:
            raise CalibrationError(
                f"{len(failures)} weights show no usable fringe; the first: {failures[0]}"
            )
        return failures


NULLS, BLOCK = 16, 8


def _detectors(known: Records, gain: FloatArray, alive: np.ndarray) -> InstrumentRecord:
    """The detectors' record with ``gain`` (2 ports,)."""
    record = known.photodetectors
    quantities = {**record.quantities, "gain": Quantity.of(gain, 0.0, alive)}
    return replace(record, quantities=quantities)


class _Shapes:
    """Fringes of all weights: mean, cosine, sine, scale and self-heating of each, and shares by distance."""

    def __init__(self, setup: Setup, cold: FloatArray, near: Distances) -> None:
        self.setup, self.cold, self.near = setup, cold, near
        h = setup.heaters
        self.scale, self.rise = np.ones(h), np.full(h, setup.nominal.resistance_rise)
        self.share = np.zeros(len(near.length))
        self.linear = np.zeros((h, 3))
        self.told = np.zeros((h, 5))
        self.share_told = np.zeros(len(near.length))
        self.noise = np.ones(h)

    def own(self) -> FloatArray:
        power = 2 * self.cold / (1 + np.sqrt(1 + 4 * self.rise * self.cold))
        return np.asarray(np.pi * self.scale * power / self.setup.nominal.power_per_pi)

    def moved(self, own: FloatArray) -> FloatArray:
        spread = np.zeros_like(own)
        for share, pairs in zip(self.share, self.near.pairs, strict=True):
            spread += share * (pairs @ own.T).T
        return spread

    def start(self, read: FloatArray) -> None:
        """Each fringe alone: a scan of its frequency."""
        nominal = np.pi / self.setup.nominal.power_per_pi
        for h in range(read.shape[1]):
            if np.ptp(read[:, h]) == 0.0:
                continue
            fringe = fit_fringe(self.cold[:, h], read[:, h], 0.5 * nominal, 2.0 * nominal)
            self.scale[h] = fringe.frequency / nominal

    def improve(self, read: FloatArray) -> None:
        """One step of each fringe's five numbers, and one of the shares that all have in common."""
        for _ in range(3):
            own = self.own()
            angle = own + self.moved(own)
            step = 1e-3
            power = own / np.maximum(self.scale, 1e-12)
            self.rise += step
            bend = (self.own() - own) / step
            self.rise -= step
            middle = float(np.median(self.rise))
            warmth = np.stack([(pairs @ own.T).T for pairs in self.near.pairs], axis=-1)
            left, kinds = [], []
            for h in range(read.shape[1]):
                cosine, sine = np.cos(angle[:, h]), np.sin(angle[:, h])
                basis = np.stack((np.ones_like(cosine), cosine, sine), axis=1)
                if not self.linear[h].any():
                    self.linear[h] = np.linalg.lstsq(basis, read[:, h], rcond=None)[0]
                slope = -self.linear[h, 1] * sine + self.linear[h, 2] * cosine
                full = np.column_stack((basis, slope * power[:, h], slope * bend[:, h]))
                gap = read[:, h] - basis @ self.linear[h]
                sd = max(float(gap.std()), 1e-300)
                normal = full.T @ full / sd**2
                pull = np.zeros(5)
                spread = max(RISE_PRIOR * abs(middle), 0.3)
                normal[4, 4] += 1 / spread**2
                pull[4] = -(self.rise[h] - middle) / spread**2
                normal[np.diag_indices(5)] += 1e-12 * np.diag(normal)
                inverse = np.linalg.pinv(normal)
                change = inverse @ (full.T @ gap / sd**2 + pull)
                self.linear[h] += change[:3]
                self.scale[h] += np.clip(change[3], -0.05, 0.05)
                self.rise[h] += np.clip(change[4], -1.0, 1.0)
                self.told[h] = np.sqrt(np.maximum(np.diag(inverse), 0.0))
                self.noise[h] = sd
                # What a share does to a fringe beyond what the fringe's own numbers could.
                own_space, _ = np.linalg.qr(full)
                moved = slope[:, np.newaxis] * warmth[:, h] / sd
                kinds.append(moved - own_space @ (own_space.T @ moved))
                left.append((gap - own_space @ (own_space.T @ gap)) / sd)
            flat, gaps = np.concatenate(kinds), np.concatenate(left)
            inverse = np.linalg.pinv(flat.T @ flat)
            self.share = self.share + inverse @ (flat.T @ gaps)
            self.share_told = np.sqrt(np.diag(inverse))

    def described(self, setup: Setup, known: Records, plus: FloatArray, minus: FloatArray) -> Fit:
        n, nominal = setup.ports, setup.nominal
        own = self.own()
        size = np.hypot(self.linear[:, 1], self.linear[:, 2])
        # mean + size cos(own + offset)
        offset = np.arctan2(-self.linear[:, 2], self.linear[:, 1])
        aside = np.hypot(self.linear[:, 2] * self.told[:, 1], self.linear[:, 1] * self.told[:, 2])
        told = aside / np.maximum(size**2, 1e-300)
        wave = np.cos(own + self.moved(own) + offset)
        wave = wave - wave.mean(axis=0)
        swing = [(wave * bus).sum(axis=0) / (wave**2).sum(axis=0) for bus in (plus, -minus)]
        swing = [np.maximum(s.reshape(n, n).sum(axis=1), 0.0) for s in swing]
        usual = float(np.median(np.concatenate(swing)))
        ratio = np.concatenate([np.where(s > 0.1 * usual, s, 0.0) for s in swing])
        mean = np.tile(
            (ratio[:n] + ratio[n:]) / np.maximum((ratio[:n] > 0).astype(int) + (ratio[n:] > 0), 1),
            2,
        )
        gain = np.where(
            ratio > 0, nominal.responsivity * ratio / np.maximum(mean, 1e-300), nominal.responsivity
        )
        watts = np.concatenate(pair_watts(_detectors(known, gain, ratio > 0)))
        amplitude = (
            np.array(
                [(wave * bus).sum(axis=0) / (wave**2).sum(axis=0) for bus in (plus, -minus)]
            ).reshape(2, n, n)
            * watts.reshape(2, n, 1)
        ).sum(axis=0)
        power = known.chip.value("input_power")
        shape = np.maximum(amplitude.mean(axis=0), 1e-300)
        power = power.mean() * shape / shape.mean()
        weight = amplitude / power
        sd = self.noise.reshape(n, n) * np.sqrt(2.0 / len(own))
        per_pi = nominal.power_per_pi / self.scale
        kernel, doubt = [], []
        for offsets, share, error in zip(
            self.near.offsets, self.share, self.share_told, strict=True
        ):
            kernel += [(*o, share) for o in offsets]
            doubt += [(0.0, 0.0, error)] * len(offsets)
        chip = known.chip
        pair_doubt = nominal.responsivity * float(np.median(self.noise / np.maximum(size, 1e-300)))
        pair_doubt /= np.sqrt(len(own) * n)
        return Fit(
            chip={
                "heater_phase_offset": Quantity.of(np.mod(offset, 2 * np.pi), told),
                "heater_power_per_pi": Quantity.of(
                    per_pi, per_pi * self.told[:, 3] / np.maximum(self.scale, 1e-12)
                ),
                "heater_resistance_rise": Quantity.of(self.rise, self.told[:, 4]),
                "heater_resistance": chip.quantities["heater_resistance"],
                "crosstalk_kernel": Quantity.of(np.array(kernel), np.array(doubt)),
                "input_power": Quantity.of(power, 0.01 * power),
                "weight_gain": Quantity.of(weight, sd / power / nominal.responsivity),
            },
            photodetectors={"gain": Quantity.of(gain, pair_doubt, ratio > 0)},
            arrays={
                "swept": np.arange(setup.heaters),
                "cold": self.cold.T,
                "own": (own + self.moved(own) + offset).T,
                "line": (((plus - minus) - self.linear[:, 0]) / np.maximum(size, 1e-300)).T.astype(
                    complex
                ),
                "alive": size > 0,
                "size": size,
                "noise": self.noise,
                "scale": self.scale,
                "gain_ratio": ratio,
            },
            figures={
                "power_per_pi": float(np.median(per_pi)),
                "crosstalk_of_a_neighbour": float(self.share[0]),
                "noise_of_a_fringe": float(np.median(self.noise / np.maximum(size, 1e-300))),
            },
        )
