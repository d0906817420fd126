"""Crosstalk as it is found on large meshes, on small ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilonn.bench import Bench
from hilonn.calibration import crosstalk, session
from hilonn.errors import CalibrationError
from hilonn.records import load_records
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import errors
from tests.calibration.true_model import plant_of

FIRST = ("oscillator", "detectors", "modulators", "phases")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mesh counts as a large one."""
    monkeypatch.setattr(crosstalk, "DENSE", 2)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "architecture", ["unitary_mesh", pytest.param("svd_mesh", marks=pytest.mark.slow)]
)
def test_shares_and_columns_in_turn_leave_little_of_crosstalk(
    architecture: str, tmp_path: Path
) -> None:
    file = bench_file(tmp_path, architecture, 5)
    first = FIRST if architecture == "unitary_mesh" else (*FIRST, "attenuators")
    session.calibrate(file, tmp_path / "out", seed=2, routines=(*first, "crosstalk"))
    with Bench.open(file, seed=2, record="nominal") as bench:
        before, after = (
            errors(load_records(tmp_path / "out" / "records" / f"after-{r}.json"), plant_of(bench))
            for r in ("phases", "crosstalk")
        )
    assert after.crosstalk < 0.15 < before.crosstalk
    assert after.phase < 0.015 < 0.02 < before.phase
    assert after.matrix < before.matrix / 2


@pytest.mark.usefixtures("large")
def test_without_the_columns_sweeps_it_says_what_is_missing(tmp_path: Path) -> None:
    file = bench_file(tmp_path, "unitary_mesh", 4)
    with pytest.raises(CalibrationError, match="acquire phases first, into the same folder"):
        session.calibrate(file, tmp_path / "out", seed=1, routines=("crosstalk",))
