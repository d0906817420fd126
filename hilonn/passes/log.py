"""The pass log: every pass, when it ran, what was asked and what was read."""

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
    """Writes each pass to ``store``: a line a pass, and inputs and values as array segments.

    Segments are flushed every ``segment`` passes, so the log stays one order of magnitude
    cheaper than the passes themselves.
    """

    def __init__(self, store: LogStore, clock: Clock, segment: int = 256) -> None:
        self._store = store
        self._clock = clock
        self._segment = segment
        self._inputs: list[FloatArray] = []
        self._values: list[FloatArray] = []
        self.count = 0

    def record(
        self, layer: int, tile: int, settings: Settings, batch: Batch, readings: ChipReadings
    ) -> None:
        """One pass. Drives are told by their number that moved; phases follow from weights."""
        self._store.event(
            "pass",
            index=self.count,
            clock=self._clock.now(),
            layer=layer,
            tile=tile,
            readout=batch.readout,
            range=readings.range,
            averages=batch.averages,
            samples=len(batch.inputs),
            shape=list(readings.values.shape),
            scale=settings.scale,
            seconds=readings.seconds,
            saturated=bool(readings.saturated),
            locked=bool(readings.locked),
        )
        self._inputs.append(np.asarray(batch.inputs, dtype=np.float32).ravel())
        self._values.append(np.asarray(readings.values, dtype=np.float32).ravel())
        self.count += 1
        if len(self._values) >= self._segment:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        if self._values:
            self._store.append_array("pass_inputs", np.concatenate(self._inputs))
            self._store.append_array("pass_values", np.concatenate(self._values))
            self._inputs, self._values = [], []
