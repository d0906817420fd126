"""Physics-aware training: forward on the chip, backward on the model of it.

Wright et al., "Deep physical neural networks trained with backpropagation", Nature 601 (2022): the
error and every activation are the chip's own; only the chain rule between them is the model's, here the
master weights themselves. It stands as long as the model's derivative points the right way.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hilonn.network import Network
from hilonn.passes import PassRequest, Weights
from hilonn.rules.backprop import chain
from hilonn.rules.gradient_rule import GradientRule
from hilonn.rules.measured import fields
from hilonn.rules.rule import StepGenerator, TrainingBatch
from hilonn.typing import Snapshot


class PhysicsAware(GradientRule):
    """The settings of every gradient rule."""

    name: Literal["physics_aware"] = "physics_aware"

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        x = np.asarray(batch.inputs, dtype=float)
        (trace,) = yield [PassRequest(x, weights, averages=self.plays, keep="all")]
        gradients = chain(
            network,
            weights,
            [x, *trace.after[:-1]],
            fields(trace, self.name),
            self.error(trace.output, batch.targets),
        )
        return self.updated(network, weights, state, batch, gradients, trace.output)
