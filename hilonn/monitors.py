"""Monitors: what watches a chip between steps of training, through passes of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from hilonn.records import Records
from hilonn.typing import Snapshot


@dataclass(frozen=True, slots=True)
class Look:
    """What a monitor saw. ``told``: a line for people; ``found``: figures for the run's record (JSON values); ``records``: what
    the chip goes on with, None where nothing is to be changed; ``fault``: what was seen that the monitor must not explain
    away."""

    told: str
    found: Mapping[str, Any]
    records: Records | None = None
    fault: str | None = None


class Monitor(Protocol):
    """Looks at one chip now and then. Between two looks it depends on nothing but its own state, so that a run that is
    resumed from a snapshot sees what an undisturbed one sees."""

    def look(self, bench: Any, chip: str) -> Look:
        """Look at the chip called ``chip`` of an open ``hilonn.bench.Bench``; light is on. What the chip's devices hold afterwards is not believed.
        Raises whatever the devices raise; the look is then taken again."""
        ...

    def snapshot(self) -> Snapshot:
        """All that later looks depend on."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """The inverse of ``snapshot``."""
        ...


@dataclass(frozen=True, slots=True)
class MonitorType:
    """What an entry point of ``hilonn.monitors`` yields. ``build(options)``."""

    options: type[BaseModel]
    build: Callable[[Any], Monitor]


@dataclass
class Watched:
    """A monitor of a bench file's section: it looks at ``chip`` every ``every`` seconds of the bench's clock.
    ``last``: when it did so last; None before its first look."""

    monitor: Monitor
    chip: str
    every: float
    last: float | None = None
    looks: int = field(default=0)

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        if self.last is not None and now < self.last:
            self.last = None  # a clock of another boot: a lab's begins anew
        return self.last is None or now - self.last >= self.every

    def look(self, bench: Any) -> Look:
        """Look now."""
        now = bench.clock.now()
        look = self.monitor.look(bench, self.chip)
        self.last = now
        self.looks += 1
        return look

    def snapshot(self) -> Snapshot:
        return {"last": self.last, "looks": self.looks, "monitor": self.monitor.snapshot()}

    def restore(self, snapshot: Snapshot) -> None:
        self.last, self.looks = snapshot["last"], snapshot["looks"]
        self.monitor.restore(snapshot["monitor"])
