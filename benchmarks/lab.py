"""The emulated lab beside the simulated bench: ``python -m benchmarks.lab {pairs,update,floor,digits}``.

``pairs``: digits16 on ``hilonn emulate lab-16 --no-latency`` in one process and training in another, against the same seeds on the
simulated bench. ``update``: without noise and in lockstep, the weights after the first update of both. ``floor``: with
modelled latencies, wall time of the loop against the shortest that the lab says was possible. ``digits``: once, with its time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.commands import hilonn, train
from hilonn import registry
from hilonn.bench import Bench
from hilonn.datasets import Split
from hilonn.experiment import load_experiment
from hilonn.training import Progress, Trainer

STARTING = 60.0  # s
QUIET_EFFECTS = (
    "detector_noise",
    "thermal_noise",
    "shot_noise",
    "rin",
    "heater_drift",
    "modulator_bias_drift",
    "detector_gain_drift",
    "lo_wander",
    "input_phase_drift",
)


@contextlib.contextmanager
def emulated(folder: Path, *arguments: str) -> Iterator[tuple[Path, int]]:
    """A lab in a process of its own: its bench file and its control port."""
    path = folder / "lab.toml"
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        hilonn("emulate", "lab-16", "--out", str(path), *arguments),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + STARTING
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the lab did not start: exit code {process.poll()}")
            time.sleep(0.05)
        assert process.stdout is not None
        control = next(line for line in process.stdout if line.startswith("control"))
        yield path, int(control.rsplit(":", 1)[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def asked(port: int, question: str) -> float:
    """A number from the lab's control port."""
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.sendall(question.encode() + b"\n")
        return float(opened.makefile().readline())


def pairs(seeds: int, experiment: str) -> None:
    """Test accuracy of both, seed by seed."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(seeds):
            simulated = train(experiment, folder / f"s{seed}", seed=seed)
            with emulated(folder, "--no-latency") as (path, _):
                lab = train(experiment, folder / f"l{seed}", bench=str(path), seed=seed)
            rows.append((100 * simulated["test_accuracy"], 100 * lab["test_accuracy"]))
            print(
                f"seed {seed}: simulated {rows[-1][0]:.2f} %, lab {rows[-1][1]:.2f} % "
                f"({simulated['process_seconds']:.0f} s, {lab['process_seconds']:.0f} s, {lab['passes']} passes)",
                flush=True,
            )
    difference = np.diff(np.array(rows), axis=1)[:, 0]
    error = difference.std(ddof=1) / np.sqrt(seeds)
    half = float(stats.t.ppf(0.975, seeds - 1) * error)
    print(
        f"{experiment}, lab less simulated: {difference.mean():+.2f} points, 95 % interval "
        f"{difference.mean() - half:+.2f} .. {difference.mean() + half:+.2f}"
    )


def trainer_on(bench: Bench, experiment: str, **more: Any) -> tuple[Trainer, Split, int]:
    """A trainer, its training part and its batch."""
    loaded = load_experiment(experiment)
    data = loaded.load_data()
    trainer = Trainer(bench.chip(), loaded.network(data), loaded.rule, seed=0, **more)
    return trainer, data.train, loaded.file.training.batch


def first_update(source: str) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Weights before and after one update."""
    with Bench.open(source, seed=0) as bench:
        trainer, data, batch = trainer_on(bench, "digits16")
        before = tuple(w.copy() for w in trainer.weights)
        trainer.fit(Split(data.inputs[:batch], data.targets[:batch]), epochs=1, batch=batch)
        return before, tuple(w.copy() for w in trainer.weights)


def update() -> None:
    """How far apart the weights are after the first update, in the update's own size."""
    text = registry.load("hilonn.benches", "simulated")()
    quiet = ", ".join(f"{name} = false" for name in QUIET_EFFECTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "quiet.toml"
        path.write_text(
            text.replace('preset = "typical"', f'preset = "typical"\neffects = {{ {quiet} }}')
        )
        before, simulated = first_update(str(path))
        updates = []
        for _ in range(2):
            with emulated(folder, "--no-noise", "--lockstep") as (lab, _):
                updates.append(first_update(str(lab))[1])
    lab_weights, again = updates
    for layer, (w0, s, e, a) in enumerate(zip(before, simulated, lab_weights, again, strict=True)):
        step = float(np.sqrt(((s - w0) ** 2).mean()))
        apart = float(np.sqrt(((s - e) ** 2).mean()))
        print(
            f"layer {layer}: update {step:.3e} rms, apart {apart:.3e} rms = {apart / step:.2%} of it, largest "
            f"{np.abs(s - e).max() / step:.2%}; weights apart {apart / float(np.sqrt((s**2).mean())):.2e}; "
            f"the lab run again: {'the same, bit for bit' if np.array_equal(e, a) else f'{np.abs(e - a).max():.1e} apart'}"
        )


def floor(steps: int) -> None:
    """Wall time of ``steps`` steps against the lab's floor; the first three are not counted."""
    marks: list[tuple[float, float, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        emulated(Path(name)) as (path, control),
        Bench.open(str(path), seed=0) as bench,
    ):

        def note(progress: Progress) -> None:
            if progress.kind == "step":
                marks.append((time.perf_counter(), asked(control, "FLOOR?"), dict(progress.spent)))

        trainer, data, batch = trainer_on(bench, "digits16", on_progress=note)
        cut = Split(data.inputs[: batch * (steps + 3)], data.targets[: batch * (steps + 3)])
        trainer.fit(cut, epochs=1, batch=batch)
    (t0, f0, s0), (t1, f1, s1) = marks[2], marks[-1]
    wall, least = t1 - t0, f1 - f0
    spent = ", ".join(f"{name} {s1[name] - s0.get(name, 0.0):.2f} s" for name in s1)
    print(
        f"{len(marks) - 3} steps: {wall:.2f} s, floor {least:.2f} s, ratio {wall / least:.3f}; {spent}"
    )


def digits() -> None:
    """``digits`` once on both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = train("digits", folder / "s")
        with emulated(folder, "--no-latency") as (path, _):
            lab = train("digits", folder / "l", bench=str(path))
    for title, row in (("simulated", simulated), ("lab", lab)):
        print(
            f"digits, {title}: {100 * row['test_accuracy']:.2f} %, {row['passes']} passes, {row['process_seconds']:.0f} s; "
            f"{json.dumps(row['breakdown'])}"
        )


def main() -> None:
    """One of the four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["pairs", "update", "floor", "digits"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--experiment", default="digits16")
    arguments = parser.parse_args()
    if arguments.what == "pairs":
        pairs(arguments.seeds, arguments.experiment)
    elif arguments.what == "update":
        update()
    elif arguments.what == "floor":
        floor(arguments.steps)
    else:
        digits()


if __name__ == "__main__":
    main()
