"""Unitaries programmed on all ports of a single mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.chips import Batch
from hilonn.chips.unitary_mesh import UnitaryMeshChip
from hilonn.errors import ConfigError
from tests.calibration.benches import bench_file
from tests.calibration.true_model import plant_of, true_records, unitary_errors

PORTS = 6


def test_a_chip_that_is_known_makes_the_unitary_that_is_wanted(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path, "unitary_mesh", PORTS), seed=1, record="nominal") as bench:
        chip = bench.rewire(None, true_records(plant_of(bench)))
        fidelity, error, common = unitary_errors(bench, chip, 3).T
    # What losses that differ from path to path do not allow is left, and the drive's resolution.
    assert (fidelity > 0.999).all()
    assert (error < 0.03).all()
    assert (error <= common + 1e-12).all()


def test_what_is_no_unitary_of_all_ports_is_refused(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path, "unitary_mesh", PORTS), seed=1) as bench:
        chip = bench.chip()
        assert isinstance(chip, UnitaryMeshChip)
        with pytest.raises(ConfigError, match=r"takes unitaries \(k, 6, 6\), not \(1, 3, 3\)"):
            chip.compile_unitaries(np.eye(3, dtype=complex)[np.newaxis])
        with pytest.raises(ConfigError, match="is no unitary"):
            chip.compile_unitaries(2 * np.eye(PORTS, dtype=complex)[np.newaxis])


@pytest.mark.parametrize("readout", ["homodyne", "power"])
def test_what_is_programmed_on_all_ports_is_read_at_those_that_are_used(
    readout: Literal["homodyne", "power"], tmp_path: Path
) -> None:
    with Bench.open(bench_file(tmp_path, "unitary_mesh", PORTS), seed=1) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, UnitaryMeshChip)
        (settings,) = chip.compile_unitaries(np.eye(PORTS, dtype=complex)[np.newaxis])
        readings = chip.run(settings, Batch(0.5 * np.eye(chip.inputs), readout))
        assert readings.values.shape == (chip.inputs, chip.outputs)
