"""``hilonn estimate``: what it says against what the run then does."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from hilonn import workflow
from hilonn.bench_file import read_source
from hilonn.errors import ConfigError
from hilonn.estimate import estimate
from hilonn.experiment import Experiment, load_experiment, parse_experiment
from hilonn.workflow import RunOptions
from tests.cli.experiments import short


def experiment(folder: Path, rule: str = "two_pass", settings: str = "") -> Experiment:
    text = short(
        f'name = "{rule}"\n{settings}',
        epochs=6,
        training="evaluate_every = 2\nfollow_test = true",
    )
    return parse_experiment(text, name="short", folder=folder)


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("two_pass", "feedback_scale = 1.0\nrate = 0.02\nhidden_rate = 0.2\naverages = 1"),
        ("two_pass", 'order = "ABBA"\nrate = 0.02'),
        ("spsa", ""),
        ("backprop", ""),
    ],
)
def test_passes_and_chip_time_come_true(tmp_path: Path, rule: str, settings: str) -> None:
    wanted = experiment(tmp_path, rule, settings)
    told = estimate(wanted, "simulated", RunOptions(seed=1), seconds=0.3)
    took = workflow.train(wanted, "simulated", tmp_path / "run", RunOptions(seed=1))
    assert told.training.passes + told.testing.passes == pytest.approx(took["passes"], rel=0.1)
    assert told.whole.chip_seconds == pytest.approx(took["chip_seconds"], rel=0.1)
    assert told.steps == 6 * 18
    assert (len(told.snr) == 1) == (rule == "two_pass")


def test_dead_heaters_and_little_light_are_advised_on(tmp_path: Path) -> None:
    bench = tomllib.loads(read_source("simulated").text)
    bench["connections"]["plant"]["faults"] = ["dead_heater:7"]
    bench["connections"]["plant"]["parameters"] = {"detector_noise": 0.05}
    (tmp_path / "bench.toml").write_text(tomli_w.dumps(bench))
    wanted = experiment(tmp_path, "two_pass", "averages = 1\nfeedback_scale = 0.1\nrate = 0.02")
    told = estimate(wanted, str(tmp_path / "bench.toml"), RunOptions(), seconds=0.3)
    advice = " ".join(told.advice)
    assert "heaters do not answer (7)" in advice
    assert "averages" in advice


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hilonn", "estimate", "xor", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["tiles"] == 2
    assert told["whole"]["wall_seconds"] > told["training"]["wall_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_told_before_the_bench(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no bench"):
        estimate(load_experiment("xor"), "nowhere", RunOptions())
