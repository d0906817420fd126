"""Chips with faults, calibrated and trained on what is left: ``python -m benchmarks.faulty [--seeds N]``.

Each seed draws a typical 16-port chip, three heaters that die, a detector that does, and a modulator that is stuck at a
voltage of its own. The chip is calibrated from its datasheet, the faults named by readings alone, and the experiment
trained on the record; beside it the same chip without faults, calibrated in the same way (``--whole true``: with the
record that its plant hands out), and the same seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import train
from benchmarks.study import bench_text
from hilonn.calibration import session

HEATERS, PORTS = 528, 16


def faults_of(seed: int) -> tuple[list[str], set[str]]:
    """Faults for a plant, and the names that a calibration should give them."""
    rng = np.random.default_rng([seed, 71])
    heaters = sorted(rng.choice(HEATERS, 3, replace=False).tolist())
    detector, modulator = int(rng.integers(2 * PORTS)), int(rng.integers(PORTS))
    volts = float(rng.uniform(-3.0, 3.0))
    faults = [f"dead_heater:{h}" for h in heaters]
    faults += [f"dead_detector:{detector}", f"stuck_modulator:{modulator}={volts:.3f}"]
    names = {f"heater:{h}" for h in heaters}
    return faults, names | {f"detector:{detector}", f"modulator:{modulator}"}


def calibrated(
    faults: list[str], seed: int, folder: Path, measured: bool
) -> tuple[Path, dict[str, Any]]:
    """The bench file of a chip with ``faults`` and a record, and what its calibration came to."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = folder / "bench.toml"
    plant: dict[str, Any] = {"faults": faults} if faults else {}
    bench.write_text(bench_text({"bench": "simulated", "plant": plant}), encoding="utf-8")
    if not measured:
        return bench, {"failed_channels": []}
    result = session.calibrate(bench, folder / "calibration", seed=1000 + seed, chip_seed=seed)
    trained = folder / "trained.toml"
    record = {"record": str(folder / "calibration" / "record.json")}
    text = bench_text({"bench": "simulated", "plant": plant, "chip": record})
    trained.write_text(text, encoding="utf-8")
    return trained, result


def one(seed: int, experiment: str, folder: Path, whole_measured: bool) -> dict[str, Any]:
    """Both chips of one seed."""
    faults, names = faults_of(seed)
    row: dict[str, Any] = {"seed": seed, "faults": faults}
    for kind, list_of, measured in (("faulty", faults, True), ("whole", [], whole_measured)):
        bench, result = calibrated(list_of, seed, folder / kind, measured)
        named = set(result["failed_channels"])
        more = ("--chip-seed", str(seed))
        run = train(experiment, folder / kind / "run", bench=str(bench), seed=seed, more=more)
        row[kind] = {
            "named": sorted(named),
            "right": named == (names if kind == "faulty" else set()),
            "reasons": result.get("reasons", []),
            "matrix_error": result.get("matrix_error"),
            "twin_error": result.get("twin_error"),
            "noise_floor": result.get("noise_floor"),
            "calibration_seconds": result.get("wall_seconds"),
            "accuracy": run["test_accuracy"],
            "passes": run["passes"],
            "wall_seconds": run["wall_seconds"],
            "breakdown": run["breakdown"],
        }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of a results page, and the mean difference with its standard error."""
    lines = [
        "| seed | named | accuracy, faulty | whole | difference | matrix error, faulty | whole | training s, faulty | whole |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    away = []
    for row in rows:
        faulty, whole = row["faulty"], row["whole"]
        away.append(100 * (faulty["accuracy"] - whole["accuracy"]))
        lines.append(
            f"| {row['seed']} | {'all five' if faulty['right'] else ', '.join(faulty['named'])} | "
            f"{faulty['accuracy']:.2%} | {whole['accuracy']:.2%} | {away[-1]:+.2f} | "
            f"{percent(faulty['matrix_error'])} | {percent(whole['matrix_error'])} | "
            f"{faulty['wall_seconds']:.0f} | {whole['wall_seconds']:.0f} |"
        )
    error = np.std(away, ddof=1) / np.sqrt(len(away)) if len(away) > 1 else float("nan")
    lines.append(f"\nmean difference {np.mean(away):+.2f} +- {error:.2f} points")
    return "\n".join(lines)


def main() -> None:
    """Print a line a seed, then the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faulty", description=__doc__)
    parser.add_argument("--experiment", default="digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--whole", choices=("calibrated", "true"), default="calibrated")
    parser.add_argument("--keep", type=Path, help="Folder of all calibrations and runs.")
    options = parser.parse_args()
    rows = []
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.keep or Path(scratch)) / f"seed-{seed}"
            rows.append(one(seed, options.experiment, folder, options.whole == "calibrated"))
        print(json.dumps(rows[-1]), flush=True)
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
