"""Chips: settings to drives, a batch to readings."""

from hilonn.chips.chip import Batch, Chip, ChipReadings, MatrixChip, Readout, Settings
from hilonn.chips.crossbar import CrossbarChip
from hilonn.chips.entries import crossbar, svd_mesh, unitary_mesh
from hilonn.chips.svd_mesh import SvdMeshChip
from hilonn.chips.unitary_mesh import UnitaryMeshChip

__all__ = [
    "Batch",
    "Chip",
    "ChipReadings",
    "CrossbarChip",
    "MatrixChip",
    "Readout",
    "Settings",
    "SvdMeshChip",
    "UnitaryMeshChip",
    "crossbar",
    "svd_mesh",
    "unitary_mesh",
]
