"""Back-propagation in silico, on the ideal model: the reference that two-pass is compared with.

It trains the digital model and never asks the chip for a pass; evaluation then runs the trained
weights on the chip. What is lost between the two is what training in the loop is for.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilonn.network import Network
from hilonn.passes import Weights
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


class Backprop(BaseModel):
    """Settings as in ``two_pass``; ``hidden_rate`` defaults to ``rate``; ``averages`` of evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["backprop"] = "backprop"
    rate: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    hidden_rate: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    scale_rate: bool = True
    output: Output = "linear"
    averages: Annotated[int, Field(ge=1)] = 1

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        return {
            "velocity": [
                np.zeros((layer.outputs, layer.inputs), dtype=np.float32)
                for layer in network.layers
            ]
        }

    def loss(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return sample_loss(self.output, outputs, targets)

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        """One gradient step on the ideal model. Asks for no pass."""
        yield from ()
        x = np.asarray(batch.inputs, dtype=float)
        results = network.ideal(weights, x)
        outputs = results[-1][1]
        error = output_error(self.output, outputs, batch.targets)
        gradients: list[FloatArray] = []
        for index in reversed(range(len(weights))):
            z = results[index][0]
            delta = error * network.layers[index].function.slope(z)
            before = x if index == 0 else results[index - 1][1]
            gradients.insert(0, (delta.T @ before / len(x)).astype(np.float32))
            error = delta @ weights[index]
        factor = scheduled(self.schedule, batch.progress)
        width = REFERENCE_WIDTH / network.layers[-1].inputs if self.scale_rate else 1.0
        hidden = self.rate if self.hidden_rate is None else self.hidden_rate
        rates = [hidden * factor] * (len(weights) - 1) + [self.rate * width * factor]
        new, velocity = descend(
            weights, state["velocity"], gradients, rates, self.momentum, self.weight_decay
        )
        return StepResult(
            new,
            {"velocity": velocity},
            loss=float(self.loss(outputs, batch.targets).mean()),
            correct=int((outputs.argmax(axis=1) == batch.labels).sum()),
        )
