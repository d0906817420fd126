"""Simultaneous perturbation: one random direction, two trips, no model at all.

Spall, IEEE Trans. Automatic Control 37 (1992). The loss at W + c D and at W - c D tells the slope along
D, for all weights at once; the noise of the estimate grows with their number, so that it takes many more
passes than rules that know where an error came from. It needs nothing of the chip but its outputs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hilonn.network import Network
from hilonn.passes import PassRequest, Weights
from hilonn.rules.gradient_rule import GradientRule, Positive
from hilonn.rules.rule import StepGenerator, TrainingBatch
from hilonn.runs import generator_state, restore_generator
from hilonn.typing import Snapshot


class Spsa(GradientRule):
    """``perturbation``: c, as a share of each layer's rms weight; ``directions`` averaged a step.
    The other settings are those of every gradient rule; D has elements +-1."""

    name: Literal["spsa"] = "spsa"
    rate: Positive = 0.002
    scale_rate: bool = False
    perturbation: Positive = 0.1
    directions: Annotated[int, Field(ge=1)] = 2

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot:
        return super().initial_state(network, rng) | {"directions": generator_state(rng)}

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator:
        """``directions`` pairs of trips. A step that is restarted draws the same directions."""
        x = np.asarray(batch.inputs, dtype=float)
        rng = restore_generator(state["directions"])
        gradients = [np.zeros(w.shape) for w in weights]
        outputs = []
        for _ in range(self.directions):
            shifts = [
                self.perturbation
                * np.sqrt(np.mean(w * w))
                * rng.choice(np.array([-1.0, 1.0], dtype=np.float32), size=w.shape)
                for w in weights
            ]
            losses = []
            for sign in (1.0, -1.0):
                moved = tuple(
                    (w + sign * s).astype(np.float32) for w, s in zip(weights, shifts, strict=True)
                )
                (trace,) = yield [PassRequest(x, moved, averages=self.plays, keep="output", pair=0)]
                losses.append(float(self.loss(trace.output, batch.targets).mean()))
                outputs.append(trace.output)
            slope = (losses[0] - losses[1]) / (2.0 * self.directions)
            for gradient, shift in zip(gradients, shifts, strict=True):
                gradient += slope / shift
        result = self.updated(network, weights, state, batch, gradients, np.mean(outputs, axis=0))
        result.state["directions"] = generator_state(rng)
        return result
