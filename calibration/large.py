"""The global fit where normal equations do not fit into memory: 64 ports are 20,000 parameters.

The steps of Gauss and Newton are solved for by conjugate gradients (Hestenes and Stiefel 1952), which ask only for what
a change of parameters does to readings and back: two walks through the chip a shot. Blocks of the equations,
which precondition them, and the uncertainties are estimated by random vectors: a block by signs (as a diagonal in Bekas
et al. 2007), an uncertainty by solving for readings that noise has moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from hilonn.calibration.normal import setting
from hilonn.calibration.pushing import Pushing
from hilonn.calibration.solving import Problem, Tell, excess_of, scaled, tracked
from hilonn.chips.forward import Walk
from hilonn.chips.forward_products import Products
from hilonn.typing import BoolArray, FloatArray, IntArray

ROUNDS = 12
"""Of Gauss and Newton."""
STEPS = 150
"""Of conjugate gradients a round."""
SOLVED = 3e-3
"""Relative residual at which they stop."""
ENOUGH = 2e-3
"""Relative fall of the cost below which the fit is through."""
HELD = 1e-3
"""To what a sum that is held may move: looser than in small fits, for the conditioning's sake."""
SAMPLES, TRUSTED = 3, 8
"""Random solutions for the uncertainties, and how many such the common one of a quantity counts for."""


@dataclass(frozen=True)
class Large:
    """``values`` (size,), ``sd`` (size,), the oscillators' phases ``wander`` (shots,), residuals over noise ``excess``."""

    values: FloatArray
    sd: FloatArray
    wander: FloatArray
    excess: float


@dataclass
class _Equations:
    """Normal equations at one point, as products: each shot's walk, weights, and its oscillator's row."""

    problem: Problem
    values: FloatArray
    wander: FloatArray
    weight: FloatArray
    walks: list[Walk]
    slopes: FloatArray
    own: FloatArray

    @classmethod
    def at(
        cls, problem: Problem, values: FloatArray, wander: FloatArray, weight: FloatArray
    ) -> _Equations:
        model, shots = problem.model, problem.shots
        walks = [model.walk(values, setting(shots, k, wander)) for k in range(len(shots))]
        slopes = np.stack(
            [
                model.by_wander(values, setting(shots, k, wander), walk)
                for k, walk in enumerate(walks)
            ]
        )
        slopes *= weight
        own = (slopes**2).sum(axis=(1, 2)) + problem.wander_sd**-2
        return cls(problem, values, wander, weight, walks, slopes, own)

    @cached_property
    def products(self) -> Products:
        """Everything that the products below do not change."""
        shots = self.problem.shots
        settings = [setting(shots, k, self.wander) for k in range(len(shots))]
        return Products(self.problem.model, self.values, settings, self.walks)

    @property
    def pushing(self) -> Pushing:
        """The variables of the blocks."""
        own, bends = self.products.means
        return Pushing(self.problem.model, own, bends)

    def times(self, change: FloatArray, damping: FloatArray) -> FloatArray:
        """The equations' matrix, ``damping`` (size,) added to its diagonal, times ``change``."""
        moved = self.products.tangent(change)
        moved *= self.weight
        along = np.einsum("ksc,ksc->k", self.slopes, moved) / self.own
        moved -= self.slopes * along[:, np.newaxis, np.newaxis]
        total = self.products.adjoint(moved * self.weight)
        total += damping * change + self.prior(change)
        return np.where(self.problem.free, total, 0.0)

    def back(self, k: int, moved: FloatArray, walk: Walk) -> FloatArray:
        """Weighted readings of shot ``k`` taken back to parameters, the oscillator's phase eliminated."""
        moved = moved - self.slopes[k] * (float((self.slopes[k] * moved).sum()) / self.own[k])
        here = setting(self.problem.shots, k, self.wander)
        return self.problem.model.adjoint(self.values, here, moved * self.weight[k], walk)[0]

    def prior(self, change: FloatArray) -> FloatArray:
        """The prior's matrix times ``change``."""
        total = np.zeros_like(change)
        free = self.problem.free
        total[free] = change[free] * self.problem.start.sd[free] ** -2.0
        sums: FloatArray = self.problem.sums
        return total + sums.T @ (sums @ change) / HELD**2

    def blocks(self, rng: np.random.Generator, damping: float) -> Blocks:
        """The matrix's blocks of parameters that act alike, estimated by random signs: one gradient a shot, whose
        products with itself are the block in the mean and never indefinite."""
        free = self.problem.free
        gradients = np.zeros((len(self.walks), len(self.values)))
        for k, walk in enumerate(self.walks):
            signs = rng.choice([-1.0, 1.0], self.weight[k].shape)
            gradients[k] = self.back(k, signs * (self.weight[k] > 0), walk)
        gradients[:, ~free] = 0.0
        groups = alike(self.problem)
        there = np.stack([self.pushing.back(g) for g in gradients])
        return Blocks(
            groups,
            self._inverses(groups, gradients, damping),
            self._inverses(groups, there, damping),
            (gradients**2).sum(axis=0),
            self.pushing,
            free,
        )

    def _inverses(
        self, groups: list[IntArray], gradients: FloatArray, damping: float
    ) -> list[FloatArray]:
        """Of the blocks of ``groups``, by ``gradients`` (shots, size), with the prior."""
        free, sums = self.problem.free, self.problem.sums
        inverses = []
        for group in groups:
            some = gradients[:, group]
            block = np.einsum("kgi,kgj->gij", some, some, optimize=True)
            held = sums[:, group]
            block += np.einsum("kgi,kgj->gij", held, held, optimize=True) / HELD**2
            diagonal = np.einsum("gii->gi", block)
            diagonal *= 1.0 + damping
            sd = np.where(free[group], self.problem.start.sd[group], 1.0)
            diagonal += sd**-2.0
            on = free[group].astype(float)
            block *= on[:, :, np.newaxis] * on[:, np.newaxis, :]
            diagonal += 1.0 - on
            inverses.append(np.linalg.inv(block))
        return inverses


@dataclass(frozen=True)
class Blocks:
    """``inverses`` (groups, n, n) of blocks of ``groups`` (groups, n) of parameters, and ``pushed``, those of the same as
    ``pushing`` has them; the ``diagonal`` (size,) of what readings tell; which are ``free`` (size,)."""

    groups: list[IntArray]
    inverses: list[FloatArray]
    pushed: list[FloatArray]
    diagonal: FloatArray
    pushing: Pushing
    free: BoolArray

    def solve(self, right: FloatArray) -> FloatArray:
        """Blocks alone @ x = right, in either variables, added: what is hard in one is easy in the other."""
        there = self.pushing.back(np.where(self.free, right, 0.0))
        found, moved = np.zeros_like(right), np.zeros_like(right)
        for group, inverse, pushed in zip(self.groups, self.inverses, self.pushed, strict=True):
            found[group] = np.einsum("gij,gj->gi", inverse, right[group])
            moved[group] = np.einsum("gij,gj->gi", pushed, there[group])
        return np.where(self.free, found + self.pushing.forth(moved), 0.0)

    @property
    def variance(self) -> FloatArray:
        """What the blocks alone would say of each parameter's variance (size,)."""
        found = np.zeros(len(self.diagonal))
        for group, inverse in zip(self.groups, self.inverses, strict=True):
            found[group] = np.einsum("gii->gi", inverse)
        return found


def alike(problem: Problem) -> list[IntArray]:
    """Every parameter once, in arrays (groups, n): the three of a heater, the three of an interferometer, the five of an
    input, the seven of an output, and the kernel."""
    names = problem.model.names
    index = names.split(np.arange(names.size))
    n = problem.model.ports
    gain, dark, errors = index["gain"], index["dark"], index["splitter_errors"].reshape(-1, 2)
    heaters = ("heater_phase_offset", "heater_power_per_pi", "heater_resistance_rise")
    inputs = ("input_size", "input_phase", "v_pi", "bias", "extinction_leak")
    outputs = ("output_gain", "output_phase", "output_power_gain")
    groups = [
        np.stack([index[name] for name in heaters], axis=1),
        np.column_stack((errors, index["mzi_transmission"])),
        np.stack([index[name] for name in inputs], axis=1),
        np.column_stack(
            (*(index[name] for name in outputs), gain[:n], gain[n:], dark[:n], dark[n:])
        ),
    ]
    if len(index["crosstalk_kernel"]):
        groups.append(index["crosstalk_kernel"][np.newaxis])
    return groups


def solve(problem: Problem, seed: int = 0, tell: Tell = lambda text: None) -> Large:
    """The most probable parameters, and their uncertainties."""
    rng = np.random.default_rng([seed, 61])
    values, shots = np.array(problem.start.values), problem.shots
    wander = _track(problem, values)
    damping, excess = 1e-5, excess_of(problem, values, wander)
    for turn in range(ROUNDS):
        weight = problem.noise.weight(shots, problem.use / excess)
        missing = _missing(problem, values, wander)
        capped = _huber(weight, missing)
        equations = _Equations.at(problem, values, wander, capped)
        blocks = equations.blocks(rng, damping)
        cost = _cost(problem, equations, missing, weight)
        right = _right(problem, equations, missing)
        while True:
            step, took = conjugate_gradients(
                partial(equations.times, damping=damping * blocks.diagonal), right, blocks
            )
            moved = values + step
            drifted = _track(problem, moved)
            left = _missing(problem, moved, drifted)
            after = _Equations(problem, moved, drifted, capped, [], equations.slopes, equations.own)
            new = _cost(problem, after, left, weight)
            if new < cost or damping > 1e4:
                break
            damping *= 10.0
        if new >= cost:
            break
        values, wander, damping = moved, drifted, max(damping / 10.0, 1e-6)
        before, excess = excess, excess_of(problem, values, wander)
        tell(
            f"round {turn + 1}: {took} steps, residuals {excess:.3f} times the noise, cost {cost:.6g} -> {new:.6g}"
        )
        if cost - new < ENOUGH * cost and abs(before - excess) < 0.01 * before:
            break
    problem = replace(problem, noise=scaled(problem, values, wander))
    weight = problem.noise.weight(shots, problem.use.astype(float))
    equations = _Equations.at(problem, values, wander, weight)
    sd = _uncertainties(problem, equations, rng)
    return Large(values, sd, wander, excess_of(problem, values, wander))


def conjugate_gradients(
    times: Callable[[FloatArray], FloatArray], right: FloatArray, blocks: Blocks
) -> tuple[FloatArray, int]:
    """x with times(x) = right to a relative residual of ``SOLVED``, and the steps it took."""
    found = np.zeros_like(right)
    left = right.copy()
    along = blocks.solve(left)
    size = float(left @ along)
    first = size
    for step in range(STEPS):
        if size <= SOLVED**2 * first or size <= 0.0:
            return found, step
        there = times(along)
        length = size / float(along @ there)
        found += length * along
        left -= length * there
        scaled_left = blocks.solve(left)
        before, size = size, float(left @ scaled_left)
        along = scaled_left + (size / before) * along
    return found, STEPS


def _uncertainties(problem: Problem, equations: _Equations, rng: np.random.Generator) -> FloatArray:
    """From ``SAMPLES`` random solutions: each parameter's own spread, steadied by what its quantity has in common."""
    free, names = problem.free, problem.model.names
    blocks = equations.blocks(rng, 0.0)
    alone = blocks.variance
    square = np.zeros(names.size)
    nothing = np.zeros(names.size)
    for _ in range(SAMPLES):
        right = np.zeros(names.size)
        right[free] = rng.standard_normal(int(free.sum())) / problem.start.sd[free]
        for k, walk in enumerate(equations.walks):
            noise = rng.standard_normal(equations.weight[k].shape) * (equations.weight[k] > 0)
            right += equations.back(k, noise, walk)
        right += problem.sums.T @ rng.standard_normal(len(problem.sums)) / HELD
        found, _ = conjugate_gradients(
            partial(equations.times, damping=nothing), np.where(free, right, 0.0), blocks
        )
        square += found**2
    variance = np.zeros(names.size)
    for part in names.slices.values():
        these = np.arange(part.start, part.stop)[free[part]]
        if these.size:
            common = float(np.mean(square[these] / alone[these])) / SAMPLES
            expected = common * alone[these]
            variance[these] = (square[these] + TRUSTED * expected) / (SAMPLES + TRUSTED)
    return np.sqrt(variance)


def _track(problem: Problem, values: FloatArray) -> FloatArray:
    weight = problem.noise.weight(problem.shots, problem.use.astype(float))
    return np.array(
        [
            tracked(problem.model, values, problem.shots, k, weight[k], problem.wander_sd)
            for k in range(len(problem.shots))
        ]
    )


def _missing(problem: Problem, values: FloatArray, wander: FloatArray) -> FloatArray:
    shots = problem.shots
    return np.stack(
        [
            shots.signal[k] - problem.model.expected(values, setting(shots, k, wander))
            for k in range(len(shots))
        ]
    )


def _huber(weight: FloatArray, missing: FloatArray, far: float = 4.0) -> FloatArray:
    size = np.abs(missing * weight)
    return weight * np.sqrt(far / np.maximum(size, far))


def _cost(
    problem: Problem, equations: _Equations, missing: FloatArray, weight: FloatArray
) -> float:
    size = np.abs(missing * weight)
    data = 0.5 * np.where(size > 4.0, 4.0 * (2 * size - 4.0), size**2).sum()
    away = np.where(problem.free, equations.values - problem.start.values, 0.0)
    wander = 0.5 * float((equations.wander**2).sum()) / problem.wander_sd**2
    return float(data) + 0.5 * float(away @ equations.prior(away)) + wander


def _right(problem: Problem, equations: _Equations, missing: FloatArray) -> FloatArray:
    away = np.where(problem.free, equations.values - problem.start.values, 0.0)
    total = -equations.prior(away)
    for k, walk in enumerate(equations.walks):
        slope, left = equations.slopes[k], missing[k] * equations.weight[k]
        # The oscillator's phase answers to its prior, too.
        pull = float((slope * left).sum()) - equations.wander[k] / problem.wander_sd**2
        left = left - slope * (pull / equations.own[k])
        here = setting(problem.shots, k, equations.wander)
        total += problem.model.adjoint(equations.values, here, left * equations.weight[k], walk)[0]
    return np.where(problem.free, total, 0.0)
