"""How one layer lies on a chip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.activations import Activation, activation
from hilonn.chips import MatrixChip, Readout
from hilonn.errors import ConfigError
from hilonn.typing import FloatArray


@dataclass(frozen=True, slots=True)
class Placement:
    """A grid of ``rows`` x ``columns`` tiles of shape ``tile`` (outputs, inputs), one readout."""

    outputs: int
    inputs: int
    function: Activation
    readout: Readout
    rows: int
    columns: int
    tile: tuple[int, int]

    @property
    def tiles(self) -> int:
        return self.rows * self.columns

    def transposed(self, chip: MatrixChip) -> Placement:
        """The layer's transpose, linear and signed. ConfigError on a chip without signed readout."""
        if chip.signed_readout is None:
            raise ConfigError(
                f"{chip.architecture} {chip.id} has no signed readout, which a backward pass needs"
            )
        rows, columns = -(-self.inputs // chip.outputs), -(-self.outputs // chip.inputs)
        tile = (min(self.inputs, chip.outputs), min(self.outputs, chip.inputs))
        linear = activation("linear")
        return Placement(
            self.inputs, self.outputs, linear, chip.signed_readout, rows, columns, tile
        )

    def blocks(self, weights: FloatArray) -> FloatArray:
        """``weights`` (outputs, inputs) as (tiles, tile outputs, tile inputs), zeros at the rim."""
        m, n = self.tile
        padded = np.zeros((self.rows * m, self.columns * n))
        padded[: weights.shape[0], : weights.shape[1]] = weights
        return padded.reshape(self.rows, m, self.columns, n).transpose(0, 2, 1, 3).reshape(-1, m, n)

    def whole(self, blocks: FloatArray) -> FloatArray:
        """The inverse of ``blocks``: weights (outputs, inputs), float32."""
        m, n = self.tile
        grid = blocks.reshape(self.rows, self.columns, m, n).transpose(0, 2, 1, 3)
        padded = grid.reshape(self.rows * m, self.columns * n)
        return np.ascontiguousarray(padded[: self.outputs, : self.inputs], dtype=np.float32)
