"""Crosstalk, and what it had hidden: all heaters at random, and a regression on the record's own model.

Every setting's matrix is compared with what the record says; what is left is put down to small errors of offsets,
powers per pi, self-heating, couplers, gains, and to a crosstalk kernel with one share a distance. The differential of
the matrix is of rank one for each (``hilonn.calibration.stages``), so that the normal equations of a setting cost
N H^2 operations. The oscillator's phase is free in every setting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import ssyrk
from scipy.sparse import csr_array

from hilonn.calibration.drives import nominal_ohm, random_settings
from hilonn.calibration.gauges import mirrored
from hilonn.calibration.light import light_of, matrices, rails, read_odd
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Fit, Parameters, Progress, Routine, whole
from hilonn.calibration.stages import MESHES, Layout, Optics, Walk, layout_of, transfer, walk
from hilonn.calibration.sweeps import gains
from hilonn.mesh.jit import kernel
from hilonn.records import Quantity, Records
from hilonn.typing import BoolArray, ComplexArray, FloatArray, IntArray

BLOCK = 16
"""Settings read, kept and walked together."""
HALVINGS = 6
UNTOLD = 0.3
"""rad: a phase that is told no better moves nothing that can be read: that of an input without light, say."""
MIRRORED = 8
"""Rounds from the other of two equal starts."""


class CrosstalkParameters(Parameters):
    """``settings``: random ones; ``reach``: pitches over which heat is looked for; ``rounds`` of the regression at
    most; ``largest``: ports up to which couplers and self-heating of each heater are in it."""

    settings: int = Field(default=96, ge=8)
    amplitude: float = Field(default=0.5, gt=0, le=1)
    turns: float = Field(default=1.0, gt=0.5)
    averages: int = Field(default=2, ge=1)
    reach: float = Field(default=3.0, gt=0)
    rounds: int = Field(default=12, ge=1)
    largest: int = 32


@dataclass(frozen=True, eq=False)
class Distances:
    """Pairs of heaters by their distance: ``length`` (d,) pitches, ``offsets`` of each, and ``pairs`` (d,) sparse
    (heaters, heaters) of ones."""

    length: FloatArray
    offsets: tuple[IntArray, ...]
    pairs: tuple[csr_array, ...]


def distances(positions: FloatArray, reach: float) -> Distances:
    """Every distance up to ``reach`` at which heaters stand from each other."""
    place = {(int(c), int(r)): i for i, (c, r) in enumerate(np.rint(positions))}
    whole_reach = int(reach)
    steps = [
        (a, b)
        for a in range(-whole_reach, whole_reach + 1)
        for b in range(-whole_reach, whole_reach + 1)
        if 0 < a * a + b * b <= reach * reach
    ]
    kinds = sorted({a * a + b * b for a, b in steps})
    pairs, offsets = [], []
    for kind in kinds:
        own = [(a, b) for a, b in steps if a * a + b * b == kind]
        found = [
            (i, place[c + a, r + b])
            for (c, r), i in place.items()
            for a, b in own
            if (c + a, r + b) in place
        ]
        i, j = np.array(found, int).reshape(-1, 2).T
        shape = (len(place), len(place))
        pairs.append(csr_array((np.ones(len(i)), (i, j)), shape=shape))
        offsets.append(np.array(own))
    return Distances(np.sqrt(np.array(kinds, float)), tuple(offsets), tuple(pairs))


@dataclass(frozen=True, eq=False)
class State:
    """What the regression moves. ``scale`` (heaters,) of the nominal frequency, 0 for one that does not answer."""

    offset: FloatArray
    scale: FloatArray
    rise: FloatArray
    share: FloatArray
    optics: Optics

    def own(self, cold: FloatArray, per_pi: float) -> FloatArray:
        """Own phases (s, heaters) rad."""
        return _own(cold, self.scale, self.rise, per_pi)


def _own(cold: FloatArray, scale: FloatArray, rise: FloatArray, per_pi: float) -> FloatArray:
    power = 2 * cold / (1 + np.sqrt(1 + 4 * rise * cold))
    return np.asarray(np.pi * scale * power / per_pi)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fixed while the regression runs. ``cold`` (s, heaters) W, ``found`` (s, ports, ports); ``free`` heaters
    whose offset is not a gauge; ``weights`` (ports, ports): 0 where nothing can be read."""

    layout: Layout
    near: Distances
    cold: FloatArray
    found: ComplexArray
    per_pi: float
    free: BoolArray
    weights: FloatArray
    couplers: bool
    start: State

    def psi(self, state: State, own: FloatArray) -> FloatArray:
        """Total phases (s, heaters): offsets, own phases, and what neighbours add."""
        spread = np.zeros_like(own)
        for share, pairs in zip(state.share, self.near.pairs, strict=True):
            spread += share * (pairs @ own.T).T
        return state.offset + own + spread

    def misfit(self, state: State) -> float:
        """Sum of squares of what the model leaves, every setting turned by its own phase."""
        total = 0.0
        for first in range(0, len(self.cold), BLOCK):
            part = slice(first, first + BLOCK)
            own = state.own(self.cold[part], self.per_pi)
            model = transfer(self.layout, self.psi(state, own), state.optics) * self.weights
            found = self.found[part] * self.weights
            total += float((np.abs(_turned(found, model) - model) ** 2).sum())
        return total


def _turned(found: ComplexArray, model: ComplexArray) -> ComplexArray:
    overlap = (found.conj() * model).sum(axis=(1, 2))
    turned: ComplexArray = (
        found * (overlap / np.maximum(np.abs(overlap), 1e-300))[:, np.newaxis, np.newaxis]
    )
    return turned


class _Index:
    """Where each kind of parameter stands in the vector."""

    def __init__(self, problem: Problem) -> None:
        h, n = problem.layout.heaters, problem.layout.ports
        self.offset = slice(0, h)
        self.scale = slice(h, 2 * h)
        end = 2 * h
        self.rise = slice(end, end + (h if problem.couplers else 0))
        end = self.rise.stop
        self.share = slice(end, end + len(problem.near.length))
        end = self.share.stop
        mzis = problem.layout.mzis
        self.errors = slice(end, end + (2 * mzis if problem.couplers else 0))
        end = self.errors.stop
        self.losses = slice(end, end + (mzis if problem.couplers else 0))
        end = self.losses.stop
        self.into, self.out = slice(end, end + n), slice(end + n, end + 2 * n)
        self.count = end + 2 * n


def normal_equations(
    problem: Problem, state: State, curvature: bool = True
) -> tuple[FloatArray | None, FloatArray, float]:
    """Normal matrix (p, p), its upper triangle, unless only the direction is asked; downhill direction (p,); misfit."""
    index, layout, h = _Index(problem), problem.layout, problem.layout.heaters
    matrix = np.zeros((index.count, index.count), order="F") if curvature else None
    downhill = np.zeros(index.count)
    total = 0.0
    rows, columns = problem.weights.any(axis=1), problem.weights.any(axis=0)
    for first in range(0, len(problem.cold), BLOCK):
        part = slice(first, first + BLOCK)
        own = state.own(problem.cold[part], problem.per_pi)
        bend = _bend(problem.cold[part], state, problem.per_pi)
        walked = walk(layout, problem.psi(state, own), state.optics)
        terms = _terms(walked, h, problem.couplers)
        for k in range(len(own)):
            model = walked.matrix[k] * problem.weights
            found = problem.found[part][k] * problem.weights
            left = _turned(found[np.newaxis], model[np.newaxis])[0] - model
            total += float((np.abs(left) ** 2).sum())
            x, y = walked.x[k] * rows, walked.y[k] * columns
            spread = np.stack([pairs @ own[k] for pairs in problem.near.pairs])
            heat = [np.ones(h), own[k], bend[k]] if problem.couplers else [np.ones(h), own[k]]
            slope = _against(x, y, left, terms)
            downhill += _parameters(slope, heat, spread, h)
            if matrix is not None:
                size = np.sqrt(float((np.abs(model) ** 2).sum()))
                along = _against(x, y, 1j * model, terms) / size  # the oscillator's phase is free
                dense = layout.ports <= DENSE
                gram = ssyrk(1.0, _slopes(x, y, terms)) if dense else _gram(x, y, terms)
                _add(matrix, gram, along, np.array(heat), spread)
    return matrix, downhill, total


DENSE = 32
"""Ports up to which a matrix of all slopes is multiplied out; above, inner products of columns and rows."""


def _bend(cold: FloatArray, state: State, per_pi: float) -> FloatArray:
    step = 1e-3
    more = _own(cold, state.scale, state.rise + step, per_pi)
    return np.asarray((more - _own(cold, state.scale, state.rise, per_pi)) / step)


@dataclass(frozen=True, eq=False)
class _Terms:
    """Terms of rank one that make up each differential: ``first`` (p,), ``second`` where ``paired``; ``factor`` (p,)."""

    first: IntArray
    second: IntArray
    paired: IntArray
    factor: ComplexArray


def _terms(walked: Walk, h: int, couplers: bool) -> _Terms:
    """In the order of the parameters: heaters, couplers, losses, gains into and out."""
    alone = np.full(len(walked.into), -1)
    pairs = [np.stack((np.arange(h), np.full(h, -1)), axis=1)]
    factor = [np.full(h, 1j)]
    if couplers:
        pairs += [walked.couplers.reshape(-1, 2), walked.losses]
        factor += [np.full(2 * len(walked.losses), 1j), np.ones(len(walked.losses), complex)]
    for ends in (walked.into, walked.out):
        pairs.append(np.stack((ends, alone), axis=1))
        factor.append(np.ones(len(ends), complex))
    first, second = np.concatenate(pairs).T
    paired = np.flatnonzero(second >= 0)
    return _Terms(first, second[paired], paired, np.concatenate(factor))


def _slopes(x: ComplexArray, y: ComplexArray, terms: _Terms) -> FloatArray:
    """Real and imaginary parts (p, 2 ports^2) of every differential, in single precision."""
    a = (x[terms.first] * terms.factor[:, np.newaxis]).astype(np.complex64)
    b = y[terms.first].astype(np.complex64)
    found = a[:, :, np.newaxis] * b[:, np.newaxis, :]
    c = (x[terms.second] * terms.factor[terms.paired, np.newaxis]).astype(np.complex64)
    found[terms.paired] += c[:, :, np.newaxis] * y[terms.second].astype(np.complex64)[:, np.newaxis]
    return found.reshape(len(a), -1).view(np.float32)


def _against(x: ComplexArray, y: ComplexArray, matrix: ComplexArray, terms: _Terms) -> FloatArray:
    """Inner products (p,) of every differential with ``matrix``."""
    reached = (x.conj() @ matrix * y.conj()).sum(axis=1)
    found = reached[terms.first]
    found[terms.paired] += reached[terms.second]
    return np.asarray((terms.factor.conj() * found).real)


def _gram(x: ComplexArray, y: ComplexArray, terms: _Terms) -> FloatArray:
    """Inner products (p, p) of all differentials, without pairs: heaters and gains."""
    a = (x[terms.first] * terms.factor[:, np.newaxis]).astype(np.complex64)
    b = y[terms.first].astype(np.complex64)
    across, along = a.conj() @ a.T, b.conj() @ b.T
    found: FloatArray = across.real * along.real
    found -= across.imag * along.imag
    return found


def _parameters(
    slope: FloatArray, heat: list[FloatArray], spread: FloatArray, h: int
) -> FloatArray:
    """From slopes by heaters and the rest (p,) to those by parameters."""
    own = slope[:h]
    return np.concatenate([*(size * own for size in heat), spread @ own, slope[h:]])


def _add(
    matrix: FloatArray, gram: FloatArray, along: FloatArray, heat: FloatArray, spread: FloatArray
) -> None:
    """Add one setting's ``gram`` (r, r; its upper triangle holds) of heaters and the rest to the upper triangle by
    parameters: ``heat`` (kinds, h) times a heater's own slope, ``spread`` (d, h) of its neighbours', then the rest.
    Slopes ``along`` (r,) what the oscillator's phase turns are taken out."""
    kinds, h = heat.shape
    inner = np.empty((h, h))
    _add_kernel(matrix, gram, along, heat, len(spread), inner)
    share = slice(kinds * h, kinds * h + len(spread))
    moved_by = spread @ inner
    for i in range(kinds):
        matrix[i * h : (i + 1) * h, share] += heat[i][:, np.newaxis] * moved_by.T
    matrix[share, share] += moved_by @ spread.T
    rest = gram[:h, h:] - np.outer(along[:h], along[h:])
    matrix[share, share.stop :] += spread @ rest


@kernel
def _add_kernel(
    matrix: FloatArray,
    gram: FloatArray,
    along: FloatArray,
    heat: FloatArray,
    shares: int,
    inner: FloatArray,
) -> None:
    kinds, h = heat.shape
    rows = gram.shape[0]
    behind = kinds * h + shares - h
    for j in range(rows):
        for i in range(j + 1):
            value = gram[i, j] - along[i] * along[j]
            if j < h:
                inner[i, j] = value
                inner[j, i] = value
                for a in range(kinds):
                    for b in range(a, kinds):
                        matrix[a * h + i, b * h + j] += heat[a, i] * heat[b, j] * value
                        if a != b and i != j:
                            matrix[a * h + j, b * h + i] += heat[a, j] * heat[b, i] * value
            elif i < h:
                for a in range(kinds):
                    matrix[a * h + i, behind + j] += heat[a, i] * value
            else:
                matrix[behind + i, behind + j] += value


def moved(problem: Problem, state: State, step: FloatArray) -> State:
    """``state`` after ``step`` (p,): frequencies and gains move by factors."""
    index = _Index(problem)
    errors, transmission = state.optics.errors, state.optics.transmission
    if problem.couplers:
        errors = errors + step[index.errors].reshape(errors.shape)
        transmission = np.minimum(transmission * np.exp(2 * step[index.losses]), 1.0)
    optics = Optics(
        errors,
        transmission,
        state.optics.into * np.exp(step[index.into]),
        state.optics.out * np.exp(step[index.out]),
    )
    rise = state.rise + step[index.rise] if problem.couplers else state.rise
    return State(
        state.offset + step[index.offset],
        state.scale * np.exp(step[index.scale]),
        rise,
        state.share + step[index.share],
        optics,
    )


LOSS_SPREAD = 0.005
"""Of an interferometer's field (sd), beside the datasheet's: 0.04 dB."""


def priors(problem: Problem) -> FloatArray:
    """Precisions (p,) of what is known beforehand; a gauge is held."""
    index = _Index(problem)
    precision = np.zeros(index.count)
    precision[index.offset] = np.where(problem.free, 1.0 / np.pi**2, 1e12)
    precision[index.scale] = np.where(problem.start.scale > 0, 1.0 / 0.05**2, 1e12)
    spread = max(0.06 * float(np.median(problem.start.rise)), 0.02)
    precision[index.rise] = 1.0 / spread**2
    precision[index.share] = 1.0 / 0.1**2
    precision[index.errors] = 1.0 / 0.04**2
    precision[index.losses] = 1.0 / LOSS_SPREAD**2
    precision[index.into] = precision[index.out] = 1.0 / 0.3**2
    return precision


def _away(problem: Problem, state: State) -> FloatArray:
    """How far ``state`` is from what priors pull to."""
    index = _Index(problem)
    start = problem.start
    away = np.zeros(index.count)
    away[index.offset] = state.offset - start.offset
    used = start.scale > 0
    away[index.scale][used] = np.log(state.scale[used] / start.scale[used])
    if problem.couplers:
        away[index.rise] = state.rise - start.rise
        away[index.errors] = state.optics.errors.ravel()
        ratio = state.optics.transmission / start.optics.transmission
        away[index.losses] = np.log(ratio) / 2
    away[index.share] = state.share
    return away


def regress(problem: Problem, state: State, rounds: int) -> tuple[State, FloatArray, float, int]:
    """``state`` after Gauss-Newton steps; the standard deviations (p,) of its parameters; that of the real part of
    what is left of an element; rounds taken. The curvature is kept once a step is small."""
    precision = priors(problem)
    size = float(problem.weights.sum()) * len(problem.cold)
    factor, taken, fresh = None, 0, True
    matrix: FloatArray | None = None
    while taken < rounds:
        taken += 1
        now, downhill, total = normal_equations(problem, state, fresh)
        matrix = now if now is not None else matrix
        sigma2 = total / max(2 * size - len(downhill), size)
        away = _away(problem, state)
        if fresh or factor is None:
            assert matrix is not None
            factor = cho_factor(_with(matrix, sigma2, precision), lower=False, overwrite_a=True)
        step = cho_solve(factor, downhill / sigma2 - precision * away)
        cost = total / sigma2 + float((precision * away**2).sum())
        for _ in range(HALVINGS):
            trial = moved(problem, state, step)
            left = problem.misfit(trial) / sigma2
            left += float((precision * _away(problem, trial) ** 2).sum())
            if left < cost:
                break
            step = step / 2
        else:
            if fresh:
                break
            fresh = True
            continue
        state = trial
        if cost - left < ENOUGH * cost:
            break
        fresh = cost - left > 0.05 * cost
    assert matrix is not None
    sigma2 = problem.misfit(state) / max(2 * size - len(precision), size)
    inverse = np.linalg.inv(np.triu(np.linalg.cholesky(_with(matrix, sigma2, precision).T).T))
    return state, np.sqrt((inverse**2).sum(axis=1)), float(np.sqrt(sigma2)), taken


ENOUGH = 1e-5
"""Relative gain of a round that is none."""


def _with(matrix: FloatArray, sigma2: float, precision: FloatArray) -> FloatArray:
    """The normal matrix in units of noise, priors added: symmetric (p, p)."""
    upper = np.triu(matrix) / sigma2
    whole_matrix: FloatArray = upper + np.triu(upper, 1).T
    whole_matrix[np.diag_indices_from(whole_matrix)] += precision
    return whole_matrix


def in_phase(problem: Problem, state: State) -> State:
    """``state`` with the outputs' phases turned together to where the oscillator read them, on the mean of all settings. The
    regression holds one of them, whatever it was by then: with a dead heater before it, it was anything."""
    overlap = 0.0j
    for first in range(0, len(problem.cold), BLOCK):
        part = slice(first, first + BLOCK)
        own = state.own(problem.cold[part], problem.per_pi)
        model = transfer(problem.layout, problem.psi(state, own), state.optics) * problem.weights
        each = (model.conj() * problem.found[part]).sum(axis=(1, 2))
        overlap += complex((each / np.maximum(np.abs(each), 1e-300)).sum())
    offset = state.offset.copy()
    offset[problem.layout.stages[-1].index] += np.angle(overlap)
    return replace(state, offset=offset)


def quadrature_error(problem: Problem, state: State) -> tuple[float, float]:
    """By how much more (rad) than a quarter turn the oscillator's two phases differ, and its standard deviation: the
    second reading then is Im F - error Re F, which no chip does."""
    slope = size = total = 0.0
    for first in range(0, len(problem.cold), BLOCK):
        part = slice(first, first + BLOCK)
        own = state.own(problem.cold[part], problem.per_pi)
        found = problem.found[part] * problem.weights
        model = transfer(problem.layout, problem.psi(state, own), state.optics) * problem.weights
        overlap = (model.conj() * found).sum(axis=(1, 2))
        model = model * (overlap / np.maximum(np.abs(overlap), 1e-300))[:, np.newaxis, np.newaxis]
        left, skewed = found - model, -0.5j * model.conj()
        slope += float((skewed.conj() * left).real.sum())
        size += float((np.abs(skewed) ** 2).sum())
        total += float((np.abs(left) ** 2).sum())
    sigma2 = total / (2 * problem.weights.sum() * len(problem.cold))
    return slope / size, float(np.sqrt(sigma2 / size))


def with_oscillator(known: Records, fit: Fit, skew: float, doubt: float) -> Fit:
    """``fit`` with the power per pi of the oscillator's heater by its two phases' difference."""
    before = known.chip.value("heater_power_per_pi")[-1]
    ratio = 1 + skew / (np.pi / 2)
    old = fit.chip["heater_power_per_pi"]
    told = before / ratio * doubt / (np.pi / 2)
    power = Quantity(
        whole(old.value, -1, before / ratio), whole(old.uncertainty, -1, told), old.accepted
    )
    figures = {**fit.figures, "quadrature_error": skew}
    return replace(fit, chip={**fit.chip, "heater_power_per_pi": power}, figures=figures)


class Crosstalk(Routine):
    name = "crosstalk"
    title = "crosstalk"
    parameters = CrosstalkParameters

    def applies(self, setup: Setup) -> bool:
        """Not to large meshes: the normal equations of 8,000 parameters take minutes a round."""
        return setup.architecture in MESHES and setup.oscillator and setup.ports <= DENSE

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        patterns = 2 * (1 << max(setup.ports - 1, 1).bit_length())
        passes = 2 * parameters.settings
        return Effort(passes, passes * patterns * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        light = light_of(setup, known, parameters.amplitude)
        drives = random_settings(setup, parameters.settings, parameters.turns, 0)
        for first in range(0, len(drives), BLOCK):
            name, block = f"random-{first // BLOCK:03d}", drives[first : first + BLOCK]
            if not raw.has(name):
                odd = []
                for k, drive in enumerate(block):
                    odd.append(read_odd(rig, light, drive, parameters.averages, rails(known)))
                    progress(self.title, first + k + 1, len(drives))
                raw.save(name, drive=block, odd=np.array(odd))
            progress(self.title, first + len(block), len(drives))

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        layout = layout_of(setup.architecture, setup.ports)
        light = light_of(setup, known, parameters.amplitude)
        blocks = [raw.load(name) for name in raw.blocks("random-")]
        drive = np.concatenate([b["drive"] for b in blocks])
        found = matrices(light, np.concatenate([b["odd"] for b in blocks]).astype(float))
        problem, state = problem_of(setup, known, parameters, layout, drive, found)
        fitted, told, noise, rounds = regress(problem, state, parameters.rounds)
        skew, skew_doubt = quadrature_error(problem, fitted)
        problem = replace(problem, found=problem.found + 1j * skew * problem.found.real)
        fitted, told, noise, rounds = regress(problem, fitted, parameters.rounds)
        for mzi in np.flatnonzero((state.scale[layout.theta] == 0) & (layout.phi >= 0)):
            # What neighbours warm tells a dead heater's theta from -theta, once crosstalk is known.
            other = replace(fitted, offset=mirrored(layout, fitted.offset, int(mzi)))
            tried = regress(problem, other, MIRRORED)
            if tried[2] < noise:
                fitted, told, noise, rounds = tried
        fitted = in_phase(problem, fitted)
        fit = described(setup, known, problem, fitted, told, noise, rounds)
        return with_oscillator(known, fit, skew, skew_doubt)


def problem_of(
    setup: Setup,
    known: Records,
    parameters: CrosstalkParameters,
    layout: Layout,
    drive: FloatArray,
    found: ComplexArray,
) -> tuple[Problem, State]:
    """The regression of ``found`` (s, ports, ports) at ``drive`` (s, heaters) V, started from ``known``."""
    chip, h = known.chip, layout.heaters
    usable = chip.accepted("heater_power_per_pi")[:h] & chip.accepted("heater_phase_offset")[:h]
    near = distances(layout.positions, parameters.reach)
    scale = setup.nominal.power_per_pi / chip.value("heater_power_per_pi")[:h]
    kernel = chip.value("crosstalk_kernel")
    share = np.array(
        [
            np.mean([f for a, b, f in kernel if np.isclose(np.hypot(a, b), d)] or [0.0])
            for d in near.length
        ]
    )
    optics = Optics(
        chip.value("splitter_errors"),
        chip.value("mzi_transmission"),
        chip.value("input_field").astype(complex),
        chip.value("output_gain").astype(complex),
    )
    state = State(
        chip.value("heater_phase_offset")[:h].copy(),
        np.where(usable, scale, 0.0),
        chip.value("heater_resistance_rise")[:h].copy(),
        share,
        optics,
    )
    inputs = known.modulators.accepted("v_pi")
    outputs = np.abs(found).sum(axis=(0, 2)) > 0
    weights = np.outer(outputs, inputs).astype(float)
    free = np.ones(h, bool)
    last = [s for s in layout.stages if s.part == "right"][-1]
    if setup.architecture == "svd_mesh":
        free[last.index] = False  # a gauge: what stands behind takes it up
    free[layout.stages[-1].index[int(np.argmax(outputs))]] = False  # the phase common to all
    problem = Problem(
        layout,
        near,
        drive**2 / nominal_ohm(setup),
        found * weights,
        setup.nominal.power_per_pi,
        free,
        weights,
        setup.ports <= parameters.largest,
        state,
    )
    return problem, state


def described(
    setup: Setup,
    known: Records,
    problem: Problem,
    state: State,
    told: FloatArray,
    noise: float,
    rounds: int,
) -> Fit:
    """The record's quantities of a regression."""
    index, h = _Index(problem), problem.layout.heaters
    chip = known.chip
    usable = state.scale > 0
    per_pi = setup.nominal.power_per_pi / np.where(usable, state.scale, 1.0)
    heaters = np.arange(h)
    values: dict[str, tuple[FloatArray, FloatArray]] = {
        "heater_phase_offset": (np.mod(state.offset, 2 * np.pi), told[index.offset]),
        "heater_power_per_pi": (per_pi, per_pi * told[index.scale]),
    }
    if problem.couplers:
        values["heater_resistance_rise"] = (state.rise, told[index.rise])
    quantities = {
        name: Quantity(
            whole(chip.value(name), heaters, value),
            whole(chip.uncertainty(name), heaters, error),
            chip.accepted(name),
        )
        for name, (value, error) in values.items()
    }
    kernel, doubt = [], []
    for offsets, share, error in zip(
        problem.near.offsets, state.share, told[index.share], strict=True
    ):
        kernel += [(*offset, share) for offset in offsets]
        doubt += [(0.0, 0.0, error)] * len(offsets)
    quantities["crosstalk_kernel"] = Quantity.of(np.array(kernel), np.array(doubt))
    if problem.couplers:
        errors = told[index.errors].reshape(-1, 2)
        kept = chip.uncertainty("splitter_errors")
        rows = problem.layout.phi < 0
        errors[rows] = kept[rows]
        quantities["splitter_errors"] = Quantity.of(state.optics.errors, errors)
        lost = state.optics.transmission
        quantities["mzi_transmission"] = Quantity.of(lost, 2 * lost * told[index.losses])
    quantities |= gains(setup, known, state.optics)
    signal = float(
        np.sqrt((np.abs(problem.found) ** 2).sum() / problem.weights.sum() / len(problem.found))
    )
    return Fit(
        chip=quantities,
        arrays={
            "offset_uncertainty": np.where(problem.free, told[index.offset], 0.0),
            "distance": problem.near.length,
            "share": state.share,
            "share_uncertainty": told[index.share],
        },
        figures={
            "residual": noise * np.sqrt(2.0) / signal,
            "rounds": rounds,
            "crosstalk_of_a_neighbour": float(state.share[0]),
            "phase_uncertainty": float(np.median(told[index.offset][problem.free])),
            "phases_not_told": int((told[index.offset][problem.free] > UNTOLD).sum()),
        },
    )
