"""A calibrated record against the plant's hidden truth, parameter by parameter: what only a benchmark and a test may look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hilonn.bench import Bench
from hilonn.chips.forward import ForwardModel
from hilonn.chips.gauges import aligned, phase_gauges
from hilonn.chips.parameters import Estimate, read
from hilonn.mesh import haar_unitary
from hilonn.records import Quantity, Records
from hilonn.typing import FloatArray

DRAWS = 20
"""Random settings at which phases are compared."""


def plant_of(bench: Bench) -> Any:
    """The plant behind a simulated bench."""
    return next(c for c in bench.connections.values() if hasattr(c, "plant")).plant  # type: ignore[attr-defined]


def perturbed(
    records: Records, rng: np.random.Generator, offset: float = 0.1, splitter: float = 0.02
) -> Records:
    """``records``, true ones, as a rough calibration would leave them: ``offset`` (rad) off a phase, 3 % off a power,
    5 % off every gain, splitters and crosstalk unknown."""
    chip, detectors, modulators = (
        dict(r.quantities) for r in (records.chip, records.photodetectors, records.modulators)
    )

    def off(place: dict[str, Quantity], name: str, doubt: float, relative: bool = True) -> None:
        value, before = place[name].value, place[name].accepted
        sd = doubt * np.abs(value) if relative else np.full(value.shape, doubt)
        place[name] = Quantity(value + sd * rng.standard_normal(value.shape), sd, before)

    off(chip, "heater_phase_offset", offset, relative=False)
    for name, doubt in (
        ("heater_power_per_pi", 0.03),
        ("heater_resistance_rise", 0.2),
        ("input_field", 0.05),
        ("output_gain", 0.05),
        ("output_power_gain", 0.05),
        ("mzi_transmission", 0.005),
    ):
        off(chip, name, doubt)
    chip["mzi_transmission"] = replace(
        chip["mzi_transmission"], value=np.minimum(chip["mzi_transmission"].value, 1.0)
    )
    errors = np.zeros_like(chip["splitter_errors"].value)
    chip["splitter_errors"] = Quantity.of(errors, splitter)
    chip["crosstalk_kernel"] = Quantity.of(np.zeros((0, 3)))
    off(detectors, "gain", 0.05)
    off(detectors, "dark", 0.05)
    off(modulators, "v_pi", 0.01)
    off(modulators, "bias", 0.05, relative=False)
    off(modulators, "extinction_leak", 0.02, relative=False)
    return Records(
        replace(records.chip, quantities=chip),
        replace(records.modulators, quantities=modulators),
        replace(records.photodetectors, quantities=detectors),
    )


def true_records(plant: Any) -> Records:
    """What a perfect calibration of the plant would write, in the terms that a record has: the bend of the heaters'
    phase with power stands in their power a half turn and their resistance's rise."""
    records: Records = plant.records("mesh", 0.0, True, True)
    bend = plant.parameters.thermo_optic_nonlinearity
    quantities = dict(records.chip.quantities)
    power, rise = (quantities[n].value for n in ("heater_power_per_pi", "heater_resistance_rise"))
    quantities["heater_power_per_pi"] = Quantity.of(power / (1 - bend))
    quantities["heater_resistance_rise"] = Quantity.of(rise - bend / (2 * power))
    return replace(records, chip=replace(records.chip, quantities=quantities))


def errors_of(records: Records, plant: Any) -> tuple[Estimate, FloatArray, ForwardModel]:
    """The records as a vector, and what each parameter is off the truth (size,), moved along the gauges to the records'
    conventions; phases to within a turn."""
    kernel = records.chip.value("crosstalk_kernel")[:, :2]
    if not len(kernel):
        kernel = plant.crosstalk_kernel[:, :2]
    model, estimate = ForwardModel.of(records, kernel)
    truth = read(true_records(plant), model.names).values
    # Only resistance times power counts: the truth at the record's resistances.
    ratio = plant.truth.resistance / records.chip.value("heater_resistance")
    part = model.names.split(truth)
    part["heater_power_per_pi"][:] += np.log(ratio)
    part["heater_resistance_rise"][:] /= ratio
    away = estimate.values - aligned(model, truth, estimate.values)
    turned = model.names.split(away)
    for name in ("heater_phase_offset", "input_phase", "output_phase"):
        turned[name][:] = (turned[name] + np.pi) % (2 * np.pi) - np.pi
    return estimate, away, model


def phase_error(records: Records, plant: Any, seed: int = 0) -> float:
    """rad rms over heaters and random settings, modulo the gauges of static phases."""
    rng = np.random.default_rng(seed)
    estimate, _, model = errors_of(records, plant)
    truth = read(true_records(plant), model.names).values
    n = model.chip_heaters
    moved = (aligned(model, truth, estimate.values) - truth)[:n]
    usable = np.flatnonzero(model.usable[:n])
    away = []
    for _ in range(DRAWS):
        own = rng.uniform(0, 2 * np.pi, model.heaters)
        ratio = own / np.pi
        bend = plant.parameters.thermo_optic_nonlinearity
        power = ratio * plant.truth.power_per_pi
        volts = np.sqrt(power * plant.truth.resistance * (1 + plant.truth.resistance_rise * power))
        volts = np.where(model.usable, volts, 0.0)
        true_own = np.where(model.usable, np.pi * ratio * (1 + bend * (ratio / 2 - 1)), 0.0)
        true = plant._crosstalk.add(true_own[:n], plant.truth.phase_offset[:n]) + moved
        left = model.phases(estimate.values, volts)[0][:n] - true
        away.append((left + np.pi) % (2 * np.pi) - np.pi)
    gauges = phase_gauges(model)[:n]
    rest = np.array(away)
    rest -= gauges @ np.linalg.lstsq(gauges, rest.mean(axis=0), rcond=None)[0]
    return float(np.sqrt((rest[:, usable] ** 2).mean()))


def realised(bench: Bench, chip: Any, settings: Any) -> np.ndarray:
    """What the plant's chip multiplies by at ``settings`` of ``chip``, by its homodyne readings without noise, drift or
    wander, in the units that ``chip`` gives them: complex (outputs, inputs), the second quadrature imaginary."""
    plant = plant_of(bench)
    truth = plant.truth
    drive = np.zeros(truth.heaters)
    drive[: len(settings.drive)] = settings.drive
    drive[-1] = chip._oscillator_drives[0.0]
    heaters = plant.heaters
    step = heaters.step
    power = heaters._powers(np.rint(drive / step) * step if step else drive)
    ratio = power / truth.power_per_pi
    bend = plant.parameters.thermo_optic_nonlinearity
    own = np.pi * ratio * (1 + bend * (ratio / 2 - 1))
    n = truth.chip_heaters
    matrix = plant._optics.transfer(plant._crosstalk.add(own[:n], truth.phase_offset[:n]))
    oscillator = np.exp(-1j * (own[-1] + truth.phase_offset[-1]))
    seen = 2 * (truth.lo_field * truth.output_facet * oscillator)[:, np.newaxis] * matrix
    seen = seen * (truth.launched_field * truth.input_facet)
    # Currents of the two detectors, divided by what the record says of their gains.
    plus, minus = np.split(truth.gain / chip.records.photodetectors.value("gain"), 2)
    record = chip.records.chip
    passed = record.value("output_gain") * chip._transmission()
    seen = seen * (0.5 * (plus + minus) * settings.scale / passed)[:, np.newaxis]
    seen = seen / np.abs(record.value("input_field"))
    whole = settings.shape == (chip.ports, chip.ports)
    scaled: np.ndarray = seen if whole else chip.at.part(seen, settings.shape)
    return scaled


def matrix_error(bench: Bench, chip: Any, count: int = 20, seed: int = 0) -> FloatArray:
    """Relative Frobenius errors (count,) of random real matrices that ``chip``, on its record, programs: modulo one
    phase common to all fields."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        wanted = rng.standard_normal((chip.outputs, chip.inputs)) / np.sqrt(chip.inputs)
        seen = realised(bench, chip, chip.compile_exactly(wanted[np.newaxis], [None])[0])
        turn = np.angle((seen * wanted).sum())
        seen = (seen * np.exp(-1j * turn)).real
        found.append(np.linalg.norm(seen - wanted) / np.linalg.norm(wanted))
    return np.array(found)


def unitary_errors(bench: Bench, chip: Any, count: int = 3, seed: int = 0) -> FloatArray:
    """(count, 3) of random unitaries that ``chip``, on its record, programs, against what its plant makes of them, modulo
    row and column phases: fidelity |Tr U^H V| / (|U| |V|), relative Frobenius error; and that modulo one common
    phase only."""
    rng = np.random.default_rng([seed, 59])
    wanted = np.stack([haar_unitary(chip.ports, rng) for _ in range(count)])
    found = []
    for u, settings in zip(wanted, chip.compile_unitaries(wanted), strict=True):
        seen = realised(bench, chip, settings)
        size = np.linalg.norm(u)
        overlap = np.vdot(seen, u)
        common = np.linalg.norm(seen * overlap / abs(overlap) - u) / size
        seen = _best_turned(seen, u)
        fidelity = abs(np.vdot(u, seen)) / (size * np.linalg.norm(seen))
        found.append((fidelity, np.linalg.norm(seen - u) / size, common))
    return np.array(found)


def _best_turned(seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``seen`` with a phase on every row and column, those that bring it nearest to ``wanted``: each in turn."""
    for _ in range(50):
        rows = (seen.conj() * wanted).sum(axis=1, keepdims=True)
        seen = seen * rows / np.abs(rows)
        columns = (seen.conj() * wanted).sum(axis=0, keepdims=True)
        seen = seen * columns / np.abs(columns)
    return seen
