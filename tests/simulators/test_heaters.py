"""Voltage to power to phase, crosstalk and lag, each against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.simulators.crosstalk import crosstalk_kernel, lay
from hilonn.simulators.thermal import drive_limit
from tests.simulators.benchtop import Benchtop

PER_PI, OHM = 0.020, 500.0


def turned(top: Benchtop) -> np.ndarray:
    """Phases away from those without drive; the plant's own view."""
    return top.plant.phases() - top.plant.truth.phase_offset[: top.plant.truth.chip_heaters]


def test_ideal_phase_is_linear_in_electrical_power() -> None:
    top = Benchtop()
    drive = np.linspace(0, 5, top.heaters.channels)
    top.heat(drive)
    np.testing.assert_allclose(turned(top), np.pi * drive[:-1] ** 2 / OHM / PER_PI, rtol=1e-12)


def test_self_heating_lowers_the_power_as_the_resistance_rises() -> None:
    top = Benchtop(real=("self_heating",))
    drive = np.linspace(0, 5, top.heaters.channels)
    top.heat(drive)
    power = turned(top) / np.pi * PER_PI
    rise = 0.05 / (2 * PER_PI)
    np.testing.assert_allclose(power * OHM * (1 + rise * power), drive[:-1] ** 2, rtol=1e-12)


def test_nonlinearity_is_exact_at_a_full_turn_and_largest_at_half() -> None:
    top = Benchtop(real=("thermo_optic_nonlinearity",), thermo_optic_nonlinearity=0.01)
    ratio = np.array([0.0, 1.0, 2.0])
    drive = np.zeros(top.heaters.channels)
    drive[:3] = np.sqrt(ratio * PER_PI * OHM)
    top.heat(drive)
    expected = np.pi * ratio * (1 + 0.01 * (ratio / 2 - 1))
    np.testing.assert_allclose(turned(top)[:3], expected, atol=1e-12)


def test_spreads_are_those_of_the_process() -> None:
    truth = Benchtop(real=("heater_spread",), ports=24).plant.truth
    for values, mean in ((truth.power_per_pi, PER_PI), (truth.resistance, OHM)):
        assert values.mean() == pytest.approx(mean, rel=3e-3)
        assert values.std() == pytest.approx(0.03 * mean, rel=0.08)


def test_crosstalk_matrix_measured_heater_by_heater() -> None:
    top = Benchtop(real=("crosstalk",), ports=4)
    chip = top.plant.truth.chip_heaters
    measured = np.zeros((chip, chip))
    for j in range(chip):
        drive = np.zeros(top.heaters.channels)
        drive[j] = np.sqrt(PER_PI * OHM)
        top.heat(drive)
        measured[:, j] = turned(top) / np.pi
    gap = top.plant.truth.layout[:, np.newaxis] - top.plant.truth.layout[np.newaxis]
    distance = np.hypot(gap[..., 0], gap[..., 1])
    near = (distance > 0) & (distance <= 3)
    expected = np.eye(chip) + np.where(near, 0.01 * np.exp(1 - distance), 0.0)
    np.testing.assert_allclose(measured, expected, atol=1e-12)


def test_the_local_oscillators_heater_is_off_the_chip() -> None:
    top = Benchtop(real=("crosstalk",))
    drive = np.zeros(top.heaters.channels)
    drive[-1] = 5.0
    top.heat(drive)
    assert not turned(top).any()


def test_crosstalk_off_leaves_no_kernel() -> None:
    top = Benchtop()
    kernel = crosstalk_kernel(top.plant.parameters)
    assert kernel.shape == (0, 3)
    own, base = np.arange(5.0), np.ones(5)
    layout = np.stack((np.arange(5.0), np.zeros(5)), axis=1)
    np.testing.assert_array_equal(lay(layout, kernel).add(own, base), own + base)


def crossbar_at(wait: float) -> np.ndarray:
    """Weights of a 2x2 crossbar from its readings, while heater 0 is still on its way to 0.8 pi."""
    top = Benchtop(architecture="crossbar", ports=2, real=("heater_lag",))
    top.heat(np.zeros(4))
    top.heat(np.array([np.sqrt(0.8 * PER_PI * OHM), 0, 0, 0]), wait)
    return top.homodyne(np.tile([1.0, 0.0], (30, 1)))[:, 0] / 1e-3 * 2


@pytest.mark.parametrize("wait", [0.0, 10e-6, 60e-6, 110e-6])
def test_heater_step_response_seen_by_the_detectors(wait: float) -> None:
    weight = crossbar_at(wait)
    time = wait + 1e-5 * np.arange(30)
    phase = 0.8 * np.pi * (1 - np.exp(-time / 20e-6))
    # Interpolation starts within 0.05 rad of the end: error below 0.05^2 / 2 times the swing.
    np.testing.assert_allclose(weight, np.cos(phase), atol=1.3e-3)


def test_lag_is_first_order_exact_when_nearly_settled() -> None:
    top = Benchtop(real=("heater_lag",), ports=4)
    rng = np.random.default_rng(1)
    drive = rng.uniform(0, 4, top.heaters.channels)
    top.heat(drive)
    moved = drive.copy()
    moved[3] += 0.05
    top.heat(moved, 40e-6)
    inputs = np.tile(rng.uniform(-1, 1, 4), (40, 1))
    seen = top.homodyne(inputs)
    top.plant.clock.sleep(1)
    end = top.homodyne(inputs)[-1]
    gap = seen - end
    assert abs(gap[0]).max() > 1e-7
    fall = np.exp(-np.arange(40) * 1e-5 / 20e-6)[:, np.newaxis]
    np.testing.assert_allclose(gap[:10], (gap[0] * fall)[:10], atol=2e-3 * abs(gap[0]).max())


def test_without_lag_a_write_is_there_at_once() -> None:
    top = Benchtop(architecture="crossbar", ports=2)
    top.heat(np.sqrt(PER_PI * OHM), 0.0)
    np.testing.assert_allclose(top.homodyne(np.array([[1.0, 1.0]])), -1e-3, rtol=1e-12)


def test_drive_resolution_is_a_grid_in_voltage() -> None:
    top = Benchtop(real=("drive_resolution",))
    high = top.heaters.spec.high
    step = high / (2**12 - 1)
    assert top.heaters.spec.resolution == pytest.approx(step, rel=1e-12)
    drive = np.random.default_rng(0).uniform(0, high, top.heaters.channels)
    top.heat(drive)
    codes = top.heaters.read_back() / step
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-9)
    assert abs(top.heaters.read_back() - drive).max() <= step / 2 * (1 + 1e-9)
    power = top.heaters.read_back()[:-1] ** 2 / OHM
    np.testing.assert_allclose(turned(top), np.pi * power / PER_PI, rtol=1e-12)


def test_every_heater_of_the_process_reaches_a_turn_and_a_half() -> None:
    for preset in ("ideal", "typical", "harsh"):
        top = Benchtop(preset=preset, ports=8)
        truth = top.plant.truth
        power = 1.5 * 2 * truth.power_per_pi
        needed = np.sqrt(power * truth.resistance * (1 + truth.resistance_rise * power))
        assert needed.max() <= drive_limit(top.plant.parameters)


def test_typical_full_turn_takes_about_four_and_a_half_volts() -> None:
    truth = Benchtop(preset="typical", ports=16).plant.truth
    power = 2 * truth.power_per_pi
    volts = np.sqrt(power * truth.resistance * (1 + truth.resistance_rise * power))
    assert volts.mean() == pytest.approx(4.5, abs=0.15)
    assert (power / volts).mean() == pytest.approx(9e-3, abs=0.3e-3)


def test_harsh_has_three_dead_heaters_that_give_no_phase() -> None:
    top = Benchtop(preset="harsh", ports=16, crosstalk=0.0, heater_drift=0.0)
    dead = top.plant.truth.dead
    assert dead.sum() == 3
    assert not dead[-1]
    top.heat(3.0)
    phases = turned(top)
    assert not phases[dead[:-1]].any()
    assert (phases[~dead[:-1]] > 0.5).all()
