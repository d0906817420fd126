"""``show``: a run's folder, read while it is written or after."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilonn.chips import Unused
from hilonn.cli.train import print_json
from hilonn.runs import Run


def summary(folder: Path) -> dict[str, Any]:
    """What is known of the run: its result if it has ended, else its last epoch."""
    run = Run.open(folder)
    header, result = run.header, run.result()
    events = run.events()
    epochs = [event for event in events if event["kind"] == "epoch"]
    last = epochs[-1] if epochs else {}
    known: dict[str, Any] = {
        "run": str(folder),
        "state": _state(run, result is not None),
        "experiment": header["experiment"],
        "bench": header["bench_source"],
        "backend": header["backend"],
        "chip": header["chip"],
        "record": header["record"],
        "record_source": header["record_source"],
        "data": header.get("data"),
        "seed": header["seed"],
        "chip_seed": header.get("chip_seed"),
        "hilonn": header["hilonn"],
        "epochs": len(epochs),
        "test_accuracy": None,
        "weights_sha256": None,
        "passes": last.get("passes", 0),
        "chip_seconds": last.get("chip_seconds", 0.0),
        "wall_seconds": last.get("wall_seconds", 0.0),
        "validation_accuracy": last.get("validation_accuracy"),
        "unused": unused(events),
        "monitors": monitored(events),
        "history": [
            {
                key: event[key]
                for key in (
                    "epoch",
                    "loss",
                    "accuracy",
                    "validation_accuracy",
                    "followed_accuracy",
                    "wall_seconds",
                )
                if key in event
            }
            for event in epochs
        ],
    }
    return known | (result or {})


def unused(events: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Heaters, inputs and outputs of the chip that its record does not accept; empty where none was asked."""
    for event in events:
        if event["kind"] == "heaters":
            parts = {"heaters": "masked", "inputs": "unused_inputs", "outputs": "unused_outputs"}
            return {what: event.get(key, []) for what, key in parts.items()}
    return {}


def monitored(events: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each monitor did, by name: how often it looked, changed the record, found a fault, and what it said last."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["kind"] != "monitor":
            continue
        known = found.setdefault(
            event["monitor"], {"looks": 0, "recalibrations": 0, "faults": 0, "told": ""}
        )
        known["looks"] += 1
        known["recalibrations"] += bool(event["recalibrated"])
        known["faults"] += event["fault"] is not None
        known["told"] = event["told"]
    return found


def _state(run: Run, finished: bool) -> str:
    if finished:
        return "finished"
    trained = any(event["kind"] == "trained" for event in run.events())
    return "trained, not tested" if trained else "unfinished"


def show_command(run: Path, *, json: bool) -> None:
    """Print the summary."""
    known = summary(run)
    if json:
        print_json(known)
        return
    accuracy = known["test_accuracy"]
    lines = [
        f"run            {known['run']} ({known['state']})",
        f"experiment     {known['experiment']}, data {known['data'] or 'given in Python'}, seed {known['seed']}",
        f"bench          {known['bench']} ({known['backend']}), chip {known['chip']}",
        f"record         {known['record'][:16]}: {known['record_source']}",
        f"epochs         {known['epochs']}",
        f"passes         {known['passes']:,}, chip time {known['chip_seconds']:.1f} s, "
        f"wall time {known['wall_seconds']:.1f} s",
    ]
    if any(known["unused"].values()):
        told = Unused(**known["unused"])
        lines.append(f"not used       {told}: the chip's record does not accept them")
    for name, seen in known["monitors"].items():
        lines.append(
            f"monitor        {name}: {seen['looks']} looks, {seen['recalibrations']} recalibrations, {seen['faults']} "
            f"faults; last: {seen['told']}"
        )
    if known["validation_accuracy"] is not None:
        lines.append(f"validation     {known['validation_accuracy']:.2%}")
    if accuracy is not None:
        lines.append(f"test accuracy  {accuracy:.2%} of {known['test_samples']} samples")
        lines.append(f"weights        sha256 {known['weights_sha256']}")
    sys.stdout.write("\n".join(lines) + "\n")
