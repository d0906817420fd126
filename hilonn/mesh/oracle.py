"""The matrix of a mesh written out plainly, as the reference the kernels are tested against.

Dense products of 2x2 embeddings, coupler by coupler; shares no code with the kernels and is slow.
"""

from __future__ import annotations

import numpy as np

from hilonn.typing import ComplexArray, FloatArray, IntArray


def coupler(error: float) -> ComplexArray:
    """BS(e) = [[cos, i sin], [i sin, cos]](pi/4 + e), e in rad."""
    c, s = np.cos(np.pi / 4 + error), np.sin(np.pi / 4 + error)
    return np.array([[c, 1j * s], [1j * s, c]])


def interferometer(
    theta: float, phi: float, first: float = 0.0, second: float = 0.0, transmission: float = 1.0
) -> ComplexArray:
    """BS(second) diag(e^{i theta}, 1) BS(first) diag(e^{i phi}, 1) times the field transmission."""
    inner = np.diag([np.exp(1j * theta), 1])
    outer = np.diag([np.exp(1j * phi), 1])
    product: ComplexArray = coupler(second) @ inner @ coupler(first) @ outer
    return float(np.sqrt(transmission)) * product


def mesh_matrix(
    ports: int,
    top: IntArray,
    flat: FloatArray,
    splitter_errors: FloatArray | None = None,
    mzi_transmission: FloatArray | None = None,
) -> ComplexArray:
    """Matrix (ports, ports) of interferometers on ports ``top`` (mzis,), in the light's order.

    ``flat`` (2 * mzis + ports,) in rad: theta, phi, output.
    """
    mzis = len(top)
    errors = np.zeros((mzis, 2)) if splitter_errors is None else splitter_errors
    powers = np.ones(mzis) if mzi_transmission is None else mzi_transmission
    matrix: ComplexArray = np.eye(ports, dtype=np.complex128)
    for k, m in enumerate(top):
        embedded = np.eye(ports, dtype=np.complex128)
        embedded[m : m + 2, m : m + 2] = interferometer(
            flat[k], flat[mzis + k], errors[k, 0], errors[k, 1], powers[k]
        )
        matrix = embedded @ matrix
    return np.diag(np.exp(1j * flat[2 * mzis :])) @ matrix
