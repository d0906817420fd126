"""Layers, how they are parametrised, and how they are read out on a given chip."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hilonn.activations import Activation, activation
from hilonn.chips import MatrixChip, Readout
from hilonn.errors import ConfigError
from hilonn.passes import Placement, Weights
from hilonn.typing import FloatArray


@dataclass(frozen=True, slots=True)
class Dense:
    """A matrix of light: ``z = x W^T``, then the activation by detection.

    ``inputs`` may be left 0 in a network's first layer of an experiment file, where the data says
    it. ``readout`` "auto" lets the photodetector square where the layer fits the chip and its
    activation is a function of power, and measures the signed field otherwise. ``initial_gain`` scales
    the weights that learning begins with, None: by what the activation wants. Square laws begin
    small, and behind one another they vanish: hidden layers of deep networks want 1 to 2. ``offset`` is
    subtracted from the activation: what all units of a wide layer have in common would meet the next
    layer's programming errors, and come out as an offset of every class.
    """

    inputs: int
    outputs: int
    activation: str = "linear"
    readout: Literal["auto", "power", "homodyne", "balanced"] = "auto"
    initial_gain: float | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.inputs < 1 or self.outputs < 1:
            raise ConfigError(
                f"a dense layer needs inputs and outputs, got {self.inputs} x {self.outputs}"
            )
        activation(self.activation)
        if self.initial_gain is not None and not 0.0 < self.initial_gain < np.inf:
            raise ConfigError(f"initial_gain must be above 0, got {self.initial_gain}")
        if not np.isfinite(self.offset):
            raise ConfigError(f"offset must be a finite number, got {self.offset}")

    @property
    def function(self) -> Activation:
        found = activation(self.activation)
        return found if self.offset == 0.0 else found.lowered(self.offset)

    def initial_weights(self, rng: np.random.Generator) -> FloatArray:
        """(outputs, inputs) float32, uniform in +-gain sqrt(6 / inputs) (He et al. 2015)."""
        gain = self.function.initial_gain if self.initial_gain is None else self.initial_gain
        bound = gain * np.sqrt(6.0 / self.inputs)
        return rng.uniform(-bound, bound, (self.outputs, self.inputs)).astype(np.float32)


class Network:
    """Layers in the order of light. Holds no weights: those are explicit values."""

    def __init__(self, *layers: Dense) -> None:
        if not layers:
            raise ConfigError("a network needs at least one layer")
        for index, (before, after) in enumerate(pairwise(layers)):
            if before.outputs != after.inputs:
                raise ConfigError(
                    f"layer {index} has {before.outputs} outputs and layer {index + 1} has "
                    f"{after.inputs} inputs; they must agree"
                )
        self.layers = layers

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    def initial_weights(self, rng: np.random.Generator) -> Weights:
        return tuple(layer.initial_weights(rng) for layer in self.layers)

    def ideal(self, weights: Weights, inputs: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Every layer's (z, f(z)) on a perfect chip: the digital model that ``backprop`` uses."""
        results: list[tuple[FloatArray, FloatArray]] = []
        x = inputs
        for layer, w in zip(self.layers, weights, strict=True):
            z = x @ w.T
            x = layer.function.of_field(z)
            results.append((z, x))
        return results

    def place(self, chip: MatrixChip) -> list[Placement]:
        """Every layer's tiles and readout on ``chip``; ConfigError where it cannot run."""
        return [place(layer, index, chip) for index, layer in enumerate(self.layers)]

    def __repr__(self) -> str:
        widths = [str(self.inputs), *(str(layer.outputs) for layer in self.layers)]
        return f"Network({'-'.join(widths)})"


def place(layer: Dense, index: int, chip: MatrixChip) -> Placement:
    """Where ``layer`` goes on ``chip``. ConfigError for a readout that physics or chip forbids.

    A tiled layer cannot detect power: |sum E|^2 is not sum |E|^2, so its partial sums must be
    measured as signed values and added before the nonlinearity.
    """
    rows, columns = -(-layer.outputs // chip.outputs), -(-layer.inputs // chip.inputs)
    tile = (min(layer.outputs, chip.outputs), min(layer.inputs, chip.inputs))
    # Rows of tiles share no sum, so only a layer with several columns must be added up.
    fits = columns == 1 and rows == 1
    squares = layer.function.of_power is not None
    readout: Readout
    if layer.readout == "auto":
        readout = "power" if fits and squares and "power" in chip.readouts else _signed(chip)
    else:
        readout = layer.readout
    where = f"layer {index} ({layer.outputs} x {layer.inputs}, {layer.activation})"
    if readout not in chip.readouts:
        raise ConfigError(
            f"{where} asks for the readout {readout!r}, which {chip.architecture} {chip.id} does "
            f"not have; it has {', '.join(sorted(chip.readouts))}"
        )
    if readout == "power" and not fits:
        raise ConfigError(
            f"{where} is wider than the chip ({chip.outputs} x {chip.inputs}) and is tiled, and "
            "tiles add as fields: power readout is impossible there. Use readout = "
            f"{_signed(chip)!r} (or 'auto'); the nonlinearity is then applied digitally"
        )
    if readout == "power" and not squares:
        raise ConfigError(
            f"{where}: power readout loses the sign that {layer.activation!r} needs; use readout "
            f"= {_signed(chip)!r}, or an activation of power"
        )
    return Placement(layer.outputs, layer.inputs, layer.function, readout, rows, columns, tile)


def _signed(chip: MatrixChip) -> Readout:
    if chip.signed_readout is None:
        raise ConfigError(
            f"{chip.architecture} {chip.id} has no signed readout (no local oscillator is wired), "
            "so it cannot run layers that are tiled or linear; wire `local_oscillator`"
        )
    return chip.signed_readout
