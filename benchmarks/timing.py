"""Times as ratios: what is measured and its floor take turns in one process, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

Work = Callable[[], object]


def best_seconds(works: list[Work], rounds: int = 15, least: float = 0.02) -> list[float]:
    """The shortest time (s) of each of ``works``, which take turns; short ones are looped until they
    last ``least`` seconds a turn."""
    loops = []
    for work in works:
        work()  # compiled, and in the cache
        started = time.perf_counter()
        work()
        loops.append(max(1, round(least / max(time.perf_counter() - started, 1e-9))))
    shortest = [float("inf")] * len(works)
    for _ in range(rounds):
        for index, (work, count) in enumerate(zip(works, loops, strict=True)):
            started = time.perf_counter()
            for _ in range(count):
                work()
            shortest[index] = min(shortest[index], (time.perf_counter() - started) / count)
    return shortest
