"""Two unitary meshes around a row of attenuators: any matrix up to a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hilonn.chips.chip import Settings
from hilonn.chips.coherent import CoherentChip
from hilonn.chips.continuity import match_singular_vectors
from hilonn.clock import Clock
from hilonn.devices import Timing
from hilonn.mesh import SvdMesh, haar_unitary
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.typing import FloatArray


class SvdMeshChip(CoherentChip):
    """Programs the U S V^T of a real matrix, divided by its largest singular value: a passive chip
    cannot amplify. The record's input and output phases are absorbed into U and V."""

    def __init__(
        self,
        name: str,
        ports: int,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._mesh = SvdMesh(ports)
        self.inputs = self.outputs = ports
        super().__init__(name, "svd_mesh", ports, self._mesh.layout, wiring, records, clock, timing)

    def _transmission(self) -> float:
        lossy = SvdMesh(self.ports, mzi_transmission=self.records.chip.value("mzi_transmission"))
        rng = np.random.default_rng(0)
        phases = self._mesh.compose_phases(
            haar_unitary(self.ports, rng), np.ones(self.ports), haar_unitary(self.ports, rng)
        )
        return float(np.linalg.norm(lossy.matrix(phases)) / np.sqrt(self.ports))

    def _phases(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        count, m, n = matrices.shape
        padded = np.zeros((count, self.ports, self.ports))
        padded[:, :m, :n] = matrices
        left, singular, right = np.linalg.svd(padded)
        for i, before in enumerate(near):
            if before is not None:
                order, signs = match_singular_vectors(left[i], right[i], before.left, before.right)
                left[i] = left[i][:, order] * signs
                right[i] = right[i][order] * signs[:, None]
                singular[i] = singular[i][order]
        scale = singular.max(axis=1)
        scale[scale == 0.0] = 1.0
        phases = self._mesh.compose_phases(
            self._output_turn * left, singular / scale[:, None], right * self._input_turn
        )
        return phases, scale, left, right
