"""What a rule asks of the chip, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hilonn.chips import Readout
from hilonn.typing import FloatArray

Weights = tuple[FloatArray, ...]
"""Master weights, one (outputs, inputs) float32 array a layer. Replaced, never changed in place."""

Keep = Literal["output", "after", "all"]


@dataclass(frozen=True, slots=True)
class PassRequest:
    """One trip of a batch through the layers ``first`` .. ``last`` (exclusive, None: all).

    ``inputs`` (samples, inputs of layer ``first``); ``weights`` of the whole network, which a
    rule may perturb; ``masks`` multiply a layer's activations (dropout), by layer index;
    ``averages`` readings share one programming. Requests with the same ``pair`` are compared with
    one another: input gains and detector ranges are frozen from the first of them on.
    ``keep``: "output" keeps the last activation, "after" every layer's, "all" fields and powers
    before the nonlinearity too. ``direction`` "backward": ``inputs`` (samples, outputs of layer
    ``last`` - 1) pass the transposed layers, last to first, without nonlinearities.
    """

    inputs: FloatArray
    weights: Weights
    first: int = 0
    last: int | None = None
    masks: Mapping[int, FloatArray] = field(default_factory=dict)
    averages: int = 1
    pair: int | None = None
    keep: Keep = "after"
    direction: Literal["forward", "backward"] = "forward"


@dataclass(frozen=True, slots=True)
class Trace:
    """What came of a request. Lists are indexed by layer minus ``first``.

    ``before[i]`` (samples, outputs): the signed field (homodyne, balanced) or power as measured;
    ``after[i]``: the activation. Entries that were not kept are absent (shorter lists).
    ``readouts``: how each layer was read.
    """

    request: PassRequest
    output: FloatArray
    after: list[FloatArray]
    before: list[FloatArray]
    readouts: tuple[Readout, ...]
