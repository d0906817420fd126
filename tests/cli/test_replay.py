"""A logged run again, without its chip: the same readings, or the first request that differs named."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from hilonn import Run, workflow
from hilonn.bench_file import read_source
from hilonn.errors import ConfigError, ReplayError
from hilonn.experiment import parse_experiment
from hilonn.workflow import RunOptions
from tests.cli.experiments import short

EXPERIMENT = short(epochs=2)


def train(text: str, bench: str, out: Path, log: bool = False, seed: int = 0) -> dict[str, object]:
    experiment = parse_experiment(text, name="short", folder=out.parent)
    return workflow.train(
        experiment, bench, out, RunOptions(seed=seed, chip_seed=3, log_passes=log)
    )


@pytest.fixture(scope="module", params=["decompose", "descend"])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept its passes, on a chip of its own."""
    folder = tmp_path_factory.mktemp("logged")
    bench = tomllib.loads(read_source("simulated").text)
    (chip,) = bench["chips"].values()
    chip["programming"] = request.param
    (folder / "bench.toml").write_text(tomli_w.dumps(bench))
    train(EXPERIMENT, str(folder / "bench.toml"), folder / "run", log=True)
    return folder / "run"


def test_a_replayed_run_learns_the_same(logged: Path, tmp_path: Path) -> None:
    again = train(EXPERIMENT, f"replay:{logged}", tmp_path / "again")
    before = Run.open(logged).result()
    assert before is not None
    for key in ("weights_sha256", "test_accuracy", "passes", "chip_seconds", "confusion"):
        assert again[key] == before[key], key
    assert again["backend"] == "replay"
    kinds = [e["kind"] for e in Run.open(tmp_path / "again").events()]
    assert "heaters" in kinds
    assert "chip_state" in kinds


def test_a_replayed_run_can_be_logged_and_replayed(logged: Path, tmp_path: Path) -> None:
    train(EXPERIMENT, f"replay:{logged}", tmp_path / "again", log=True)
    once = train(EXPERIMENT, f"replay:{tmp_path / 'again'}", tmp_path / "third")
    before = Run.open(logged).result()
    assert before is not None
    assert once["weights_sha256"] == before["weights_sha256"]


def test_another_seed_differs_from_the_first_pass_on(logged: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"pass 0 of .*layer 0, tile 0.*(input|heater) \d+"):
        train(EXPERIMENT, f"replay:{logged}", tmp_path / "again", seed=1)


def test_another_rate_differs_once_weights_have_moved(logged: Path, tmp_path: Path) -> None:
    other = EXPERIMENT.replace("rate = 0.02", "rate = 0.03")
    with pytest.raises(ReplayError, match=r"heater \d+ was driven to") as caught:
        train(other, f"replay:{logged}", tmp_path / "again")
    assert "pass 0 " not in str(caught.value)


def test_a_longer_run_asks_for_more_than_there_is(logged: Path, tmp_path: Path) -> None:
    longer = EXPERIMENT.replace("epochs = 2", "epochs = 3")
    with pytest.raises(ReplayError, match="pass"):
        train(longer, f"replay:{logged}", tmp_path / "again")


def test_one_changed_reading_is_followed_by_a_difference(logged: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(logged, copy)
    segment = sorted(copy.glob("pass_values-*.npy"))[0]
    values = np.load(segment)
    values[values.size // 2] += 0.5
    np.save(segment, values)
    with pytest.raises(ReplayError, match="was another one"):
        train(EXPERIMENT, f"replay:{copy}", tmp_path / "again")


def test_a_run_that_was_not_logged_is_refused(tmp_path: Path) -> None:
    train(EXPERIMENT, "simulated", tmp_path / "plain")
    with pytest.raises(ConfigError, match="--log-passes"):
        train(EXPERIMENT, f"replay:{tmp_path / 'plain'}", tmp_path / "again")
    assert json.loads((tmp_path / "plain" / "run.json").read_text())["backend"] == "simulated"
