"""The shortest and the usual step of 576-256-10 on simulated-64, batch 128: ``python -m benchmarks.step``.

Asks only for what the spine (1dbb2e7) had too, so that ``python PATH/TO/benchmarks/step.py``, run in a checkout of an older
commit with that one's environment, measures it beside this one.
"""

from __future__ import annotations

import os
import time

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import numpy as np

from hilonn.bench import Bench
from hilonn.datasets import Split
from hilonn.network import Dense, Network
from hilonn.rules.two_pass import TwoPass
from hilonn.training import Progress, Trainer

STEPS, BATCH = 24, 128


def main() -> None:
    """Print milliseconds of wall and processor time."""
    rng = np.random.default_rng(0)
    network = Network(Dense(576, 256, "saturating_square"), Dense(256, 10))
    rule = TwoPass(feedback_scale=3.0, rate=0.08, hidden_rate=0.25, averages=4)
    samples = STEPS * BATCH
    data = Split(0.25 * rng.standard_normal((samples, 576)), rng.integers(0, 10, samples))
    ends: list[tuple[float, float]] = []

    def note(progress: Progress) -> None:
        if progress.kind == "step":
            ends.append((time.perf_counter(), time.process_time()))

    with Bench.open("simulated-64", seed=0) as bench:
        Trainer(bench.chip(), network, rule, on_progress=note).fit(data, epochs=1, batch=BATCH)
    wall, processor = 1e3 * np.diff(np.array(ends)[3:], axis=0).T
    print(
        f"step, ms: shortest {wall.min():.1f}, median {np.median(wall):.1f}; "
        f"processor time, shortest {processor.min():.1f}"
    )


if __name__ == "__main__":
    main()
