"""Light that nothing modulates: found from a few shots, whatever its size and phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration.normal import setting
from hilonn.calibration.shots import Shots, draw
from hilonn.calibration.stuck import stuck_light
from hilonn.chips.forward import ForwardModel
from tests.chips.meshes import bench_text
from tests.chips.test_ports import STUCK, masked

PORTS = 6


@pytest.mark.parametrize(("bias", "turn"), [(-1.2, 0.4), (3.4, 2.5), (0.0, 0.0)])
def test_light_of_a_stuck_modulator_is_found(tmp_path: Path, bias: float, turn: float) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(bench_text("svd_mesh", PORTS, more="record_error = 0.0"))
    with Bench.open(path, seed=0) as bench:
        records = masked(bench.chip().records)
    model, estimate = ForwardModel.of(records, np.zeros((0, 2)))
    assert np.flatnonzero(~model.moving).tolist() == [STUCK]
    rng = np.random.default_rng(0)
    wanted = draw(records, 12, 4, rng, np.full(model.heaters, 6.0), dark=0.2)
    truth = estimate.values.copy()
    model.names.split(truth)["extinction_leak"][STUCK] = 0.0
    model.names.split(truth)["bias"][STUCK] = bias
    model.names.split(truth)["input_phase"][STUCK] += turn
    blank = np.zeros((12, 4, 2 * PORTS))
    shots = Shots(
        wanted.heaters,
        wanted.modulators,
        wanted.through,
        blank,
        np.zeros(blank.shape, bool),
        np.zeros(12, int),
        np.zeros(12),
        np.array(1),
        np.array(1e-5),
    )
    still = np.zeros(12)

    def read(values: np.ndarray) -> np.ndarray:
        return np.stack([model.expected(values, setting(shots, k, still)) for k in range(12)])

    signal = read(truth)
    seen = Shots(**{**shots.arrays(), "signal": signal})
    use = records.photodetectors.accepted("gain")
    found = stuck_light(model, estimate.values, seen, use)
    assert np.abs(read(found) - signal).max() < 1e-6 * np.abs(signal).max()
