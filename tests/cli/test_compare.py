"""``hilonn compare``: rules side by side, and nothing done twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hilonn.comparison import compare, experiment_with
from hilonn.errors import ConfigError
from hilonn.experiment import Experiment, parse_experiment
from hilonn.workflow import RunOptions
from tests.cli.experiments import RULE, short
from tests.cli.test_commands import hilonn, result_of

EXPERIMENT = (
    short(RULE + "averages = 2", epochs=2, hidden='readout = "homodyne"')
    + "[compare.backprop]\nrate = 0.05\n"
)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return parse_experiment(EXPERIMENT, name="short", folder=tmp_path)


def test_every_rule_and_seed_is_an_outcome_and_is_not_repeated(
    experiment: Experiment, tmp_path: Path
) -> None:
    rules = ["two_pass", "direct_feedback_alignment", "physics_aware", "in_situ_backprop", "spsa"]
    first = compare(experiment, "simulated", rules, [0, 1], tmp_path / "out", RunOptions())
    assert [(o.rule, o.seed) for o in first] == [(r, s) for r in rules for s in (0, 1)]
    assert all(o.ended == "done" and 0.0 <= o.accuracy <= 1.0 for o in first)
    assert all(len(o.curve) == 2 and o.curve[0][0] < o.curve[1][0] for o in first)
    run: list[str] = []
    again = compare(
        experiment,
        "simulated",
        rules,
        [0, 1],
        tmp_path / "out",
        RunOptions(),
        on_progress=lambda progress: run.append(progress.kind),
    )
    assert again == first
    assert run == []


def test_settings_come_from_compare_sections_and_what_is_shared(experiment: Experiment) -> None:
    backprop = experiment_with(experiment, "backprop")
    assert backprop.rule.model_dump()["rate"] == 0.05
    feedback = experiment_with(experiment, "direct_feedback_alignment")
    assert feedback.rule.plays == 2
    pepita = experiment_with(experiment, "pepita").rule.model_dump()
    assert pepita["name"] == "two_pass"
    assert pepita["feedback_scale"] == 0.05
    assert experiment_with(experiment, "two_pass", epochs=7).file.training.epochs == 7


def test_unknown_rules_are_told_before_anything_runs(
    experiment: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no rule 'twopass'.*two_pass"):
        compare(
            experiment, "simulated", ["two_pass", "twopass"], [0], tmp_path / "out", RunOptions()
        )
    assert not (tmp_path / "out").exists()


def test_another_experiment_in_the_same_folder_is_refused(
    experiment: Experiment, tmp_path: Path
) -> None:
    compare(experiment, "simulated", ["backprop"], [0], tmp_path / "out", RunOptions(), epochs=1)
    with pytest.raises(ConfigError, match=r"backprop-seed0"):
        compare(
            experiment, "simulated", ["backprop"], [0], tmp_path / "out", RunOptions(), epochs=2
        )


def test_the_command_prints_a_table_and_keeps_a_plot(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(EXPERIMENT)
    arguments = ("compare", "short.toml", "--rules", "two_pass,backprop", "--epochs", "1")
    shown = hilonn(*arguments, "--out", "out", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "two_pass" in shown.stdout and "backprop" in shown.stdout
    told = result_of(hilonn(*arguments, "--out", "out", "--json", folder=tmp_path))
    assert len(told["outcomes"]) == 2
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == told
    assert (tmp_path / "out" / "compare.svg").read_text().startswith("<?xml")
    assert all(math.isfinite(o["accuracy"]) for o in told["outcomes"])
