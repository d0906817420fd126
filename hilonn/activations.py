"""What a layer's detection makes of a field: f(z) for a signed field, f(p) for a power.

Where a layer fits the chip the photodetector squares, and the rest is applied to the power; where
it is tiled the field is measured signed and all of f is applied digitally (reference: the two
give the same number, since every function here with ``of_power`` is even in z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hilonn.errors import ConfigError
from hilonn.typing import FloatArray


@dataclass(frozen=True, slots=True)
class Activation:
    """``of_field(z)`` and its ``slope(z)``; ``of_power(p)`` with p = |z|^2 where f is even.

    ``initial_gain`` scales He-uniform initial weights: square laws start small, or they saturate.
    """

    name: str
    of_field: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]
    of_power: Callable[[FloatArray], FloatArray] | None
    initial_gain: float

    def lowered(self, by: float) -> Activation:
        """The same less a constant."""
        field, power = self.of_field, self.of_power
        return replace(
            self,
            of_field=lambda z: field(z) - by,
            of_power=None if power is None else lambda p: power(p) - by,
        )


def _saturating(power: FloatArray) -> FloatArray:
    # A reading can be slightly negative (noise about the baseline), never near -1 unless the
    # detector's range is far below its noise: p/(1+p) is taken odd there, so it stays finite.
    return power / (1.0 + np.abs(power))


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("linear", lambda z: z, np.ones_like, None, 1.0),
        Activation("relu", lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0, None, 1.0),
        Activation("tanh", np.tanh, lambda z: 1.0 - np.tanh(z) ** 2, None, 1.0),
        Activation("square", lambda z: z * z, lambda z: 2.0 * z, lambda p: p, 0.3),
        Activation(
            "saturating_square",
            lambda z: _saturating(z * z),
            lambda z: 2.0 * z / (1.0 + z * z) ** 2,
            _saturating,
            0.3,
        ),
        Activation(
            "sine_squared",
            lambda z: np.sin(z) ** 2,
            lambda z: np.sin(2.0 * z),
            lambda p: np.sin(np.sqrt(np.abs(p))) ** 2 * np.sign(p),
            0.3,
        ),
    )
}


def activation(name: str) -> Activation:
    """The activation called ``name``; ConfigError with the known names otherwise."""
    if name not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
