"""Runs that the reports of this folder are made of."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from hilonn import workflow
from hilonn.bench_file import read_source
from hilonn.experiment import parse_experiment
from hilonn.workflow import RunOptions

EXPERIMENT = """
[data]
name = "digits"
limit = 320

[[layers]]
outputs = 16
activation = "saturating_square"

[[layers]]
outputs = 10

[rule]
name = "two_pass"
averages = 1
feedback_scale = 1.5

[training]
epochs = 3
batch = 32
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole`` on a healthy chip and ``dead`` on the same chip with two dead heaters."""
    folder = tmp_path_factory.mktemp("reports")
    bench = tomllib.loads(read_source("simulated").text)
    bench["connections"]["plant"]["faults"] = ["dead_heater:37", "dead_heater:211"]
    (folder / "dead.toml").write_text(tomli_w.dumps(bench))
    experiment = parse_experiment(EXPERIMENT, name="<digits> & co", folder=folder)
    workflow.train(experiment, "simulated", folder / "whole", RunOptions())
    workflow.train(experiment, str(folder / "dead.toml"), folder / "dead", RunOptions())
    return folder
