"""What a connection is, and what it may be besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from hilonn.clock import Clock
from hilonn.records import Records
from hilonn.typing import Snapshot


@runtime_checkable
class Connection(Protocol):
    """A wire, a bus or a simulated plant that one or more devices share."""

    def open(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class ClockSource(Protocol):
    """A connection that owns time: a simulated plant's virtual clock becomes the bench's."""

    @property
    def clock(self) -> Clock: ...


@runtime_checkable
class RecordSource(Protocol):
    """A connection that hands out records, named in a bench file as ``connection:NAME``."""

    def records(self, chip: str) -> Records: ...


@runtime_checkable
class Snapshotable(Protocol):
    """A connection whose whole state can be saved and taken up again, bit for bit."""

    def snapshot(self) -> Snapshot: ...

    def restore(self, snapshot: Snapshot) -> None: ...


@dataclass(frozen=True, slots=True)
class TransportType:
    """What an entry point of ``hilonn.transports`` yields. ``build(name, options)``."""

    options: type[BaseModel]
    build: Callable[[str, Any], Connection]
