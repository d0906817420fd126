"""An unknown chip is calibrated through the wires of its boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.calibration.drift import DriftMonitor, DriftOptions
from hilonn.records import load_records
from tests.lab import lab_4
from tests.lab.truth import Truth

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_chip_behind_wires_becomes_a_record(tmp_path: Path) -> None:
    """Means of plays, batches that a meter's log holds, watts for amperes: as on the simulated bench, and nothing is on
    afterwards."""
    with lab_4.build() as lab:
        bench = tmp_path / "lab.toml"
        lab.write_bench(bench)
        result = session.calibrate(bench, tmp_path / "out")
        assert not Truth(lab).on()
        assert result["failed_channels"] == []
        assert result["twin_error"] < 1.5 * result["noise_floor"]
        assert result["matrix_error"] < 0.03
        gain = load_records(tmp_path / "out" / "record.json").photodetectors.value("gain")
        assert gain.mean() == pytest.approx(1.0, abs=0.02)  # watts for watts
        with Bench.open(bench, record=str(tmp_path / "out" / "record.json")) as opened:
            assert opened.check().go
            opened.light_on()
            monitor = DriftMonitor(DriftOptions())
            looks = [monitor.look(opened, opened.chip().name) for _ in range(3)]
            assert [look.fault for look in looks] == [None] * 3
            assert looks[-1].found["misfit"] < 1.5
