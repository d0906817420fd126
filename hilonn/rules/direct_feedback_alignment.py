"""Direct feedback alignment: the output error reaches every layer through a random matrix of its own.

Nokland, "Direct feedback alignment provides learning in deep neural networks" (NeurIPS 2016). One trip
through the chip; the hidden layers' slopes are taken at the fields that the chip measured.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hilonn.network import Network
from hilonn.passes import PassRequest, Weights
from hilonn.rules.gradient_rule import GradientRule
from hilonn.rules.measured import fields
from hilonn.rules.rule import StepGenerator, TrainingBatch
from hilonn.typing import Snapshot


class DirectFeedbackAlignment(GradientRule):
    """The settings of every gradient rule. B_l = U(-a, a), a = sqrt(3 / network outputs), so that
    B_l e is as large as e; the hidden update is ((e B_l^T) * f'(z_l))^T X_{l-1}."""

    name: Literal["direct_feedback_alignment"] = "direct_feedback_alignment"

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        bound = np.sqrt(3.0 / network.outputs)
        feedback = [
            rng.uniform(-bound, bound, (layer.outputs, network.outputs))
            for layer in network.layers[:-1]
        ]
        return super().initial_state(network, rng) | {"feedback": feedback}

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        x = np.asarray(batch.inputs, dtype=float)
        (trace,) = yield [PassRequest(x, weights, averages=self.plays, keep="all")]
        entering = [x, *trace.after[:-1]]
        error = self.error(trace.output, batch.targets)
        slopes = [
            layer.function.slope(z)
            for layer, z in zip(network.layers, fields(trace, self.name), strict=True)
        ]
        deltas = [
            (error @ b.T) * slope for b, slope in zip(state["feedback"], slopes[:-1], strict=True)
        ]
        deltas.append(error * slopes[-1])
        gradients = [d.T @ before / len(x) for d, before in zip(deltas, entering, strict=True)]
        return self.updated(network, weights, state, batch, gradients, trace.output)
