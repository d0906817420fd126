"""What detectors read in darkness and in light, as a calibration finds it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.errors import SaturationError
from hilonn.records import load_records
from tests.calibration.benches import bench_file
from tests.calibration.true_model import plant_of

PORTS = 4


def test_darkness_that_fills_the_smallest_range_is_read_on_a_larger_one(tmp_path: Path) -> None:
    """Dark currents of two to seven times the smallest range, and a detector that stands at its rail on all of them."""
    with Bench.open(bench_file(tmp_path), seed=3, record="nominal") as bench:
        smallest = plant_of(bench).detection.ranges[0]
    stuck = PORTS + 2
    path = bench_file(
        tmp_path,
        plant=f'parameters = {{ dark_current = {5 * smallest} }}\nfaults = ["saturated_detector:{stuck}"]',
    )
    found = session.calibrate(path, tmp_path / "out", seed=3, routines=("oscillator", "detectors"))
    assert f"detector:{stuck}" in found["failed_channels"]
    with Bench.open(path, seed=3, record="nominal") as bench:
        truth = plant_of(bench).truth
    assert truth.dark.min() > 2 * smallest
    dark = load_records(tmp_path / "out" / "record.json").photodetectors
    seen = np.arange(2 * PORTS) != stuck
    away = (dark.value("dark") - truth.dark)[seen] / dark.uncertainty("dark")[seen]
    assert np.abs(away).max() < 4.5
    assert np.sqrt((away**2).mean()) < 1.8
    plus, minus = np.split(dark.value("gain") / truth.gain, 2)
    pairs = np.arange(PORTS) != stuck - PORTS
    np.testing.assert_allclose((plus / minus)[pairs], 1.0, atol=0.005)


def test_light_that_no_detector_holds_is_not_taken_for_broken_detectors(tmp_path: Path) -> None:
    faults = [f"saturated_detector:{channel}" for channel in range(2 * PORTS)]
    path = bench_file(tmp_path, plant=f"faults = {json.dumps(faults)}")
    with pytest.raises(SaturationError, match=r"every detector is saturated .* lower the laser"):
        session.calibrate(path, tmp_path / "out", seed=3)


@pytest.mark.slow
def test_a_chip_with_a_detector_at_its_rail_is_calibrated_and_used(tmp_path: Path) -> None:
    path = bench_file(tmp_path, plant='faults = ["saturated_detector:6"]')
    found = session.calibrate(path, tmp_path / "out", seed=3)
    assert found["failed_channels"] == ["detector:6"]
    assert "stands at its rail" in found["reasons"][0]
    assert found["twin_error"] < 1.5 * found["noise_floor"]
    assert found["matrix_error"] < 0.015
