"""A crossbar: one fringe a weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.records import load_records
from hilonn.simulators.connection import PlantConnection
from tests.calibration.benches import bench_file


def test_an_unknown_crossbar_becomes_a_record(tmp_path: Path) -> None:
    bench = bench_file(tmp_path, "crossbar", 6)
    result = session.calibrate(bench, tmp_path / "out", seed=1)
    assert result["failed_channels"] == []
    assert result["matrix_error"] < 0.03
    records = load_records(tmp_path / "out" / "record.json")
    with Bench.open(bench, seed=1, record="nominal") as opened:
        connection = opened.connections["plant"]
        assert isinstance(connection, PlantConnection)
        truth, kernel = connection.plant.truth, connection.plant.crosstalk_kernel
    off = np.angle(np.exp(1j * (records.chip.value("heater_phase_offset") - truth.phase_offset)))
    assert np.sqrt((off**2).mean()) < 0.01
    found = records.chip.value("crosstalk_kernel")
    assert abs(found[:, 2].max() / kernel[:, 2].max() - 1) < 0.1
    assert np.abs(records.modulators.value("v_pi") / truth.v_pi - 1).max() < 0.01


def test_dead_weights_and_inputs_are_named(tmp_path: Path) -> None:
    faults = 'faults = ["dead_heater:7", "stuck_modulator:2", "dead_detector:1"]'
    bench = bench_file(tmp_path, "crossbar", 6, plant=faults)
    result = session.calibrate(bench, tmp_path / "out", seed=1)
    assert sorted(result["failed_channels"]) == ["detector:1", "heater:7", "modulator:2"]
