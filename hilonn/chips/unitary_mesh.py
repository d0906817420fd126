"""One unitary mesh: a real matrix is embedded in an orthogonal one of twice the size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hilonn.chips.chip import Settings
from hilonn.chips.coherent import CoherentChip
from hilonn.chips.descent import MARGIN, ROUNDS, Model, solve
from hilonn.clock import Clock
from hilonn.devices import Timing
from hilonn.mesh import UNITARY_MESHES, UnitaryMesh, haar_unitary
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.typing import FloatArray, IntArray


class UnitaryMeshChip(CoherentChip):
    """Hosts matrices of half its ports: a contraction C = W S V^T is the corner of the dilation
    [[C, W sqrt(1 - S^2) W^T], [V sqrt(1 - S^2) V^T, -C^T]] (Halmos 1950), which is a function of C
    alone, so that nothing is left to choose but the branches of the phases. The mesh is the rectangular one."""

    kind = "unitary_mesh"
    """Its architecture in bench files and records."""

    def __init__(
        self,
        name: str,
        ports: int,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._mesh: UnitaryMesh = UNITARY_MESHES[self.kind](ports)
        self._known = self._mesh_of(records)
        super().__init__(name, self.kind, ports, self._mesh.layout, wiring, records, clock, timing)

    @property
    def _most(self) -> int:
        return self.ports // 2

    def take(self, records: Records) -> None:
        super().take(records)
        self._known = self._mesh_of(records)

    def _mesh_of(self, records: Records) -> UnitaryMesh:
        return UNITARY_MESHES[self.kind](
            self._mesh.ports,
            splitter_errors=records.chip.value("splitter_errors"),
            mzi_transmission=records.chip.value("mzi_transmission"),
        )

    def compile_exactly(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> list[Settings]:
        """All phases together, down the record's forward model: what is outside of the corner that is read is free to take
        what splitters and losses do not let the corner have."""
        matrices = self._checked(matrices)
        phases, scale, left, right = self._phases(matrices, [None] * len(matrices))
        count, m, n = matrices.shape
        asked = self.at.spread(np.ones((m, n), bool))
        model = Model(
            self._known,
            self._output_turn * self._input_turn,
            self._heaters.usable,
            self._transmission(),
            asked,
        )
        realised = np.empty(matrices.shape)
        for i in range(count):
            scale[i] *= MARGIN
            start = np.where(self._heaters.usable, phases[i], self._heaters.offset)
            phases[i] = solve(model, start, self.at.spread(matrices[i]) / scale[i], ROUNDS)
            realised[i] = self.at.part(model.matrix(phases[i]).real, (m, n)) * scale[i]
        return self._settings((m, n), phases, scale, left, right, near, realised)

    def forward(self, own: FloatArray) -> FloatArray:
        matrix = self._known.matrix_flat(self._mesh_phases(own))
        turned = matrix / (self._output_turn * self._input_turn) / self._transmission()
        return np.asarray(self.at.part(turned.real))

    def _transmission(self) -> float:
        mzi_transmission = self.records.chip.value("mzi_transmission")
        lossy = UNITARY_MESHES[self.kind](self.ports, mzi_transmission=mzi_transmission)
        phases = self._mesh.decompose(haar_unitary(self.ports, np.random.default_rng(0)))
        return float(np.linalg.norm(lossy.matrix(phases)) / np.sqrt(self.ports))

    def _phases(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        count, m, n = matrices.shape
        half = self._most
        corner = np.zeros((count, half, half))
        corner[:, :m, :n] = matrices
        whole, scale = dilated(corner, self.ports)
        whole = whole[:, _first(self.at.outputs, self.ports)][
            :, :, _first(self.at.inputs, self.ports)
        ]
        phases = self._mesh.decompose_flat(self._output_turn * whole * self._input_turn)
        nothing = np.zeros((count, 0))
        return self._known.corrected_flat(phases), scale, nothing, nothing


def dilated(corner: FloatArray, ports: int) -> tuple[FloatArray, FloatArray]:
    """Orthogonal matrices (k, ports, ports) whose upper left corners are ``corner`` (k, ports // 2, ports // 2) divided by
    its largest singular value (k,), which is returned too; 1 for zeros."""
    count, half = corner.shape[:2]
    left, singular, right = np.linalg.svd(corner)
    scale = np.where(singular[:, 0] == 0.0, 1.0, singular[:, 0])
    singular = np.minimum(singular / scale[:, None], 1.0)
    rest = np.sqrt(1.0 - singular**2)[:, None, :]
    whole = np.zeros((count, ports, ports))
    whole[:, 2 * half :, 2 * half :] = np.eye(ports - 2 * half)
    contraction = (left * singular[:, None, :]) @ right
    left_t, right_t = left.transpose(0, 2, 1), right.transpose(0, 2, 1)
    whole[:, :half, :half] = contraction
    whole[:, :half, half : 2 * half] = (left * rest) @ left_t
    whole[:, half : 2 * half, :half] = (right_t * rest) @ right
    whole[:, half : 2 * half, half : 2 * half] = -contraction.transpose(0, 2, 1)
    return whole, scale


class TriangularMeshChip(UnitaryMeshChip):
    """The same on the triangular mesh of Reck et al.: of 2 * ports - 3 columns, so that light loses more on its way,
    but configured row by row, which a rectangular one cannot be."""

    kind = "triangular_mesh"


def _first(used: IntArray, ports: int) -> IntArray:
    """For each port its place in an order that has those ``used`` first, as far as half of all goes."""
    rest = np.setdiff1d(np.arange(ports), used)
    return np.argsort(np.concatenate((used, rest)))
