"""Faults on order: how they are written, and what they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilonn.errors import ConfigError
from hilonn.simulators.faults import WHERE, Fault, parse_faults
from hilonn.simulators.sources import SimulatedTemperatureController
from tests.simulators.benchtop import Benchtop


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("stuck_heater:17@2.0s", Fault("stuck_heater", 17, None, 2.0)),
        ("stuck_heater:3=0.02", Fault("stuck_heater", 3, 0.02, 0.0)),
        ("dead_detector:0", Fault("dead_detector", 0, None, 0.0)),
        ("laser_trip@1e-3s", Fault("laser_trip", None, None, 1e-3)),
        ("drift_step@4", Fault("drift_step", None, 0.3, 4.0)),
        ("drift_step:2=-0.1@4s", Fault("drift_step", 2, -0.1, 4.0)),
        ("temperature_step=-2", Fault("temperature_step", None, -2.0, 0.0)),
        ({"kind": "lock_loss", "at": 3}, Fault("lock_loss", None, None, 3.0)),
        ({"kind": "dead_heater", "channel": 5.0}, Fault("dead_heater", 5, None, 0.0)),
    ],
)
def test_faults_read_from_text_and_tables(entry: object, fault: Fault) -> None:
    assert parse_faults([entry]) == (fault,)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("stuk_heater:1", "did you mean 'stuck_heater'"),
        ("stuck_heater", "needs a channel"),
        ("laser_trip:2", "has no channel"),
        ("laser_trip=2", "takes no value"),
        ("laser_trip@soon", "not a finite number"),
        ("laser_trip@-1", "from 0"),
        ("drift_step=nan", "not a finite number"),
        ("stuck_heater:1=-1", "at least 0 W"),
        ("stuck_heater:one", "cannot be read"),
        ("", "cannot be read"),
        ({"kind": "laser_trip", "when": 2}, "unknown key 'when'"),
        ({"channel": 2}, "no kind"),
    ],
)
def test_faults_that_cannot_be_are_named(entry: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_faults([entry])  # type: ignore[list-item]


@given(st.text(max_size=30))
def test_any_text_is_a_fault_or_a_clear_refusal(text: str) -> None:
    try:
        (fault,) = parse_faults([text])
    except ConfigError as error:
        assert "fault" in str(error)
    else:
        assert fault.kind in WHERE


def test_faults_come_in_order_of_time_and_on_channels_that_exist() -> None:
    assert [f.at for f in parse_faults(["laser_trip@3", "lock_loss@1"])] == [1.0, 3.0]
    with pytest.raises(ConfigError, match="channels are 0 to 7"):
        Benchtop(faults=("dead_detector:8",))


def test_stuck_heater_keeps_its_power() -> None:
    top = Benchtop(faults=("stuck_heater:2@0.5s", "stuck_heater:3=0.02"))
    top.heat(2.0)
    phases = top.plant.phases()
    assert phases[3] == pytest.approx(np.pi)
    top.heat(0.0)
    after = top.plant.phases()
    assert after[2] == pytest.approx(phases[2])
    assert after[3] == pytest.approx(np.pi)
    assert not np.delete(after, [2, 3]).any()


def test_dead_heater_cools_and_stays_cold() -> None:
    top = Benchtop(faults=("dead_heater:1@0.5s",))
    top.heat(2.0, 1.0)
    top.plant.update()
    assert top.plant.phases()[1] == 0.0
    top.heat(3.0)
    assert top.plant.phases()[1] == 0.0
    assert top.plant.phases()[0] > 0


def test_dead_and_saturated_detectors() -> None:
    top = Benchtop(
        architecture="crossbar",
        ports=2,
        real=("adc",),
        faults=("dead_detector:0@1s", "saturated_detector:3@1s"),
    )
    inputs = np.ones((2, 2))
    before = top.read(inputs)
    assert before.signal[0, 0] > 0.8e-3
    assert not before.saturated.any()
    top.plant.clock.sleep(1.0)
    after = top.read(inputs, averages=3)
    assert abs(after.signal[:, 0]).max() < 1e-6
    np.testing.assert_allclose(after.signal[:, 3], top.detectors.ranges[-1])
    assert after.saturated[:, 3].all()
    assert not after.saturated[:, :3].any()
    np.testing.assert_allclose(after.signal[:, 1], before.signal[:, 1])


def test_drift_step_on_one_heater_and_on_all() -> None:
    top = Benchtop(faults=("drift_step:2=0.5@1s", "drift_step=0.1@2s"))
    assert not top.plant.phases().any()
    top.heat(0.0)
    top.read(np.zeros((1, 4)))
    expected = np.zeros(top.plant.truth.chip_heaters)
    expected[2] = 0.5
    np.testing.assert_allclose(top.plant.phases(), expected)
    top.heat(0.0)
    top.read(np.zeros((1, 4)))
    np.testing.assert_allclose(top.plant.phases(), expected + 0.1)


def test_laser_trip_puts_out_the_light_and_the_laser_says_so() -> None:
    top = Benchtop(faults=("laser_trip@1s",))
    inputs = np.ones((1, 4))
    assert top.laser.emission()
    assert top.read(inputs).signal.any()
    top.plant.clock.sleep(1.0)
    assert not top.laser.emission()
    assert not top.read(inputs).signal.any()
    top.laser.set_emission(True)  # it can be switched on again
    assert top.read(inputs).signal.any()


def test_lock_loss_shows_on_the_switch() -> None:
    top = Benchtop(faults=("lock_loss@1s",))
    assert top.shutter.locked()
    top.plant.clock.sleep(1.5)
    assert not top.shutter.locked()


def test_temperature_step_passes() -> None:
    top = Benchtop(real=("temperature",), faults=("temperature_step=2@1s", "temperature_step=1@4s"))
    controller = SimulatedTemperatureController("tec", top.plant)
    assert controller.stable()
    top.plant.clock.sleep(1.0)
    assert controller.temperature() == pytest.approx(27.0)
    assert not controller.stable()
    assert top.plant.phases().any()
    top.plant.clock.sleep(3.0)
    assert controller.temperature() == pytest.approx(26 + 2 * np.exp(-1))
    top.plant.clock.sleep(60.0)
    assert controller.stable()
    assert not top.plant.phases().any()


def test_stuck_modulator_stands_still() -> None:
    top = Benchtop(faults=("stuck_modulator:1=1.0@0.5s",))
    pattern = np.array([[0.5, -0.5, 1.0, 0.0], [0.1, 2.0, 1.0, 0.0]])
    top.plant.load(pattern)
    top.plant.clock.sleep(1.0)
    top.plant.update()
    assert top.plant.pattern is not None
    np.testing.assert_array_equal(top.plant.pattern[:, 1], 1.0)
    saved = top.plant.snapshot()
    top.plant.restore(saved)
    top.plant.load(pattern)
    np.testing.assert_array_equal(top.plant.pattern[:, 1], 1.0)
    assert abs(top.plant.pattern[0, 2] - 1.0) < 0.01
