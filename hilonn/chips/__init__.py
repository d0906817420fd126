"""Chips: settings to drives, a batch to readings."""

from hilonn.chips.chip import Batch, Chip, ChipReadings, MatrixChip, Readout, Settings
from hilonn.chips.crossbar import CrossbarChip
from hilonn.chips.entries import crossbar, svd_mesh, triangular_mesh, unitary_mesh
from hilonn.chips.heater_chip import HeaterChip
from hilonn.chips.heater_test import HeaterTest, check_heaters
from hilonn.chips.ports import Ports, Unused, usable_inputs, usable_outputs
from hilonn.chips.svd_mesh import SvdMeshChip
from hilonn.chips.unitary_mesh import TriangularMeshChip, UnitaryMeshChip

__all__ = [
    "Batch",
    "Chip",
    "ChipReadings",
    "CrossbarChip",
    "HeaterChip",
    "HeaterTest",
    "MatrixChip",
    "Ports",
    "Readout",
    "Settings",
    "SvdMeshChip",
    "TriangularMeshChip",
    "UnitaryMeshChip",
    "Unused",
    "check_heaters",
    "crossbar",
    "svd_mesh",
    "triangular_mesh",
    "unitary_mesh",
    "usable_inputs",
    "usable_outputs",
]
