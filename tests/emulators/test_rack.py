"""The light between emulated boxes: triggers, repeats, meters of other speeds, what stands at rest."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators.rack import Generator, Listener, Rack
from hilonn.typing import FloatArray

PERIOD = 1e-5
PORTS = 4
DETECTORS = list(range(2 * PORTS))
DRIVE = np.random.default_rng(1).uniform(-3.0, 3.0, (5, PORTS))
QUIET = dict.fromkeys(
    (
        "detector_noise",
        "thermal_noise",
        "shot_noise",
        "rin",
        "heater_drift",
        "modulator_bias_drift",
        "detector_gain_drift",
        "lo_wander",
        "input_phase_drift",
    ),
    False,
)


def lit(quiet: bool = True) -> Plant:
    plant = Plant("svd_mesh", PORTS, resolve("typical", QUIET if quiet else {}, {}))
    plant.set_laser(emission=True)
    return plant


def on_the_plant(
    drive: FloatArray, repeats: int = 1, quiet: bool = True, waited: float = 0.0
) -> FloatArray:
    plant = lit(quiet)
    plant.write_heaters(np.full(plant.truth.heaters, 2.0))
    plant.clock.sleep(waited)
    plant.load(drive)
    plant.arm(len(drive), repeats, PERIOD)
    plant.play(PERIOD)
    return plant.fetch()[0] / plant.parameters.responsivity


class Meter:
    """Hears what a rack delivers."""

    def __init__(self, rack: Rack) -> None:
        assert rack.plant is not None
        self._rack = rack
        self._scale = np.full(2 * PORTS, rack.plant.detection.ranges[-1] / rack.responsivity)
        self.signal: FloatArray = np.zeros((0, 2 * PORTS))

    def listener(self, samples: int, period: float = PERIOD) -> Listener:
        return Listener(DETECTORS, samples, period, self._scale, self._deliver)

    def _deliver(self, signal: FloatArray, saturated: np.ndarray) -> None:
        assert signal.shape == saturated.shape
        self.signal = signal


def rack_with_heat(quiet: bool = True) -> Rack:
    rack = Rack(lit(quiet), lockstep=True)
    rack.write_heaters(0, np.full(len(rack.heaters), 2.0))
    return rack


def generator(cycles: int | None = None) -> Generator:
    return Generator(list(range(PORTS)), DRIVE, PERIOD, cycles)


@pytest.mark.parametrize("cycles", [None, 4])
def test_repeats_are_the_plants_own_with_noise_drift_and_settling(cycles: int | None) -> None:
    """Heaters have just been written: every repeat is further settled, and has noise of its own."""
    rack = rack_with_heat(quiet=False)
    meter = Meter(rack)
    rack.prepare("g", generator(cycles))
    rack.listen("m", meter.listener(4 * len(DRIVE)))
    assert rack.trigger() == pytest.approx(4 * len(DRIVE) * PERIOD)
    assert rack.now() == pytest.approx(4 * len(DRIVE) * PERIOD)
    repeats = meter.signal.reshape(4, *DRIVE.shape[:1], -1)
    assert not np.array_equal(repeats[0], repeats[1])
    np.testing.assert_allclose(repeats.mean(axis=0), on_the_plant(DRIVE, 4, quiet=False), rtol=1e-9)


def test_a_burst_that_has_ended_stays_at_its_last_sample() -> None:
    rack = rack_with_heat()
    rack.sleep(1.0)
    meter = Meter(rack)
    rack.prepare("g", generator(1))
    rack.listen("m", meter.listener(8))
    rack.trigger()
    drive = np.concatenate([DRIVE, np.repeat(DRIVE[-1:], 3, axis=0)])
    should = on_the_plant(drive, waited=1.0)
    np.testing.assert_allclose(meter.signal, should, rtol=1e-9)
    rack.listen("m", meter.listener(1))  # nobody plays, and the outputs stand where they were
    rack.prepare("g", None)
    rack.trigger()
    np.testing.assert_allclose(meter.signal[0], should[-1], rtol=1e-6)
    rack.show(list(range(PORTS)), 0.0)
    dark, _ = rack.sample(DETECTORS, meter.listener(1).full_scale, PERIOD)
    still = on_the_plant(np.zeros((1, PORTS)), waited=1.0)
    np.testing.assert_allclose(dark, still[0], rtol=1e-6)


def test_meters_of_other_speeds_read_the_same_play() -> None:
    rack = rack_with_heat()
    rack.sleep(1.0)  # settled
    own, fast, slow = Meter(rack), Meter(rack), Meter(rack)
    rack.prepare("g", generator())
    rack.listen("own", own.listener(5))
    rack.listen("fast", fast.listener(20, PERIOD / 4))
    rack.listen("slow", slow.listener(1, 5 * PERIOD))
    rack.trigger()
    grain = 1e-4 * np.abs(own.signal).max()
    np.testing.assert_allclose(fast.signal[::4], own.signal, atol=grain)
    np.testing.assert_allclose(fast.signal[3::4], own.signal, atol=grain)
    np.testing.assert_allclose(slow.signal[0], own.signal.mean(axis=0), atol=grain)


def test_boxes_with_patterns_of_other_lengths_keep_their_own() -> None:
    rack = rack_with_heat()
    meter = Meter(rack)
    rack.prepare("long", Generator([0, 1], DRIVE[:4, :2], PERIOD))
    rack.prepare("short", Generator([2, 3], DRIVE[:2, 2:], PERIOD, 1))
    rack.listen("m", meter.listener(8))
    rack.trigger()
    drive = np.concatenate([DRIVE[:4], DRIVE[:4]])
    drive[2:, 2:] = DRIVE[1, 2:]
    np.testing.assert_allclose(meter.signal, on_the_plant(drive), rtol=1e-9)


def test_without_a_plant_everything_is_dark() -> None:
    rack = Rack(lockstep=True)
    heard: list[FloatArray] = []
    listener = Listener([0, 1], 3, PERIOD, np.ones(2), lambda signal, _: heard.append(signal))
    rack.listen("m", listener)
    assert rack.trigger() == pytest.approx(3 * PERIOD)
    assert not heard[0].any()
    assert rack.trigger() == 0.0  # a listener hears one trigger


def test_warming_up_leaves_the_plant_as_it_is() -> None:
    rack = Rack(lit(quiet=False), lockstep=True)
    assert rack.plant is not None
    before = rack.plant.clock.now(), rack.plant.detection.snapshot()
    rack.warm_up()
    after = rack.plant.clock.now(), rack.plant.detection.snapshot()
    assert repr(before) == repr(after)
    Rack().warm_up()
