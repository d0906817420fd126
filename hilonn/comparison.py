"""Rules side by side on one experiment: every rule and seed is a run, and what is known is not rerun."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from pydantic import ValidationError

from hilonn import registry, workflow
from hilonn.config_errors import describe_validation_error
from hilonn.errors import ConfigError, DivergedError, SaturationError
from hilonn.experiment import Experiment
from hilonn.rules import Rule
from hilonn.rules.variants import PUBLISHED
from hilonn.runs import Run
from hilonn.training import Progress

CARRIED = ("output", "averages", "momentum", "schedule", "error_limit", "step_limit")
"""Settings that a rule takes from the experiment's own, where it has them and nothing else is said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule on one seed. ``ended`` is "done" or why not; ``curve`` rows of passes, chip seconds
    and validation accuracy, one an epoch."""

    rule: str
    seed: int
    ended: str
    accuracy: float
    passes: int
    chip_seconds: float
    wall_seconds: float
    curve: tuple[tuple[float, float, float], ...]


def experiment_with(experiment: Experiment, item: str, epochs: int | None = None) -> Experiment:
    """``experiment`` learned by ``item``: a rule's name, a published variant's, or the path of a TOML
    file with a ``[rule]`` section. Settings come from the experiment's ``[compare.NAME]`` section, then
    from its own rule. ConfigError for an unknown name or a setting that the rule does not have."""
    own = dict(experiment.file.rule)
    special = dict(experiment.file.compare.get(item, {}))
    if item.endswith(".toml"):
        settings = _rule_section(Path(item))
    elif item in PUBLISHED:
        base = own if own.get("name") == "two_pass" else {"name": "two_pass"}
        settings = {**base, **PUBLISHED[item], **special}
    elif item == own.get("name"):
        settings = {**own, **special}
    else:
        known = registry.names("hilonn.rules")
        if item not in known:
            raise ConfigError(
                f"no rule {item!r}; there are {', '.join([*known, *PUBLISHED])}, and TOML files with a "
                "[rule] section"
            )
        fields = registry.load("hilonn.rules", item).model_fields
        carried = {k: own[k] for k in CARRIED if k in own and k in fields}
        settings = {"name": item, **carried, **special}
    rule_type = registry.load("hilonn.rules", settings["name"])
    try:
        rule: Rule = rule_type.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(
            describe_validation_error(error, f"rule {item}", rule_type, "rule")
        ) from None
    training = experiment.file.training
    if epochs is not None:
        training = training.model_copy(update={"epochs": epochs})
    file = experiment.file.model_copy(update={"rule": settings, "training": training})
    text = tomli_w.dumps(file.model_dump(exclude_none=True))
    return replace(experiment, file=file, rule=rule, text=text)


def compare(
    experiment: Experiment,
    bench: str,
    items: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    options: workflow.RunOptions,
    *,
    epochs: int | None = None,
    on_run: Callable[[str, int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Outcome]:
    """Train every rule of ``items`` on every seed into ``out/RULE-seedN``.

    A finished run is read, not repeated; an interrupted one goes on. A run that diverges, or that no
    range of the detectors holds, is an outcome; every other error is raised.
    """
    chosen = {label(item): experiment_with(experiment, item, epochs) for item in items}
    if len(chosen) < len(items):
        raise ConfigError(f"a rule is named twice in {', '.join(items)}")
    outcomes = []
    for name, variant in chosen.items():
        for seed in seeds:
            if on_run is not None:
                on_run(name, seed)
            folder = out / f"{name}-seed{seed}"
            ended = "done"
            try:
                if (folder / "run.json").exists():
                    _check_same(folder, variant, bench, options)
                    workflow.resume(folder, on_progress=on_progress)
                else:
                    workflow.train(variant, bench, folder, replace(options, seed=seed), on_progress)
            except (DivergedError, SaturationError) as error:
                ended = str(error)
            outcomes.append(outcome(folder, name, seed, ended))
    return outcomes


def outcome(folder: Path, name: str, seed: int, ended: str = "done") -> Outcome:
    """What the run in ``folder`` came to."""
    run = Run.open(folder)
    result = run.result() or {}
    epochs = [e for e in run.events() if e["kind"] == "epoch"]
    last = epochs[-1] if epochs else {}
    return Outcome(
        rule=name,
        seed=seed,
        ended=ended if result or ended != "done" else "unfinished",
        accuracy=float(result.get("test_accuracy", np.nan)),
        passes=int(result.get("passes", last.get("passes", 0))),
        chip_seconds=float(result.get("chip_seconds", last.get("chip_seconds", 0.0))),
        wall_seconds=float(result.get("wall_seconds", last.get("wall_seconds", 0.0))),
        curve=tuple(
            (float(e["passes"]), float(e["chip_seconds"]), float(e["validation_accuracy"]))
            for e in epochs
            if e.get("validation_accuracy") is not None
        ),
    )


def label(item: str) -> str:
    """What an item is called in tables and folders."""
    return Path(item).stem if item.endswith(".toml") else item


def _rule_section(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the rule file {path}: {error}") from None
    section = raw.get("rule")
    if not isinstance(section, dict) or "name" not in section:
        raise ConfigError(f"{path}: a [rule] section with a name is needed")
    return section


def _check_same(
    folder: Path, variant: Experiment, bench: str, options: workflow.RunOptions
) -> None:
    """A folder of another comparison is never taken for this one's."""
    header = Run.open(folder).header
    now = {
        "experiment_text": variant.text,
        "bench_source": bench,
        "chip_seed": options.chip_seed,
    }
    for key, value in now.items():
        if header.get(key) != value:
            raise ConfigError(
                f"{folder} holds a run with another {key.replace('_', ' ')}; give another --out"
            )
