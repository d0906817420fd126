"""Two-pass forward propagation: learn from the difference of two trips through the chip.

Trip A takes the input x through the layers: activations X_l, error e = X_L - t. Trip B takes the
modulated input x - F e. Hidden layers learn from (X_l - X'_l)^T X_{l-1}, the last from e^T X_{L-1}
(Ahmadnejad & Koohi, arXiv:2408.08337; Dellaferrera & Kreiman 2022, "PEPITA"; the presynaptic
factor of the first pass and the error at every layer: Srinivasan et al., arXiv:2302.05440).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilonn.network import Network
from hilonn.passes import PassRequest, Trace, Weights
from hilonn.rules.rule import (
    REFERENCE_WIDTH,
    Output,
    StepGenerator,
    StepResult,
    TrainingBatch,
    descend,
    output_error,
    sample_loss,
    scheduled,
)
from hilonn.typing import FloatArray, Snapshot

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class TwoPass(BaseModel):
    """The rule and its settings; an experiment file's ``[rule]`` section is one of these.

    ``feedback_scale``: F = feedback_scale * U(-a, a), a = sqrt(6 / inputs). It is a
    signal-to-noise choice: with ``normalise`` the difference X - X' is divided by it, so that
    ``hidden_rate`` alone is the hidden layers' rate (physics rule 7).
    ``rate`` is the output layer's rate at 128 inputs and scales as 1 / inputs (``scale_rate``).
    ``presynaptic``: the factor X_{l-1} of an update is the first or the second trip's.
    ``error_enters``: at the network's input, or at every hidden layer's own input (F_l each).
    ``order``: AB, or ABBA, which cancels a drift linear in time at twice the passes.
    ``update``: "together" after both trips, or "time_local": the part that trip A knows right
    after it, the part that trip B knows after that (trip B then meets changed weights).
    ``averages``: plays a reading, in training and evaluation; they share a programming.
    ``error_limit``: an output's error beyond this counts as this (Huber 1964; None: as it is), and
    ``step_limit``: a step moves no layer by more than this share of its norm (None: any).
    PEPITA as published: feedback_scale 0.05, normalise false, presynaptic "second", output
    "softmax", scale_rate false, hidden_rate = rate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["two_pass"] = "two_pass"
    feedback_scale: Positive = 2.0
    rate: Positive = 0.1
    hidden_rate: Positive = 0.05
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    normalise: bool = True
    scale_rate: bool = True
    presynaptic: Literal["first", "second"] = "first"
    error_enters: Literal["input", "layers"] = "input"
    order: Literal["AB", "ABBA"] = "AB"
    update: Literal["together", "time_local"] = "together"
    averages: Annotated[int, Field(ge=1)] = 1
    output: Output = "linear"
    error_limit: Positive | None = 1.0
    step_limit: Positive | None = 0.05

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        """Feedback matrices F (inputs, network outputs), one or one a hidden layer; velocities."""
        entries = network.layers[:1] if self.error_enters == "input" else network.layers[:-1]
        feedback = []
        for layer in entries:
            bound = np.sqrt(6.0 / layer.inputs)
            feedback.append(
                self.feedback_scale * rng.uniform(-bound, bound, (layer.inputs, network.outputs))
            )
        velocity = [np.zeros((la.outputs, la.inputs), dtype=np.float32) for la in network.layers]
        return {"feedback": feedback, "velocity": velocity}

    def loss(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return sample_loss(self.output, outputs, targets, self.error_limit)

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        """One update; the last layer is not run in trip B, which learns nothing from it."""
        x = np.asarray(batch.inputs, dtype=float)
        (first,) = yield [PassRequest(x, weights, averages=self.averages, pair=0)]
        clean = [x, *first.after]
        error = output_error(self.output, first.output, batch.targets, self.error_limit)
        halfway = weights
        if self.update == "time_local":
            halfway = self._after_first(weights, clean, batch)
        second = yield from self._second(network, halfway, state, clean, error)
        if self.order == "ABBA":
            again = yield from self._second(network, halfway, state, clean, error)
            (last,) = yield [PassRequest(x, weights, averages=self.averages, pair=0)]
            second = [(a + b) / 2 for a, b in zip(second, again, strict=True)]
            clean = [x, *((a + b) / 2 for a, b in zip(first.after, last.after, strict=True))]
            error = output_error(self.output, clean[-1], batch.targets, self.error_limit)
        modulated = self._modulated(x, state, error, clean, second)
        gradients = self._gradients(clean, second, modulated, error, batch)
        rates = self._rates(network, batch.progress)
        new, velocity = descend(
            weights,
            state["velocity"],
            gradients,
            rates,
            self.momentum,
            self.weight_decay,
            self.step_limit,
        )
        return StepResult(
            new,
            {"feedback": state["feedback"], "velocity": velocity},
            loss=float(self.loss(clean[-1], batch.targets).mean()),
            correct=int((first.output.argmax(axis=1) == batch.labels).sum()),
            metrics=_difference_metrics(clean, second),
        )

    def _second(
        self,
        network: Network,
        weights: Weights,
        state: Snapshot,
        clean: Sequence[FloatArray],
        error: FloatArray,
    ) -> Generator[Sequence[PassRequest], list[Trace], list[FloatArray]]:
        """Hidden activations of trip B, one a hidden layer."""
        hidden = len(network.layers) - 1
        if hidden == 0:
            return []
        feedback = state["feedback"]
        if self.error_enters == "input":
            modulated = clean[0] - error @ feedback[0].T
            (trace,) = yield [
                PassRequest(modulated, weights, last=hidden, averages=self.averages, pair=0)
            ]
            return list(trace.after)
        traces = yield [
            PassRequest(
                clean[layer] - error @ feedback[layer].T,
                weights,
                first=layer,
                last=layer + 1,
                averages=self.averages,
                pair=0,
            )
            for layer in range(hidden)
        ]
        return [trace.output for trace in traces]

    def _modulated(
        self,
        x: FloatArray,
        state: Snapshot,
        error: FloatArray,
        clean: Sequence[FloatArray],
        second: Sequence[FloatArray],
    ) -> list[FloatArray]:
        """What entered each layer in trip B: the second pass's presynaptic factors."""
        feedback = state["feedback"]
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
        scale = samples * (self.feedback_scale if self.normalise else 1.0)
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
        with np.errstate(over="ignore"):  # infinity is refused by `descend`, with a message
            return [np.asarray(g, dtype=np.float32) for g in (*gradients, last)]

    def _after_first(
        self, weights: Weights, clean: Sequence[FloatArray], batch: TrainingBatch
    ) -> Weights:
        """Weights after trip A's part of a time-local update (hidden layers only meet trip B)."""
        scale = len(clean[0]) * (self.feedback_scale if self.normalise else 1.0)
        rate = self.hidden_rate * scheduled(self.schedule, batch.progress)
        hidden = [
            (w - np.float32(rate / scale) * (clean[k + 1].T @ clean[k])).astype(np.float32)
            for k, w in enumerate(weights[:-1])
        ]
        return (*hidden, weights[-1])

    def _rates(self, network: Network, progress: float) -> list[float]:
        factor = scheduled(self.schedule, progress)
        width = REFERENCE_WIDTH / network.layers[-1].inputs if self.scale_rate else 1.0
        hidden = [self.hidden_rate * factor] * (len(network.layers) - 1)
        return [*hidden, self.rate * width * factor]


def _difference_metrics(
    clean: Sequence[FloatArray], second: Sequence[FloatArray]
) -> dict[str, float]:
    """rms of X_l - X'_l over rms of X_l, a hidden layer: the signal that the noise must not hide."""
    return {
        f"difference_{k}": float(
            np.sqrt(((clean[k + 1] - x) ** 2).mean() / max((clean[k + 1] ** 2).mean(), 1e-30))
        )
        for k, x in enumerate(second)
    }
