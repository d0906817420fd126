"""Two unitary meshes around a row of attenuators: any matrix up to a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from hilonn.chips.chip import Settings
from hilonn.chips.coherent import CoherentChip
from hilonn.chips.continuity import completed, match_singular_vectors
from hilonn.chips.descent import (
    FEW_ROUNDS,
    MARGIN,
    ROUNDS,
    SMALL,
    Model,
    solve,
    step_towards,
)
from hilonn.chips.newton import Chart, reach
from hilonn.clock import Clock
from hilonn.devices import Timing
from hilonn.mesh import SvdMesh, haar_unitary
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.typing import BoolArray, FloatArray

Programming = Literal["auto", "decompose", "descend", "solve"]
DOUBTFUL = 0.1
"""Relative error of a matrix, expected from the record, from which "auto" descends."""
REACH = 3.0
"""How much farther than wanted a following aims: it goes about a third of the way (measured: 0.31
along the wanted direction in two steps at 16 ports, 0.23 in one step at 64)."""


ASTRAY = 0.05
"""Relative error from which phases are not looked for near the last ones any more, but from a decomposition."""
TIGHT, LOOSE = 1.05, 2.0
"""Of a tile's scale over its largest singular value: where it grows, and where it shrinks."""
LOOKS = 2
"""How often what neighbours warm a dead heater by is looked at again, where phases are found from nothing."""


class SvdMeshChip(CoherentChip):
    """Programs the U S V^T of a real matrix, divided by its largest singular value: a passive chip
    cannot amplify. The record's input and output phases are absorbed into U and V.

    ``programming`` "decompose" takes each decomposition as it is; "solve" goes on from it, and from one programming
    to the next, to phases whose matrix by the record's forward model is the one that is wanted (see ``newton``); "descend"
    goes only a short way down that model for each step of learning (see ``descent``). "auto" descends where the record is
    unsure of its phases, solves where it is sure and knows of dead heaters, and decomposes elsewhere.
    """

    def __init__(
        self,
        name: str,
        ports: int,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
        programming: Programming = "auto",
    ) -> None:
        self._mesh = SvdMesh(ports)
        self._known = self._mesh_of(records)
        super().__init__(name, "svd_mesh", ports, self._mesh.layout, wiring, records, clock, timing)
        broken = not bool(self._heaters.usable.all())
        if programming == "auto":
            unsure = self._doubtful() or (broken and ports > SMALL)
            programming = "descend" if unsure else "solve" if broken else "decompose"
        self.programming: Programming = programming
        self.follows = programming == "descend"
        self._model_record()

    def take(self, records: Records) -> None:
        """As ``MatrixChip.take``; whether the chip follows stays as it is: a run does not change its way half-way."""
        super().take(records)
        self._known = self._mesh_of(records)
        self._model_record()

    def _mesh_of(self, records: Records) -> SvdMesh:
        return SvdMesh(
            self._mesh.ports,
            splitter_errors=records.chip.value("splitter_errors"),
            mzi_transmission=records.chip.value("mzi_transmission"),
        )

    def _model_record(self) -> None:
        self._model = Model(
            self._known,
            self._output_turn * self._input_turn,
            self._heaters.usable,
            self._transmission(),
            self._counted(),
        )
        self._chart = Chart.of(self._model)
        self._dead = np.flatnonzero(~self._heaters.usable)
        self._warmed = self._heaters.crosstalk[self._dead]

    def _counted(self) -> BoolArray | None:
        """Elements (ports, ports) that are seen: not those at outputs that are not used, wherever light comes from. An input
        that is not used counts: what is stuck on it must lead nowhere."""
        if len(self.at.outputs) == self.ports:
            return None
        counted = np.zeros((self.ports, self.ports), bool)
        counted[self.at.outputs] = True
        return counted

    def _doubtful(self) -> bool:
        """Whether what the record is unsure of moves a matrix so far that decompositions mislead."""
        chip, heaters = self.records.chip, len(self._heaters.usable)
        unsure = np.median(chip.uncertainty("heater_phase_offset")[:heaters])
        expected = float(unsure) * np.sqrt(2 * self.ports)  # physics rule 12
        return bool(expected > DOUBTFUL)

    def forward(self, own: FloatArray) -> FloatArray:
        return np.asarray(self.at.part(self._model.matrix(self._mesh_phases(own)).real))

    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        """As ``HeaterChip.compile``; where the chip descends or solves, its decomposition is only the start."""
        if self.programming == "decompose":
            return super().compile(matrices, near)
        if self.programming == "descend":
            return self.compile_exactly(matrices, near)
        matrices = self._checked(matrices)
        largest = np.linalg.norm(matrices, ord=2, axis=(1, 2))
        found: list[Settings] = []
        for i, before in enumerate(near):
            solved = (
                None
                if before is None or not len(before.phases)
                else self._nearby(matrices[i], float(largest[i]), before)
            )
            found += [solved] if solved else self.compile_exactly(matrices[i : i + 1], [before])
        return found

    def compile_exactly(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> list[Settings]:
        """All phases together, down the record's forward model (physics rule 8: what splitters cost falls from 1.4-3.3 % to
        0.1 %), from the decomposition or from ``near``."""
        matrices = self._checked(matrices)
        alone = [None if s is None or not len(s.phases) else s for s in near]
        phases, scale, _, _ = self._phases(matrices, [None] * len(matrices), MARGIN)
        rounds = FEW_ROUNDS if self.follows and self.ports > SMALL else ROUNDS
        for i, before in enumerate(alone):
            if self.programming == "solve":
                before = None  # what was near has been tried
            if before is not None and before.scale >= scale[i] / MARGIN:
                phases[i], scale[i] = (
                    self._with_dead(before.phases, before.self_phase),
                    before.scale,
                )
            for _ in range(LOOKS if len(self._dead) and before is None else 1):
                if before is None:
                    own = self._heaters.self_phases(phases[i : i + 1], None)[0]
                    phases[i] = self._with_dead(phases[i], own)
                target = self.at.spread(matrices[i]) / scale[i]
                phases[i] = solve(self._model, phases[i], target, rounds)
        return self._descended(matrices, phases, scale, near)

    def _nearby(self, matrix: FloatArray, largest: float, before: Settings) -> Settings | None:
        """Settings for ``matrix`` (m, n) from those ``before``; None where there are none near to them."""
        scale = before.scale
        if largest * TIGHT > scale:
            scale = max(largest, TIGHT * scale)  # a little at a time
        elif largest * LOOSE < scale and largest > 0.0:
            scale = scale / TIGHT
        phases, error = reach(
            self._chart,
            self._with_dead(before.phases, before.self_phase),
            self.at.spread(matrix) / scale,
        )
        if error > ASTRAY:
            return None
        (found,) = self._descended(
            matrix[np.newaxis], phases[np.newaxis], np.array([scale]), [before]
        )
        return found

    def follow(self, matrices: FloatArray, near: Sequence[Settings]) -> list[Settings]:
        matrices = self._checked(matrices)
        if any(not len(s.phases) for s in near):
            return self.compile(matrices, near)
        largest = np.linalg.norm(matrices, ord=2, axis=(1, 2))
        scale = np.array([s.scale for s in near])
        # A matrix that outgrows its scale takes a larger one, a little at a time; one that shrinks
        # takes a smaller one, since noise is counted in units of the scale.
        scale = np.where(largest > scale, np.minimum(largest, 1.05 * scale), scale)
        scale = np.where(largest < 0.6 * scale, 0.98 * scale, scale)
        realised = np.stack([s.realised for s in near])
        aims = self.at.spread(realised + REACH * (matrices - realised)) / scale[:, None, None]
        steps = 2 if self.ports <= SMALL else 1
        phases = np.stack(
            [
                step_towards(self._model, self._with_dead(s.phases, s.self_phase), aim, steps)
                for s, aim in zip(near, aims, strict=True)
            ]
        )
        return self._descended(matrices, phases, scale, near)

    def _descended(
        self,
        matrices: FloatArray,
        phases: FloatArray,
        scale: FloatArray,
        near: Sequence[Settings | None],
    ) -> list[Settings]:
        count, m, n = matrices.shape
        realised = np.empty(matrices.shape)
        for i in range(count):
            realised[i] = self.at.part(self._model.matrix(phases[i]).real, (m, n)) * scale[i]
        nothing = np.zeros((count, 0))
        return self._settings((m, n), phases, scale, nothing, nothing, near, realised)

    def _with_dead(self, phases: FloatArray, own: FloatArray) -> FloatArray:
        """``phases`` (heaters,) with those of heaters that cannot be driven at what they are undriven, warmed by the ``own``
        phases (heaters,) of the others."""
        if not len(self._dead):
            return phases
        phases = phases.copy()
        phases[self._dead] = self._heaters.offset[self._dead] + self._warmed @ own
        return phases

    def _transmission(self) -> float:
        lossy = SvdMesh(self.ports, mzi_transmission=self.records.chip.value("mzi_transmission"))
        rng = np.random.default_rng(0)
        phases = self._mesh.compose_phases(
            haar_unitary(self.ports, rng), np.ones(self.ports), haar_unitary(self.ports, rng)
        )
        return float(np.linalg.norm(lossy.matrix(phases)) / np.sqrt(self.ports))

    def _phases(
        self, matrices: FloatArray, near: Sequence[Settings | None], margin: float = 1.0
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        left, singular, right = np.linalg.svd(self.at.spread(matrices))
        rank = min(matrices.shape[1:])
        _continue(left, singular, right, rank, near)
        scale = singular.max(axis=1)
        scale[scale == 0.0] = 1.0
        scale *= margin
        phases = self._mesh.compose_phases(
            self._output_turn * left, singular / scale[:, None], right * self._input_turn
        )
        return self._known.corrected_flat(phases), scale, left, right


def _continue(
    left: FloatArray,
    singular: FloatArray,
    right: FloatArray,
    rank: int,
    near: Sequence[Settings | None],
) -> None:
    """Bring decompositions (k, ...) nearest to those of ``near``, in place; vectors from ``rank`` on have
    singular values of zero."""
    begun = [(i, before) for i, before in enumerate(near) if before is not None]
    if not begun:
        return
    # All tiles at once: what is worked out beside passes asks for the interpreter as seldom as it can.
    rows = np.array([i for i, _ in begun])
    tile = rows[:, np.newaxis]
    order, signs = match_singular_vectors(
        left[rows, :, :rank],
        right[rows, :rank],
        np.stack([before.left[:, :rank] for _, before in begun]),
        np.stack([before.right[:rank] for _, before in begun]),
    )
    columns = left[tile, :, order] * signs[..., np.newaxis]  # (tiles, vectors, ports)
    left[rows, :, :rank] = columns.swapaxes(1, 2)
    right[rows, :rank] = right[tile, order] * signs[..., np.newaxis]
    singular[rows, :rank] = singular[tile, order]
    if rank == singular.shape[1]:
        return
    for i, before in begun:
        left_rest = completed(left[i, :, :rank], before.left[:, rank:])
        right_rest = completed(right[i, :rank].T, before.right[rank:].T)
        if left_rest is not None and right_rest is not None:
            left[i, :, rank:], right[i, rank:] = left_rest, right_rest.T
