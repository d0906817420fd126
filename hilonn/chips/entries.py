from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hilonn.registry import ChipType
from hilonn.chips.svd_mesh import SvdMeshChip


class MeshOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    ports: Annotated[int, Field(ge=2)]


def _svd(name: str, options: MeshOptions, wiring: Any, records: Any, clock: Any, timing: Any) -> SvdMeshChip:
    return SvdMeshChip(name, options.ports, wiring, records, clock, timing)


svd_mesh = ChipType(MeshOptions, _svd)
unitary_mesh = ChipType(MeshOptions, _svd)
crossbar = ChipType(MeshOptions, _svd)
