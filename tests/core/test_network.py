"""Layers: what they make of a field, and what they begin with."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.activations import activation
from hilonn.errors import ConfigError
from hilonn.network import Dense, Network


def test_a_lowered_activation_is_the_same_less_a_constant_for_fields_and_powers() -> None:
    z = np.linspace(-3.0, 3.0, 31)
    plain, lowered = Dense(2, 2, "saturating_square"), Dense(2, 2, "saturating_square", offset=0.2)
    np.testing.assert_allclose(
        lowered.function.of_field(z), plain.function.of_field(z) - 0.2, rtol=0, atol=1e-15
    )
    assert lowered.function.of_power is not None
    np.testing.assert_allclose(
        lowered.function.of_power(z * z), lowered.function.of_field(z), rtol=0, atol=1e-15
    )
    np.testing.assert_array_equal(lowered.function.slope(z), plain.function.slope(z))
    assert Dense(2, 2, "tanh", offset=0.1).function.of_power is None


def test_the_initial_gain_scales_the_weights_that_learning_begins_with() -> None:
    def drawn(layer: Dense) -> np.ndarray:
        return layer.initial_weights(np.random.default_rng(0))

    usual = drawn(Dense(5, 4, "saturating_square"))
    twice = drawn(Dense(5, 4, "saturating_square", initial_gain=0.6))
    assert activation("saturating_square").initial_gain == 0.3
    np.testing.assert_allclose(twice, 2.0 * usual, rtol=1e-6)


@pytest.mark.parametrize("gain", [0.0, -1.0, float("inf")])
def test_a_senseless_gain_is_refused(gain: float) -> None:
    with pytest.raises(ConfigError, match="initial_gain"):
        Dense(2, 2, initial_gain=gain)


def test_a_senseless_offset_is_refused() -> None:
    with pytest.raises(ConfigError, match="offset"):
        Dense(2, 2, offset=float("nan"))


def test_layers_must_fit_one_another() -> None:
    with pytest.raises(ConfigError, match="layer 0 has 3 outputs and layer 1 has 4"):
        Network(Dense(2, 3), Dense(4, 2))
