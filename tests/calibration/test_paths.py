"""A mesh whose outputs are seen as powers: diagonals, meta-interferometers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.calibration.paths import columns_of, meta, paths
from hilonn.calibration.stages import Optics, layout_of, transfer
from hilonn.records import load_records
from hilonn.simulators.connection import PlantConnection
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import outputs_of_power

MESHES = ["unitary_mesh", "triangular_mesh"]


@pytest.mark.parametrize("architecture", MESHES)
def test_every_interferometer_lies_on_one_diagonal(architecture: str) -> None:
    for ports in (4, 5, 8):
        layout = layout_of(architecture, ports)
        found = np.concatenate([p.mzis for p in paths(layout, columns_of(layout))])
        assert sorted(found) == list(range(layout.mzis))


@pytest.mark.parametrize("architecture", MESHES)
def test_a_diagonals_reading_is_a_product(architecture: str) -> None:
    """With the diagonals before it as mirrors, theta of each scales the light that leaves, whatever all others do."""
    layout = layout_of(architecture, 6)
    rng = np.random.default_rng(0)
    one = np.ones(6, complex)
    optics = Optics(np.zeros((layout.mzis, 2)), np.ones(layout.mzis), one, one)
    known: list[int] = []
    for way in paths(layout, columns_of(layout)):
        psi = rng.uniform(0, 2 * np.pi, (3, layout.heaters))
        psi[:, layout.theta[known]] = np.pi
        power = np.abs(transfer(layout, psi, optics)[:, way.leave, way.entry]) ** 2
        crossing = np.cos(psi[:, layout.theta[way.mzis]] / 2) ** 2
        np.testing.assert_allclose(power, crossing.prod(axis=1), atol=1e-12)
        known += [int(k) for k in way.mzis]


@pytest.mark.parametrize("architecture", MESHES)
def test_one_phase_moves_a_meta_interferometers_fringe(architecture: str) -> None:
    """With two that divide evenly and mirrors elsewhere, light goes from a port to itself or its neighbour, and by phi alone."""
    layout = layout_of(architecture, 6)
    rng = np.random.default_rng(1)
    one = np.ones(6, complex)
    optics = Optics(np.zeros((layout.mzis, 2)), np.ones(layout.mzis), one, one)
    jobs = meta(layout)
    assert len(jobs) == layout.mzis - 5  # a phase of each input but one is not told
    for k, before in jobs:
        port = layout.top[k]
        psi = np.tile(rng.uniform(0, 2 * np.pi, layout.heaters), (7, 1))
        psi[:, layout.theta] = np.pi
        psi[:, layout.theta[[k, before]]] = np.pi / 2
        psi[:, layout.phi[k]] = np.arange(7) * 2 * np.pi / 7
        power = np.abs(transfer(layout, psi, optics)[:, port : port + 2, port]) ** 2
        np.testing.assert_allclose(power.sum(axis=1), 1.0, atol=1e-12)
        first = np.abs((power[:, 0] * np.exp(1j * psi[:, layout.phi[k]])).mean())
        assert first == pytest.approx(0.25)  # the whole of it: 1/2 + 1/2 cos


@pytest.mark.parametrize("architecture", MESHES)
def test_a_mesh_seen_as_powers(architecture: str, tmp_path: Path) -> None:
    """Inner phases to 20 mrad without crosstalk, and the powers of every setting."""
    plant = "effects = { crosstalk = false }"
    bench = bench_file(tmp_path, architecture, 4, plant, oscillator=False)
    result = session.calibrate(bench, tmp_path / "out", seed=1, chip_seed=2)
    assert result["failed_channels"] == []
    records = load_records(tmp_path / "out" / "record.json")
    with Bench.open(bench, seed=1, chip_seed=2, record="nominal") as opened:
        connection = opened.connections["plant"]
        assert isinstance(connection, PlantConnection)
        plant_there = connection.plant
    layout = layout_of(architecture, 4)
    off = records.chip.value("heater_phase_offset")[:16] - plant_there.truth.phase_offset[:16]
    inner = np.angle(np.exp(1j * off))[layout.theta]
    assert np.sqrt((inner**2).mean()) < 0.02
    said, there = outputs_of_power(records, plant_there)
    assert np.linalg.norm(said - there) / np.linalg.norm(there) < 0.06
    assert len(meta(layout)) == 3
