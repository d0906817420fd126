"""Training on a chip as a calibration knows it, and as it is: ``python -m benchmarks.calibrated_training [--seeds 10]``.

Seed by seed another chip of the preset typical: opened by its datasheet and calibrated by readings alone, then the experiment trained with
that record, and with a true one: what a perfect calibration would write (``tests.calibration.true_model.true_records``:
every value of the plant's at its start, no uncertainty). ``--default`` trains a third time with the record that the built-in bench hands out:
true but for 10 mrad rms a phase, as it says. Same chip, same seeds, same experiment; calibrating and training are
apart in time, so that drift between them counts for all alike. Rows go to ``--kept`` as they come and are not done again; the
table is of all rows in it, so that two processes may share the work (``--first``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.commands import hilonn, train
from hilonn import registry
from hilonn.bench import Bench
from tests.calibration.true_model import plant_of, true_records

CALIBRATING = 1000
"""Added to a seed: the noise of the calibration is not that of the training."""


def main() -> None:
    """Print the rows, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="digits")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--default", action="store_true", help="the built-in bench's record, too")
    parser.add_argument("--kept", type=Path, help="JSON lines; a scratch file by default")
    parser.add_argument("--keep", type=Path, help="folder of the calibrations; none by default")
    options = parser.parse_args()
    ways = ("true", "calibrated", *(("default",) if options.default else ()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = options.keep or folder / "calibrations"
        measured.mkdir(parents=True, exist_ok=True)
        kept = options.kept or folder / "kept.jsonl"
        for seed in range(options.first, options.first + options.seeds):
            for way in ways:
                if (seed, way) not in {(r["seed"], r["way"]) for r in rows(kept)}:
                    row = {
                        "seed": seed,
                        "way": way,
                        **trained(options.experiment, seed, way, folder, measured),
                    }
                    with kept.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
        tell(options.experiment, rows(kept))


def rows(kept: Path) -> list[dict[str, Any]]:
    """What is done already."""
    if not kept.exists():
        return []
    return [json.loads(line) for line in kept.read_text("utf-8").splitlines()]


def trained(experiment: str, seed: int, way: str, folder: Path, measured: Path) -> dict[str, Any]:
    """Test accuracy (%) on chip ``seed``, and what its record came to."""
    text, found = registry.load("hilonn.benches", "simulated")(), {}
    if way != "default":
        record = (measured if way == "calibrated" else folder) / f"{way}-{seed}" / "record.json"
        record.parent.mkdir(exist_ok=True)
        found = calibrated(seed, record.parent) if way == "calibrated" else true(seed, record)
        text = text.replace('record = "connection:plant"', f'record = "{record.absolute()}"')
    bench = folder / f"{way}-{seed}.toml"
    bench.write_text(text, "utf-8")
    out = folder / f"run-{way}-{seed}"
    result = train(experiment, out, bench=str(bench), seed=seed, more=("--chip-seed", str(seed)))
    return found | {
        "accuracy": 100 * result["test_accuracy"],
        "seconds": result["process_seconds"],
        "passes": result["passes"],
    }


def true(seed: int, record: Path) -> dict[str, Any]:
    """What there is, written to ``record``."""
    with Bench.open("simulated", seed=seed, chip_seed=seed) as bench:
        true_records(plant_of(bench)).save(record)
    return {}


def calibrated(seed: int, out: Path) -> dict[str, Any]:
    """What readings tell, in the folder ``out``."""
    done = subprocess.run(
        hilonn(
            *("calibrate", "simulated", "--seed", str(CALIBRATING + seed)),
            *("--chip-seed", str(seed), "--out", str(out), "--json"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"chip {seed}: {done.stderr}")
    result = json.loads(done.stdout)
    return {
        name: result[name] for name in ("matrix_error", "twin_error", "noise_floor", "wall_seconds")
    }


def tell(experiment: str, found: list[dict[str, Any]]) -> None:
    """The table, and each difference to the true record's with its error."""
    ways = list(dict.fromkeys(r["way"] for r in found))
    table = {(r["seed"], r["way"]): r["accuracy"] for r in found}
    seeds = sorted({s for s, _ in table if all((s, w) in table for w in ways)})
    print(f"\n| seed = chip | {' | '.join(f'{experiment}, {w} record (%)' for w in ways)} |")
    print("|---" * (len(ways) + 1) + "|")
    for seed in seeds:
        print(f"| {seed} | {' | '.join(f'{table[seed, w]:.2f}' for w in ways)} |")
    whole = {w: np.array([table[s, w] for s in seeds]) for w in ways}
    print(f"| mean | {' | '.join(f'{whole[w].mean():.2f}' for w in ways)} |\n")
    for way in ways:
        if way == "true" or len(seeds) < 2:
            continue
        difference = whole[way] - whole["true"]
        error = difference.std(ddof=1) / np.sqrt(len(seeds))
        half = float(stats.t.ppf(0.975, len(seeds) - 1) * error)
        print(
            f"{way} less true: {difference.mean():+.2f} points, standard error {error:.2f}, 95 % interval "
            f"{difference.mean() - half:+.2f} .. {difference.mean() + half:+.2f}"
        )


if __name__ == "__main__":
    main()
