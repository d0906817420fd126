"""Test accuracy over seeds: ``python -m benchmarks.accuracy EXPERIMENT [--bench B ...] [--seeds N]``.

Beside it stands a linear readout of the same inputs, trained digitally without noise.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.commands import train
from hilonn.experiment import load_experiment


def linear_readout(experiment: str) -> float:
    """Test accuracy in % of least squares (with offset) on the experiment's own inputs."""
    data = load_experiment(experiment).load_data()

    def augmented(inputs: np.ndarray) -> np.ndarray:
        return np.hstack([inputs, np.ones((len(inputs), 1))])

    targets = np.eye(data.classes)[data.train.targets]
    best, accuracy = -1.0, 0.0
    for ridge in 10.0 ** np.arange(-4, 3):  # chosen on validation, told on test
        x = augmented(data.train.inputs)
        w = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ targets)
        score = (
            (augmented(data.validation.inputs) @ w).argmax(1) == data.validation.targets
        ).mean()
        if score > best:
            best = score
            accuracy = ((augmented(data.test.inputs) @ w).argmax(1) == data.test.targets).mean()
    return float(100 * accuracy)


def main() -> None:
    """Print one row a bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("--bench", nargs="+", default=["simulated"])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"linear readout of the same inputs: {linear_readout(arguments.experiment):.2f} %")
    for bench in arguments.bench:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(arguments.seeds):
                rows.append(
                    train(arguments.experiment, Path(folder) / str(seed), bench=bench, seed=seed)
                )
        accuracy = [100 * row["test_accuracy"] for row in rows]
        seconds = ", ".join(f"{row['process_seconds']:.0f}" for row in rows)
        print(
            f"{arguments.experiment} on {bench}: mean {np.mean(accuracy):.2f} % "
            f"+- {np.std(accuracy, ddof=1 if len(accuracy) > 1 else 0):.2f}, "
            f"each {', '.join(f'{a:.2f}' for a in accuracy)}; process "
            f"{seconds} s; "
            f"{rows[0]['passes']} passes, chip time {rows[0]['chip_seconds']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
