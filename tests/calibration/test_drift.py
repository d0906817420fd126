"""The drift monitor: what heaters and oscillator have moved by, and a record that follows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hilonn.bench import Bench
from hilonn.calibration.drift import DriftMonitor
from hilonn.chips import HeaterChip
from hilonn.clock import VirtualClock
from hilonn.simulators.connection import PlantConnection
from tests.calibration.benches import bench_file


def _bench(folder: Path, ports: int = 4) -> Bench:
    plant = "parameters = { heater_drift = 0.05 }\nrecord_error = 0.002"
    return Bench.open(bench_file(folder, ports=ports, plant=plant), seed=4)


def test_offsets_follow_the_heaters(tmp_path: Path) -> None:
    """After three hours phases have moved by 90 mrad; the record then knows them three times better."""
    with _bench(tmp_path, 6) as bench:
        bench.light_on()
        chip, connection = bench.chip(), bench.connections["plant"]
        assert isinstance(chip, HeaterChip)
        assert isinstance(connection, PlantConnection)
        assert isinstance(bench.clock, VirtualClock)
        start = chip.records.chip.value("heater_phase_offset").copy()
        monitor = DriftMonitor(every=600, rate=0.05)
        first = monitor.watch(chip)
        assert first is not None
        assert first["did"] == "kept the sentinels"
        assert monitor.watch(chip) is None  # not yet time
        rng = np.random.default_rng(0)
        wanted = rng.standard_normal((6, 6))

        def matrix_error() -> float:
            inputs = np.concatenate((np.eye(6), -np.eye(6)))
            from hilonn.chips import Batch

            (settings,) = chip.compile(wanted[np.newaxis], [None])
            values = chip.run(settings, Batch(inputs, "homodyne", averages=64)).values
            found = (values[:6] - values[6:]).T / 2
            return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))

        before = matrix_error()
        for _ in range(12):
            bench.clock.sleep(900.0)
            facts = monitor.watch(chip)
        assert facts is not None
        assert facts["did"] == "moved the record's offsets"
        assert 0.03 < facts["heaters_rms"] < 0.2
        tracked = matrix_error()
        shifted = chip.records.chip.value("heater_phase_offset").copy()
        chip.shift_offsets((start - shifted)[:-1])
        untracked = matrix_error()
        assert tracked < 1.5 * max(before, 0.02)
        assert untracked > 3 * tracked
        assert connection.plant.drift.heaters.std() > 0.05


def test_a_runs_record_says_what_was_done(tmp_path: Path) -> None:
    """A monitor asked for in the experiment looks during training; a resumed run goes on with it."""
    from hilonn import workflow
    from hilonn.experiment import parse_experiment

    text = """
[data]
name = "digits"
principal_components = 4
limit = 64

[[layers]]
type = "dense"
outputs = 10

[rule]
name = "two_pass"

[training]
epochs = 2
batch = 32

[[monitors]]
name = "drift"
every = 0.01
settings = 4
averages = 2
gate = 0.0
"""
    bench = bench_file(tmp_path, ports=4)
    experiment = parse_experiment(text, name="small", folder=tmp_path)
    workflow.train(experiment, str(bench), tmp_path / "run", workflow.RunOptions())
    lines = (tmp_path / "run" / "events.jsonl").read_text("utf-8").splitlines()
    found = [e for e in map(json.loads, lines) if "monitor" in e]
    assert [e["did"] for e in found][:2] == ["kept the sentinels", "moved the record's offsets"]


def test_a_snapshot_goes_on_where_it_was(tmp_path: Path) -> None:
    with _bench(tmp_path) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        monitor = DriftMonitor(every=1.0, gate=0.0)
        monitor.watch(chip)
        saved, state = monitor.snapshot(), bench.snapshot()
        bench.clock.sleep(900.0)
        first = monitor.watch(chip)
        offsets = chip.records.chip.value("heater_phase_offset").copy()
        again = DriftMonitor(every=1.0, gate=0.0)
        again.restore(saved)
        bench.restore(state)
        assert not np.array_equal(chip.records.chip.value("heater_phase_offset"), offsets)
        bench.clock.sleep(900.0)
        assert again.watch(chip) == first
        assert np.array_equal(chip.records.chip.value("heater_phase_offset"), offsets)
