"""Speeds as ratios to their floors: ``python -m benchmarks``.

Every suite runs in three processes of its own and the best of the three counts. Prints the table beside
the figures kept last, and keeps these in benchmarks/kept/speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "kept" / "speed.json"
SUITES = ("mesh", "loop")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
RATES = ("GFLOP/s",)


def main() -> int:
    """Exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(SUITES), help="mesh, loop; both")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=SUITES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        json.dump(import_module(f"benchmarks.{options.one}").measure(), sys.stdout)
        return 0
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    before = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {"figures": {}}
    kept = dict(before["figures"])
    missed = 0
    for suite in options.suites:
        runs = [_measured(suite, index, options.runs) for index in range(options.runs)]
        targets = import_module(f"benchmarks.{suite}").TARGETS
        best = {name: _best(name, [r[name] for r in runs]) for name in runs[0]}
        missed += _print(suite, best, targets, before["figures"])
        kept |= best
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({"machine": _machine(), "figures": kept}, indent=2) + "\n", "utf-8")
    print(f"\nkept in {KEPT}")
    return int(missed > 0)


def _measured(suite: str, index: int, runs: int) -> dict[str, float]:
    print(f"{suite}: run {index + 1} of {runs}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--one", suite],
        env=os.environ | dict.fromkeys(THREADS, "1"),
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _best(name: str, values: list[float]) -> float:
    return max(values) if name.endswith(RATES) else min(values)


def _print(
    suite: str, best: dict[str, float], targets: dict[str, float], before: dict[str, float]
) -> int:
    """The suite's table; returns how many targets are missed."""
    print(f"\n| {suite} | now | target | kept last |\n|---|---|---|---|")
    missed = 0
    for name, value in best.items():
        target = targets.get(name)
        verdict = "" if target is None else f"<= {target:g}"
        if target is not None and not value <= target:
            verdict += " MISSED"
            missed += 1
        last = f"{before[name]:.3g}" if name in before else ""
        print(f"| {name} | {value:.3g} | {verdict} | {last} |")
    return missed


def _machine() -> dict[str, Any]:
    import numpy as np

    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
