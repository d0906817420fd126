"""Back-propagation in silico, on the ideal model: the reference that two-pass is compared with.

It trains the digital model and never asks the chip for a pass; evaluation then runs the trained
weights on the chip. What is lost between the two is what training in the loop is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from hilonn.network import Network
from hilonn.passes import Weights
from hilonn.rules.gradient_rule import GradientRule
from hilonn.rules.rule import StepGenerator, TrainingBatch
from hilonn.typing import FloatArray, Snapshot


class Backprop(GradientRule):
    """The settings of every gradient rule; ``averages`` are those of the evaluation."""

    in_silico: ClassVar[bool] = True

    name: Literal["backprop"] = "backprop"

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        """One gradient step on the ideal model. Asks for no pass."""
        yield from ()
        x = np.asarray(batch.inputs, dtype=float)
        results = network.ideal(weights, x)
        outputs = results[-1][1]
        gradients = chain(
            network,
            weights,
            [x, *(after for _, after in results[:-1])],
            [before for before, _ in results],
            self.error(outputs, batch.targets),
        )
        return self.updated(network, weights, state, batch, gradients, outputs)


def chain(
    network: Network,
    weights: Weights,
    entering: Sequence[FloatArray],
    fields: Sequence[FloatArray],
    error: FloatArray,
) -> list[FloatArray]:
    """Gradients (outputs, inputs) of the mean loss, layer by layer, by the chain rule through the
    digital ``weights``: ``entering`` each layer (samples, inputs), its ``fields`` z before the
    nonlinearity (samples, outputs), ``error`` dL/dy of the last layer (samples, outputs)."""
    gradients: list[FloatArray] = []
    for index in reversed(range(len(weights))):
        delta = error * network.layers[index].function.slope(fields[index])
        gradients.insert(0, delta.T @ entering[index] / len(delta))
        error = delta @ weights[index]
    return gradients
