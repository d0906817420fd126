"""Unitaries and meshes that the tests of this folder share."""

from __future__ import annotations

import numpy as np

from hilonn.mesh import RectangularMesh, SvdMesh, TriangularMesh, haar_unitary
from hilonn.typing import ComplexArray, FloatArray

KINDS = (
    "haar",
    "identity",
    "permutation",
    "diagonal",
    "block",
    "orthogonal",
    "reversal",
    "fourier",
)


def unitary(kind: str, ports: int, rng: np.random.Generator) -> ComplexArray:
    """One unitary (ports, ports) of a kind that stresses a decomposition in its own way."""
    matrix: ComplexArray = np.eye(ports, dtype=np.complex128)
    if kind == "haar":
        matrix = haar_unitary(ports, rng)
    elif kind == "permutation":
        matrix = matrix[rng.permutation(ports)]
    elif kind == "diagonal":
        matrix = np.diag(np.exp(1j * rng.uniform(-np.pi, np.pi, ports)))
    elif kind == "block":
        cut = int(rng.integers(1, ports))
        matrix[:cut, :cut] = haar_unitary(cut, rng)
        matrix[cut:, cut:] = haar_unitary(ports - cut, rng)
    elif kind == "orthogonal":
        matrix = np.linalg.qr(rng.standard_normal((ports, ports)))[0].astype(np.complex128)
    elif kind == "reversal":
        matrix = matrix[::-1].copy()
    elif kind == "fourier":
        matrix = np.fft.fft(matrix, norm="ortho")
    return matrix


def imperfect(
    mzis: int, rng: np.random.Generator, lowest: float = 0.6
) -> tuple[FloatArray, FloatArray]:
    """Splitter errors (mzis, 2) and power transmissions (mzis,)."""
    return 0.1 * rng.standard_normal((mzis, 2)), rng.uniform(lowest, 1.0, mzis)


def random_phases(
    mesh: RectangularMesh | TriangularMesh | SvdMesh, rng: np.random.Generator
) -> FloatArray:
    return rng.uniform(-10.0, 10.0, mesh.phases)
