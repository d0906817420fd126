"""Which of a chip's ports are used: an input whose modulator is stuck, or an output of which a detector is dead, is not.

A chip then takes smaller matrices. Its inputs and outputs are counted from 0 without gaps; here stands at which ports of
the chip they are. What a stuck modulator launches is constant: programming sends it nowhere (its column of the matrix is
zero), and what is left of it is in the baseline of every play.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.errors import CalibrationError
from hilonn.records import Records
from hilonn.typing import BoolArray, IntArray


def run_of(indices: IntArray) -> IntArray | slice:
    """``indices`` as a slice where each is the one before and one more: numpy then copies nothing, or in one go."""
    if len(indices) and np.array_equal(indices, np.arange(len(indices)) + indices[0]):
        return slice(int(indices[0]), int(indices[0]) + len(indices))
    return indices


def first_of(run: IntArray | slice, count: int) -> IntArray | slice:
    """The first ``count`` of a ``run_of``, all where it has fewer."""
    if isinstance(run, slice):
        return slice(run.start, min(run.start + count, run.stop))
    return run[:count]


def usable_inputs(records: Records) -> BoolArray:
    """Ports (ports,) whose modulator, and the light on whose way, the records accept."""
    chip, modulators = records.chip, records.modulators
    light = "input_power" if "input_power" in chip.quantities else "input_field"
    usable: BoolArray = (
        modulators.accepted("v_pi") & modulators.accepted("bias") & chip.accepted(light)
    )
    return usable


def usable_outputs(records: Records) -> BoolArray:
    """Ports (ports,) of whose pair the records accept both detectors: one alone reads |E|^2 into every signed field."""
    plus, minus = np.split(records.photodetectors.accepted("gain"), 2)
    usable: BoolArray = plus & minus
    return usable


@dataclass(frozen=True, eq=False)
class Ports:
    """The ports of a chip's ``inputs`` and ``outputs``, by their numbers in a matrix; ``count`` of all."""

    count: int
    inputs: IntArray
    outputs: IntArray

    @classmethod
    def of(cls, records: Records, most: int) -> Ports:
        """Those that ``records`` accept, the first ``most`` of them. CalibrationError where none is left."""
        inputs = np.flatnonzero(usable_inputs(records))[:most]
        outputs = np.flatnonzero(usable_outputs(records))[:most]
        for what, left in (("input", inputs), ("output", outputs)):
            if not len(left):
                raise CalibrationError(
                    f"the record of {records.chip.title} accepts no {what}: nothing can be multiplied on it; calibrate it"
                )
        return cls(records.chip.ports, inputs, outputs)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Ports)
            and self.count == other.count
            and np.array_equal(self.inputs, other.inputs)
            and np.array_equal(self.outputs, other.outputs)
        )

    def __hash__(self) -> int:
        return hash((self.count, self.inputs.tobytes(), self.outputs.tobytes()))

    @property
    def detectors(self) -> IntArray:
        """Those of the outputs, that add and then that subtract, among (2 * count,)."""
        return np.concatenate((self.outputs, self.count + self.outputs))

    def spread(self, matrices: np.ndarray) -> np.ndarray:
        """Matrices (..., m, n) of the first outputs and inputs as (..., count, count) of the chip's ports, zero elsewhere."""
        *lead, m, n = matrices.shape
        whole = np.zeros((*lead, self.count, self.count), matrices.dtype)
        whole[..., self.outputs[:m, np.newaxis], self.inputs[:n]] = matrices
        return whole

    def part(self, whole: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
        """The inverse of ``spread``: matrices (..., m, n) of ``shape``, that of all outputs and inputs where it is None."""
        m, n = (len(self.outputs), len(self.inputs)) if shape is None else shape
        found: np.ndarray = whole[..., self.outputs[:m, np.newaxis], self.inputs[:n]]
        return found


@dataclass(frozen=True, slots=True)
class Unused:
    """What a record does not accept of a chip: its ``heaters``, and the ports of its ``inputs`` and ``outputs``."""

    heaters: list[int]
    inputs: list[int]
    outputs: list[int]

    @classmethod
    def of(cls, records: Records, usable: BoolArray) -> Unused:
        """``usable`` (heaters,): those that are driven."""
        return cls(
            np.flatnonzero(~usable).tolist(),
            np.flatnonzero(~usable_inputs(records)).tolist(),
            np.flatnonzero(~usable_outputs(records)).tolist(),
        )

    def __bool__(self) -> bool:
        return bool(self.heaters or self.inputs or self.outputs)

    def __str__(self) -> str:
        parts = (("heater", self.heaters), ("input", self.inputs), ("output", self.outputs))
        return ", ".join(
            f"{what}{'s' if len(channels) > 1 else ''} {_listed(channels)}"
            for what, channels in parts
            if channels
        )


def _listed(channels: list[int]) -> str:
    shown = ", ".join(str(c) for c in channels[:8])
    return shown + (f" and {len(channels) - 8} more" if len(channels) > 8 else "")
