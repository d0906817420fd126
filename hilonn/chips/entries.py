"""What the entry points of ``hilonn.chips`` name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from hilonn.chips.chip import MatrixChip
from hilonn.chips.crossbar import CrossbarChip
from hilonn.chips.svd_mesh import Programming, SvdMeshChip
from hilonn.chips.unitary_mesh import TriangularMeshChip, UnitaryMeshChip
from hilonn.clock import Clock
from hilonn.devices import Timing
from hilonn.records import Records
from hilonn.registry import ChipType, Wire


class ChipOptions(BaseModel):
    """A chip's own keys in a bench file: its number of ports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ports: Annotated[int, Field(ge=2)]


class _ChipClass(Protocol):
    def __call__(
        self,
        name: str,
        ports: int,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> MatrixChip: ...


def _chip_type(kind: _ChipClass) -> ChipType:
    def build(
        name: str,
        options: ChipOptions,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> MatrixChip:
        return kind(name, options.ports, wiring, records, clock, timing)

    return ChipType(ChipOptions, build)


class SvdMeshOptions(ChipOptions):
    """``programming``: how phases are found for a matrix (see ``SvdMeshChip``)."""

    programming: Programming = "auto"


def _svd_mesh(
    name: str,
    options: SvdMeshOptions,
    wiring: Mapping[str, Wire],
    records: Records,
    clock: Clock,
    timing: Timing,
) -> MatrixChip:
    return SvdMeshChip(name, options.ports, wiring, records, clock, timing, options.programming)


svd_mesh = ChipType(SvdMeshOptions, _svd_mesh)
unitary_mesh = _chip_type(UnitaryMeshChip)
triangular_mesh = _chip_type(TriangularMeshChip)
crossbar = _chip_type(CrossbarChip)
