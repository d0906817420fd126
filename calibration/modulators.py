"""Modulators: V_pi, bias of the null, what leaks at the null, and which of them do not modulate.

One modulator at a time goes over its whole range while the others stand still. With a push-pull modulator's field

    E = T [sin u + i l cos u],    u = pi (V - V0) / (2 V_pi),

the vectors of the sine and of the cosine part over all outputs are parallel, and their ratio -tan(c - i m) gives the
bias c = pi V0 / (2 V_pi) and the leak l = tanh m at once. All samples of all modulators are one play.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from scipy.optimize import least_squares

from hilonn.calibration.drives import background
from hilonn.calibration.light import oscillator_drives, rails
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.errors import CalibrationError, SaturationError
from hilonn.records import Quantity, Records
from hilonn.typing import ComplexArray, FloatArray

RESTS = 4
"""Sweeps' worth of samples with all modulators at rest."""
DIMMER = 5
"""How often the laser's power may be lowered where the detectors do not hold the light."""


class ModulatorParameters(Parameters):
    """``points`` of each sweep, ``averages`` of each play; ``settings``: random settings, in which inputs that are
    faint in one are bright in another."""

    points: int = Field(default=96, ge=16)
    averages: int = Field(default=8, ge=1)
    settings: int = Field(default=2, ge=1)


class Modulators(Routine):
    name = "modulators"
    title = "modulators"
    parameters = ModulatorParameters

    def applies(self, setup: Setup) -> bool:
        return setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        samples = (setup.ports + RESTS) * parameters.points * parameters.averages
        passes = 2 * parameters.settings
        return Effort(passes, passes * samples)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        volts = _pattern(setup, known, parameters.points)
        oscillator = oscillator_drives(setup, known)
        rig.let_oscillator(True)
        full = [laser.power() for laser in rig.lasers]
        try:
            for s in range(parameters.settings):
                if not raw.has(f"setting-{s}"):
                    drive = background(setup, s)
                    signal = self._read(rig, known, parameters, drive, oscillator, volts)
                    raw.save(f"setting-{s}", volts=volts, signal=signal)
                progress("modulators", s + 1, parameters.settings)
        finally:
            for laser, power in zip(rig.lasers, full, strict=True):
                laser.set_power(power)

    def _read(
        self,
        rig: Rig,
        known: Records,
        parameters: Any,
        drive: FloatArray,
        oscillator: tuple[float, float],
        volts: FloatArray,
    ) -> FloatArray:
        """Both quadratures (2, samples, 2 ports); with less light where the detectors do not hold a whole sweep."""
        for attempt in range(DIMMER + 1):
            parts = []
            try:
                for volt in oscillator:
                    rig.program(np.append(drive, volt))
                    parts.append(rig.ranged(volts, parameters.averages, rails(known))[0])
                return np.array(parts, np.float32)
            except SaturationError:
                if attempt == DIMMER or not rig.lasers:
                    raise
                for laser in rig.lasers:
                    laser.set_power(0.7 * laser.power())
        raise AssertionError("unreachable")

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        ports, points = setup.ports, parameters.points
        detectors = known.photodetectors
        alive = detectors.accepted("gain")
        pairs_alive = np.logical_and(*np.split(alive, 2))
        if pairs_alive.any():  # one of a pair alone sees |E|^2 too
            alive = np.tile(pairs_alive, 2)
        watts = np.where(alive, 1.0 / detectors.value("gain"), 0.0)
        fields = []
        for name in raw.blocks("setting-"):
            block = raw.load(name)
            pairs = block["signal"] * watts
            pairs = pairs[..., :ports] - pairs[..., ports:]
            fields.append(pairs[0] + 1j * pairs[1])
        volts = block["volts"]
        field = np.concatenate(fields, axis=1)  # samples, outputs of all settings
        rest = field[ports * points :].mean(axis=0)
        noise = float(field[ports * points :].std(axis=0).mean() / np.sqrt(2.0))
        found = np.zeros((5, ports))  # v_pi, bias, leak, size, residual
        doubt = np.zeros((3, ports))
        line = np.zeros((ports, points), complex)
        v = np.zeros((ports, points))
        for j in range(ports):
            own = slice(j * points, (j + 1) * points)
            v[j] = volts[own, j]
            at_rest = float(volts[-1, j])
            found[:, j], doubt[:, j], line[j] = _fit_one(
                v[j], at_rest, field[own] - rest, noise, setup.nominal.v_pi, RESTS * points
            )
        return Fit(
            modulators={
                "v_pi": Quantity.of(found[0], doubt[0]),
                "bias": Quantity.of(found[1], doubt[1]),
                "extinction_leak": Quantity.of(found[2], doubt[2]),
            },
            arrays={"volts": v, "line": line, "size": found[3], "residual": found[4]},
            figures={
                "v_pi": float(np.median(found[0])),
                "extinction": float(-20 * np.log10(np.median(np.abs(found[2])) + 1e-9)),
            },
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        size = fit.arrays["size"]
        usual = float(np.median(size))
        if usual == 0.0:
            raise CalibrationError("no modulator moves any light: is the laser on?")
        failures = []
        v_pi = fit.modulators["v_pi"]
        for j in range(setup.ports):
            if size[j] < 0.05 * usual:
                reason = f"moves {size[j] / usual:.1%} of the light that the others move"
            elif v_pi.uncertainty[j] > 0.05 * v_pi.value[j]:
                reason = f"V_pi is told to {v_pi.uncertainty[j]:.2g} V only"
            elif not 0.5 < v_pi.value[j] / setup.nominal.v_pi < 2.0:
                reason = f"V_pi of {v_pi.value[j]:.2f} V is far from the datasheet's"
            else:
                continue
            failures.append(Failure("modulator", j, reason))
        return failures

    def update(self, known: Records, fit: Fit, failures: Any) -> Records:
        """One that does not modulate keeps the datasheet's values, at which nothing it is asked can be refused."""
        modulators = {}
        for name, quantity in fit.modulators.items():
            value = quantity.value.copy()
            for failure in failures:
                value[failure.channel] = known.modulators.value(name)[failure.channel]
            modulators[name] = Quantity(value, quantity.uncertainty, quantity.accepted)
        return super().update(known, Fit(fit.chip, modulators, fit.photodetectors), failures)


def _pattern(setup: Setup, known: Records, points: int) -> FloatArray:
    """Volts (samples, ports): each modulator's sweep in turn, then all at rest."""
    rest = known.modulators.value("bias")
    rest = np.minimum(np.maximum(rest, setup.modulator_low), setup.modulator_high)
    volts = np.tile(rest, ((setup.ports + RESTS) * points, 1))
    for j in range(setup.ports):
        sweep = np.linspace(setup.modulator_low[j], setup.modulator_high[j], points)
        volts[j * points : (j + 1) * points, j] = sweep
    return volts


def _fit_one(
    v: FloatArray, rest: float, field: ComplexArray, noise: float, v_pi: float, rests: int
) -> tuple[FloatArray, FloatArray, ComplexArray]:
    """Of one sweep, ``field`` (points, outputs) beyond the mean of ``rests`` samples with all at rest: V_pi, bias, leak,
    size, residual; the first three's uncertainties; the field (points,) along its own direction."""
    _, _, direction = np.linalg.svd(field, full_matrices=False)
    line = field @ direction[0].conj()

    def basis(k: float) -> FloatArray:
        return np.stack(
            (np.cos(k * v) - np.cos(k * rest), np.sin(k * v) - np.sin(k * rest)), axis=1
        )

    def missing(p: FloatArray) -> FloatArray:
        k, c, m, re, im, off, aside = p
        angle, still = k * v - c, k * rest - c
        shape = np.sin(angle) - np.sin(still) + 1j * np.tanh(m) * (np.cos(angle) - np.cos(still))
        left = (re + 1j * im) * shape + (off + 1j * aside) - line
        rested = np.sqrt(rests) * np.array([off, aside])  # the mean at rest is noisy too
        return np.concatenate((left.real, left.imag, rested))

    trials = np.pi / (2 * v_pi) * np.linspace(0.5, 2.0, 151)
    errors = []
    for k in trials:
        b = basis(k)
        found = np.linalg.lstsq(b, line, rcond=None)[0]
        errors.append(float((np.abs(b @ found - line) ** 2).sum()))
    k = float(trials[int(np.argmin(errors))])
    cosine, sine = np.linalg.lstsq(basis(k), line, rcond=None)[0]
    if abs(sine) == 0.0:
        return np.array([v_pi, 0.0, 0.0, 0.0, 0.0]), np.full(3, np.inf), line
    turn = np.arctan(-cosine / sine)  # c - i m
    c, m = float(turn.real), float(-turn.imag)
    size = sine / (np.cos(c) + 1j * np.tanh(m) * np.sin(c))
    start = np.array([k, c, np.clip(m, -1.0, 1.0), size.real, size.imag, 0.0, 0.0])
    scale = np.array([k, 1.0, 1.0, abs(size), abs(size), abs(size), abs(size)])
    found = least_squares(missing, start, x_scale=scale)
    k, c, m, re, im = found.x[:5]
    spread = max(float(np.sqrt((found.fun**2).sum() / (2 * len(v) - 5))), noise)
    slopes = np.asarray(found.jac)
    covariance = np.linalg.pinv(slopes.T @ slopes) * spread**2
    turn_k = np.pi / (2 * k)
    values = np.array([turn_k, c / k, np.tanh(m), float(np.hypot(re, im)), spread])
    ratio = np.array([-c / k**2, 1.0 / k])
    doubts = np.array(
        [
            turn_k / k * np.sqrt(covariance[0, 0]),
            np.sqrt(ratio @ covariance[:2, :2] @ ratio),
            np.sqrt(covariance[2, 2]) / np.cosh(m) ** 2,
        ]
    )
    return values, doubts, line / (re + 1j * im)
