"""Passes: tiles add as fields, pairs keep their gains, plans reprogram least."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.chips import MatrixChip
from hilonn.errors import ConfigError, DivergedError
from hilonn.network import Dense, Network
from hilonn.passes import PairRetake, PassRequest, PassRunner, plan


@pytest.fixture(scope="module")
def chip() -> Iterator[MatrixChip]:
    with Bench.open("ideal", seed=0) as bench:
        bench.light_on()
        yield bench.chip()


def weights_of(network: Network) -> tuple[np.ndarray, ...]:
    return network.initial_weights(np.random.default_rng(0))


def test_a_tiled_layer_is_the_sum_of_its_tiles(chip: MatrixChip) -> None:
    network = Network(Dense(40, 50, "saturating_square"), Dense(50, 3))
    weights = weights_of(network)
    inputs = np.random.default_rng(1).normal(size=(7, 40))
    runner = PassRunner(chip, network.place(chip))
    (trace,) = runner.run([PassRequest(inputs, weights, keep="all")])
    ideal = network.ideal(weights, inputs)
    for layer in range(2):
        np.testing.assert_allclose(trace.before[layer], ideal[layer][0], atol=1e-5)
        np.testing.assert_allclose(trace.after[layer], ideal[layer][1], atol=1e-5)
    assert runner.statistics.passes == 4 * 3 + 4


def test_a_layer_that_fits_lets_the_detector_square(chip: MatrixChip) -> None:
    network = Network(Dense(16, 16, "saturating_square"), Dense(16, 4))
    placed = network.place(chip)
    assert [p.readout for p in placed] == ["power", "homodyne"]
    weights = weights_of(network)
    inputs = np.random.default_rng(1).normal(size=(7, 16))
    (trace,) = PassRunner(chip, placed).run([PassRequest(inputs, weights, keep="all")])
    np.testing.assert_allclose(trace.before[0], (inputs @ weights[0].T) ** 2, atol=1e-5)


def test_power_is_refused_where_physics_forbids_it(chip: MatrixChip) -> None:
    with pytest.raises(ConfigError, match="tiles add as fields"):
        Network(Dense(17, 8, "saturating_square", readout="power")).place(chip)
    with pytest.raises(ConfigError, match="loses the sign"):
        Network(Dense(8, 8, "tanh", readout="power")).place(chip)
    with pytest.raises(ConfigError, match="does not have"):
        Network(Dense(8, 8, readout="balanced")).place(chip)


def test_requests_with_the_same_weights_share_programmings(chip: MatrixChip) -> None:
    network = Network(Dense(20, 20, "tanh"), Dense(20, 2))
    weights, other = weights_of(network), weights_of(network)
    inputs = np.zeros((2, 20))
    placed = network.place(chip)
    one = plan([PassRequest(inputs, weights)], placed)
    assert len(plan([PassRequest(inputs, weights)] * 3, placed)) == len(one) == 6
    assert len(plan([PassRequest(inputs, weights), PassRequest(inputs, other)], placed)) == 12
    partial = plan([PassRequest(inputs, weights), PassRequest(inputs, weights, last=1)], placed)
    assert [p.requests for p in partial.passes] == [(0, 1)] * 4 + [(0,)] * 2
    with pytest.raises(ConfigError, match="layers 1 to 3"):
        plan([PassRequest(inputs, weights, first=1, last=3)], placed)


def test_a_second_trip_keeps_the_first_ones_gain(chip: MatrixChip) -> None:
    network = Network(Dense(8, 8))
    weights = weights_of(network)
    runner = PassRunner(chip, network.place(chip))
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, 8))
    runner.begin_step()
    runner.run([PassRequest(inputs, weights, pair=0)])
    runner.run([PassRequest(1.3 * inputs, weights, pair=0)])
    with pytest.raises(PairRetake):
        runner.run([PassRequest(3.0 * inputs, weights, pair=0)])
    runner.begin_step()
    for scale in (1.0, 3.0):
        (trace,) = runner.run([PassRequest(scale * inputs, weights, pair=0)])
        np.testing.assert_allclose(trace.output, scale * inputs @ weights[0].T, atol=1e-5)


def test_masks_multiply_and_infinity_is_divergence(chip: MatrixChip) -> None:
    network = Network(Dense(8, 8, "tanh"), Dense(8, 2))
    weights = weights_of(network)
    runner = PassRunner(chip, network.place(chip))
    mask = (np.arange(8) % 2).astype(float)
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, 8))
    (trace,) = runner.run([PassRequest(inputs, weights, masks={0: mask})])
    assert not trace.after[0][:, ::2].any()
    with pytest.raises(DivergedError, match="diverged"):
        runner.run([PassRequest(np.full((1, 8), np.inf), weights)])


def test_averages_lower_the_noise() -> None:
    network = Network(Dense(16, 16))
    weights = weights_of(network)
    inputs = np.random.default_rng(0).uniform(-1, 1, (200, 16))
    with Bench.open("simulated", seed=0) as bench:
        bench.light_on()
        runner = PassRunner(bench.chip(), network.place(bench.chip()))

        def noise(averages: int) -> float:
            request = PassRequest(inputs, weights, averages=averages)
            a, b = (runner.run([request])[0].output for _ in range(2))
            return float((a - b).std())

        assert noise(1) == pytest.approx(4 * noise(16), rel=0.15)
