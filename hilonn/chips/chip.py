"""What a chip must do, and what a chip that multiplies by a matrix does on top."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hilonn.clock import Clock
from hilonn.errors import ConfigError
from hilonn.records import Records
from hilonn.typing import FloatArray, Snapshot

Readout = Literal["power", "balanced", "homodyne"]
MOVED = 0.5
"""A phase that moves by more than this (rad) counts as moved."""


NOTHING = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Settings:
    """One programming: what is written to the phase shifters, and what it stands for.

    ``drive`` (heaters,) in the device's unit, the local oscillator's not included;
    ``self_phase`` (heaters,) rad, each heater's own part; measured values are multiplied by
    ``scale``; ``shape`` (outputs, inputs) of the matrix; ``left``, ``right`` the singular vectors
    that a later programming stays near to; ``moved``: heaters whose phase moved by over 0.5 rad.
    ``phases`` (heaters,) rad are the mesh's, and ``realised`` (outputs, inputs) the matrix that they
    give by the record's forward model, where it was asked; both are empty otherwise.
    """

    drive: FloatArray
    self_phase: FloatArray
    scale: float
    shape: tuple[int, int]
    left: np.ndarray
    right: np.ndarray
    moved: int
    phases: np.ndarray = field(default_factory=lambda: NOTHING)
    realised: np.ndarray = field(default_factory=lambda: NOTHING)

    def pack(self) -> Snapshot:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__} | {"shape": list(self.shape)}

    @classmethod
    def unpack(cls, snapshot: Snapshot) -> Settings:
        """The inverse of ``pack``."""
        return cls(**{**snapshot, "shape": tuple(snapshot["shape"])})


@dataclass(frozen=True, slots=True)
class Batch:
    """``inputs`` (samples, n) in units of the full-scale amplitude, each in [-1, 1].

    ``range``: index of the detectors' range; None lets the chip choose and retake.
    ``quadrature`` "both" (homodyne only) gives complex values at twice the plays.
    """

    inputs: FloatArray
    readout: Readout
    range: int | None = None
    averages: int = 1
    quadrature: Literal["in_phase", "both"] = "in_phase"


@dataclass(frozen=True, slots=True)
class ChipReadings:
    """``values`` (samples, outputs): estimates of ``inputs @ matrix.T``, or of its square for
    power. ``saturated``: some reading stands at its range's end; ``seconds`` of the bench's clock;
    ``locked``: whether the local oscillator was in lock."""

    values: np.ndarray
    saturated: bool
    clipped_fraction: float
    range: int
    seconds: float
    locked: bool


@dataclass
class ChipStatistics:
    """What a chip counts. Seconds are of wall time: ``wire_seconds`` those of its devices' verbs, ``settling_seconds``
    those that it waited for heaters, ``device_seconds`` those of each device's verbs while passes ran: of boxes that work side by
    side both count."""

    runs: int = 0
    programmings: int = 0
    moved: int = 0
    wire_seconds: float = 0.0
    settling_seconds: float = 0.0
    device_seconds: dict[str, float] = field(default_factory=dict)

    def took(self, device: str, since: float) -> float:
        """A verb of ``device`` began at ``since`` (time.perf_counter) and has ended; returns now."""
        now = time.perf_counter()
        self.device_seconds[device] = self.device_seconds.get(device, 0.0) + now - since
        return now


class Chip(ABC):
    """Anything that turns settings and a batch into readings."""

    id: str
    name: str
    architecture: str
    clock: Clock
    records: Records
    readouts: frozenset[Readout]
    bench: Any = None
    """The bench that opened the chip, if any."""

    @abstractmethod
    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        """Program if needed, wait what is left of settling, play the batch, read."""

    def spent(self) -> tuple[float, float]:
        """Wall seconds so far of the devices' verbs, and of waiting for what settles."""
        return 0.0, 0.0

    def spent_by_device(self) -> dict[str, float]:
        """Wall seconds so far of each device's verbs; of boxes that work side by side both count."""
        return {}


class MatrixChip(Chip):
    """A chip that multiplies by a programmed matrix of at most (``outputs``, ``inputs``)."""

    inputs: int
    outputs: int
    ranges: int
    signed_readout: Readout | None = None
    power_budget: float = np.inf
    """W that all heaters together may take."""
    follows: bool = False
    """Whether ``follow`` does anything but ``compile``."""

    @abstractmethod
    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        """Settings for each of ``matrices`` (k, m, n), each nearest to its ``near``. No I/O."""

    def compile_exactly(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> list[Settings]:
        """``compile`` by all that the record knows, however long it takes."""
        return self.compile(matrices, near)

    def follow(self, matrices: FloatArray, near: Sequence[Settings]) -> list[Settings]:
        """Settings a short way from ``near`` towards ``matrices`` (k, m, n): what a step of learning
        needs, cheaper and steadier than to reach them. ``realised`` tells how far they go."""
        raise ConfigError(
            f"{self.id}: {self.architecture} does not follow weights step by step; ask `follows` first, and `compile` them"
        )

    def take(self, records: Records) -> None:
        """Go on with ``records`` of the same chip in place of those it has: everything derived from them is made anew, and
        nothing that was programmed is believed. ConfigError for an architecture that cannot."""
        raise ConfigError(f"{self.architecture} {self.id} takes no new record while it is open")

    @abstractmethod
    def forget(self) -> None:
        """Believe nothing of the devices' state (a switch's position): light or wiring has changed."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """What later readings depend on and no device holds."""

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """The inverse of ``snapshot``."""
