"""Speed of the mesh, as ratios to a BLAS product of the same shape: ``python -m benchmarks mesh``.

The product is (1000, ports) @ (ports, ports) in complex128 on one thread; phases are new in every call.
"""

from __future__ import annotations

import numpy as np

from benchmarks.timing import Work, best_seconds
from hilonn.mesh import RectangularMesh, haar_unitary

VECTORS = 1000
TARGETS = {
    "forward, new phases, 64 ports": 1.6,
    "forward, new phases, 256 ports": 1.8,
    "forward, splitter errors and fresh phase noise, 64 ports": 1.8,
    "forward, splitter errors and fresh phase noise, 256 ports": 2.0,
    "matrix alone, 64 ports": 0.6,
    "decompose, 64 ports": 1.1,
    "decompose, 256 ports": 2.5,
}


def works(ports: int) -> tuple[Work, dict[str, Work]]:
    """The floor, and what is held against it."""
    rng = np.random.default_rng(ports)
    mesh = RectangularMesh(ports)
    count = mesh.mzis
    flawed = RectangularMesh(ports, splitter_errors=0.02 * rng.standard_normal((count, 2)))
    inputs = rng.standard_normal((VECTORS, ports)) + 1j * rng.standard_normal((VECTORS, ports))
    unitary = haar_unitary(ports, rng)
    phases = [rng.uniform(0.0, 2.0 * np.pi, mesh.phases) for _ in range(8)]
    matrix = mesh.matrix_flat(phases[0])
    turn = iter(range(1 << 62))

    def fresh() -> np.ndarray:
        return phases[next(turn) % len(phases)]

    def noisy() -> np.ndarray:
        return fresh() + 0.01 * rng.standard_normal(mesh.phases)

    return lambda: inputs @ unitary.T, {
        "forward, new phases": lambda: inputs @ mesh.matrix_flat(fresh()).T,
        "forward, splitter errors and fresh phase noise": lambda: (
            inputs @ flawed.matrix_flat(noisy()).T
        ),
        "matrix alone": lambda: mesh.matrix_flat(fresh()),
        "decompose": lambda: mesh.decompose_flat(unitary[np.newaxis]),
        "one phase turned": lambda: mesh.turned_flat(
            matrix, phases[0], int(rng.integers(mesh.phases)), 0.3
        ),
    }


def measure() -> dict[str, float]:
    """Figure -> ratio to the product; ``product, N ports`` in GFLOP/s (8 real ones a complex)."""
    figures = {}
    for ports in (16, 64, 256):
        floor, others = works(ports)
        base, *times = best_seconds([floor, *others.values()])
        figures[f"product, {ports} ports, GFLOP/s"] = 8e-9 * VECTORS * ports**2 / base
        for name, seconds in zip(others, times, strict=True):
            figures[f"{name}, {ports} ports"] = seconds / base
    return figures
