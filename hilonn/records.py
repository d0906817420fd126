"""What is known of one chip and of one box: values with uncertainty, date and acceptance."""

from __future__ import annotations

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hilonn.atomic import write_bytes
from hilonn.errors import CalibrationError
from hilonn.typing import BoolArray, FloatArray, Snapshot

FORMAT = 1
PARTS = ("value", "uncertainty", "accepted")


@dataclass(frozen=True, slots=True)
class Quantity:
    """``value`` with ``uncertainty`` (one standard deviation) and what was ``accepted``."""

    value: np.ndarray
    uncertainty: FloatArray
    accepted: BoolArray

    @classmethod
    def of(cls, value: Any, uncertainty: Any = 0.0, accepted: Any = True) -> Quantity:
        array = np.asarray(value)
        return cls(
            array,
            np.array(np.broadcast_to(np.asarray(uncertainty, float), array.shape)),
            np.array(np.broadcast_to(np.asarray(accepted, bool), array.shape)),
        )


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """What chip and instrument records share. Dates are ISO 8601, UTC."""

    created: str
    source: str
    quantities: Mapping[str, Quantity]
    expires: str | None = None

    @abstractmethod
    def head(self) -> dict[str, Any]:
        """What the record is of, and where it comes from."""

    @property
    @abstractmethod
    def title(self) -> str: ...

    def value(self, name: str) -> np.ndarray:
        """The array called ``name``; CalibrationError where the record lacks it."""
        if name not in self.quantities:
            raise CalibrationError(
                f"the record of {self.title} has no {name!r}; it has "
                f"{', '.join(sorted(self.quantities))}"
            )
        return self.quantities[name].value

    def uncertainty(self, name: str) -> FloatArray:
        """One standard deviation of the array called ``name``."""
        self.value(name)
        return self.quantities[name].uncertainty

    def accepted(self, name: str) -> BoolArray:
        self.value(name)
        return self.quantities[name].accepted

    def age(self, now: datetime | None = None) -> float:
        """Seconds since it was made."""
        moment = now or datetime.now(UTC)
        return (moment - datetime.fromisoformat(self.created)).total_seconds()

    def expired(self, now: datetime | None = None) -> bool:
        moment = now or datetime.now(UTC)
        return self.expires is not None and moment > datetime.fromisoformat(self.expires)

    def hash(self) -> str:
        """sha256 over everything that the record says, its date excepted."""
        digest = hashlib.sha256(json.dumps(self.head(), sort_keys=True).encode())
        for name in sorted(self.quantities):
            q = self.quantities[name]
            for part in (q.value, q.uncertainty, q.accepted):
                digest.update(f"{name} {part.dtype.str} {part.shape}".encode())
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def save(self, path: Path, **more: Any) -> None:
        """JSON at ``path``, arrays in an .npz beside it; each written whole."""
        arrays: dict[str, np.ndarray] = {}
        for name, q in self.quantities.items():
            arrays |= {
                f"{name}.value": q.value,
                f"{name}.uncertainty": q.uncertainty,
                f"{name}.accepted": q.accepted,
            }
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        data = buffer.getvalue()
        head = self.head() | {
            **more,
            "created": self.created,
            "expires": self.expires,
            "quantities": sorted(self.quantities),
            "arrays": path.with_suffix(".npz").name,
            "arrays_sha256": hashlib.sha256(data).hexdigest(),
            "format": FORMAT,
        }
        write_bytes(path.with_suffix(".npz"), data)
        write_bytes(path, (json.dumps(head, indent=2) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class ChipRecord(Record):
    """One chip, whatever boxes it hangs on. Quantities: see docs/reference/records.md."""

    chip: str
    architecture: str
    ports: int
    temperature: float
    wavelength: float

    @property
    def title(self) -> str:
        return f"chip {self.chip}"

    def head(self) -> dict[str, Any]:
        return {
            "kind": "chip",
            "chip": self.chip,
            "architecture": self.architecture,
            "ports": self.ports,
            "temperature": self.temperature,
            "wavelength": self.wavelength,
            "source": self.source,
        }


@dataclass(frozen=True, kw_only=True)
class InstrumentRecord(Record):
    """One box, by its serial number."""

    serial: str
    kind: Literal["modulators", "photodetectors"]

    @property
    def title(self) -> str:
        return f"{self.kind} {self.serial}"

    def head(self) -> dict[str, Any]:
        return {
            "kind": "instrument",
            "serial": self.serial,
            "instrument": self.kind,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Records:
    """All that a chip's programming needs: the chip's record and its boxes'."""

    chip: ChipRecord
    modulators: InstrumentRecord
    photodetectors: InstrumentRecord

    def save(self, path: Path) -> None:
        """The chip's record at ``path``, its boxes' beside it."""
        names = {}
        for record in (self.modulators, self.photodetectors):
            names[record.kind] = f"{path.stem}-{record.kind}.json"
            record.save(path.parent / names[record.kind])
        self.chip.save(path, instruments=names)

    def pack(self) -> Snapshot:
        """For a checkpoint."""
        return {
            name: {
                "head": {
                    f.name: getattr(record, f.name)
                    for f in fields(record)
                    if f.name != "quantities"
                },
                "quantities": {
                    name: {part: getattr(q, part) for part in PARTS}
                    for name, q in record.quantities.items()
                },
            }
            for name, record in (
                ("chip", self.chip),
                ("modulators", self.modulators),
                ("photodetectors", self.photodetectors),
            )
        }

    @classmethod
    def unpack(cls, saved: Snapshot) -> Records:
        """The inverse of ``pack``."""
        kinds = {
            "chip": ChipRecord,
            "modulators": InstrumentRecord,
            "photodetectors": InstrumentRecord,
        }
        return cls(
            **{
                name: kind(
                    **saved[name]["head"],
                    quantities={n: Quantity(**q) for n, q in saved[name]["quantities"].items()},
                )
                for name, kind in kinds.items()
            }
        )

    def hash(self) -> str:
        parts = (self.chip.hash(), self.modulators.hash(), self.photodetectors.hash())
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def load_records(path: Path) -> Records:
    """A chip's records from ``path``, a JSON file whose ``instruments`` names its boxes' files.

    Raises CalibrationError naming the file and what is wrong with it.
    """
    head, quantities = _read(path, "chip")
    boxes = head.get("instruments")
    roles = ("modulators", "photodetectors")
    if not isinstance(boxes, dict) or set(boxes) != set(roles):
        raise CalibrationError(
            f"{path}: `instruments` must name the record files of {' and '.join(roles)}"
        )
    chip = ChipRecord(
        created=head["created"],
        source=head["source"],
        expires=head["expires"],
        quantities=quantities,
        chip=head["chip"],
        architecture=head["architecture"],
        ports=head["ports"],
        temperature=head["temperature"],
        wavelength=head["wavelength"],
    )
    found = [load_instrument_record(path.parent / boxes[role]) for role in roles]
    for role, record in zip(roles, found, strict=True):
        if record.kind != role:
            raise CalibrationError(f"{path}: {boxes[role]} is a record of {record.kind}")
    return Records(chip, found[0], found[1])


def load_instrument_record(path: Path) -> InstrumentRecord:
    """One box's record; CalibrationError names the file and what is wrong with it."""
    head, quantities = _read(path, "instrument")
    return InstrumentRecord(
        created=head["created"],
        source=head["source"],
        expires=head["expires"],
        quantities=quantities,
        serial=head["serial"],
        kind=head["instrument"],
    )


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Quantity]]:
    try:
        head = json.loads(path.read_text("utf-8"))
        data = (path.parent / str(head["arrays"])).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"the record {path} cannot be read: {error}") from None
    if head.get("kind") != kind or head.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is no {kind} record of format {FORMAT}: it says kind {head.get('kind')!r}, "
            f"format {head.get('format')!r}"
        )
    if hashlib.sha256(data).hexdigest() != head["arrays_sha256"]:
        raise CalibrationError(
            f"{path}: its arrays in {head['arrays']} are not those it was written with; the record "
            "is damaged or mixed up"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        quantities = {
            name: Quantity(*(arrays[f"{name}.{part}"] for part in PARTS))
            for name in head["quantities"]
        }
    return head, quantities
