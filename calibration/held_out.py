"""How well a record predicts settings it was not fitted to, and how well it programs matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hilonn.calibration.crosstalk import CrosstalkParameters, Problem, problem_of
from hilonn.calibration.drives import random_settings
from hilonn.calibration.light import light_of, rails, read_odd
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Progress
from hilonn.calibration.stages import layout_of, transfer
from hilonn.chips import Batch, MatrixChip
from hilonn.errors import CalibrationError
from hilonn.records import Records
from hilonn.typing import ComplexArray, FloatArray

BLOCK = 25
SEED = 1
"""Of the held-out settings: another than that of the settings fitted to."""


@dataclass(frozen=True, slots=True)
class Score:
    """``twin_error``: relative error (Frobenius) of predicted against measured readings; ``noise_floor``: the same of
    a measurement against its repetition, over sqrt(2)."""

    twin_error: float
    noise_floor: float
    settings: int


def acquire(
    rig: Rig, known: Records, raw: Raw, settings: int, amplitude: float, progress: Progress
) -> None:
    """Read held-out settings twice each; the second time is what noise and drift alone do."""
    light = light_of(rig.setup, known, amplitude)
    drives = random_settings(rig.setup, settings, 1.0, SEED)
    for first in range(0, settings, BLOCK):
        name, block = f"held-{first // BLOCK:03d}", drives[first : first + BLOCK]
        if not raw.has(name):
            odd = []
            for k, drive in enumerate(block):
                odd.append([read_odd(rig, light, drive, 1, rails(known)) for _ in range(2)])
                progress("held-out settings", first + k + 1, settings)
            raw.save(name, drive=block, odd=np.array(odd))
        progress("held-out settings", first + len(block), settings)
    if raw.finished is None:
        raw.finish(settings=settings, amplitude=amplitude)


def score(setup: Setup, records: Records, raw: Raw, measured_with: Records) -> Score:
    """The score of ``records``; ``measured_with``: those that the readings were taken with."""
    blocks = [raw.load(name) for name in raw.blocks("held-")]
    drive = np.concatenate([b["drive"] for b in blocks])
    odd = np.concatenate([b["odd"] for b in blocks]).astype(float)
    amplitude = float((raw.finished or {}).get("amplitude", 0.5))
    light = light_of(setup, measured_with, amplitude)
    layout = layout_of(setup.architecture, setup.ports)
    first, second = (_fields(light.plus, light.minus, odd[:, i]) for i in range(2))
    problem, state = problem_of(
        setup,
        records,
        CrosstalkParameters(),
        layout,
        drive,
        np.ones((len(drive), setup.ports, setup.ports), complex),
    )
    inputs = measured_with.modulators.accepted("v_pi")
    away = apart = size = 0.0
    for k in range(len(drive)):
        model = _model(problem, state, k)
        said = amplitude * light.signs[:, inputs] @ model[:, inputs].T
        usable = np.abs(first[k]).sum(axis=0) > 0
        said = said[:, usable]
        a, b = first[k][:, usable], second[k][:, usable]
        away += float((np.abs(_turned(a, said) - said) ** 2).sum())
        apart += float((np.abs(_turned(b, a) - a) ** 2).sum()) / 2
        size += float((np.abs(a) ** 2).sum())
    return Score(float(np.sqrt(away / size)), float(np.sqrt(apart / size)), len(drive))


def _fields(plus: FloatArray, minus: FloatArray, odd: FloatArray) -> ComplexArray:
    ports = len(plus)
    pairs = odd[..., :ports] * plus - odd[..., ports:] * minus
    field: ComplexArray = pairs[:, 0] + 1j * pairs[:, 1]
    return field


def _model(problem: Problem, state: Any, k: int) -> ComplexArray:
    own = state.own(problem.cold[k : k + 1], problem.per_pi)
    found: ComplexArray = transfer(problem.layout, problem.psi(state, own), state.optics)[0]
    return found


def _turned(found: ComplexArray, model: ComplexArray) -> ComplexArray:
    """``found`` turned by one phase, the oscillator's, to lie nearest to ``model``."""
    overlap = complex(np.vdot(found, model))
    turned: ComplexArray = found * (overlap / max(abs(overlap), 1e-300))
    return turned


def matrix_error(chip: MatrixChip, count: int = 20, averages: int = 256, seed: int = 2) -> float:
    """Mean relative error (Frobenius) of ``count`` random real matrices as measured, against those wanted.

    Inputs are one-hot and their negatives; what noise adds to a mean of ``averages`` is in it. A chip of which not all
    ports can be used takes smaller matrices. CalibrationError for a chip without a signed readout.
    """
    readout = chip.signed_readout
    if readout is None:
        raise CalibrationError(
            f"{chip.name} reads powers only: a matrix, signs and all, cannot be compared"
        )
    rng = np.random.default_rng([seed, 53])
    inputs = np.concatenate((np.eye(chip.inputs), -np.eye(chip.inputs)))
    errors = []
    for _ in range(count):
        wanted = rng.standard_normal((chip.outputs, chip.inputs))
        (settings,) = chip.compile_exactly(wanted[np.newaxis], [None])
        values = chip.run(settings, Batch(inputs, readout, averages=averages)).values
        found = (values[: chip.inputs] - values[chip.inputs :]).T / 2
        errors.append(float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)))
    return float(np.mean(errors))
