"""How much noise two-pass training bears, and what helps: ``python -m benchmarks.noise``.

digits, 64-128-10, on the 16-port typical chip, every seed on a chip of its own. Writes the table to
stdout, outcomes to benchmarks/kept/noise.jsonl and plots to docs/images/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import Job, run_all

ROOT = Path(__file__).parents[1]
LEVELS = [0.0, 0.005, 0.01, 0.02, 0.05, 0.10]
DEFAULTS = {"name": "two_pass"}
FIXED = DEFAULTS | {"averages": 1, "feedback_scale": 2.0}


def job(seed: int, noise: float, rule: dict[str, Any], batch: int = 32) -> Job:
    return {
        "bench": "simulated",
        "plant": {"parameters": {"detector_noise": noise}},
        "rule": rule,
        "hidden": [128],
        "epochs": 15,
        "batch": batch,
        "seed": seed,
    }


def studies(seeds: list[int], few: list[int]) -> dict[str, dict[str, list[Job]]]:
    """Study -> setting -> jobs."""
    return {
        "detector noise, defaults": {
            f"{100 * n:g} %": [job(s, n, DEFAULTS) for s in seeds] for n in LEVELS
        },
        "detector noise, one reading, F = 2": {
            f"{100 * n:g} %": [job(s, n, FIXED) for s in few] for n in LEVELS
        },
        "feedback scale at 2 %": {
            f"{f:g}": [job(s, 0.02, FIXED | {"feedback_scale": f}) for s in few]
            for f in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
        },
        "averages at 5 %": {
            f"{k}": [job(s, 0.05, FIXED | {"averages": k}) for s in few] for k in (1, 2, 4, 8, 16)
        },
        "order at 2 %": {
            "AB": [job(s, 0.02, FIXED) for s in few],
            "AB, 2 averages": [job(s, 0.02, FIXED | {"averages": 2}) for s in few],
            "ABBA": [job(s, 0.02, FIXED | {"order": "ABBA"}) for s in few],
        },
        "batch at 2 %": {
            f"{b}": [job(s, 0.02, FIXED, b) for s in few] for b in (8, 16, 32, 64, 128)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--few", type=int, default=3, help="seeds of the smaller studies")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    plan = studies(list(range(options.seeds)), list(range(options.few)))
    jobs = [j for settings in plan.values() for group in settings.values() for j in group]
    kept = ROOT / "benchmarks" / "kept" / "noise.jsonl"
    kept.parent.mkdir(exist_ok=True)
    outcomes = iter(run_all(jobs, kept, options.processes))
    table: dict[str, dict[str, list[dict[str, Any]]]] = {
        study: {setting: [next(outcomes) for _ in group] for setting, group in settings.items()}
        for study, settings in plan.items()
    }
    for study, results in table.items():
        print(
            f"\n| {study} | accuracy % | worst | averages | F | end / start of the loss, worst | taken back |"
        )
        print("|---|---|---|---|---|---|---|")
        for setting, group in results.items():
            print(f"| {setting} | {row(group)} |")
    draw(table)


def row(group: list[dict[str, Any]]) -> str:
    accuracy = 100 * np.array([o.get("accuracy", np.nan) for o in group])
    ratio = max(o.get("last_loss", np.inf) / o.get("first_loss", 1.0) for o in group)
    scale = np.mean([float(o["feedback_scale"]) for o in group])
    return (
        f"{accuracy.mean():.2f} +- {accuracy.std(ddof=1):.2f} | {accuracy.min():.2f} | "
        f"{np.mean([o['averages'] for o in group]):.1f} | {scale:.2f} | {ratio:.2f} | "
        f"{sum(o.get('taken_back', 0) for o in group)}"
    )


def draw(table: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    from hilonn import plots

    def values(study: str) -> tuple[list[float], np.ndarray]:
        results = table[study]
        where = [float(s.split()[0]) for s in results]
        return where, 100 * np.array(
            [[o.get("accuracy", np.nan) for o in g] for g in results.values()]
        ).T

    images = ROOT / "docs" / "images"
    plots.save(
        plots.curves(
            {
                "defaults": values("detector noise, defaults"),
                "one reading, F = 2": values("detector noise, one reading, F = 2"),
            },
            across="detector noise a reading (% of full scale)",
            up="test accuracy (%)",
        ),
        images / "noise-detector",
    )
    for study, across, name in (
        ("feedback scale at 2 %", "feedback scale F", "noise-feedback"),
        ("averages at 5 %", "averages", "noise-averages"),
        ("batch at 2 %", "batch", "noise-batch"),
    ):
        figure = plots.curves(
            {study: values(study)}, across=across, up="test accuracy (%)", logarithmic=True
        )
        plots.save(figure, images / name)


if __name__ == "__main__":
    main()
