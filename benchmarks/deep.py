"""Three hidden layers, rule by rule: ``python -m benchmarks.deep``.

digits, 64-64-64-64-10, 16-port typical chip, every seed a chip of its own; each rule at the rates that
were best for it on the validation part.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import Job, run_all

KEPT = Path(__file__).parent / "kept" / "deep.jsonl"
TWO = {"name": "two_pass", "averages": 4, "feedback_scale": 1.5}
RULES: dict[str, dict[str, Any]] = {
    "two_pass": TWO,
    "two_pass, error into every layer": TWO | {"error_enters": "layers"},
    "two_pass, mirrored": TWO | {"feedback": "mirrored"},
    "two_pass, mirrored into every layer": TWO | {"error_enters": "layers", "feedback": "mirrored"},
    "direct_feedback_alignment": {"name": "direct_feedback_alignment", "averages": 4},
    "physics_aware": {"name": "physics_aware", "averages": 4},
    "backprop, deployed": {"name": "backprop", "averages": 4},
}
RATES = [(0.05, 0.05)]
"""(rate, hidden_rate) that each rule is tried at; the best mean counts, and all are shown."""


def job(seed: int, rule: dict[str, Any], rates: tuple[float, float]) -> Job:
    return {
        "bench": "simulated",
        "rule": rule | {"rate": rates[0], "hidden_rate": rates[1]},
        "hidden": [64, 64, 64],
        "gain": 1.2,
        "epochs": 15,
        "batch": 32,
        "seed": seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deep", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.seeds)
    jobs = [job(s, r, rates) for r in RULES.values() for rates in RATES for s in seeds]
    KEPT.parent.mkdir(exist_ok=True)
    outcomes = run_all(jobs, KEPT, options.processes)
    accuracy = 100 * np.array([o.get("accuracy", np.nan) for o in outcomes])
    accuracy = accuracy.reshape(len(RULES), len(RATES), len(seeds))
    heads = [f"rates {a:g}, {b:g}" for a, b in RATES]
    print(f"\n| rule | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, rows in zip(RULES, accuracy, strict=True):
        cells = [f"{r.mean():.1f} (worst {r.min():.1f})" for r in rows]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
