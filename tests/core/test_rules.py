"""The rules against their equations, on trips computed here without any chip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from hilonn.errors import DivergedError
from hilonn.network import Dense, Network
from hilonn.passes import PassRequest, Trace
from hilonn.rules import (
    Backprop,
    DirectFeedbackAlignment,
    InSituBackprop,
    NoiseReading,
    PhysicsAware,
    Rule,
    Spsa,
    StepResult,
    TrainingBatch,
    TwoPass,
)
from hilonn.rules.rule import sample_loss, scheduled, softmax

NETWORK = Network(Dense(5, 7, "saturating_square"), Dense(7, 6, "saturating_square"), Dense(6, 3))

UNLIMITED = {"error_limit": 0.0, "step_limit": 0.0}


def ideal_trip(network: Network, request: PassRequest) -> Trace:
    """What a perfect chip would answer."""
    x, before, after = request.inputs, [], []
    layers = range(request.first, request.last or len(network.layers))
    if request.direction == "backward":
        for index in reversed(layers):
            x = x @ request.weights[index]
        return Trace(request, x, [x], [], ("homodyne",) * len(layers))
    for index in layers:
        before.append(x @ request.weights[index].T)
        x = network.layers[index].function.of_field(before[-1])
        after.append(x)
    return Trace(request, x, after, before, ("homodyne",) * len(layers))


def run_step(
    rule: Rule, network: Network, state: dict, weights: tuple, batch: TrainingBatch
) -> tuple[StepResult, list[Sequence[PassRequest]]]:
    """Drive a step's generator; also the groups of requests that it made."""
    generator = rule.step(network, weights, state, batch)
    asked = []
    try:
        requests = next(generator)
        while True:
            asked.append(requests)
            requests = generator.send([ideal_trip(network, r) for r in requests])
    except StopIteration as stop:
        return stop.value, asked


@pytest.fixture
def batch() -> TrainingBatch:
    rng = np.random.default_rng(3)
    labels = np.array([0, 1, 2, 1])
    return TrainingBatch(rng.uniform(-1, 1, (4, 5)), np.eye(3)[labels], labels, progress=0.25)


def start(rule: Rule, network: Network = NETWORK) -> tuple[tuple, dict]:
    rng = np.random.default_rng(1)
    return network.initial_weights(rng), rule.initial_state(network, rng)


def updates(result: StepResult, weights: tuple) -> list[np.ndarray]:
    return [before - after for before, after in zip(weights, result.weights, strict=True)]


def saturating(z: np.ndarray) -> np.ndarray:
    return z**2 / (1 + z**2)


def test_two_pass_follows_its_equations(batch: TrainingBatch) -> None:
    rule = TwoPass(feedback_scale=0.7, rate=0.2, hidden_rate=0.3, schedule="constant", **UNLIMITED)
    weights, state = start(rule)
    result, _ = run_step(rule, NETWORK, state, weights, batch)
    w1, w2, w3 = weights
    x = batch.inputs
    x1 = saturating(x @ w1.T)
    x2 = saturating(x1 @ w2.T)
    error = x2 @ w3.T - batch.targets
    modulated = x - 0.7 * error @ state["feedback"][0].T
    y1 = saturating(modulated @ w1.T)
    y2 = saturating(y1 @ w2.T)
    samples = len(x)
    expected = [
        0.3 / samples * ((x1 - y1) / 0.7).T @ x,
        0.3 / samples * ((x2 - y2) / 0.7).T @ x1,
        0.2 * 128 / 6 / samples * error.T @ x2,
    ]
    for got, wanted in zip(updates(result, weights), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_pepita_settings_use_the_second_trip(batch: TrainingBatch) -> None:
    rule = TwoPass(
        feedback_scale=0.05,
        rate=0.1,
        hidden_rate=0.1,
        normalise=False,
        presynaptic="second",
        output="softmax",
        scale_rate=False,
        schedule="constant",
        **UNLIMITED,
    )
    weights, state = start(rule)
    result, _ = run_step(rule, NETWORK, state, weights, batch)
    w1, w2, w3 = weights
    x = batch.inputs
    x1 = saturating(x @ w1.T)
    x2 = saturating(x1 @ w2.T)
    error = softmax(x2 @ w3.T) - batch.targets
    modulated = x - 0.05 * error @ state["feedback"][0].T
    y1 = saturating(modulated @ w1.T)
    y2 = saturating(y1 @ w2.T)
    expected = [
        0.1 / 4 * (x1 - y1).T @ modulated,
        0.1 / 4 * (x2 - y2).T @ y1,
        0.1 / 4 * error.T @ y2,
    ]
    for got, wanted in zip(updates(result, weights), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-6)


def test_second_trip_leaves_the_last_layer_out(batch: TrainingBatch) -> None:
    rule = TwoPass()
    weights, state = start(rule)
    _, asked = run_step(rule, NETWORK, state, weights, batch)
    assert [(r.first, r.last) for group in asked for r in group] == [(0, None), (0, 2)]
    assert {r.pair for group in asked for r in group} == {0}


def test_error_at_every_layer_enters_each_layers_own_input(batch: TrainingBatch) -> None:
    rule = TwoPass(error_enters="layers", feedback_scale=2.0, **UNLIMITED)
    weights, state = start(rule)
    _, asked = run_step(rule, NETWORK, state, weights, batch)
    assert [f.shape for f in state["feedback"]] == [(5, 3), (7, 3)]
    assert [(r.first, r.last) for r in asked[1]] == [(0, 1), (1, 2)]
    x1 = saturating(batch.inputs @ weights[0].T)
    error = saturating(x1 @ weights[1].T) @ weights[2].T - batch.targets
    np.testing.assert_allclose(
        asked[1][1].inputs, x1 - 2.0 * error @ state["feedback"][1].T, rtol=1e-5
    )


def test_abba_averages_away_a_drift_linear_in_time(batch: TrainingBatch) -> None:
    """Every trip adds a drift that grows by the same amount: A B B A must not see it."""

    def step_with_drift(rule: TwoPass, slope: float) -> StepResult:
        weights, state = start(rule)
        generator = rule.step(NETWORK, weights, state, batch)
        requests, trip = next(generator), 0
        try:
            while True:
                traces = []
                for request in requests:
                    trace = ideal_trip(NETWORK, request)
                    drift = slope * trip
                    # Drift on hidden activations only: e, and so trip B's input, stays the same.
                    after = [*(a + drift for a in trace.after[:2]), *trace.after[2:]]
                    traces.append(Trace(request, trace.output, after, [], trace.readouts))
                    trip += 1
                requests = generator.send(traces)
        except StopIteration as stop:
            result: StepResult = stop.value
            return result

    for order, cancels in (("ABBA", True), ("AB", False)):
        rule = TwoPass(order=order, schedule="constant", **UNLIMITED)
        still = step_with_drift(rule, 0.0)
        drifting = step_with_drift(rule, 1e-3)
        same = np.allclose(drifting.weights[0], still.weights[0], atol=1e-7)
        assert same is cancels, order


def test_time_local_meets_the_weights_that_trip_a_made(batch: TrainingBatch) -> None:
    rule = TwoPass(update="time_local", schedule="constant", hidden_rate=0.3, feedback_scale=0.5)
    weights, state = start(rule)
    _, asked = run_step(rule, NETWORK, state, weights, batch)
    x1 = saturating(batch.inputs @ weights[0].T)
    expected = weights[0] - 0.3 / 0.5 / 4 * x1.T @ batch.inputs
    np.testing.assert_allclose(asked[1][0].weights[0], expected, rtol=1e-5, atol=1e-7)


def test_momentum_and_schedule(batch: TrainingBatch) -> None:
    rule = TwoPass(momentum=0.5, schedule="constant", **UNLIMITED)
    weights, state = start(rule)
    first, _ = run_step(rule, NETWORK, state, weights, batch)
    # The same weights again: the gradient is the same, the step is 1.5 times as long.
    again, _ = run_step(rule, NETWORK, first.state, weights, batch)
    for one, two in zip(updates(first, weights), updates(again, weights), strict=True):
        np.testing.assert_allclose(two, 1.5 * one, rtol=1e-3, atol=1e-6)
    assert scheduled("cosine", 0.0) == 1.0
    assert scheduled("cosine", 0.5) == pytest.approx(0.5)
    assert [scheduled("step", p) for p in (0.5, 0.7, 0.95)] == [1.0, 0.1, 0.01]


def test_a_step_changes_nothing_that_it_was_given(batch: TrainingBatch) -> None:
    rule = TwoPass()
    weights, state = start(rule)
    copies = [w.copy() for w in weights], [v.copy() for v in state["velocity"]]
    first, _ = run_step(rule, NETWORK, state, weights, batch)
    again, _ = run_step(rule, NETWORK, state, weights, batch)
    for w, copy in zip(weights, copies[0], strict=True):
        np.testing.assert_array_equal(w, copy)
    for v, copy in zip(state["velocity"], copies[1], strict=True):
        np.testing.assert_array_equal(v, copy)
    for one, two in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_backprop_is_the_gradient_of_the_ideal_model(batch: TrainingBatch, output: str) -> None:
    rule = Backprop(
        rate=1.0, scale_rate=False, schedule="constant", momentum=0.0, output=output, **UNLIMITED
    )
    weights, state = start(rule)
    result, asked = run_step(rule, NETWORK, state, weights, batch)
    assert asked == []

    def loss(layer: int, row: int, column: int, change: float) -> float:
        moved = [w.astype(float).copy() for w in weights]
        moved[layer][row, column] += change
        outputs = NETWORK.ideal(tuple(moved), batch.inputs)[-1][1]
        return float(rule.loss(outputs, batch.targets).mean())

    for layer, (row, column) in ((0, (2, 3)), (1, (4, 1)), (2, (1, 5))):
        slope = (loss(layer, row, column, 1e-4) - loss(layer, row, column, -1e-4)) / 2e-4
        got = updates(result, weights)[layer][row, column]
        assert got == pytest.approx(slope, rel=1e-2, abs=1e-5)


def test_divergence_is_an_error_and_not_a_result(batch: TrainingBatch) -> None:
    rule = TwoPass(rate=1e38, hidden_rate=1e38, feedback_scale=1e-3, **UNLIMITED)
    weights, state = start(rule)
    with pytest.raises(DivergedError, match="diverged"), np.errstate(all="ignore"):
        run_step(rule, NETWORK, state, weights, batch)


def test_settings_are_validated() -> None:
    with pytest.raises(ValidationError):
        TwoPass(feedback_scale=0.0)
    with pytest.raises(ValidationError):
        TwoPass(hiden_rate=0.1)
    with pytest.raises(ValidationError):
        TwoPass(momentum=1.0)


def test_softmax_loss_of_huge_outputs_is_finite() -> None:
    outputs = np.array([[1e4, 0.0, -1e4]])
    loss = sample_loss("softmax", outputs, np.array([[0.0, 1.0, 0.0]]))
    assert loss[0] == pytest.approx(1e4)


def test_an_error_beyond_its_limit_counts_as_the_limit(batch: TrainingBatch) -> None:
    held = TwoPass(error_limit=0.1, step_limit=0.0)
    errors = held.error(np.array([[2.0, 0.05, -3.0]]), np.zeros((1, 3)))
    np.testing.assert_allclose(errors, [[0.1, 0.05, -0.1]])
    # The loss is the integral of that: 0.1 (2 - 0.05) + 0.05^2 / 2 + 0.1 (3 - 0.05).
    loss = held.loss(np.array([[2.0, 0.05, -3.0]]), np.zeros((1, 3)))
    assert loss[0] == pytest.approx(0.195 + 0.00125 + 0.295)


def test_a_step_moves_no_layer_by_more_than_its_limit(batch: TrainingBatch) -> None:
    rule = TwoPass(rate=100.0, hidden_rate=100.0, step_limit=0.03)
    weights, state = start(rule)
    result, _ = run_step(rule, NETWORK, state, weights, batch)
    for moved, w in zip(updates(result, weights), weights, strict=True):
        assert np.linalg.norm(moved) == pytest.approx(0.03 * np.linalg.norm(w), rel=1e-3)


@pytest.mark.parametrize("kind", [PhysicsAware, InSituBackprop])
def test_on_a_perfect_chip_the_chain_rule_is_back_propagation(
    batch: TrainingBatch, kind: type[PhysicsAware]
) -> None:
    weights, state = start(Backprop())
    wanted, _ = run_step(Backprop(), NETWORK, state, weights, batch)
    got, _ = run_step(kind(), NETWORK, state, weights, batch)
    for one, two in zip(updates(got, weights), updates(wanted, weights), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_in_situ_sends_every_hidden_error_backward_through_the_chip(batch: TrainingBatch) -> None:
    rule = InSituBackprop()
    weights, state = start(rule)
    _, asked = run_step(rule, NETWORK, state, weights, batch)
    assert [(r.direction, r.first, r.last) for (r,) in asked] == [
        ("forward", 0, None),
        ("backward", 2, 3),
        ("backward", 1, 2),
    ]


def test_feedback_by_the_transposed_weights_is_back_propagation(batch: TrainingBatch) -> None:
    """With one hidden layer and B = W_2^T, direct feedback is the chain rule."""
    network = Network(Dense(5, 7, "saturating_square"), Dense(7, 3))
    rule = DirectFeedbackAlignment()
    weights, state = start(rule, network)
    state["feedback"] = [weights[1].T.astype(float)]
    got, _ = run_step(rule, network, state, weights, batch)
    wanted, _ = run_step(Backprop(), network, state, weights, batch)
    for one, two in zip(updates(got, weights), updates(wanted, weights), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_perturbations_point_downhill_on_average(batch: TrainingBatch) -> None:
    rule = Spsa(rate=1e-3, perturbation=1e-3, directions=400, momentum=0.0, **UNLIMITED)
    weights, state = start(rule)
    result, _ = run_step(rule, NETWORK, state, weights, batch)
    exact = Backprop(rate=1e-3, scale_rate=False, momentum=0.0, **UNLIMITED)
    wanted, _ = run_step(exact, NETWORK, exact.initial_state(NETWORK, None), weights, batch)
    one = np.concatenate([u.ravel() for u in updates(result, weights)])
    two = np.concatenate([u.ravel() for u in updates(wanted, weights)])
    # 400 directions among 95 weights: the cosine's expectation is sqrt(400 / 495).
    assert one @ two / np.linalg.norm(one) / np.linalg.norm(two) > 0.8


@pytest.mark.parametrize("rule", [Spsa(), DirectFeedbackAlignment(), InSituBackprop()])
def test_a_restarted_step_is_the_same_step(batch: TrainingBatch, rule: Rule) -> None:
    weights, state = start(rule)
    first, _ = run_step(rule, NETWORK, state, weights, batch)
    again, _ = run_step(rule, NETWORK, state, weights, batch)
    for one, two in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("noise", "plays"), [(0.0, 1), (0.08, 4), (0.5, 16)])
def test_automatic_averages_quieten_the_hidden_layers(
    batch: TrainingBatch, noise: float, plays: int
) -> None:
    rule = TwoPass(averages="auto", feedback_scale="auto")
    weights, state = start(rule)
    after = [a for _, a in NETWORK.ideal(weights, batch.inputs)]
    scatter = tuple(noise * float(a.std()) for a in after)
    reading = NoiseReading(batch.inputs, after, scatter, batch.targets, weights, state)
    settled = rule.settled(reading)
    assert settled.averages == plays
    assert rule.plays == 1 and settled.plays == plays


def test_automatic_feedback_grows_with_the_noise(batch: TrainingBatch) -> None:
    rule = TwoPass(feedback_scale="auto")
    weights, state = start(rule)
    after = [a for _, a in NETWORK.ideal(weights, batch.inputs)]
    scales = []
    for noise in (0.0, 0.05, 0.5):
        scatter = tuple(noise * float(a.std()) for a in after)
        reading = NoiseReading(batch.inputs, after, scatter, batch.targets, weights, state)
        scales.append(rule.settled(reading).feedback_scale)
    assert scales[0] < scales[1] < scales[2]
    assert scales[2] == pytest.approx(2.4 * scales[0])  # held between its bounds


def test_two_pass_tells_the_signal_to_noise_of_the_difference(batch: TrainingBatch) -> None:
    rule = TwoPass()
    weights, state = start(rule)
    quiet, _ = run_step(rule, NETWORK, state, weights, batch)
    assert "snr_0" not in quiet.metrics
    told = TrainingBatch(
        batch.inputs, batch.targets, batch.labels, batch.progress, noise=(1e-3, 1e-3, 1e-3)
    )
    result, _ = run_step(rule, NETWORK, state, weights, told)
    x1 = saturating(batch.inputs @ weights[0].T)
    difference = result.metrics["difference_0"] * np.sqrt((x1**2).mean())
    expected = np.sqrt(max(difference**2 - 2e-6, 0.0) / 2e-6)
    assert result.metrics["snr_0"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("entries", ["input", "layers"])
def test_mirrored_feedback_is_the_transpose_of_what_it_leads_around(
    batch: TrainingBatch, entries: str
) -> None:
    rule = TwoPass(
        error_enters=entries, feedback="mirrored", feedback_scale=0.5, averages=1, **UNLIMITED
    )
    weights, state = start(rule)
    _, asked = run_step(rule, NETWORK, state, weights, batch)
    (first,) = asked[0]
    trip = ideal_trip(NETWORK, first)
    error = trip.output - batch.targets
    entering = [batch.inputs, *trip.after]
    around = [weights[2] @ weights[1] @ weights[0], weights[2] @ weights[1]]
    for layer, request in enumerate(asked[1]):
        wanted = around[layer].T
        wanted = wanted * np.sqrt(2.0 / len(wanted)) / np.sqrt((wanted**2).mean())
        np.testing.assert_allclose(
            request.inputs, entering[layer] - 0.5 * error @ wanted.T, rtol=1e-5, atol=1e-7
        )
    assert len(asked[1]) == (1 if entries == "input" else 2)


def test_at_rest_nothing_is_in_motion(batch: TrainingBatch) -> None:
    rule = TwoPass(feedback_scale=1.0, averages=1)
    weights, state = start(rule)
    result, _ = run_step(rule, NETWORK, state, weights, batch)
    assert any(np.abs(v).max() > 0 for v in result.state["velocity"])
    rested = rule.at_rest(result.state)
    assert all(not v.any() for v in rested["velocity"])
    assert rested["feedback"] is result.state["feedback"]
