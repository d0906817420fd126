"""In the loop against in silico and deployed, over what the record has wrong:
``python -m benchmarks.model_error``.

digits, 64-128-10, 16-port typical chip whose record knows nothing of its splitters and is wrong by
10 to 400 mrad a phase; every seed a chip of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import Job, run_all

ROOT = Path(__file__).parents[1]
ERRORS = [0.010, 0.050, 0.100, 0.200, 0.400]
LOOP = {
    "name": "two_pass",
    "averages": 4,
    "feedback_scale": 1.5,
    "rate": 0.2,
    "hidden_rate": 0.25,
}
SILICO = {"name": "backprop", "averages": 4, "rate": 0.2, "hidden_rate": 0.5}
AWARE = {"name": "physics_aware", "averages": 4, "rate": 0.2, "hidden_rate": 0.5}
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "back-propagation, deployed": (SILICO, "auto"),
    "two-pass, phases by decomposition": (LOOP, "decompose"),
    "two-pass, phases by descent": (LOOP, "descend"),
    "physics-aware, phases by descent": (AWARE, "descend"),
}


def job(seed: int, error: float, rule: dict[str, Any], programming: str) -> Job:
    return {
        "bench": "simulated",
        "plant": {"record_error": error, "record_splitters": False},
        "chip": {"programming": programming},
        "rule": rule,
        "hidden": [128],
        "epochs": 15,
        "batch": 32,
        "seed": seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.seeds)
    jobs = [
        job(seed, error, rule, programming)
        for seed in seeds
        for error in ERRORS
        for rule, programming in WAYS.values()
    ]
    kept = ROOT / "benchmarks" / "kept" / "model_error.jsonl"
    kept.parent.mkdir(exist_ok=True)
    outcomes = run_all(jobs, kept, options.processes)
    values = np.array([100 * o.get("accuracy", np.nan) for o in outcomes])
    values = values.reshape(len(seeds), len(ERRORS), len(WAYS))
    print(f"\n| phase error (mrad) | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for index, error in enumerate(ERRORS):
        cells = [
            f"{values[:, index, w].mean():.1f} +- {values[:, index, w].std(ddof=1):.1f}"
            if len(seeds) > 1
            else f"{values[0, index, w]:.1f}"
            for w in range(len(WAYS))
        ]
        print(f"| {1e3 * error:g} | {' | '.join(cells)} |")
    from hilonn import plots

    where = [1e3 * e for e in ERRORS]
    plots.save(
        plots.curves(
            {name: (where, values[:, :, w]) for w, name in enumerate(WAYS)},
            across="phase error of the record (mrad rms)",
            up="test accuracy (%)",
            logarithmic=True,
        ),
        ROOT / "docs" / "images" / "model-error",
    )


if __name__ == "__main__":
    main()
