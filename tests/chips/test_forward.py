"""The record's forward model: its readings are the plant's, and its derivatives are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.chips.forward import ForwardModel, Setting
from hilonn.chips.gauges import aligned, held, phase_gauges, scale_gauges
from hilonn.chips.parameters import Estimate, offsets_within, read, write
from hilonn.errors import CalibrationError, ConfigError
from hilonn.records import Records
from hilonn.typing import FloatArray
from tests.chips.meshes import QUIET, bench_text

RNG = np.random.default_rng(5)


def model_of(tmp_path, architecture: str) -> tuple[Records, ForwardModel, FloatArray]:
    path = tmp_path / "bench.toml"
    path.write_text(bench_text(architecture, 4))
    with Bench.open(path) as bench:
        records = bench.chip().records
        layout = bench.chip().layout
    model, estimate = ForwardModel.of(records, offsets_within(layout, 2.0))
    return records, model, estimate.values


def some(model: ForwardModel, samples: int = 5, through: bool = True) -> Setting:
    volts = RNG.uniform(0, 4.5, model.heaters)
    return Setting(volts, RNG.uniform(-3, 3, (samples, model.ports)), through, 0.1)


def ideal_reading(bench: Bench, setting: Setting) -> FloatArray:
    chip = bench.chip()
    shifters = chip.heaters_of  # type: ignore[attr-defined]
    shifters.write(setting.heaters)
    bench.clock.sleep(1.0)
    detectors, modulators = bench.devices["meter"], bench.devices["inputs"]
    timing = chip._detection._timing  # type: ignore[attr-defined]
    detectors.arm(len(setting.modulators), 1, timing)  # type: ignore[attr-defined]
    modulators.load(setting.modulators, timing)  # type: ignore[attr-defined]
    modulators.play()  # type: ignore[attr-defined]
    found: FloatArray = detectors.fetch().signal  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
@pytest.mark.parametrize("through", [True, False])
def test_the_model_reads_what_a_plant_without_noise_and_drift_reads(
    tmp_path, architecture: str, through: bool
) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(bench_text(architecture, 4, effects=QUIET, more="record_error = 0.0"))
    with Bench.open(path) as bench:
        bench.light_on()
        records = bench.chip().records
        kernel = records.chip.value("crosstalk_kernel")[:, :2]
        model, estimate = ForwardModel.of(records, kernel)
        setting = replace(some(model, through=through), wander=0.0)
        bench.devices["lo_shutter"].select(int(through))  # type: ignore[attr-defined]
        read_there = ideal_reading(bench, setting)
    expected = model.expected(estimate.values, setting)
    assert np.allclose(expected, read_there, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_each_derivative_is_that_of_finite_differences(tmp_path, architecture: str) -> None:
    _, model, vector = model_of(tmp_path, architecture)
    setting = some(model)
    weight = RNG.uniform(0.5, 2.0, (5, 8))
    jacobian = np.empty((model.names.size, 40))
    readings, wander = model.jacobian(vector, setting, weight, jacobian)
    assert np.allclose(readings.reshape(8, 5).T, model.expected(vector, setting))
    for name, part in model.names.slices.items():
        step = 1e-14 if name == "dark" else 1e-6
        for index in RNG.choice(np.arange(part.start, part.stop), min(4, part.stop - part.start)):
            more, less = vector.copy(), vector.copy()
            more[index] += step
            less[index] -= step
            change = model.expected(more, setting) - model.expected(less, setting)
            slope = (change * weight / (2 * step)).T.ravel()
            size = np.abs(slope).max() + 1e-9
            assert np.abs(slope - jacobian[index]).max() < 1e-3 * size, f"{name}[{index}]"
    later = model.expected(vector, replace(setting, wander=0.1 + 1e-6))
    change = (later - model.expected(vector, setting)) * weight * 1e6
    assert np.allclose(change.T.ravel(), wander, atol=1e-4 * np.abs(wander).max())


def test_tangent_and_adjoint_are_the_jacobian_and_its_transpose(tmp_path) -> None:
    _, model, vector = model_of(tmp_path, "svd_mesh")
    setting = some(model)
    jacobian = np.empty((model.names.size, 40))
    _, wander = model.jacobian(vector, setting, np.ones((5, 8)), jacobian)
    change = RNG.standard_normal(model.names.size)
    _, moved = model.tangent(vector, setting, change)
    assert np.allclose(moved.T.ravel(), change @ jacobian)
    seed = RNG.standard_normal((5, 8))
    total, by_wander = model.adjoint(vector, setting, seed)
    assert np.allclose(total, jacobian @ seed.T.ravel())
    assert by_wander == pytest.approx(wander @ seed.T.ravel())
    assert np.allclose(model.by_wander(vector, setting).T.ravel(), wander)


def test_a_dead_heater_does_not_turn(tmp_path) -> None:
    _, model, vector = model_of(tmp_path, "svd_mesh")
    usable = model.usable.copy()
    usable[3] = False
    dead = ForwardModel("svd_mesh", 4, model.resistance, usable, model.names.kernel)
    volts = np.zeros(model.heaters)
    there = dead.phases(vector, volts)[0]
    volts[3] = 4.0
    assert np.array_equal(dead.phases(vector, volts)[0], there)


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_no_reading_changes_along_a_gauge(tmp_path, architecture: str) -> None:
    _, model, vector = model_of(tmp_path, architecture)
    settings = [some(model, through=k > 0) for k in range(3)]
    phases, scales = phase_gauges(model), scale_gauges(model)
    assert phases.shape[1] == int(held(model).sum())
    for column in np.concatenate((phases, scales), axis=1).T:
        moved = vector + 0.3 * column
        for setting in settings:
            assert np.allclose(
                model.expected(moved, setting), model.expected(vector, setting), rtol=1e-9
            )
    shift = RNG.standard_normal(phases.shape[1] + scales.shape[1])
    moved = vector + np.concatenate((phases, scales), axis=1) @ shift
    assert np.allclose(aligned(model, moved, vector), vector)


def test_readings_tell_all_that_no_gauge_and_no_lost_light_hides(tmp_path) -> None:
    _, model, vector = model_of(tmp_path, "unitary_mesh")
    information = np.zeros((model.names.size, model.names.size))
    for k in range(120):
        setting = some(model, through=k % 8 > 0)
        jacobian = np.empty((model.names.size, 40))
        model.jacobian(vector, setting, np.full((5, 8), 1e6), jacobian)
        information += jacobian @ jacobian.T
    scale = np.sqrt(np.diagonal(information))
    values = np.linalg.eigvalsh(information / np.outer(scale, scale))
    gauges = phase_gauges(model).shape[1] + scale_gauges(model).shape[1]
    blind = int((values < 1e-9 * values[-1]).sum())
    # Losses: what every path shares of them is seen only times the gains.
    assert gauges <= blind <= gauges + 4


def test_a_record_goes_through_the_vector_unchanged(tmp_path) -> None:
    records, model, _ = model_of(tmp_path, "svd_mesh")
    estimate = read(records, model.names)
    back = write(estimate, model.names, records, "2026-01-01T00:00:00+00:00", "a test")
    again = read(back, model.names)
    assert np.allclose(again.values, estimate.values)
    assert back.chip.source == "a test"
    for name in ("heater_phase_offset", "splitter_errors", "input_field"):
        assert np.allclose(back.chip.value(name), records.chip.value(name))
        assert np.array_equal(back.chip.accepted(name), records.chip.accepted(name))


def test_what_is_not_positive_is_refused(tmp_path) -> None:
    records, model, _ = model_of(tmp_path, "svd_mesh")
    chip = dict(records.chip.quantities)
    chip["output_gain"] = replace(chip["output_gain"], value=-chip["output_gain"].value)
    with pytest.raises(CalibrationError, match="'output_gain' that is not positive"):
        read(replace(records, chip=replace(records.chip, quantities=chip)), model.names)


def test_powers_that_add_have_no_model_of_fields() -> None:
    with pytest.raises(ConfigError, match="crossbar has no forward model"):
        ForwardModel("crossbar", 4, np.ones(17), np.ones(17, bool), np.zeros((0, 2)))


def test_names_are_told(tmp_path) -> None:
    _, model, vector = model_of(tmp_path, "unitary_mesh")
    assert model.names.title(0) == "heater_phase_offset[0]"
    assert model.names.title(model.names.size - 1) == "extinction_leak[3]"
    assert isinstance(Estimate(vector, vector, vector > 0), Estimate)
