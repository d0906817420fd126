"""The order of passes that reprograms a chip least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilonn.errors import ConfigError
from hilonn.passes.placement import Placement
from hilonn.passes.request import PassRequest


@dataclass(frozen=True, slots=True)
class PlannedPass:
    """One programming of one tile, and the requests whose batches are driven through it."""

    layer: int
    row: int
    column: int
    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PassPlan:
    """Passes in the order they run: layer by layer, tiles in order."""

    passes: tuple[PlannedPass, ...]
    chunks: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.passes)


def plan(requests: Sequence[PassRequest], placements: Sequence[Placement]) -> PassPlan:
    """Requests with the same weights share each programming; different weights never do.

    Batches are taken layer by layer, so that n requests cost the programmings of one.
    """
    depth = len(placements)
    chunks: list[list[int]] = []
    for index, request in enumerate(requests):
        last = depth if request.last is None else request.last
        if not 0 <= request.first < last <= depth:
            raise ConfigError(
                f"a pass request asks for layers {request.first} to {last} of a network of {depth}"
            )
        for chunk in chunks:
            if requests[chunk[0]].weights is request.weights:
                chunk.append(index)
                break
        else:
            chunks.append([index])
    passes = []
    for chunk in chunks:
        for layer, placement in enumerate(placements):
            involved = tuple(
                i
                for i in chunk
                if requests[i].first <= layer
                and layer < (depth if requests[i].last is None else requests[i].last)  # type: ignore[operator]
            )
            if involved:
                passes += [
                    PlannedPass(layer, row, column, involved)
                    for row in range(placement.rows)
                    for column in range(placement.columns)
                ]
    return PassPlan(tuple(passes), tuple(tuple(c) for c in chunks))
