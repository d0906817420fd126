"""Which way interferometers stand, from where light goes; and bar states of a chip that nobody has measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import configure, shutters
from hilonn.calibration.drives import background
from hilonn.calibration.rig import rig_of
from hilonn.calibration.stages import layout_of
from hilonn.calibration.superpositions import Superpositions
from hilonn.mesh import UNITARY_MESHES
from hilonn.simulators.connection import PlantConnection
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import phases_at

MESHES = ["unitary_mesh", "triangular_mesh"]


@pytest.mark.parametrize("architecture", MESHES)
@pytest.mark.parametrize("ports", [2, 3, 4, 7, 8])
def test_every_pattern_of_bars_and_crosses_is_told(architecture: str, ports: int) -> None:
    """From the two outputs that each interferometer leads to, in any order, and where inputs leave."""
    mesh = UNITARY_MESHES[architecture](ports)
    rng = np.random.default_rng(ports)
    for _ in range(20):
        straight = rng.random(mesh.mzis) < 0.5
        leads = np.arange(
            ports
        )  # output that each port leads to, from behind a column to before it
        seen = np.zeros((mesh.mzis, 2), int)
        for k in np.lexsort((mesh.top, -mesh.column)):
            m = mesh.top[k]
            seen[k] = rng.permutation(leads[m : m + 2])
            if not straight[k]:
                leads[[m, m + 1]] = leads[[m + 1, m]]
        np.testing.assert_array_equal(
            shutters.which_are_straight(mesh.column, mesh.top, seen, leads), straight
        )


@pytest.mark.parametrize("architecture", MESHES)
def test_bars_of_a_typical_chip(architecture: str, tmp_path: Path) -> None:
    """Splitters, crosstalk and heaters that all differ: to 30 mrad where the heaters beside are as they were."""
    file = bench_file(tmp_path, architecture, 5, oscillator=False)
    with Bench.open(file, seed=1, chip_seed=3, record="nominal") as bench:
        rig = rig_of(bench)
        bench.light_on()
        known = configure.measured_boxes(tmp_path / "boxes", rig, bench.chip().records)
        before = rig.tally.passes
        found = shutters.find(Superpositions(rig, known))
        assert rig.tally.passes - before <= shutters.passes(rig.setup) + rig.tally.retakes
        connection = bench.connections["plant"]
        assert isinstance(connection, PlantConnection)
        theta = layout_of(architecture, 5).theta
        for cold, wanted in ((found.bar, np.pi), (found.cross, 0.0)):
            volts = background(rig.setup)
            volts[theta] = np.sqrt(cold * rig.setup.nominal.resistance)
            off = np.angle(np.exp(1j * (phases_at(connection.plant, volts)[theta] - wanted)))
            assert np.sqrt((off**2).mean()) < (0.03 if wanted else 0.12)
    assert found.lit.all()
