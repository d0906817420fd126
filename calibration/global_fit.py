"""The global fit: all parameters of a record's forward model at once, by maximum likelihood, from random settings.

Start and result are ``Records``. The start's uncertainties are the prior, none smaller than ``DOUBTS``: what a
routine found is where the fit begins, not what it must believe. What no reading tells is held by convention
(``hilonn.chips.gauges``); where readings tell little the prior's value stays, and its uncertainty says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hilonn.calibration import large
from hilonn.calibration.normal import Noise
from hilonn.calibration.shots import Shots
from hilonn.calibration.solving import Problem, Solution, solve
from hilonn.calibration.stuck import stuck_light
from hilonn.chips.forward import ForwardModel
from hilonn.chips.gauges import held, held_sums
from hilonn.chips.parameters import LOGARITHMS, Estimate, Names, offsets_within, write
from hilonn.chips.ports import usable_outputs
from hilonn.errors import CalibrationError
from hilonn.records import Records
from hilonn.typing import BoolArray, FloatArray

DOUBTS: Mapping[str, float] = {
    "heater_phase_offset": 0.05,
    "heater_power_per_pi": 0.01,
    "heater_resistance_rise": 0.3,
    "crosstalk_kernel": 0.01,
    "splitter_errors": 0.02,
    "mzi_transmission": 0.01,
    "input_size": 0.03,
    "output_gain": 0.03,
    "output_power_gain": 0.03,
    "gain": 0.02,
    "dark": 0.0,
    "v_pi": 0.01,
    "bias": 0.03,
    "extinction_leak": 0.03,
}
"""The least uncertainty that a starting value is given; relative for what is positive (1/W for the rise)."""
STUCK = 0.1
"""Of V_pi: how far the light of a modulator that does not modulate may be from what a few shots say."""
SMALL = 6000
"""Parameters up to which normal equations are written out."""


@dataclass(frozen=True)
class Options:
    """``reach`` (pitches) of the crosstalk; ``few``: shots of the first stage; ``wander`` (rad): of the oscillator's phase
    from shot to shot; ``small``: parameters up to which the equations are written out; ``doubts`` as in ``DOUBTS``, for those given."""

    reach: float = 3.0
    few: int = 400
    wander: float = 0.1
    small: int = SMALL
    doubts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What each quantity's readings tell: ``prior`` and ``posterior`` root-mean-square standard deviations."""

    prior: float
    posterior: float
    count: int


@dataclass(frozen=True)
class GlobalResult:
    """``records`` with the fit's values and uncertainties; ``excess``: residuals over noise; ``quantities`` by name, as
    free parameters; ``blind``: directions among them of which readings tell less than the prior,
    None where the equations were too large to be looked at."""

    records: Records
    values: FloatArray
    sd: FloatArray
    excess: float
    quantities: dict[str, Found]
    blind: int | None


def fit(
    start: Records,
    shots: Shots,
    ranges: FloatArray,
    created: str,
    options: Options = Options(),
    tell: Callable[[str], None] = lambda text: None,
) -> GlobalResult:
    """The records that explain ``shots`` best, from ``start``; ``ranges``: the detectors' full scales, A.

    Raises CalibrationError where the start is of another chip than the shots, or where nothing explains them.
    """
    problem = pose(start, shots, ranges, options)
    if problem.model.names.size > options.small:
        found = large.solve(problem, tell=tell)
        return _large_result(problem, found, start, created)
    solution = solve(problem, options.few, tell)
    return result(problem, solution, start, created)


def pose(start: Records, shots: Shots, ranges: FloatArray, options: Options) -> Problem:
    """The fit as a problem: model, prior, noise, what is believed."""
    chip = start.chip
    layout = ForwardModel.of(start, np.zeros((0, 2)))[0].layout
    model, estimate = ForwardModel.of(start, offsets_within(layout, options.reach))
    if shots.heaters.shape[1] != model.heaters or shots.signal.shape[2] != 2 * model.ports:
        raise CalibrationError(
            f"the shots are of {shots.heaters.shape[1]} heaters and {shots.signal.shape[2]} detectors, the record of "
            f"{chip.chip} is of {model.heaters} and {2 * model.ports}: raw data of another chip?"
        )
    use = start.photodetectors.accepted("gain")
    if (
        not model.moving.all()
    ):  # no routine has seen what stands alone (see light.py): its start may be anything
        use = use & np.tile(usable_outputs(start), 2)
    estimate = replace(estimate, values=stuck_light(model, estimate.values, shots, use))
    return Problem(
        model,
        _prior(model, estimate, options),
        shots,
        Noise.of(start.photodetectors, ranges),
        use,
        options.wander,
        held_sums(model),
    )


def result(problem: Problem, solution: Solution, start: Records, created: str) -> GlobalResult:
    """Records and uncertainties of a solution."""
    names, prior = problem.model.names, problem.start
    free = problem.free
    matrix = solution.normal.matrix[np.ix_(free, free)] + problem.prior
    inverse = cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix)))
    sd = np.zeros(names.size)
    sd[free] = np.sqrt(np.diagonal(inverse))
    told = solution.normal.matrix[np.ix_(free, free)] * np.outer(prior.sd[free], prior.sd[free])
    blind = int((np.linalg.eigvalsh(told) < 1.0).sum())
    estimate = Estimate(solution.values, sd, accepted(problem))
    source = (
        f"global fit of {int(free.sum())} parameters to {len(problem.shots)} random settings; residuals "
        f"{solution.excess:.2f} times the noise"
    )
    records = write(estimate, names, start, created, source)
    return GlobalResult(
        records, solution.values, sd, solution.excess, _summary(names, prior.sd, sd, free), blind
    )


def _large_result(
    problem: Problem, found: large.Large, start: Records, created: str
) -> GlobalResult:
    names, free = problem.model.names, problem.free
    estimate = Estimate(found.values, found.sd, accepted(problem))
    source = (
        f"global fit of {int(free.sum())} parameters to {len(problem.shots)} random settings; residuals "
        f"{found.excess:.2f} times the noise"
    )
    records = write(estimate, names, start, created, source)
    quantities = _summary(names, problem.start.sd, found.sd, free)
    return GlobalResult(records, found.values, found.sd, found.excess, quantities, None)


def accepted(problem: Problem) -> BoolArray:
    """Parameters (size,) that the start accepts."""
    return problem.start.known & ~_unmoved(problem.model, problem.model.names)


def _unmoved(model: ForwardModel, names: Names) -> BoolArray:
    """Parameters (size,) of heaters that do not turn and of modulators that do not modulate."""
    dead = np.zeros(names.size, bool)
    part = names.split(dead)
    for name in ("heater_phase_offset", "heater_power_per_pi", "heater_resistance_rise"):
        part[name][:] = ~model.usable
    for name in ("v_pi", "bias", "extinction_leak", "input_size", "input_phase"):
        part[name][:] = ~model.moving
    return dead


def _prior(model: ForwardModel, estimate: Estimate, options: Options) -> Estimate:
    names = model.names
    sd, known = estimate.sd.copy(), estimate.known.copy()
    stated, knows = names.split(sd), names.split(known)
    for name, least in {**DOUBTS, **options.doubts}.items():
        stated[name][:] = np.maximum(stated[name], least)
    # A heater that does not turn has a phase all the same, and nobody has measured it well.
    knows["heater_phase_offset"][:] = True
    dead = ~model.usable
    stated["heater_phase_offset"][dead] = np.maximum(stated["heater_phase_offset"][dead], 1.0)
    for name in ("heater_power_per_pi", "heater_resistance_rise"):
        stated[name][dead] = 0.0
    # What a modulator launches that does not modulate is its bias alone.
    stuck = ~model.moving
    knows["bias"][stuck] = True
    stated["bias"][stuck] = STUCK * np.exp(names.split(estimate.values)["v_pi"][stuck])
    for name in ("v_pi", "extinction_leak", "input_size"):
        stated[name][stuck] = 0.0
    sd[held(model)] = 0.0
    return Estimate(estimate.values, sd, known)


def _summary(names: Names, prior: FloatArray, sd: FloatArray, free: BoolArray) -> dict[str, Found]:
    found = {}
    for name, part in names.slices.items():
        these = free[part]
        if these.any():
            rms = [float(np.sqrt((s[part][these] ** 2).mean())) for s in (prior, sd)]
            found[name] = Found(rms[0], rms[1], int(these.sum()))
    return found


def unit_of(name: str) -> str:
    """What the numbers of a quantity are in, for a report."""
    if name in LOGARITHMS:
        return "relative"
    units = {"heater_resistance_rise": "1/W", "crosstalk_kernel": "share", "dark": "A", "bias": "V"}
    return units.get(name, "field" if name == "extinction_leak" else "rad")
