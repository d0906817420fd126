"""Chips: settings to drives, a batch to readings."""

from hilonn.chips.chip import Batch, Chip, ChipReadings, MatrixChip, Readout, Settings
from hilonn.chips.entries import crossbar, svd_mesh, unitary_mesh
from hilonn.chips.svd_mesh import SvdMeshChip

__all__ = [
    "Batch", "Chip", "ChipReadings", "MatrixChip", "Readout", "Settings", "SvdMeshChip",
    "crossbar", "svd_mesh", "unitary_mesh",
]
