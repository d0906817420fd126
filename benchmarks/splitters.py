"""What known splitter errors cost a matrix: ``python -m benchmarks.splitters``.

Random real matrices on an SVD mesh whose couplers are 20 mrad off and known; the relative error (Frobenius) of
the part in phase, which homodyne reads, with phases of an ideal mesh, with corrected ones, and with those
of a descent of all phases; then the same with another 10 mrad on each phase, unknown.
"""

from __future__ import annotations

import numpy as np

from hilonn.chips.descent import Model, solve
from hilonn.mesh import SvdMesh
from hilonn.typing import FloatArray

SPLITTERS, UNKNOWN = 0.02, 0.01


def left_over(ports: int, outputs: int, count: int, descend: bool) -> list[str]:
    """One cell a way of programming: error in per cent, and with what the record does not know."""
    rng = np.random.default_rng(0)
    ideal = SvdMesh(ports)
    known, unknown = [], []
    for _ in range(count):
        wanted = np.zeros((ports, ports))
        wanted[:outputs] = rng.standard_normal((outputs, ports))
        wanted /= np.linalg.norm(wanted, 2)
        mesh = SvdMesh(ports, splitter_errors=SPLITTERS * rng.standard_normal((ports**2, 2)))
        phases = ideal.decompose(wanted)
        ways = [phases, mesh.corrected_flat(phases[np.newaxis])[0]]
        if descend:
            free = np.ones(len(phases), bool)
            turn = np.ones((ports, ports), complex)
            ways.append(solve(Model(mesh, turn, free, 1.0), ways[1], 0.95 * wanted))

        def error(way: FloatArray, size: float, mesh: SvdMesh, wanted: FloatArray) -> float:
            missing = (mesh.matrix(way).real - size * wanted)[:outputs]
            return float(np.linalg.norm(missing) / np.linalg.norm(size * wanted))

        off = UNKNOWN * rng.standard_normal(len(phases))
        sizes = (1.0, 1.0, 0.95)
        known.append([error(w, s, mesh, wanted) for w, s in zip(ways, sizes, strict=False)])
        unknown.append([error(w + off, s, mesh, wanted) for w, s in zip(ways, sizes, strict=False)])
    pairs = zip(100 * np.mean(known, axis=0), 100 * np.mean(unknown, axis=0), strict=True)
    return [f"{a:.2f} ({b:.2f})" for a, b in pairs]


def main() -> None:
    """One row a tile's shape."""
    print("| tile | as on ideal splitters | corrected | all phases by descent |")
    print("|---|---|---|---|")
    for ports, outputs, count, descend in (
        (16, 16, 20, True),
        (16, 10, 20, True),
        (64, 64, 5, False),
        (64, 10, 5, False),
    ):
        cells = left_over(ports, outputs, count, descend)
        print(f"| {outputs} x {ports} | " + " | ".join([*cells, "-"][:3]) + " |")


if __name__ == "__main__":
    main()
