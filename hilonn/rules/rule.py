"""What a learning rule is: passes it asks for, and what it makes of their traces."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilonn.errors import DivergedError
from hilonn.network import Network
from hilonn.passes import PassRequest, Trace, Weights
from hilonn.typing import FloatArray, IntArray, Snapshot

Output = Literal["linear", "softmax"]
QUIET = 0.04
"""Noise of an activation over its scatter that costs no accuracy (docs/explanation/noise.md)."""
MOST_PLAYS = 16
REFERENCE_WIDTH = 128
"""The width at which ``rate`` is the output layer's rate: it scales as 1 / width (physics rule 7)."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """``inputs`` (samples, features), ``targets`` (samples, outputs) one-hot, ``labels``
    (samples,); ``progress`` in [0, 1) through the run, which schedules are functions of; ``pace``
    multiplies every rate: the trainer lowers it where learning went wrong."""

    inputs: FloatArray
    targets: FloatArray
    labels: IntArray
    progress: float
    pace: float = 1.0
    noise: tuple[float, ...] = ()
    """rms scatter of a reading of each layer's activation, measured on the chip this epoch; empty
    where it was not."""


@dataclass(frozen=True, slots=True)
class NoiseReading:
    """Before the first step: ``inputs`` (samples, features) and the ``after`` (activations, layer by
    layer) that they gave at the rule's ``averages``, ``noise`` as in ``TrainingBatch``, one-hot
    ``targets``, and the weights and rule state that learning begins with."""

    inputs: FloatArray
    after: Sequence[FloatArray]
    noise: tuple[float, ...]
    targets: FloatArray
    weights: Weights
    state: Snapshot


@dataclass(frozen=True, slots=True)
class StepResult:
    """New weights and state, and what the step saw: mean loss, right answers, numbers to log."""

    weights: Weights
    state: Snapshot
    loss: float
    correct: int
    metrics: dict[str, float] = field(default_factory=dict)


StepGenerator = Generator[Sequence[PassRequest], list[Trace], StepResult]


class Rule(Protocol):
    """A rule is an immutable description; its state is an explicit value.

    ``step`` yields groups of requests (the members of a group may run in any order) and receives
    their traces. It may be restarted from the same state and batch (a pair that saturated), so it
    draws no random number that its state does not fix, and changes nothing that it was given.
    ``plays``: how often a reading is played and averaged, in training and evaluation; ``in_silico``: learns without asking
    the chip; ``settled``: the rule with every "auto" replaced by what measured noise asks for.
    """

    in_silico: ClassVar[bool]

    @property
    def plays(self) -> int: ...

    def settled(self, reading: NoiseReading) -> Self: ...

    def model_dump(self) -> dict[str, Any]: ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self: ...

    def initial_state(self, network: Network, rng: np.random.Generator) -> Snapshot: ...

    def step(
        self, network: Network, weights: Weights, state: Snapshot, batch: TrainingBatch
    ) -> StepGenerator: ...

    def at_rest(self, state: Snapshot) -> Snapshot:
        """``state`` with nothing in motion: what an epoch that was taken back begins again with."""
        ...

    def loss(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        """Loss a sample, (samples,)."""
        ...


class RuleModel(BaseModel):
    """What the rules here share: a section of an experiment file.

    ``averages``: plays a reading, in training and evaluation; they share a programming. "auto": as
    many as bring the noise of the hidden activations down to ``QUIET`` of their own scatter, 16 at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    in_silico: ClassVar[bool] = False

    averages: Annotated[int, Field(ge=1)] | Literal["auto"] = 1

    @property
    def plays(self) -> int:
        return 1 if self.averages == "auto" else self.averages

    def at_rest(self, state: Snapshot) -> Snapshot:
        return state

    def settled(self, reading: NoiseReading) -> Self:
        if self.averages != "auto":
            return self
        hidden = list(zip(reading.after, reading.noise, strict=True))[:-1] or [
            (reading.after[-1], reading.noise[-1])
        ]
        loudest = max(noise / max(float(x.std()), 1e-30) for x, noise in hidden)
        plays = min(MOST_PLAYS, max(1, math.ceil((loudest / QUIET) ** 2)))
        return self.model_copy(update={"averages": plays})


def output_error(
    kind: Output, outputs: FloatArray, targets: FloatArray, limit: float | None = None
) -> FloatArray:
    """e = y - t of a linear output (squared error), or softmax(y) - t (cross entropy).

    With a ``limit``, held within +- it: the slope of Huber's loss.
    """
    error = (softmax(outputs) if kind == "softmax" else outputs) - targets
    return error if limit is None else np.clip(error, -limit, limit)


def sample_loss(
    kind: Output, outputs: FloatArray, targets: FloatArray, limit: float | None = None
) -> FloatArray:
    """Half the squared error (Huber's loss with a ``limit``), or the cross entropy, a sample."""
    if kind == "linear":
        size = np.abs(outputs - targets)
        if limit is None:
            return np.asarray(0.5 * (size**2).sum(axis=1))
        held = np.minimum(size, limit)
        return np.asarray((held * (size - 0.5 * held)).sum(axis=1))
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logs = np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted
    return np.asarray((logs * targets).sum(axis=1))


def softmax(values: FloatArray) -> FloatArray:
    """Over the last axis, without overflow."""
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def scheduled(schedule: Literal["cosine", "constant", "step"], progress: float) -> float:
    """The factor on every rate: cosine to 0; or x0.1 at 60 % and at 90 % of the run."""
    if schedule == "cosine":
        return float(0.5 * (1.0 + np.cos(np.pi * progress)))
    if schedule == "step":
        return 0.01 if progress >= 0.9 else 0.1 if progress >= 0.6 else 1.0
    return 1.0


def descend(
    weights: Weights,
    velocity: Sequence[FloatArray],
    gradients: Sequence[FloatArray],
    rates: Sequence[float],
    momentum: float,
    weight_decay: float = 0.0,
    limit: float | None = None,
) -> tuple[Weights, list[FloatArray]]:
    """v <- momentum v + rate (g + decay W);  W <- W - v, layer by layer, in float32.

    With a ``limit``, v is shortened to that share of the norm of W where it is longer.
    """
    new_weights, new_velocity = [], []
    for w, v, g, rate in zip(weights, velocity, gradients, rates, strict=True):
        moved = momentum * v + np.float32(rate) * (g + np.float32(weight_decay) * w)
        if not np.isfinite(moved).all():
            raise DivergedError(
                "the weights are no longer finite: the run has diverged; lower rate, hidden_rate "
                "or feedback_scale"
            )
        if limit is not None:
            length, longest = np.linalg.norm(moved), limit * np.linalg.norm(w)
            if length > longest:
                moved = moved * np.float32(longest / length)
        new_velocity.append(moved.astype(np.float32))
        new_weights.append((w - moved).astype(np.float32))
    return tuple(new_weights), new_velocity
