"""The pass log: every run of the chip, when it was, what was asked and what was read."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from hilonn.chips import Batch, ChipReadings, Settings
from hilonn.clock import Clock
from hilonn.typing import FloatArray


class LogStore(Protocol):
    """Where a log goes: a run folder."""

    def event(self, kind: str, **fields: Any) -> None: ...

    def append_array(self, name: str, array: FloatArray) -> None: ...


class PassLog:
    """Writes each run of the chip to ``store``, those that saturated too: a line each, and as array
    segments its inputs and drives (float32, to compare with) and values (float64, to give again).

    Segments are flushed every ``segment`` lines, so the log stays one order of magnitude cheaper
    than the passes themselves.
    """

    def __init__(self, store: LogStore, clock: Clock, segment: int = 256) -> None:
        self._store = store
        self._clock = clock
        self._segment = segment
        self._buffers: dict[str, list[FloatArray]] = {"inputs": [], "values": [], "drives": []}
        self._settings: Settings | None = None
        self.count = 0

    def record(
        self, layer: int, tile: int, settings: Settings, batch: Batch, readings: ChipReadings
    ) -> None:
        """One run. Drives are kept where they are not those of the line before."""
        programmed = settings is not self._settings
        self._settings = settings
        values = np.ascontiguousarray(readings.values)
        self._store.event(
            "pass",
            index=self.count,
            clock=self._clock.now(),
            layer=layer,
            tile=tile,
            programmed=programmed,
            heaters=len(settings.drive),
            readout=batch.readout,
            quadrature=batch.quadrature,
            asked_range=batch.range,
            range=int(readings.range),
            averages=batch.averages,
            inputs=list(batch.inputs.shape),
            shape=list(values.shape),
            complex=bool(np.iscomplexobj(values)),
            scale=settings.scale,
            seconds=readings.seconds,
            saturated=bool(readings.saturated),
            clipped_fraction=float(readings.clipped_fraction),
            locked=bool(readings.locked),
        )
        self._buffers["inputs"].append(np.asarray(batch.inputs, dtype=np.float32).ravel())
        self._buffers["values"].append(values.view(float).ravel())
        if programmed:
            self._buffers["drives"].append(np.asarray(settings.drive, dtype=np.float32))
        self.count += 1
        if len(self._buffers["values"]) >= self._segment:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        for name, parts in self._buffers.items():
            if parts:
                self._store.append_array(f"pass_{name}", np.concatenate(parts))
                parts.clear()
