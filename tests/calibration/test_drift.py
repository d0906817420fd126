"""The drift monitor: it tracks what walks, gates, accuses what no drift explains, and goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration.drift import DriftMonitor, DriftOptions
from hilonn.datasets import Split
from hilonn.errors import CalibrationError, ConfigError
from hilonn.monitors import Look
from hilonn.network import Dense, Network
from hilonn.rules import TwoPass
from hilonn.runs import Run
from hilonn.training import Progress, Schedule, Trainer
from tests.calibration.benches import bench_file
from tests.calibration.true_model import plant_of

pytestmark = pytest.mark.slow

HARSH = (
    "parameters = { heater_drift = 0.02, modulator_bias_drift = 0.03, detector_gain_drift = 0.005, "
    "lo_wander = 0.1, lo_wander_time = 10.0 }"
)
OPTIONS = DriftOptions(heaters=0.02, bias=0.03, gains=0.005)
MINUTE = 60.0


def opened(folder: Path, plant: str = HARSH, architecture: str = "svd_mesh") -> Bench:
    bench = Bench.open(bench_file(folder, architecture, plant=plant))
    bench.light_on()
    return bench


def perfect(bench: Bench) -> Any:
    """The bench's chip with a record that is off by 2 mrad a phase."""
    chip = bench.chip()
    chip.take(plant_of(bench).records(chip.name, 0.002, True, True))
    return chip


def look(monitor: DriftMonitor, bench: Bench, chip: Any, seconds: float = MINUTE) -> Look:
    bench.clock.sleep(seconds)
    found = monitor.look(bench, chip.name)
    chip.forget()
    if found.records is not None:
        chip.take(found.records)
    return found


def test_offsets_follow_what_walks(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        chip, monitor, plant = perfect(bench), DriftMonitor(OPTIONS), plant_of(bench)
        first = monitor.look(bench, chip.name)
        assert first.records is None
        assert first.found["look"] == "reference"
        began = plant.drift.heaters.copy()
        start = chip.records
        looks = [look(monitor, bench, chip, 10 * MINUTE) for _ in range(12)]
        plant.update()
        walked = plant.drift.heaters - began
        assert monitor.drift is not None
        errors = (monitor.drift[: len(walked)] - walked)[:-1]
        assert walked.std() > 20e-3
        assert errors.std() < 0.5 * walked[:-1].std()
        # What is off is mostly what no reading tells (gauges of static phases): the sentinels are predicted to their noise.
        assert looks[-1].found["left"] < 1.2
        assert all(found.fault is None for found in looks)
        assert sum(found.records is not None for found in looks) > 6
        moved = chip.records.chip.value("heater_phase_offset") - start.chip.value(
            "heater_phase_offset"
        )
        assert np.corrcoef(moved[:-1], walked[:-1])[0, 1] > 0.8
        kept = ("heater_power_per_pi", "splitter_errors", "crosstalk_kernel", "output_gain")
        for name in kept:
            assert np.array_equal(chip.records.chip.value(name), start.chip.value(name))
        assert looks[-1].found["passes"] == OPTIONS.settings


def test_a_single_mesh_is_tracked_too(tmp_path: Path) -> None:
    with opened(tmp_path, architecture="unitary_mesh") as bench:
        chip, monitor = perfect(bench), DriftMonitor(OPTIONS)
        monitor.look(bench, chip.name)
        looks = [look(monitor, bench, chip, 10 * MINUTE) for _ in range(4)]
        assert all(found.fault is None and found.found["left"] < 1.2 for found in looks)
        assert any(found.records is not None for found in looks)


def test_without_drift_the_gate_stays_shut(tmp_path: Path) -> None:
    still = "effects = { heater_drift = false, modulator_bias_drift = false, detector_gain_drift = false }"
    with opened(tmp_path, still) as bench:
        chip, monitor = perfect(bench), DriftMonitor(DriftOptions())
        monitor.look(bench, chip.name)
        looks = [look(monitor, bench, chip) for _ in range(5)]
        assert [found.records for found in looks] == [None] * 5
        assert all(0.9 < found.found["misfit"] < 1.1 for found in looks)


@pytest.mark.parametrize("fault", ["dead_heater:11", "drift_step:7=0.5", "dead_detector:2"])
def test_what_no_drift_explains_is_told_and_not_absorbed(tmp_path: Path, fault: str) -> None:
    plant = HARSH + f"\nfaults = ['{fault}@100']"
    with opened(tmp_path, plant) as bench:
        chip, monitor = perfect(bench), DriftMonitor(OPTIONS)
        monitor.look(bench, chip.name)
        look(monitor, bench, chip)
        before, records = monitor.drift, chip.records
        found = look(monitor, bench, chip)
        assert found.fault is not None
        assert found.records is None
        assert chip.records is records
        assert np.array_equal(monitor.drift, before)  # type: ignore[arg-type]
        if fault.startswith("drift_step"):
            assert "heater_phase_offset[7]" in found.fault


def test_the_record_as_the_reference_finds_what_drifted_before(tmp_path: Path) -> None:
    plant = HARSH + "\neffects = { thermo_optic_nonlinearity = false, drive_resolution = false }"
    with opened(tmp_path, plant) as bench:
        chip = bench.chip()
        chip.take(plant_of(bench).records(chip.name, 0.0, True, True))
        bench.clock.sleep(3600.0)
        options = OPTIONS.model_copy(update={"reference": "record", "age": 1.0})
        monitor = DriftMonitor(options)
        found = monitor.look(bench, chip.name)
        assert found.fault is None
        assert found.records is not None
        walked = plant_of(bench).drift.heaters[:-1]
        assert monitor.drift is not None
        left = monitor.drift[: len(walked)] - walked
        assert left.std() < 0.7 * walked.std()
        assert found.found["left"] < 1.2


def test_a_record_that_predicts_nothing_is_no_reference(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        chip = bench.chip()
        chip.take(plant_of(bench).records(chip.name, 0.0, True, True))
        bench.clock.sleep(3600.0)  # of which the monitor is told nothing
        options = OPTIONS.model_copy(update={"reference": "record"})
        with pytest.raises(CalibrationError, match="cannot be the reference"):
            DriftMonitor(options).look(bench, chip.name)


def test_a_snapshot_goes_on_exactly(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        chip, monitor = perfect(bench), DriftMonitor(OPTIONS)
        empty = monitor.snapshot()
        monitor.look(bench, chip.name)
        look(monitor, bench, chip)
        saved, plant = monitor.snapshot(), bench.snapshot()
        records = chip.records
        ended = look(monitor, bench, chip)
        bench.restore(plant)
        chip.take(records)
        other = DriftMonitor(OPTIONS)
        other.restore(saved)
        again = look(other, bench, chip)
        assert again.found == ended.found
        assert np.array_equal(other.drift, monitor.drift)  # type: ignore[arg-type]
        other.restore(empty)
        assert other.drift is None


def test_a_training_that_is_monitored_goes_on_exactly(tmp_path: Path) -> None:
    path = bench_file(tmp_path, plant="parameters = { heater_drift = 3.0 }")
    text = path.read_text("utf-8")
    text += "\n[monitors.drift]\nmonitor = 'drift'\nevery = 0.02\nheaters = 3.0\nsettings = 8\n"
    path.write_text(text, "utf-8")
    network = Network(Dense(2, 4, "saturating_square"), Dense(4, 2))
    rng = np.random.default_rng(0)
    train = Split(rng.uniform(-1, 1, (200, 2)), rng.integers(0, 2, 200))

    def started(bench: Bench, stop: int = -1) -> Trainer:
        def note(progress: Progress) -> None:
            if progress.kind == "step" and 10 * progress.epoch + progress.step == stop:
                raise KeyError("cut")

        return Trainer(bench.chip(), network, TwoPass(averages=2), on_progress=note)

    with Bench.open(path) as bench:
        whole = started(bench)
        whole.fit(train, epochs=3, batch=20, out=tmp_path / "whole")
    events = [e for e in Run.open(tmp_path / "whole").events() if e["kind"] == "monitor"]
    assert sum(e["recalibrated"] for e in events) > 1
    with Bench.open(path) as bench, pytest.raises(KeyError):
        cut = {"out": tmp_path / "cut", "checkpoint_seconds": 1e-6}
        started(bench, 17).fit(train, epochs=3, batch=20, **cut)  # type: ignore[arg-type]
    with Bench.open(path) as bench, Run.open(tmp_path / "cut", write=True) as run:
        again = started(bench)
        again.resume(run, train, validation=None, schedule=Schedule(3, 20))
        assert again.weights_sha256 == whole.weights_sha256
        found = [e for e in run.events() if e["kind"] == "monitor"]
    assert [e["found"] for e in found] == [e["found"] for e in events]


def test_a_crossbar_has_no_sentinels(tmp_path: Path) -> None:
    with (
        opened(tmp_path, "", "crossbar") as bench,
        pytest.raises(ConfigError, match="local oscillator"),
    ):
        DriftMonitor(OPTIONS).look(bench, bench.chip().name)
