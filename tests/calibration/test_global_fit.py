"""The global fit, from a rough start and from what routines leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import global_fit
from hilonn.calibration import large as large_fit
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import rig_of
from hilonn.calibration.scoring import score
from hilonn.calibration.shots import Shots, acquire, draw, joined
from hilonn.errors import CalibrationError, SaturationError
from hilonn.records import Records
from tests.calibration.benches import bench_file
from tests.calibration.true_model import errors_of, matrix_error, perturbed, phase_error, plant_of

NOW = "2026-01-01T00:00:00+00:00"


def shoot(
    bench: Bench, start: Records, count: int, samples: int = 6, seed: int = 0, dark: float = 0.1
) -> Shots:
    rig = rig_of(bench)
    wanted = draw(
        start,
        count,
        samples,
        np.random.default_rng(seed),
        rig.setup.drive_high,
        dark=dark,
        step=rig.setup.drive_step,
    )
    return joined(list(acquire(rig, wanted, 4)))


@pytest.fixture
def bench(tmp_path: Path):
    with Bench.open(bench_file(tmp_path)) as opened:
        opened.light_on()
        yield opened


def rough(bench: Bench, offset: float = 0.1) -> Records:
    plant = plant_of(bench)
    return perturbed(plant.records("mesh", 0.0, True, True), np.random.default_rng(7), offset)


def test_a_rough_start_ends_at_the_noise_and_predicts_what_it_never_saw(bench: Bench) -> None:
    start, plant = rough(bench), plant_of(bench)
    shots = shoot(bench, start, 300)
    ranges = rig_of(bench).setup.ranges
    found = global_fit.fit(start, shots, ranges, NOW)
    assert found.excess < 1.1
    assert phase_error(found.records, plant) < 2.5e-3 < 50e-3 < phase_error(start, plant)
    first = shoot(bench, start, 60, seed=3, dark=0.0)
    second = shoot(bench, start, 60, seed=3, dark=0.0)
    before, after = (score(r, first, second, ranges) for r in (start, found.records))
    assert after.ratio < 1.2 < 3.0 < before.ratio
    exact = bench.rewire(None, found.records)
    assert matrix_error(bench, exact, 4).mean() < 0.01


def test_stated_uncertainties_hold_the_truth(bench: Bench) -> None:
    start, plant = rough(bench), plant_of(bench)
    found = global_fit.fit(start, shoot(bench, start, 300), rig_of(bench).setup.ranges, NOW)
    estimate, away, model = errors_of(found.records, plant)
    inside = []
    for name in ("heater_phase_offset", "heater_power_per_pi", "heater_resistance_rise", "gain"):
        part = model.names.slices[name]
        sd = found.sd[part]
        inside += list(np.abs(away[part])[sd > 0] < sd[sd > 0])
    assert len(inside) > 90
    assert 0.55 < np.mean(inside) < 0.82
    assert np.abs(away[model.names.slices["v_pi"]]).max() < 5e-3
    assert estimate.known.all()


def test_detectors_that_are_not_accepted_do_not_count(bench: Bench) -> None:
    start, plant = rough(bench, 0.03), plant_of(bench)
    shots = shoot(bench, start, 200)
    shots.signal[:, :, 2] = 1e-3  # a channel that stands still
    gain = start.photodetectors.quantities["gain"]
    accepted = gain.accepted.copy()
    accepted[2] = False
    quantities = {**start.photodetectors.quantities, "gain": replace(gain, accepted=accepted)}
    start = replace(start, photodetectors=replace(start.photodetectors, quantities=quantities))
    found = global_fit.fit(start, shots, rig_of(bench).setup.ranges, NOW)
    assert phase_error(found.records, plant) < 3e-3
    assert not found.records.photodetectors.accepted("gain")[2]


def test_outliers_do_not_carry_the_fit_away(bench: Bench) -> None:
    start, plant = rough(bench, 0.03), plant_of(bench)
    shots = shoot(bench, start, 250)
    struck = np.random.default_rng(1).random(shots.signal.shape) < 2e-3
    shots.signal[struck] *= 3.0
    found = global_fit.fit(start, shots, rig_of(bench).setup.ranges, NOW)
    assert phase_error(found.records, plant) < 3e-3


def test_dead_heaters_keep_a_phase_and_stay_masked(tmp_path: Path) -> None:
    faults = "faults = ['dead_heater:5', 'dead_heater:20']"
    with Bench.open(bench_file(tmp_path, plant=faults)) as bench:
        bench.light_on()
        start = rough(bench, 0.05)
        chip = dict(start.chip.quantities)
        for name in ("heater_phase_offset", "heater_power_per_pi"):
            accepted = np.ones(len(chip[name].value), bool)
            accepted[[5, 20]] = False
            chip[name] = replace(chip[name], accepted=accepted)
        start = replace(start, chip=replace(start.chip, quantities=chip))
        found = global_fit.fit(start, shoot(bench, start, 250), rig_of(bench).setup.ranges, NOW)
        _, away, model = errors_of(found.records, plant_of(bench))
        offsets = away[model.names.slices["heater_phase_offset"]]
        assert np.abs(offsets[[5, 20]]).max() < 0.05
        assert not found.records.chip.accepted("heater_phase_offset")[[5, 20]].any()
        assert found.records.chip.accepted("heater_phase_offset").sum() == len(offsets) - 2


def test_raw_data_go_through_a_file_and_fit_alike(bench: Bench, tmp_path: Path) -> None:
    start = rough(bench, 0.02)
    shots = shoot(bench, start, 120)
    raw = Raw(tmp_path / "raw")
    raw.save("shots-0000", **shots.arrays())
    again = Shots(**raw.load("shots-0000"))
    ranges = rig_of(bench).setup.ranges
    one, two = (global_fit.fit(start, s, ranges, NOW) for s in (shots, again))
    assert one.records.hash() == two.records.hash()


def test_raw_data_of_another_chip_are_refused(bench: Bench) -> None:
    start = rough(bench, 0.02)
    shots = shoot(bench, start, 10)
    other = replace(shots, heaters=shots.heaters[:, :-3])
    with pytest.raises(CalibrationError, match="raw data of another chip"):
        global_fit.fit(start, other, rig_of(bench).setup.ranges, NOW)


def test_readings_that_are_not_finite_are_told(bench: Bench) -> None:
    start = rough(bench, 0.02)
    shots = shoot(bench, start, 20)
    shots.signal[3, 1, 1] = np.nan
    with pytest.raises(CalibrationError, match="not finite"):
        global_fit.fit(start, shots, rig_of(bench).setup.ranges, NOW)


def test_too_much_light_is_told(tmp_path: Path) -> None:
    plant = "parameters = { saturation_onset = 0.05 }"
    with Bench.open(bench_file(tmp_path, plant=plant)) as bench:
        bench.light_on()
        with pytest.raises(SaturationError, match="random settings are saturated"):
            shoot(bench, rough(bench), 10)


@pytest.mark.slow
def test_conjugate_gradients_find_what_written_out_equations_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_fit, "SAMPLES", 2)
    with Bench.open(bench_file(tmp_path, "unitary_mesh", 4)) as bench:
        bench.light_on()
        start = rough(bench, 0.02)
        shots = shoot(bench, start, 40, samples=5)
        ranges = rig_of(bench).setup.ranges
        small = global_fit.fit(start, shots, ranges, NOW)
        large = global_fit.fit(start, shots, ranges, NOW, global_fit.Options(small=1))
    told = (small.sd > 0) & (
        small.sd < 0.5 * global_fit.pose(start, shots, ranges, global_fit.Options()).start.sd
    )
    assert told.sum() > 60
    apart = np.abs(small.values - large.values)[told] / small.sd[told]
    assert np.median(apart) < 0.1
    ratio = large.sd[told] / small.sd[told]
    assert 0.7 < np.median(ratio) < 1.4
    assert large.blind is None
    assert small.blind is not None
