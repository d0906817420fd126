"""Walks and temperature against their statistics."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.simulators import resolve
from hilonn.simulators.drift import SLOW_STEP, UNLOCKED, Drift
from hilonn.simulators.truth import draw
from tests.simulators.benchtop import TIMING, Benchtop

PARAMETERS = resolve("typical")
TRUTH = draw("svd_mesh", 16, PARAMETERS, 0)


def test_oscillator_wander_is_an_ornstein_uhlenbeck_walk() -> None:
    drift = Drift(TRUTH, resolve("typical", {"heater_drift": False}), seed=3)
    track = []
    for k in range(1, 40001):
        drift.advance(6.0 * k)  # a tenth of its time
        track.append(drift.lo)
    walk = np.array(track)
    assert walk.std() == pytest.approx(0.020, rel=0.05)
    for lag in (5, 10, 20):
        correlation = (walk[:-lag] * walk[lag:]).mean() / walk.var()
        assert correlation == pytest.approx(np.exp(-lag / 10), abs=0.05)


def test_walk_does_not_depend_on_how_often_it_is_looked_at() -> None:
    """Variance of the change over a time, stepped at once or in twenty."""
    changes: dict[int, list[np.ndarray]] = {1: [], 20: []}
    for steps, seen in changes.items():
        for seed in range(300):
            drift = Drift(TRUTH, PARAMETERS, seed)
            start = drift.inputs.copy()
            for k in range(1, steps + 1):
                drift.advance(30.0 * k / steps)
            seen.append(drift.inputs - start)
    expected = 0.005**2 * 2 * (1 - np.exp(-0.5))
    for seen in changes.values():
        assert np.var(seen) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("part", "rate"), [("heaters", 2e-3), ("bias", 5e-3), ("gain", 5e-4)])
def test_slow_walks_grow_as_the_square_root_of_time(part: str, rate: float) -> None:
    for hours in (1.0, 9.0):
        ends = []
        for seed in range(30):
            drift = Drift(TRUTH, PARAMETERS, seed)
            for k in range(1, 5):
                drift.advance(900.0 * hours * k)
            ends.append(getattr(drift, part))
        assert np.std(ends) == pytest.approx(rate * np.sqrt(hours), rel=0.1)


def test_slow_walks_wait_until_they_have_moved_by_the_stated_step() -> None:
    drift = Drift(TRUTH, PARAMETERS, 0)
    interval = 3600 * (SLOW_STEP / PARAMETERS.modulator_bias_drift) ** 2
    assert not drift.advance(0.99 * interval)
    assert not drift.heaters.any()
    assert drift.advance(1.01 * interval)
    assert drift.heaters.all()


def test_every_drift_off_is_exactly_none() -> None:
    drift = Drift(TRUTH, resolve("ideal"), 0)
    assert not drift.advance(1e6)
    assert drift.lo == 0.0
    for part in (drift.inputs, drift.heaters, drift.bias, drift.gain):
        assert not part.any()


def test_oscillator_wander_turns_the_readings() -> None:
    top = Benchtop(architecture="unitary_mesh", ports=2, real=("lo_wander",), lo_wander=0.3)
    inputs = np.array([[1.0, 0.0]])
    clean = Benchtop(architecture="unitary_mesh", ports=2)
    quadratures = []
    for volts in (0.0, np.sqrt(5.0)):  # the oscillator at 0 and at a quarter turn
        drive = np.zeros(clean.heaters.channels)
        drive[-1] = volts
        clean.heat(drive)
        quadratures.append(clean.homodyne(inputs))
    seen = top.homodyne(inputs)
    angle = top.plant.drift.lo
    assert angle != 0.0
    expected = np.cos(angle) * quadratures[0] + np.sin(angle) * quadratures[1]
    np.testing.assert_allclose(seen, expected, atol=1e-15)


def test_lock_loss_is_reported_and_walks_away() -> None:
    ends, held = [], []
    for seed in range(200):
        drift = Drift(TRUTH, resolve("ideal"), seed)
        drift.advance(1.0)
        assert drift.locked
        drift.lose_lock()
        drift.advance(5.0)
        held.append(drift.locked)
        ends.append(drift.lo)
    assert not any(held)
    assert np.std(ends) == pytest.approx(UNLOCKED * 2.0, rel=0.15)


def test_heater_drift_moves_the_chips_phases() -> None:
    top = Benchtop(real=("heater_drift",), ports=16)
    before = top.plant.phases()
    top.plant.clock.sleep(4 * 3600.0)
    top.read(np.zeros((1, 16)))
    assert np.std(top.plant.phases() - before) == pytest.approx(4e-3, rel=0.1)


def test_temperature_relaxes_to_its_setpoint_and_turns_phases() -> None:
    from hilonn.simulators.sources import SimulatedTemperatureController

    top = Benchtop(real=("temperature",), ports=16)
    controller = SimulatedTemperatureController("tec", top.plant)
    before = top.plant.phases()
    assert controller.stable()
    controller.set_setpoint(27.0)
    assert not controller.stable()
    top.plant.clock.sleep(3.0)
    assert controller.temperature() == pytest.approx(27 - 2 * np.exp(-1))
    moved = top.plant.phases() - before
    warm = (2 - 2 * np.exp(-1)) * top.plant.truth.temperature_phase[:-1]
    np.testing.assert_allclose(moved, warm, atol=1e-12)
    top.plant.clock.sleep(60.0)
    assert controller.stable()


def test_bias_and_gain_drift_reach_the_readings() -> None:
    top = Benchtop(
        architecture="crossbar", ports=2, real=("modulator_bias_drift", "detector_gain_drift")
    )
    top.plant.clock.sleep(3600.0)
    top.modulators.load(np.zeros((1, 2)), TIMING)
    signal = top.read(np.array([[0.5, 0.5]])).signal[0, :2]
    drift = top.plant.drift
    amplitude = np.sin(np.arcsin(0.5) + drift.bias)
    expected = 0.9 * (1 + drift.gain[:2]) * 1e-3 * (amplitude**2).mean()
    np.testing.assert_allclose(signal, expected, rtol=1e-12)
