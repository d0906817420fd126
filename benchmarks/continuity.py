"""Phases that jump when weights change a little: ``python -m benchmarks.continuity``.

Random 16 x 16 matrices on the ideal chip, changed by a relative amount; the share of phases that
move by more than 0.5 rad, programmed near to the last settings and afresh (naive).
"""

from __future__ import annotations

import numpy as np

from hilonn.bench import Bench

MATRICES = 200


def main() -> None:
    """One row a relative change."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((MATRICES, 16, 16))
    change = rng.standard_normal(first.shape)
    with Bench.open("ideal", seed=0) as bench:
        chip = bench.chip()
        before = chip.compile(first, [None] * MATRICES)

        def moved(size: float, near: bool) -> float:
            hints = before if near else [None] * MATRICES
            after = chip.compile(first + size * change, hints)
            jumps = [
                np.abs(a.self_phase - b.self_phase) > 0.5
                for a, b in zip(after, before, strict=True)
            ]
            return float(100 * np.mean(jumps))

        for size in (1e-4, 1e-3, 1e-2):
            print(
                f"change {size:.0e}: {moved(size, True):.3f} % of phases jump when programmed near "
                f"to the last, {moved(size, False):.3f} % afresh"
            )


if __name__ == "__main__":
    main()
