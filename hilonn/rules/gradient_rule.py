"""What every rule with a gradient for each layer shares: rates, momentum, limits, the update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hilonn.network import Network
from hilonn.passes import Weights
from hilonn.rules.rule import (
    REFERENCE_WIDTH,
    Output,
    RuleModel,
    StepResult,
    TrainingBatch,
    descend,
    output_error,
    sample_loss,
    scheduled,
)
from hilonn.typing import FloatArray, Snapshot

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class GradientRule(RuleModel):
    """Settings of the update v <- momentum v + rate g, W <- W - v.

    ``rate`` is the output layer's rate at 128 inputs and scales as 1 / inputs (``scale_rate``);
    ``hidden_rate`` the other layers' (None: ``rate``). ``error_limit``: an output's error beyond this
    counts as this (Huber 1964; 0: as it is), and ``step_limit``: a step moves no layer by more
    than this share of its norm (0: any). Together they bound what one step can spoil.
    """

    rate: Positive = 0.1
    hidden_rate: Positive | None = None
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    scale_rate: bool = True
    output: Output = "linear"
    error_limit: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    step_limit: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.05

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        """Velocities of zero, one a layer."""
        return {
            "velocity": [
                np.zeros((la.outputs, la.inputs), dtype=np.float32) for la in network.layers
            ]
        }

    def at_rest(self, state: Snapshot) -> Snapshot:
        """Velocities of zero: with a lowered rate nothing would stop the old ones."""
        return {**state, "velocity": [np.zeros_like(v) for v in state["velocity"]]}

    def loss(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return sample_loss(self.output, outputs, targets, self.error_limit or None)

    def error(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        """The slope of ``loss``, (samples, outputs)."""
        return output_error(self.output, outputs, targets, self.error_limit or None)

    def rates(self, network: Network, batch: TrainingBatch) -> list[float]:
        """One a layer, at this point of the run."""
        factor = batch.pace * scheduled(self.schedule, batch.progress)
        width = REFERENCE_WIDTH / network.layers[-1].inputs if self.scale_rate else 1.0
        hidden = self.rate if self.hidden_rate is None else self.hidden_rate
        return [hidden * factor] * (len(network.layers) - 1) + [self.rate * width * factor]

    def updated(
        self,
        network: Network,
        weights: Weights,
        state: Snapshot,
        batch: TrainingBatch,
        gradients: Sequence[FloatArray],
        outputs: FloatArray,
        metrics: dict[str, float] | None = None,
    ) -> StepResult:
        """The step that ``gradients`` (one a layer) make; ``outputs`` are what the loss is of."""
        with np.errstate(over="ignore"):  # infinity is refused by `descend`, with a message
            single = [np.asarray(g, dtype=np.float32) for g in gradients]
        new, velocity = descend(
            weights,
            state["velocity"],
            single,
            self.rates(network, batch),
            self.momentum,
            self.weight_decay,
            self.step_limit or None,
        )
        return StepResult(
            new,
            {**state, "velocity": velocity},
            loss=float(self.loss(outputs, batch.targets).mean()),
            correct=int((outputs.argmax(axis=1) == batch.labels).sum()),
            metrics=metrics or {},
        )
