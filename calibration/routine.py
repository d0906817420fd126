"""What a routine is: acquire, fit, accept, update. Each step is usable alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.records import ChipRecord, InstrumentRecord, Quantity, Records

Progress = Callable[[str, int, int], None]
"""What is being measured, how many settings of it are done, how many there are."""
Channel = Literal["heater", "modulator", "detector", "output"]


class Parameters(BaseModel):
    """A routine's own section of a parameter file; every key has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Effort:
    """``passes``: programmings with a batch driven through; ``samples`` played in all."""

    passes: int
    samples: int

    def seconds(self, setup: Setup) -> float:
        """On the bench's clock, what the boxes' wires take not counted."""
        return 2 * self.passes * setup.settling_time + self.samples * setup.sample_period


@dataclass(frozen=True, slots=True)
class Failure:
    """A channel that is masked, and why."""

    kind: Channel
    channel: int
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.channel}: {self.reason}"


@dataclass(frozen=True)
class Fit:
    """Values with uncertainty for the three records; ``arrays`` for the report; ``figures`` to be printed."""

    chip: Mapping[str, Quantity] = field(default_factory=dict)
    modulators: Mapping[str, Quantity] = field(default_factory=dict)
    photodetectors: Mapping[str, Quantity] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


class Routine(ABC):
    """One measurement of a chip. What it knows of it, it gets as ``known`` records; what it may touch, as a rig."""

    name: ClassVar[str]
    title: ClassVar[str]
    parameters: ClassVar[type[Parameters]] = Parameters

    def applies(self, setup: Setup) -> bool:
        """Whether this kind of chip can be measured so."""
        return True

    @abstractmethod
    def effort(self, setup: Setup, parameters: Any) -> Effort:
        """What ``acquire`` will take."""

    @abstractmethod
    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        """Measure what ``raw`` does not hold yet, block by block. Raises what the devices raise, and Interrupted."""

    @abstractmethod
    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        """Values from raw data alone."""

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        """Channels that fail a gate. CalibrationError where nothing can be used."""
        return []

    def update(self, known: Records, fit: Fit, failures: Sequence[Failure]) -> Records:
        """``known`` with the values of ``fit``; failed channels are not accepted."""
        return updated(known, fit, failures, self.name)


AXES: Mapping[Channel, tuple[str, tuple[str, ...]]] = {
    "heater": (
        "chip",
        (
            "heater_resistance",
            "heater_resistance_rise",
            "heater_phase_offset",
            "heater_power_per_pi",
        ),
    ),
    "modulator": ("modulators", ("v_pi", "bias", "extinction_leak")),
    "detector": ("photodetectors", ("gain", "dark", "noise_v0", "noise_v1", "noise_v2")),
    "output": ("chip", ("output_gain", "output_phase", "output_power_gain")),
}
"""Whose arrays a failed channel masks."""


def updated(known: Records, fit: Fit, failures: Sequence[Failure], source: str) -> Records:
    """See ``Routine.update``; what was not accepted before stays so."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    parts: dict[str, dict[str, Quantity]] = {
        "chip": {**known.chip.quantities, **fit.chip},
        "modulators": {**known.modulators.quantities, **fit.modulators},
        "photodetectors": {**known.photodetectors.quantities, **fit.photodetectors},
    }
    for role, record in (
        ("chip", known.chip),
        ("modulators", known.modulators),
        ("photodetectors", known.photodetectors),
    ):
        for name, before in record.quantities.items():
            now_there = parts[role][name]
            if now_there.accepted.shape == before.accepted.shape:
                both = now_there.accepted & before.accepted
                parts[role][name] = replace(now_there, accepted=both)
    for failure in failures:
        role, names = AXES[failure.kind]
        for name in names:
            if name in parts[role]:
                accepted = parts[role][name].accepted.copy()
                accepted[failure.channel] = False
                parts[role][name] = replace(parts[role][name], accepted=accepted)
    text = source if known.chip.source.startswith("nominal") else f"{known.chip.source}, {source}"
    text = text if text.startswith("measured") else f"measured: {text}"

    def new(record: Any, role: str) -> Any:
        changed = getattr(fit, role) or any(AXES[f.kind][0] == role for f in failures)
        if not changed:
            return record
        return replace(record, quantities=parts[role], created=now, source=text)

    chip: ChipRecord = new(known.chip, "chip")
    modulators: InstrumentRecord = new(known.modulators, "modulators")
    photodetectors: InstrumentRecord = new(known.photodetectors, "photodetectors")
    return Records(chip, modulators, photodetectors)


def whole(known: np.ndarray, index: Any, values: Any) -> np.ndarray:
    """``known`` with ``values`` at ``index``, as a copy."""
    found = np.array(known)
    found[index] = values
    return found
