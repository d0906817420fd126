"""Levenberg and Marquardt on streamed normal equations: first on few shots, then on all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hilonn.calibration.normal import (
    Noise,
    Normal,
    accumulate,
    cost_of,
    gradient,
    setting,
)
from hilonn.calibration.shots import Shots
from hilonn.chips.forward import ForwardModel, Setting
from hilonn.chips.parameters import Estimate
from hilonn.errors import CalibrationError
from hilonn.typing import BoolArray, FloatArray

ENOUGH = 1e-3
"""Relative fall of the cost below which a stage ends."""
NEAR = 8.0
"""Residuals over noise below which a start is so good that half as many shots lead on from it."""
LONGEST = 40
"""Rounds of a stage."""
FARTHEST = 20.0
"""Standard deviations of its prior that a parameter may move: beyond, the start was no start."""
COOLEST = 0.2
"""Of the cold resistance, over the square of the largest voltage: how fast a resistance may fall with power. At 0.25 no
power would answer to the voltage."""
HELD = 1e-5
"""To what a sum that is held may move: less than anything measures."""
LARGEST = 1e8
"""Of the damping: beyond, nothing falls any more."""


@dataclass(frozen=True)
class Problem:
    """What is fitted to what: ``start`` with its uncertainties is the prior; those of zero are held.

    ``use`` (channels,): detectors that are believed. ``wander_sd`` rad, of the oscillator at each shot. ``sums`` (k, size):
    combinations of parameters that are held, too.
    """

    model: ForwardModel
    start: Estimate
    shots: Shots
    noise: Noise
    use: BoolArray
    wander_sd: float
    sums: FloatArray

    @property
    def free(self) -> BoolArray:
        """Parameters that are fitted (size,)."""
        return (self.start.sd > 0) & self.start.known

    @property
    def prior(self) -> FloatArray:
        """The prior's part of the normal equations of what is free."""
        sums = self.sums[:, self.free] / HELD
        prior: FloatArray = sums.T @ sums
        prior[np.diag_indices_from(prior)] += self.start.sd[self.free] ** -2.0
        return prior

    def part(self, which: slice) -> Problem:
        return replace(self, shots=self.shots.part(which))


@dataclass(frozen=True)
class Solution:
    """``values`` (size,), ``wander`` (shots,), the ``normal`` equations there without prior, and by how much residuals
    exceed the ``noise``, ``excess`` (a factor on its standard deviation)."""

    values: FloatArray
    wander: FloatArray
    normal: Normal
    excess: float
    noise: Noise


Tell = Callable[[str], None]


def solve(problem: Problem, few: int, tell: Tell = lambda text: None) -> Solution:
    """The most probable parameters: Levenberg and Marquardt on the first ``few`` shots, then all of them with one set of
    normal equations and gradients anew, whose rounds cost a tenth. CalibrationError where nothing explains the
    readings."""
    few = min(few, len(problem.shots))
    first = problem.part(slice(few))
    if excess_of(first, problem.start.values, np.zeros(few)) < NEAR:
        few //= 2
    values: FloatArray = np.array(problem.start.values)
    wander: FloatArray = np.zeros(len(problem.shots))
    values, seen = descend(problem.part(slice(few)), values, np.zeros(few), tell)
    wander[:few] = seen
    problem = replace(problem, noise=scaled(problem.part(slice(few)), values, wander[:few]))
    wander = _track(problem, values, wander, range(few, len(wander)))
    return _polish(problem, values, wander, tell)


def residuals(problem: Problem, values: FloatArray, wander: FloatArray) -> FloatArray:
    """(shots, samples, channels) in units of the stated noise; NaN where a reading does not count."""
    weight = problem.noise.weight(problem.shots, problem.use.astype(float))
    found = np.stack(
        [
            problem.model.expected(values, setting(problem.shots, k, wander))
            for k in range(len(problem.shots))
        ]
    )
    return np.where(weight > 0, (problem.shots.signal - found) * weight, np.nan)


def scaled(problem: Problem, values: FloatArray, wander: FloatArray) -> Noise:
    """The noise with each channel's residuals taken for it, where they are larger."""
    size = np.abs(residuals(problem, values, wander)).reshape(-1, len(problem.use))
    scale = np.ones(len(problem.use))
    for channel in np.flatnonzero(np.isfinite(size).any(axis=0)):
        scale[channel] = max(1.0, float(np.nanmedian(size[:, channel])) / 0.6745)
    return replace(problem.noise, scale=problem.noise.scale * scale)


def excess_of(problem: Problem, values: FloatArray, wander: FloatArray) -> float:
    """Robust standard deviation of the residuals, in units of the stated noise; at least 1."""
    every = slice(None, None, max(1, len(problem.shots) // 64))
    size = np.abs(residuals(problem.part(every), values, wander[every]))
    return max(1.0, float(np.nanmedian(size)) / 0.6745)


def descend(
    problem: Problem, values: FloatArray, wander: FloatArray, tell: Tell
) -> tuple[FloatArray, FloatArray]:
    """Levenberg and Marquardt from ``values`` (size,) and ``wander`` (shots,), residuals counted in units of what
    they are on the whole, so that the prior holds what is not yet known."""
    model, shots, sd = problem.model, problem.shots, problem.wander_sd
    free, prior = problem.free, problem.prior
    reach = FARTHEST * np.where(free, problem.start.sd, 0.0)
    low, high = problem.start.values - reach, problem.start.values + reach
    passed = model.names.split(high)["mzi_transmission"]
    passed[:] = np.minimum(passed, 0.0)  # its logarithm: nothing amplifies
    cold = model.names.split(low)["heater_resistance_rise"]
    cold[:] = np.maximum(cold, -COOLEST * model.resistance / float(shots.heaters.max()) ** 2)
    damping, excess = 1e-3, excess_of(problem, values, wander)
    for turn in range(LONGEST):
        weight = problem.noise.weight(shots, problem.use / excess)
        normal = accumulate(model, values, shots, weight, wander, sd)
        cost = normal.cost + _prior_cost(problem, prior, values)
        while True:
            step = np.zeros_like(values)
            step[free] = cho_solve(
                _factor(normal, free, prior, damping), _right(problem, normal.right, prior, values)
            )
            moved = np.clip(values + step, low, high)
            drifted = wander + normal.wander_step(moved - values)
            new = cost_of(model, moved, shots, weight, drifted, sd)
            new += _prior_cost(problem, prior, moved)
            if new < cost:
                break
            damping *= 10.0
            if damping > LARGEST:
                return values, wander
        values, wander, damping = moved, drifted, max(damping / 10.0, 1e-9)
        before, excess = excess, excess_of(problem, values, wander)
        tell(
            f"{len(shots)} shots, round {turn + 1}: residuals {excess:.3f} times the noise, "
            f"cost {cost:.6g} -> {new:.6g}"
        )
        if cost - new < ENOUGH * cost and abs(before - excess) < 0.01 * before:
            break
    return values, wander


def _polish(problem: Problem, values: FloatArray, wander: FloatArray, tell: Tell) -> Solution:
    """Rounds with the normal equations as they are, and the gradient anew."""
    model, shots, sd = problem.model, problem.shots, problem.wander_sd
    free, prior = problem.free, problem.prior
    excess = excess_of(problem, values, wander)
    weight = problem.noise.weight(shots, problem.use / excess)
    normal = accumulate(model, values, shots, weight, wander, sd)
    factor = _factor(normal, free, prior, 0.0)
    cost, best = np.inf, (values, wander)
    for turn in range(LONGEST):
        right, pull, new = gradient(model, values, shots, weight, wander, sd)
        new += _prior_cost(problem, prior, values)
        tell(f"{len(shots)} shots, polishing {turn + 1}: cost {new:.8g}")
        if not new < cost:
            break
        fell, cost, best = cost - new, new, (values, wander)
        if fell < 0.5:  # of a standard deviation of anything, squared
            break
        right = right - normal.coupling.T @ (pull / normal.own).astype(np.float32)
        step = np.zeros_like(values)
        step[free] = cho_solve(factor, _right(problem, right, prior, values))
        values = values + step
        passed = model.names.split(values)["mzi_transmission"]
        passed[:] = np.minimum(passed, 0.0)  # its logarithm: nothing amplifies
        wander = wander + (pull - normal.coupling @ step.astype(np.float32)) / normal.own
    return Solution(*best, normal, excess, problem.noise)


def _track(problem: Problem, values: FloatArray, wander: FloatArray, which: range) -> FloatArray:
    """The oscillators' phases that fit best, parameters as they are: three steps of Newton."""
    shots, sd = problem.shots, problem.wander_sd
    weight = problem.noise.weight(shots, problem.use.astype(float))
    wander = wander.copy()
    for k in which:
        wander[k] = tracked(problem.model, values, shots, k, weight[k], sd)
    return wander


def tracked(
    model: ForwardModel, values: FloatArray, shots: Shots, k: int, weight: FloatArray, sd: float
) -> float:
    """The oscillator's phase at shot ``k``: three steps of Newton from zero."""
    wander = 0.0
    for _ in range(3):
        here = Setting(shots.heaters[k], shots.modulators[k], bool(shots.through[k]), wander)
        slope = model.by_wander(values, here) * weight
        missing = (shots.signal[k] - model.expected(values, here)) * weight
        pull = float((slope * missing).sum()) - wander / sd**2
        wander += pull / (float((slope**2).sum()) + sd**-2)
    return wander


def _prior_cost(problem: Problem, prior: FloatArray, values: FloatArray) -> float:
    away = (values - problem.start.values)[problem.free]
    return 0.5 * float(away @ prior @ away)


def _right(
    problem: Problem, right: FloatArray, prior: FloatArray, values: FloatArray
) -> FloatArray:
    away = (values - problem.start.values)[problem.free]
    pulled: FloatArray = right[problem.free] - prior @ away
    return pulled


def _factor(
    normal: Normal, free: BoolArray, prior: FloatArray, damping: float
) -> tuple[FloatArray, bool]:
    matrix = normal.matrix[np.ix_(free, free)] + prior
    matrix[np.diag_indices_from(matrix)] *= 1.0 + damping
    try:
        factor: tuple[FloatArray, bool] = cho_factor(matrix, lower=True)
    except (np.linalg.LinAlgError, ValueError):
        raise CalibrationError(
            "the normal equations of the global fit cannot be solved although every free parameter has a prior: a "
            "reading or a starting value is not finite, or the start is far off"
        ) from None
    return factor
