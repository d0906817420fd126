"""``train``, ``resume`` and ``evaluate``."""

from __future__ import annotations

import json as json_module
import sys
import time
from pathlib import Path
from typing import Any

from hilonn import workflow
from hilonn.cli.display import TrainingDisplay
from hilonn.experiment import load_experiment
from hilonn.training import Interrupted


def train_command(
    experiment: str,
    bench: str,
    out: Path | None,
    *,
    seed: int,
    chip_seed: int,
    data: Path | None,
    log_passes: bool,
    json: bool,
    imports: tuple[str, ...],
    begin_with: Path | None = None,
) -> None:
    """Train, showing progress on stderr, and print the result on stdout."""
    loaded = load_experiment(experiment)
    folder = out or _free_folder(Path("runs"), loaded.name)
    options = workflow.RunOptions(
        seed=seed,
        chip_seed=chip_seed,
        data=None if data is None else str(data),
        imports=imports,
        log_passes=log_passes,
    )
    with TrainingDisplay(f"{loaded.name} on {bench}") as display:
        try:
            result = workflow.train(
                loaded, bench, folder, options, display.update, display.start, begin_with
            )
        except Interrupted:
            raise Interrupted(_resumable(folder)) from None
    _print_result(result, json)


def resume_command(run: Path, *, force: bool, json: bool) -> None:
    """Go on with ``run``."""
    with TrainingDisplay(f"resuming {run}") as display:
        try:
            result = workflow.resume(
                run, force=force, on_progress=display.update, on_start=display.start
            )
        except Interrupted:
            raise Interrupted(_resumable(run)) from None
    _print_result(result, json)


def evaluate_command(run: Path, *, force: bool, json: bool) -> None:
    """Evaluate ``run``'s weights on its test data."""
    result, _ = workflow.evaluate(run, force=force)
    if json:
        print_json(result)
        return
    sys.stdout.write(
        f"test accuracy {result['test_accuracy']:.2%} of {result['test_samples']} samples "
        f"({result['backend']})\n"
    )


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json_module.dumps(value) + "\n")


def _print_result(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    sys.stdout.write(
        f"test accuracy  {result['test_accuracy']:.2%} of {result['test_samples']} held-out "
        f"samples\n"
        f"back end       {result['backend']}\n"
        f"passes         {result['passes']:,} (chip time {result['chip_seconds']:.1f} s, "
        f"wall time {result['wall_seconds']:.1f} s)\n"
        f"weights        sha256 {result['weights_sha256'][:16]}\n"
        f"run            {result['run']}\n"
    )


def _resumable(folder: Path) -> str:
    return f"interrupted; the step was finished and saved. Go on with: hilonn resume {folder}"


def _free_folder(parent: Path, name: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = parent / f"{name}-{stamp}"
    count = 1
    while folder.exists():
        count += 1
        folder = parent / f"{name}-{stamp}-{count}"
    return folder
