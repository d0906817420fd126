"""In-situ back-propagation: the error runs backward through the chip's own optics.

Hughes et al., "Training of photonic neural networks through in situ backpropagation and gradient
measurement", Optica 5 (2018); Pai et al., Science 380 (2023). There light is sent into the outputs, and
monitors inside the mesh give every phase's gradient. A chip with detectors at its outputs only has no
such monitors, and most benches cannot launch light backward; what it can do is to be programmed with
the transpose of a layer's matrix, which is what a reciprocal chip does to light sent backward. So both
directions are measured on the chip, imperfections included, and the outer product of the two, the
gradient in the weights, is taken digitally. It costs a programming of every hidden tile a step more.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hilonn.network import Network
from hilonn.passes import PassRequest, Weights
from hilonn.rules.gradient_rule import GradientRule
from hilonn.rules.measured import fields
from hilonn.rules.rule import StepGenerator, TrainingBatch
from hilonn.typing import FloatArray, Snapshot


class InSituBackprop(GradientRule):
    """The settings of every gradient rule."""

    name: Literal["in_situ_backprop"] = "in_situ_backprop"

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        x = np.asarray(batch.inputs, dtype=float)
        (trace,) = yield [PassRequest(x, weights, averages=self.plays, keep="all")]
        entering = [x, *trace.after[:-1]]
        measured = fields(trace, self.name)
        error = self.error(trace.output, batch.targets)
        gradients: list[FloatArray] = []
        for index in reversed(range(len(weights))):
            delta = error * network.layers[index].function.slope(measured[index])
            gradients.insert(0, delta.T @ entering[index] / len(x))
            if index:
                (back,) = yield [
                    PassRequest(
                        delta,
                        weights,
                        first=index,
                        last=index + 1,
                        averages=self.plays,
                        direction="backward",
                    )
                ]
                error = back.output
        return self.updated(network, weights, state, batch, gradients, trace.output)
