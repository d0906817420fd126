"""Two-pass forward propagation: learn from the difference of two trips through the chip.

Trip A takes the input x through the layers: activations X_l, error e = X_L - t. Trip B takes the
modulated input x - F e. Hidden layers learn from (X_l - X'_l)^T X_{l-1}, the last from e^T X_{L-1}
(Ahmadnejad & Koohi, arXiv:2408.08337; Dellaferrera & Kreiman 2022, "PEPITA"; the presynaptic
factor of the first pass and the error at every layer: Srinivasan et al., arXiv:2302.05440).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from hilonn.network import Network
from hilonn.passes import PassRequest, Trace, Weights
from hilonn.rules.gradient_rule import GradientRule, Positive
from hilonn.rules.rule import NoiseReading, StepGenerator, TrainingBatch
from hilonn.typing import FloatArray, Snapshot

AUDIBLE = 15.0
LEAST_SHARE, MOST_SHARE = 0.5, 1.2
"""Of rms(W_1 F e) over rms(z) with the error that learning begins with; it ends at a fifth of it. Larger
ones are no longer linear in F, and cost more than the noise that they hide (docs/explanation/noise.md)."""


class TwoPass(GradientRule):
    """The rule and its settings; an experiment file's ``[rule]`` section is one of these.

    ``feedback_scale``: F = feedback_scale * U(-a, a), a = sqrt(6 / inputs). It is a
    signal-to-noise choice, "auto": from the noise that is measured before the first step. With ``normalise`` the difference X - X' is divided by it, so that
    ``hidden_rate`` alone is the hidden layers' rate (physics rule 7).
    ``presynaptic``: the factor X_{l-1} of an update is the first or the second trip's.
    ``error_enters``: at the network's input, or at every hidden layer's own input (F_l each).
    ``feedback``: F stays as it was drawn, or is the transpose of the layers that it leads around, (W_L ...
    W_l)^T, at a random one's size: the weights are known, so nothing has to be measured for it
    (weight mirroring, Akrout et al. 2019; for PEPITA Srinivasan et al. 2023).
    ``order``: AB, or ABBA, which cancels a drift linear in time at twice the passes.
    ``update``: "together" after both trips, or "time_local": the part that trip A knows right
    after it, the part that trip B knows after that (trip B then meets changed weights).
    The other settings are those of every gradient rule.
    PEPITA as published: feedback_scale 0.05, normalise false, presynaptic "second", output
    "softmax", scale_rate false, hidden_rate = rate, error_limit 0, step_limit 0.
    """

    name: Literal["two_pass"] = "two_pass"
    feedback_scale: Positive | Literal["auto"] = "auto"
    averages: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    rate: Positive = 0.2
    hidden_rate: Positive | None = 0.25
    normalise: bool = True
    presynaptic: Literal["first", "second"] = "first"
    error_enters: Literal["input", "layers"] = "input"
    feedback: Literal["random", "mirrored"] = "random"
    order: Literal["AB", "ABBA"] = "AB"
    update: Literal["together", "time_local"] = "together"

    @property
    def scale(self) -> float:
        """``feedback_scale``, 1 while it is not settled."""
        return 1.0 if self.feedback_scale == "auto" else self.feedback_scale

    def settled(self, reading: NoiseReading) -> Self:
        """Averages first; then F so large that what it does to the first hidden layer's fields is
        ``AUDIBLE`` times the noise that two readings leave, within physics.md's bounds: below, noise
        hides the difference; above, it is no longer linear in F."""
        rule = super().settled(reading)
        if self.feedback_scale != "auto" or len(reading.weights) == 1:
            return (
                rule
                if self.feedback_scale != "auto"
                else rule.model_copy(update={"feedback_scale": 2.0})
            )
        fields = reading.inputs @ reading.weights[0].T
        error = self.error(reading.after[-1], reading.targets)
        feedback = self._feedback(reading.weights, reading.state)
        moved = (error @ feedback[0].T) @ reading.weights[0].T
        share = _rms(moved) / max(_rms(fields), 1e-30)
        noise = (
            np.sqrt(2.0 / rule.plays) * reading.noise[0] / max(float(reading.after[0].std()), 1e-30)
        )
        wanted = float(np.clip(AUDIBLE * noise, LEAST_SHARE, MOST_SHARE))
        return rule.model_copy(update={"feedback_scale": wanted / max(share, 1e-30)})

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        """Feedback matrices F (inputs, network outputs) of scale 1, one or one a hidden layer;
        velocities."""
        entries = network.layers[:1] if self.error_enters == "input" else network.layers[:-1]
        feedback = []
        for layer in entries:
            bound = np.sqrt(6.0 / layer.inputs)
            feedback.append(rng.uniform(-bound, bound, (layer.inputs, network.outputs)))
        return super().initial_state(network, rng) | {"feedback": feedback}

    def _feedback(self, weights: Weights, state: Snapshot) -> list[FloatArray]:
        """F (a layer's inputs, network outputs) of scale 1, one an entry of the error."""
        drawn: list[FloatArray] = state["feedback"]
        if self.feedback == "random":
            return drawn
        around = np.eye(len(weights[-1]))
        mirrored = []
        for w in reversed(weights):
            around = around @ w
            size = np.sqrt(2.0 / w.shape[1]) / max(_rms(around), 1e-30)  # a drawn one's rms
            mirrored.append(size * around.T)
        return mirrored[::-1][: len(drawn)]

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        """One update; the last layer is not run in trip B, which learns nothing from it."""
        x = np.asarray(batch.inputs, dtype=float)
        feedback = [self.scale * f for f in self._feedback(weights, state)]
        (first,) = yield [PassRequest(x, weights, averages=self.plays, pair=0)]
        clean = [x, *first.after]
        error = self.error(first.output, batch.targets)
        halfway = weights
        if self.update == "time_local":
            halfway = self._after_first(network, weights, clean, batch)
        second = yield from self._second(network, halfway, feedback, clean, error)
        if self.order == "ABBA":
            again = yield from self._second(network, halfway, feedback, clean, error)
            (last,) = yield [PassRequest(x, weights, averages=self.plays, pair=0)]
            second = [(a + b) / 2 for a, b in zip(second, again, strict=True)]
            clean = [x, *((a + b) / 2 for a, b in zip(first.after, last.after, strict=True))]
            error = self.error(clean[-1], batch.targets)
        modulated = self._modulated(x, feedback, error, clean, second)
        gradients = self._gradients(clean, second, modulated, error, batch)
        metrics = _difference_metrics(clean, second, batch.noise, self.order)
        return self.updated(network, weights, state, batch, gradients, clean[-1], metrics)

    def _second(
        self,
        network: Network,
        weights: Weights,
        feedback: Sequence[FloatArray],
        clean: Sequence[FloatArray],
        error: FloatArray,
    ) -> Generator[Sequence[PassRequest], list[Trace], list[FloatArray]]:
        """Hidden activations of trip B, one a hidden layer."""
        hidden = len(network.layers) - 1
        if hidden == 0:
            return []
        if self.error_enters == "input":
            modulated = clean[0] - error @ feedback[0].T
            (trace,) = yield [
                PassRequest(modulated, weights, last=hidden, averages=self.plays, pair=0)
            ]
            return list(trace.after)
        traces = yield [
            PassRequest(
                clean[layer] - error @ feedback[layer].T,
                weights,
                first=layer,
                last=layer + 1,
                averages=self.plays,
                pair=0,
            )
            for layer in range(hidden)
        ]
        return [trace.output for trace in traces]

    def _modulated(
        self,
        x: FloatArray,
        feedback: Sequence[FloatArray],
        error: FloatArray,
        clean: Sequence[FloatArray],
        second: Sequence[FloatArray],
    ) -> list[FloatArray]:
        """What entered each layer in trip B: the second pass's presynaptic factors."""
        if self.error_enters == "input":
            return [x - error @ feedback[0].T, *second] if second else [x]
        return [clean[layer] - error @ feedback[layer].T for layer in range(len(second))] + [
            clean[-2]
        ]

    def _gradients(
        self,
        clean: Sequence[FloatArray],
        second: Sequence[FloatArray],
        modulated: Sequence[FloatArray],
        error: FloatArray,
        batch: TrainingBatch,
    ) -> list[FloatArray]:
        samples = len(error)
        scale = samples * (self.scale if self.normalise else 1.0)
        before = clean if self.presynaptic == "first" else modulated
        if self.update == "time_local":
            gradients = [
                (clean[k + 1].T @ clean[k] - second[k].T @ modulated[k]) / scale
                for k in range(len(second))
            ]
            last = (
                (error + batch.targets).T @ clean[-2] - batch.targets.T @ modulated[len(second)]
            ) / samples
        else:
            gradients = [
                (clean[k + 1] - second[k]).T @ before[k] / scale for k in range(len(second))
            ]
            last = error.T @ before[len(second)] / samples
        return [*gradients, last]

    def _after_first(
        self, network: Network, weights: Weights, clean: Sequence[FloatArray], batch: TrainingBatch
    ) -> Weights:
        """Weights after trip A's part of a time-local update (hidden layers only meet trip B)."""
        scale = len(clean[0]) * (self.scale if self.normalise else 1.0)
        rate = self.rates(network, batch)[0]
        hidden = [
            (w - np.float32(rate / scale) * (clean[k + 1].T @ clean[k])).astype(np.float32)
            for k, w in enumerate(weights[:-1])
        ]
        return (*hidden, weights[-1])


def _difference_metrics(
    clean: Sequence[FloatArray],
    second: Sequence[FloatArray],
    noise: Sequence[float],
    order: str,
) -> dict[str, float]:
    """Of each hidden layer: rms of X_l - X'_l over that of X_l; and, where noise was measured, the
    signal-to-noise ratio of X_l - X'_l, whose noise is that of two readings (ABBA: of half as much
    variance). What is left of rms^2 without the noise is the signal."""
    metrics = {}
    for k, x in enumerate(second):
        squared = float(((clean[k + 1] - x) ** 2).mean())
        metrics[f"difference_{k}"] = float(np.sqrt(squared)) / max(_rms(clean[k + 1]), 1e-30)
        if noise and noise[k] > 0.0:
            variance = (1.0 if order == "ABBA" else 2.0) * noise[k] ** 2
            metrics[f"snr_{k}"] = float(np.sqrt(max(squared - variance, 0.0) / variance))
    return metrics


def _rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))
