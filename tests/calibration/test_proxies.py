"""No routine reaches anything but the devices' interfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.calibration.rig import Proxy, rig_of
from hilonn.simulators.plant import Plant
from tests.calibration.benches import bench_file


def test_a_proxy_shows_verbs_only(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        rig = rig_of(bench)
        assert rig.heaters.channels == 37
        for name in ("_plant", "gate", "safe_state", "_write", "__dict__x", "close"):
            with pytest.raises(AttributeError, match="a calibration routine sees"):
                getattr(rig.heaters, name)
        with pytest.raises(AttributeError, match="sets nothing"):
            rig.heaters.gate = None
        for value in vars(rig).values():
            assert not isinstance(value, (Bench, Plant))
        assert isinstance(rig.photodetectors, Proxy)


def test_no_routine_reads_the_plants_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All routines run while every reading of the truth by a caller outside the plant's own modules is an error."""
    import sys

    original = Plant.__getattribute__

    def guarded(self: Plant, name: str) -> object:
        if name in ("truth", "drift", "crosstalk_kernel", "heaters", "phases", "records"):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            assert caller.startswith("hilonn.simulators"), f"{caller} reads the plant's {name}"
        return original(self, name)

    monkeypatch.setattr(Plant, "__getattribute__", guarded)
    result = session.calibrate(bench_file(tmp_path), tmp_path / "out", seed=1)
    assert result["failed_channels"] == []


@pytest.mark.parametrize("name", registry.names("hilonn.calibrations"))
def test_every_routine_says_what_it_is(name: str, tmp_path: Path) -> None:
    routine = registry.load("hilonn.calibrations", name)()
    assert routine.name == name
    assert routine.title
    parameters = routine.parameters()
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        setup = rig_of(bench).setup
    assert isinstance(routine.applies(setup), bool)
    if routine.applies(setup):
        assert routine.effort(setup, parameters).passes > 0


def test_the_estimate_is_what_it_takes(tmp_path: Path) -> None:
    """Passes come within a tenth of the estimate; retakes of saturated readings are not foreseen."""
    ahead = []
    watcher = session.Watcher(estimate=ahead.append)
    result = session.calibrate(bench_file(tmp_path), tmp_path / "out", watcher=watcher)
    assert ahead[0].passes == pytest.approx(result["passes"], rel=0.1)


def test_every_drive_passes_the_gate(tmp_path: Path) -> None:
    """A limit in the bench file holds for calibration too: no heater ever gets more."""
    bench = bench_file(tmp_path)
    text = bench.read_text("utf-8").replace(
        'driver = "simulated_phase_shifters"',
        'driver = "simulated_phase_shifters"\nlimits = { high = 5.2 }',
    )
    bench.write_text(text, "utf-8")
    highest = [0.0]
    write = Plant.write_heaters

    def watched(self: Plant, drive: np.ndarray) -> None:
        highest[0] = max(highest[0], float(np.max(drive)))
        write(self, drive)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plant, "write_heaters", watched)
        session.calibrate(bench, tmp_path / "out")
    assert 4.5 < highest[0] <= 5.2
