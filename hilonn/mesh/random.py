"""Random unitary matrices."""

from __future__ import annotations

import numpy as np

from hilonn.errors import ConfigError
from hilonn.typing import ComplexArray


def haar_unitary(ports: int, rng: np.random.Generator) -> ComplexArray:
    """A unitary (ports, ports), complex128, uniform in the Haar measure.

    QR of a complex Gaussian matrix with the phases of R's diagonal moved into Q, without which
    the draw is not uniform (Mezzadri, Notices of the AMS 54, 592, 2007). Raises ConfigError for
    ports < 1.
    """
    if ports < 1:
        raise ConfigError(f"A unitary of {ports} ports was asked for; ports must be at least 1.")
    gaussian = rng.standard_normal((ports, ports)) + 1j * rng.standard_normal((ports, ports))
    q, r = np.linalg.qr(gaussian)
    diagonal = np.diagonal(r)
    unitary: ComplexArray = q * (diagonal / np.abs(diagonal))
    return unitary
