"""Turns requests into passes on a chip and readings into traces."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hilonn.chips import Batch, ChipReadings, MatrixChip, Settings
from hilonn.errors import (
    ConfigError,
    DivergedError,
    HilonnError,
    SaturationError,
)
from hilonn.passes.compiling import CompiledTiles, Compiler
from hilonn.passes.log import PassLog
from hilonn.passes.placement import Placement
from hilonn.passes.plan import PlannedPass, plan
from hilonn.passes.request import PassRequest, Trace, Weights
from hilonn.passes.turns import short_turns
from hilonn.typing import FloatArray, IntArray, Snapshot

OVERLOAD_STEP = 1.4
"""Inputs are scaled down by this where the largest range of the detectors does not hold them."""
OVERLOADS = 20
"""How often a layer's inputs may be scaled down in a row before the chip is called unusable."""
HEADROOM = 1.5
"""Full scale of the modulators over the largest input seen: x - F e exceeds x (1.04 to 1.4)."""


class PairRetake(HilonnError):
    """The second trip of a pair left the frozen gain or range: both trips must be taken again.

    Raised to the controller, which restarts the rule's step; the gain or range is raised already.
    """


@dataclass
class RunnerStatistics:
    """What the runner counts. Seconds are of wall time; ``compile_seconds`` those that the runner
    spent or waited until a tile's phases were known; of ``chip_seconds``, those of all passes, ``wire_seconds`` were the
    devices' verbs and ``settling_seconds`` waiting for heaters; ``recovery_seconds`` went by until what was lost was back.
    ``device_seconds``: those of each device's verbs in passes, of which some run side by side."""

    passes: int = 0
    retakes: int = 0
    pair_retakes: int = 0
    recoveries: int = 0
    moved: int = 0
    compile_seconds: float = 0.0
    chip_seconds: float = 0.0
    wire_seconds: float = 0.0
    settling_seconds: float = 0.0
    recovery_seconds: float = 0.0
    device_seconds: dict[str, float] = field(default_factory=dict)

    def spent(self, wall_seconds: float) -> dict[str, float]:
        """``wall_seconds`` of a run by what it waited for."""
        known = {
            "finding phases": self.compile_seconds,
            "wires and devices": self.wire_seconds,
            "settling": self.settling_seconds,
            "arithmetic of passes": max(
                self.chip_seconds - self.wire_seconds - self.settling_seconds, 0.0
            ),
        }
        if self.recovery_seconds:
            known["waiting for what was lost"] = self.recovery_seconds
        return known | {"learning and the rest": max(wall_seconds - sum(known.values()), 0.0)}


@dataclass(frozen=True, slots=True)
class Programmed:
    """How a layer's tiles were programmed for ``weights``. A matrix can be had by many phases, and what a
    chip has wrong differs from one to the next: to come back to weights that worked is to come
    back to these. ``weights`` None: other ones than the network's."""

    weights: FloatArray | None
    settings: tuple[Settings, ...]

    def pack(self, current: FloatArray) -> Snapshot:
        """For a checkpoint in which the layer's weights are ``current``."""
        return {
            "current": self.weights is current,
            "settings": [s.pack() for s in self.settings],
        }

    @classmethod
    def unpack(cls, saved: Snapshot, current: FloatArray) -> Programmed:
        """The inverse of ``pack``."""
        settings = tuple(Settings.unpack(s) for s in saved["settings"])
        return cls(current if saved["current"] else None, settings)


@dataclass
class _Tiles:
    """What is known of one layer's tiles between passes."""

    weights: FloatArray | None = None
    settings: CompiledTiles | list[Settings] = field(default_factory=list)
    ranges: IntArray = field(default_factory=lambda: np.zeros(0, dtype=int))
    gain: float = 0.0

    def all(self) -> list[Settings]:
        """Settings of every tile."""
        return self.settings if isinstance(self.settings, list) else self.settings.all()


class PassRunner:
    """Drives passes through one chip; owns settings, input gains and ranges of the tiles."""

    def __init__(
        self, chip: MatrixChip, placements: Sequence[Placement], log: PassLog | None = None
    ) -> None:
        self.chip = chip
        self.placements = list(placements)
        self.log = log
        self.statistics = RunnerStatistics()
        self._tiles = [_Tiles(ranges=np.full(p.tiles, -1)) for p in self.placements]
        self._pairs: set[int] = set()
        self._compiler = Compiler(chip)
        self._backward: PassRunner | None = None
        self._turned: tuple[Weights, Weights] | None = None

    def begin_step(self) -> None:
        """Forget which pairs were begun: the next request of any pair is a first one again."""
        self._pairs.clear()
        if self._backward is not None:
            self._backward.begin_step()

    def follow(self, weights: Weights) -> Weights:
        """``weights`` after a step of learning, as near as the chip goes towards them at once.

        A chip that does not follow takes them as they are when they are next run. What comes back
        is what the record says of the phases, so that nothing winds up that the chip cannot do.
        """
        if not self.chip.follows:
            return weights
        started = time.perf_counter()
        followed = []
        for tiles, placement, wanted in zip(self._tiles, self.placements, weights, strict=True):
            near = tiles.all()
            if tiles.weights is None or not near or tiles.weights is wanted:
                followed.append(wanted)  # not yet run, or not changed
                continue
            settings = self._compiler.follow(placement.blocks(wanted), near)
            tiles.settings = settings
            tiles.weights = placement.whole(np.stack([s.realised for s in settings]))
            followed.append(tiles.weights)
        self.statistics.compile_seconds += time.perf_counter() - started
        return tuple(followed)

    def programmed(self) -> tuple[Programmed, ...]:
        """How every layer is programmed now."""
        return tuple(Programmed(t.weights, tuple(t.all())) for t in self._tiles)

    def program(self, programmed: Sequence[Programmed]) -> None:
        """Go back to ``programmed``; the next pass writes it."""
        for tiles, saved in zip(self._tiles, programmed, strict=True):
            tiles.weights, tiles.settings = saved.weights, list(saved.settings)

    def refresh(self) -> None:
        """Choose gains and ranges anew at the next passes (weights have moved since the last)."""
        for tiles in self._tiles:
            tiles.ranges = np.full(tiles.ranges.shape, -1)
            tiles.gain = 0.0
        if self._backward is not None:
            self._backward.refresh()

    def program_anew(self) -> None:
        """The chip has a new record: find every tile's phases again, near to what they are."""
        for tiles in self._tiles:
            tiles.weights = None
            tiles.settings = tiles.all()
        if self._backward is not None:
            self._backward.program_anew()

    def run(self, requests: Sequence[PassRequest]) -> list[Trace]:
        """Run ``requests``, in whatever order is cheapest, and return their traces in theirs.

        Raises PairRetake where a frozen gain or range was left, SaturationError where no range
        is large enough for any input gain, and whatever the devices raise.
        """
        if any(request.direction == "backward" for request in requests):
            return self._run_backward(requests)
        with short_turns():
            return self._run(requests)

    def _run(self, requests: Sequence[PassRequest]) -> list[Trace]:
        for request in requests:
            if request.averages < 1:
                raise ConfigError(f"a request asks for {request.averages} averages")
        states = [np.asarray(r.inputs, dtype=float) for r in requests]
        after: list[list[FloatArray]] = [[] for _ in requests]
        before: list[list[FloatArray]] = [[] for _ in requests]
        passes = plan(requests, self.placements).passes
        self._compile_all(passes, requests)
        position = 0
        while position < len(passes):
            first = passes[position]
            count = self.placements[first.layer].tiles
            tiles = passes[position : position + count]
            for _ in range(OVERLOADS):
                try:
                    self._layer(tiles, requests, states, before, after)
                    break
                except SaturationError as error:
                    self._overloaded(first.layer, requests, error)
            else:
                raise SaturationError(
                    f"layer {first.layer} saturates {self.chip.id} however far its inputs are "
                    "scaled down: is a detector stuck at its rail, or stray light on it?"
                )
            position += count
        self._pairs |= {r.pair for r in requests if r.pair is not None}
        return [
            Trace(
                r,
                states[i],
                after[i] if r.keep != "output" else [],
                before[i],
                tuple(p.readout for p in self.placements[r.first : r.last]),
            )
            for i, r in enumerate(requests)
        ]

    def _run_backward(self, requests: Sequence[PassRequest]) -> list[Trace]:
        """The transposed layers, last to first, have tiles of their own on the same chip."""
        if any(r.direction != "backward" or r.masks for r in requests):
            raise ConfigError("backward requests come in groups of their own, and have no masks")
        backward = self._backward_runner()
        depth = len(self.placements)
        turned = [
            replace(
                r,
                weights=self._transposed(r.weights),
                first=depth - (depth if r.last is None else r.last),
                last=depth - r.first,
                direction="forward",
            )
            for r in requests
        ]
        return backward.run(turned)

    def _backward_runner(self) -> PassRunner:
        if self._backward is None:
            placements = [p.transposed(self.chip) for p in reversed(self.placements)]
            self._backward = PassRunner(self.chip, placements)
        self._backward.statistics = self.statistics
        self._backward.log = self.log
        return self._backward

    def _transposed(self, weights: Weights) -> Weights:
        # The same object for the same weights, by which tiles know that nothing has moved.
        if self._turned is None or self._turned[0] is not weights:
            turned = tuple(np.ascontiguousarray(w.T) for w in reversed(weights))
            self._turned = (weights, turned)
        return self._turned[1]

    def _layer(
        self,
        passes: Sequence[PlannedPass],
        requests: Sequence[PassRequest],
        states: list[FloatArray],
        before: list[list[FloatArray]],
        after: list[list[FloatArray]],
    ) -> None:
        index = passes[0].layer
        placement, tiles = self.placements[index], self._tiles[index]
        involved = passes[0].requests
        self._compile(index, requests[involved[0]].weights)
        gains = {i: self._gain(index, states[i], requests[i]) for i in involved}
        m, n = placement.tile
        scaled = {}
        sums = {}
        for i in involved:
            samples, width = states[i].shape
            if width != placement.inputs:
                raise ConfigError(
                    f"layer {index} takes {placement.inputs} inputs; a request brings {width}"
                )
            padded = np.zeros((samples, placement.columns * n))
            np.divide(states[i], gains[i], out=padded[:, :width])
            scaled[i] = padded
            sums[i] = np.zeros((samples, placement.rows * m))
        for tile, planned in enumerate(passes):
            at_output = slice(planned.row * m, (planned.row + 1) * m)
            at_input = slice(planned.column * n, (planned.column + 1) * n)
            settings = self._ready(tiles, tile)
            for i in involved:
                readings = self._take(index, tile, settings, scaled[i][:, at_input], requests[i])
                sums[i][:, at_output] += readings.values
            self.statistics.passes += 1
            self.statistics.moved += settings.moved
        for i in involved:
            gain = gains[i] ** 2 if placement.readout == "power" else gains[i]
            measured = sums[i][:, : placement.outputs] * gain
            if placement.readout == "power":
                assert placement.function.of_power is not None
                activated = placement.function.of_power(measured)
            else:
                activated = placement.function.of_field(measured)
            if index in requests[i].masks:
                activated = activated * requests[i].masks[index]
            states[i] = activated
            if requests[i].keep == "all":
                before[i].append(measured)
            if requests[i].keep != "output":
                after[i].append(activated)

    def _overloaded(
        self, layer: int, requests: Sequence[PassRequest], error: SaturationError
    ) -> None:
        """Scale the layer's inputs down; nothing of an open pair can be kept then."""
        self._tiles[layer].gain *= OVERLOAD_STEP
        self._tiles[layer].ranges[:] = -1
        self.statistics.retakes += 1
        if any(r.pair is not None for r in requests):
            self._pair_retake(f"layer {layer} saturated ({error})")

    def _compile_all(self, passes: Sequence[PlannedPass], requests: Sequence[PassRequest]) -> None:
        """Begin with every layer, in the order of light: later ones are ready when the light of earlier ones is read."""
        begun: set[int] = set()
        for planned in passes:
            if planned.layer not in begun:
                weights = requests[planned.requests[0]].weights
                self._compile(planned.layer, weights, ahead=bool(begun))
                begun.add(planned.layer)

    def _compile(self, index: int, weights: Weights, ahead: bool = False) -> None:
        tiles = self._tiles[index]
        if tiles.weights is not weights[index]:
            started = time.perf_counter()
            blocks = self.placements[index].blocks(weights[index])
            near: Sequence[Settings | None] = tiles.all() or [None] * len(blocks)
            tiles.settings = self._compiler.compile(blocks, near, ahead)
            tiles.weights = weights[index]
            self.statistics.compile_seconds += time.perf_counter() - started

    def _ready(self, tiles: _Tiles, tile: int) -> Settings:
        started = time.perf_counter()
        settings = tiles.settings[tile]
        self.statistics.compile_seconds += time.perf_counter() - started
        return settings

    def _gain(self, index: int, inputs: FloatArray, request: PassRequest) -> float:
        """Full scale of the layer's inputs; raised where needed, never while a pair is open."""
        tiles = self._tiles[index]
        if not np.isfinite(inputs).all():
            raise DivergedError(
                f"the inputs of layer {index} are not finite: the run has diverged; lower rate, "
                "hidden_rate or feedback_scale"
            )
        largest = float(np.abs(inputs).max(initial=0.0))
        if largest > tiles.gain:
            first_choice = tiles.gain == 0.0
            tiles.gain = max(largest * HEADROOM, 1e-12)
            if not first_choice and self._frozen(request):
                self._pair_retake(f"an input of layer {index} reached {largest:.3g}")
        return max(tiles.gain, 1e-12)

    def _frozen(self, request: PassRequest) -> bool:
        return request.pair is not None and request.pair in self._pairs

    def _pair_retake(self, what: str) -> None:
        self.statistics.pair_retakes += 1
        raise PairRetake(f"{what}: both trips of the pair are taken again")

    def _take(
        self,
        index: int,
        tile: int,
        settings: Settings,
        inputs: FloatArray,
        request: PassRequest,
    ) -> ChipReadings:
        ranges = self._tiles[index].ranges
        readout = self.placements[index].readout
        started, (wire, settling) = time.perf_counter(), self.chip.spent()
        devices = self.chip.spent_by_device()
        while True:
            chosen = int(ranges[tile])
            batch = Batch(
                inputs,
                readout,
                range=None if chosen < 0 else chosen,
                averages=request.averages,
            )
            readings = self.chip.run(settings, batch)
            if self.log is not None:
                self.log.record(index, tile, settings, batch, readings)
            if not readings.saturated:
                break
            if chosen + 1 >= self.chip.ranges:
                raise SaturationError(
                    f"tile {tile}: {readings.clipped_fraction:.1%} of the readings are saturated "
                    "at the largest range"
                )
            ranges[tile] = chosen + 1
            self.statistics.retakes += 1
            if self._frozen(request):
                self._pair_retake(f"a reading of layer {index}, tile {tile} saturated")
        if chosen < 0:
            ranges[tile] = readings.range
        now_wire, now_settling = self.chip.spent()
        self.statistics.wire_seconds += now_wire - wire
        self.statistics.settling_seconds += now_settling - settling
        # a new one each time: snapshots keep the one that they were made with
        self.statistics.device_seconds = {
            name: self.statistics.device_seconds.get(name, 0.0) + now - devices.get(name, 0.0)
            for name, now in self.chip.spent_by_device().items()
        }
        self.statistics.chip_seconds += time.perf_counter() - started
        return readings

    def snapshot(self, weights: Weights) -> Snapshot:
        """State for a checkpoint at which the network's weights are ``weights``."""
        return {
            "statistics": dict(vars(self.statistics)),
            "layers": self.tiles(),
            "current": [t.weights is w for t, w in zip(self._tiles, weights, strict=True)],
            "backward": None if self._backward is None else self._backward.tiles(),
        }

    def tiles(self) -> list[Snapshot]:
        """Settings, ranges and gains, by layer."""
        return [
            {"settings": [s.pack() for s in t.all()], "ranges": t.ranges, "gain": t.gain}
            for t in self._tiles
        ]

    def restore_tiles(self, saved: Sequence[Snapshot]) -> None:
        """The inverse of ``tiles``."""
        for tiles, state in zip(self._tiles, saved, strict=True):
            tiles.settings = [Settings.unpack(s) for s in state["settings"]]
            tiles.ranges = np.array(state["ranges"], dtype=int)
            tiles.gain = state["gain"]

    def restore(self, snapshot: Snapshot, weights: Weights) -> None:
        """Go on from ``snapshot`` with ``weights``, as if never interrupted."""
        self.statistics = RunnerStatistics(**snapshot["statistics"])
        self.restore_tiles(snapshot["layers"])
        for tiles, current, w in zip(self._tiles, snapshot["current"], weights, strict=True):
            tiles.weights = w if current else None
        if snapshot["backward"] is not None:
            self._backward_runner().restore_tiles(snapshot["backward"])
