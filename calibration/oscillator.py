"""The local oscillator's heater: what turns the phase against which every field is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from hilonn.calibration.columns import own_phase
from hilonn.calibration.drives import background, nominal_ohm, on_grid, top_of
from hilonn.calibration.light import FAINTEST, light_of, rails, read_half
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine, whole
from hilonn.errors import CalibrationError
from hilonn.records import Quantity, Records
from hilonn.typing import FloatArray


class OscillatorParameters(Parameters):
    """``points`` of the sweep over ``turns`` by the datasheet; ``amplitude`` of the inputs, of full drive."""

    points: int = Field(default=40, ge=12)
    turns: float = Field(default=1.2, gt=0.5)
    amplitude: float = Field(default=0.5, gt=0, le=1)
    averages: int = Field(default=4, ge=1)


class Oscillator(Routine):
    """Patterns of known signs at a fixed random setting, read while the oscillator's heater is swept: every output's
    difference is a fringe of one frequency."""

    name = "oscillator"
    title = "local oscillator"
    parameters = OscillatorParameters

    def applies(self, setup: Setup) -> bool:
        return setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        patterns = 2 * (1 << max(setup.ports - 1, 1).bit_length())
        passes = parameters.points
        return Effort(passes + 1, (passes * parameters.averages + 1) * patterns)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        if raw.has("sweep"):
            return
        light = light_of(rig.setup, known, parameters.amplitude)
        drive = background(rig.setup)
        top = top_of(rig.setup, parameters.turns)[-1]
        volts = on_grid(
            rig.setup, np.sqrt(np.linspace(0, top, parameters.points) * nominal_ohm(rig.setup))
        )
        odd = np.empty((parameters.points, light.patterns, 2 * rig.setup.ports), np.float32)
        rig.let_oscillator(True)
        rig.program(np.append(drive, volts[0]))
        # No routine has named them yet, and no range would hold them.
        ignore = rails(known) | rig.railed(light.volts(FAINTEST))
        for k, volt in enumerate(volts):
            rig.program(np.append(drive, volt))
            odd[k] = read_half(rig, light, parameters.averages, ignore)
            progress("oscillator", k + 1, parameters.points)
        raw.save("sweep", volts=volts, odd=odd)

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        block = raw.load("sweep")
        ports, per_pi = setup.ports, setup.nominal.power_per_pi
        pairs = (block["odd"][..., :ports] - block["odd"][..., ports:]).reshape(
            len(block["volts"]), -1
        )
        pairs = pairs.astype(float)
        cold = block["volts"] ** 2 / nominal_ohm(setup)
        found = _fit_common(cold, pairs, per_pi, setup.nominal.resistance_rise)
        scale, rise, covariance, line = found
        names = ("heater_power_per_pi", "heater_resistance_rise", "heater_phase_offset")
        chip = known.chip
        values = (per_pi / scale, rise, 0.0)
        doubts = (per_pi / scale**2 * np.sqrt(covariance[0, 0]), np.sqrt(covariance[1, 1]), 0.0)
        quantities = {
            name: Quantity(
                whole(chip.value(name), -1, value),
                whole(chip.uncertainty(name), -1, doubt),
                chip.accepted(name),
            )
            for name, value, doubt in zip(names, values, doubts, strict=True)
        }
        power = np.abs(pairs).max()
        return Fit(
            chip=quantities,
            arrays={"cold": cold, "line": line, "own": own_phase(cold, scale, rise, per_pi)},
            figures={"power_per_pi": per_pi / scale, "largest_difference": float(power)},
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        own, line = fit.arrays["own"], fit.arrays["line"]
        left = line - np.cos(own)
        if np.sqrt((left**2).mean()) > 0.2:
            raise CalibrationError(
                "the local oscillator shows no fringe: is its shutter open, its heater wired as "
                "`local_oscillator`, and light in it? Its readings are in raw/oscillator"
            )
        if own[-1] - own[0] < np.pi:
            raise CalibrationError(
                f"the local oscillator's heater reaches {own[-1]:.2f} rad only: raise its limit or `turns`"
            )
        return []


def _fit_common(
    cold: FloatArray, rows: FloatArray, per_pi: float, rise: float
) -> tuple[float, float, FloatArray, FloatArray]:
    """Frequency over the nominal one and rise of many fringes (k, m) that share them, their covariance (2, 2), and
    one fringe (k,) that stands for all: what is left beside cos(own phase), turned to start at 1."""
    k = len(cold)

    def basis(scale: float, bend: float) -> FloatArray:
        own = own_phase(cold, scale, bend, per_pi)
        return np.stack((np.ones(k), np.cos(own), np.sin(own)), axis=1)

    def left(scale: float, bend: float) -> FloatArray:
        q, _ = np.linalg.qr(basis(scale, bend))
        return np.asarray(rows - q @ (q.T @ rows))

    trials = np.geomspace(0.4, 2.5, 181)
    scale = float(trials[int(np.argmin([(left(t, rise) ** 2).sum() for t in trials]))])
    point = np.array([scale, rise])
    steps = np.array([1e-4, 1e-2])
    normal = np.eye(2)
    sigma2 = 1.0
    for _ in range(20):
        now = left(point[0], point[1])
        slopes = np.stack(
            [(left(*(point + np.eye(2)[i] * steps[i])) - now).ravel() / steps[i] for i in range(2)]
        )
        sigma2 = float((now**2).sum()) / max(rows.size - 3 * rows.shape[1] - 2, 1)
        normal = slopes @ slopes.T
        normal[1, 1] += sigma2 / PRIOR_RISE**2
        downhill = -slopes @ now.ravel()
        downhill[1] -= sigma2 / PRIOR_RISE**2 * (point[1] - rise)
        step = np.linalg.solve(normal, downhill)
        point = point + step
        if np.abs(step / steps).max() < 1e-3:
            break
    waves = basis(point[0], point[1])
    found = np.linalg.lstsq(waves, rows, rcond=None)[0]
    size = np.hypot(found[1], found[2])
    turn = np.exp(1j * np.arctan2(found[2], found[1]))
    # Quadratures of all fringes, turned to one: the in-phase part of their weighted mean.
    swing = rows - waves[:, :1] * found[0]
    cosine = (swing * size * turn.real).sum(axis=1) / max(float((size**2).sum()), 1e-300)
    sine = (swing * size * turn.imag).sum(axis=1) / max(float((size**2).sum()), 1e-300)
    mean_cos = float((size**2 * turn.real**2).sum() / (size**2).sum())
    mean_mix = float((size**2 * turn.real * turn.imag).sum() / (size**2).sum())
    mean_sin = 1.0 - mean_cos
    mix = np.array([[mean_cos, mean_mix], [mean_mix, mean_sin]])
    line = np.linalg.solve(mix + 1e-9 * np.eye(2), np.stack((cosine, sine)))[0]
    return float(point[0]), float(point[1]), sigma2 * np.linalg.inv(normal), line


PRIOR_RISE = 5.0
"""1/W: how far the oscillator's self-heating may lie from the datasheet's."""
