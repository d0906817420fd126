"""A small unknown chip becomes a record; raw data outlive what happens to the rest."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import held_out, session
from hilonn.calibration.engine import Folder
from hilonn.errors import (
    CalibrationError,
    ConfigError,
    ConnectionLost,
    DeviceTimeout,
    HilonnError,
    InterlockError,
    ResumeError,
    SafeStateTaken,
    SaturationError,
)
from hilonn.records import load_records
from hilonn.simulators.connection import PlantConnection
from hilonn.simulators.plant import Plant
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import errors


def _plant(bench: Bench) -> Plant:
    connection = bench.connections["plant"]
    assert isinstance(connection, PlantConnection)
    return connection.plant


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A bench file, a calibration's folder, its result."""
    folder = tmp_path_factory.mktemp("calibration")
    bench = bench_file(folder)
    result = session.calibrate(bench, folder / "out", seed=1)
    return bench, folder / "out", result


def test_an_unknown_chip_becomes_a_record(calibrated: tuple[Path, Path, dict[str, Any]]) -> None:
    bench, out, result = calibrated
    assert result["failed_channels"] == []
    assert result["twin_error"] < 1.5 * result["noise_floor"]
    assert result["matrix_error"] < 0.06
    with Bench.open(bench, seed=1, record="nominal") as opened:
        found = errors(load_records(out / "record.json"), _plant(opened))
    assert found.phase < 0.01
    assert found.crosstalk < 0.1
    assert found.pair_gain < 0.005
    assert found.v_pi < 0.005


def test_the_record_opens_the_bench(calibrated: tuple[Path, Path, dict[str, Any]]) -> None:
    bench, out, result = calibrated
    with Bench.open(bench, record=str(out / "record.json")) as opened:
        assert opened.chip().id == result["chip"]
        assert opened.check().go


def test_refitting_gives_the_same(
    calibrated: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, out, result = calibrated
    again = session.refit(out, tmp_path / "again")
    assert again["twin_error"] == pytest.approx(result["twin_error"])
    assert session.diff(out, tmp_path / "again") == []


def test_what_two_records_say_differently(calibrated: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, _ = calibrated
    found = session.diff(out / "records" / "0-start.json", out)
    assert {"heater_phase_offset", "v_pi", "gain"} <= {d.quantity for d in found}
    assert all(str(d) for d in found)


def test_the_report_shows_every_fringe(calibrated: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, _ = calibrated
    page = (out / "report.html").read_text("utf-8")
    assert page.count('class="fringe"') == 36
    assert "http" not in page.replace("http://www.w3.org", "")


def test_finished_routines_are_not_measured_again(
    calibrated: tuple[Path, Path, dict[str, Any]],
) -> None:
    bench, out, result = calibrated
    before = {p: p.stat().st_mtime_ns for p in (out / "raw").rglob("*.npz")}
    again = session.calibrate(bench, out, seed=1)
    assert {p: p.stat().st_mtime_ns for p in (out / "raw").rglob("*.npz")} == before
    assert again["passes"] == result["passes"]


def test_another_chips_folder_is_refused(calibrated: tuple[Path, Path, dict[str, Any]]) -> None:
    bench, out, _ = calibrated
    with pytest.raises(ResumeError, match="another calibration"):
        session.calibrate(bench, out, chip_seed=5)


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    bench = bench_file(tmp_path)
    with pytest.raises(ConfigError, match="no routine 'phasse'"):
        session.calibrate(bench, tmp_path / "out", routines=["phasse"])
    with pytest.raises(ConfigError, match="settingz"):
        session.calibrate(bench, tmp_path / "out", parameters="[crosstalk]\nsettingz = 3")
    with pytest.raises(CalibrationError, match="no folder of a calibration"):
        session.refit(tmp_path)


@pytest.mark.slow
def test_interrupted_anywhere_it_goes_on(tmp_path: Path) -> None:
    """The light is off, and what was read is used: as many passes in all, and the same record."""
    bench = bench_file(tmp_path)
    whole = session.calibrate(bench, tmp_path / "whole", seed=3)

    class Stopping(Exception):
        pass

    for stop in np.random.default_rng(0).integers(1, 300, 3):
        out = tmp_path / f"out-{stop}"
        left = [int(stop)]

        def progress(what: str, done: int, count: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Stopping

        watcher = session.Watcher(progress=progress)
        with pytest.raises(Stopping):
            session.calibrate(bench, out, seed=3, watcher=watcher)
        kept = set((out / "raw").rglob("*.npz"))
        result = session.calibrate(bench, out, seed=3)
        assert kept <= set((out / "raw").rglob("*.npz"))
        assert result["failed_channels"] == []
        assert result["twin_error"] < 1.3 * whole["twin_error"]
        events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        assert sum(e["event"] == "finished" for e in events) == 1


@pytest.mark.slow
def test_faulty_channels_are_named(tmp_path: Path) -> None:
    """Dead heaters, a dead detector, a stuck modulator: the rest is calibrated, and is trained on without it."""
    faults = (
        'faults = ["dead_heater:3", "dead_heater:20", "dead_detector:2", "stuck_modulator:1=-1.1"]'
    )
    bench = bench_file(tmp_path, plant=faults)
    result = session.calibrate(bench, tmp_path / "out", seed=2)
    named = ["detector:2", "heater:20", "heater:3", "modulator:1"]
    assert sorted(result["failed_channels"]) == named
    assert result["matrix_error"] < 0.03
    assert result["twin_error"] < 1.5 * result["noise_floor"]
    assert Folder(tmp_path / "out").found["failed_channels"]


@pytest.mark.parametrize(
    ("error", "hidden"),
    [
        (InterlockError("the door is open"), False),
        (ConnectionLost("the meter is gone"), False),
        (DeviceTimeout("no answer"), False),
        (SafeStateTaken("somebody made it safe"), False),
        (CalibrationError("powers only"), True),
        (SaturationError("too bright"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_score_hides_no_loss(
    error: HilonnError, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(chip: Any, count: int) -> float:
        raise error

    monkeypatch.setattr(held_out, "matrix_error", fails)
    bench, outcome = SimpleNamespace(rewire=lambda name, records: None), SimpleNamespace(records=0)
    rig = SimpleNamespace(setup=SimpleNamespace(oscillator=False))

    def scored() -> dict[str, Any]:
        parts: Any = (bench, rig, None, outcome, lambda what, done, count: None)
        return session._scored(*parts)

    if hidden:
        assert scored()["matrix_error_reason"] == str(error)
        return
    with pytest.raises(type(error)):
        scored()


@pytest.mark.slow
def test_a_triangular_mesh_becomes_a_record(tmp_path: Path) -> None:
    """All routines know its columns, diagonals and gauges: predictions to the noise, matrices to the drive's steps."""
    bench = bench_file(tmp_path, "triangular_mesh")
    result = session.calibrate(bench, tmp_path / "out", seed=1, chip_seed=2)
    assert result["failed_channels"] == []
    assert result["twin_error"] < 1.3 * result["noise_floor"]
    assert result["matrix_error"] < 0.01
    record = load_records(tmp_path / "out" / "record.json")
    assert record.chip.architecture == "triangular_mesh"


def test_a_safe_state_of_somebody_else_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dark, cold data look like data: none are taken after it, and heaters are not written again."""
    benches: list[Bench] = []
    built = session.rig_of

    def rig_of(bench: Bench, *rest: Any) -> Any:
        benches.append(bench)
        return built(bench, *rest)

    def progress(what: str, done: int, count: int) -> None:
        if done == 1:
            benches[0].safe_state()

    monkeypatch.setattr(session, "rig_of", rig_of)
    with pytest.raises(SafeStateTaken):
        session.calibrate(
            bench_file(tmp_path), tmp_path / "out", seed=1, watcher=session.Watcher(progress)
        )
