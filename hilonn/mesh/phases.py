"""The phases of one interferometer mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.errors import ConfigError
from hilonn.typing import FloatArray


@dataclass(frozen=True, eq=False)
class MeshPhases:
    """Phases of one mesh in rad: ``theta`` (mzis,), ``phi`` (mzis,), ``output`` (ports,).

    ``theta`` is the phase inside an interferometer, ``phi`` the one before it on its upper arm,
    ``output`` the one on each port behind the last column. The same shape holds gradients.
    """

    theta: FloatArray
    phi: FloatArray
    output: FloatArray

    def flat(self) -> FloatArray:
        """All phases in one vector (2 * mzis + ports,): theta, phi, output."""
        return np.concatenate((self.theta, self.phi, self.output))

    @classmethod
    def from_flat(cls, flat: FloatArray, mzis: int, ports: int) -> MeshPhases:
        """Split ``flat`` (2 * mzis + ports,). Raises ConfigError for another shape."""
        if np.shape(flat) != (2 * mzis + ports,):
            raise ConfigError(
                f"A mesh of {ports} ports and {mzis} interferometers has {2 * mzis + ports} "
                f"phases; an array of shape {np.shape(flat)} was given. Give one phase for each."
            )
        return cls(flat[:mzis], flat[mzis : 2 * mzis], flat[2 * mzis :])
