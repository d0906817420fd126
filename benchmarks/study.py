"""Runs of a study: one process a core, every outcome kept at once, nothing done twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

Job = dict[str, Any]
"""``bench`` (a built-in name), ``plant`` (keys of its [connections.plant]), ``chip`` (keys of its
[chips.*]), ``rule`` (a [rule] section), ``hidden`` widths, ``gain`` that their weights begin with, ``epochs``, ``batch``, ``seed``."""


def bench_text(job: Job) -> str:
    """The built-in bench with the job's keys put in."""
    import tomllib

    import tomli_w

    text = (resources.files("hilonn.simulators.benches") / f"{job['bench']}.toml").read_text(
        "utf-8"
    )
    bench = tomllib.loads(text)
    bench["connections"]["plant"] |= job.get("plant", {})
    for chip in bench["chips"].values():
        chip |= job.get("chip", {})
    return tomli_w.dumps(bench)


def run(job: Job) -> dict[str, Any]:
    """Train and test one job: accuracies, losses of the first and last epoch, what ended it."""
    import tempfile
    import time

    from threadpoolctl import threadpool_limits

    from hilonn import registry
    from hilonn.bench import Bench
    from hilonn.datasets import load_dataset
    from hilonn.errors import HilonnError
    from hilonn.network import Dense, Network
    from hilonn.training import Progress, Trainer

    data = load_dataset("digits").centred()
    widths = [data.train.inputs.shape[1], *job["hidden"], data.classes]
    layers = [
        Dense(a, b, "saturating_square", initial_gain=job.get("gain"))
        if index < len(widths) - 2
        else Dense(a, b)
        for index, (a, b) in enumerate(pairwise(widths))
    ]
    epochs: list[dict[str, float]] = []

    def note(progress: Progress) -> None:
        if progress.kind == "epoch":
            epochs.append(progress.metrics)

    rule = registry.load("hilonn.rules", job["rule"]["name"]).model_validate(job["rule"])
    outcome: dict[str, Any] = {"job": job, "ended": "done"}
    started = time.perf_counter()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(bench_text(job), encoding="utf-8")
        with Bench.open(str(path), seed=job["seed"], chip_seed=job["seed"]) as bench:
            trainer = Trainer(
                bench.chip(), Network(*layers), rule, seed=job["seed"], on_progress=note
            )
            try:
                trainer.fit(data.train, epochs=job["epochs"], batch=job["batch"])
                outcome["accuracy"] = trainer.evaluate(data.test).accuracy
            except HilonnError as error:
                outcome["ended"] = str(error)
            outcome["averages"] = trainer.rule.plays
            outcome["feedback_scale"] = getattr(trainer.rule, "feedback_scale", None)
            outcome["passes"] = trainer.runner.statistics.passes
    outcome["seconds"] = round(time.perf_counter() - started, 1)
    if epochs:
        outcome["first_loss"], outcome["last_loss"] = epochs[0]["loss"], epochs[-1]["loss"]
        outcome["taken_back"] = sum(1 for e in epochs if e.get("taken_back"))
        outcome["snr"] = [e.get("snr_0") for e in epochs]
    return outcome


def run_all(jobs: Sequence[Job], kept: Path, processes: int) -> list[dict[str, Any]]:
    """Outcomes of ``jobs`` in their order; those already in ``kept`` (JSON lines) are read from it."""
    known = {_key(o["job"]): o for o in _lines(kept)}
    missing = [job for job in jobs if _key(job) not in known]
    print(f"{len(jobs)} runs, {len(jobs) - len(missing)} known", flush=True)
    with ProcessPoolExecutor(processes) as pool:
        for index, future in enumerate(as_completed([pool.submit(run, job) for job in missing])):
            outcome = future.result()
            known[_key(outcome["job"])] = outcome
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome) + "\n")
            accuracy = outcome.get("accuracy", float("nan"))
            print(f"{index + 1}/{len(missing)} {accuracy:.4f} {_key(outcome['job'])}", flush=True)
    return [known[_key(job)] for job in jobs]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _key(job: Job) -> str:
    return json.dumps(job, sort_keys=True)
