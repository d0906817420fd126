"""Plays a batch and reads it: chunks, ranges, retakes, baselines, pairs of detectors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hilonn.chips.chip import ChipStatistics
from hilonn.devices import DetectorReadings, Modulators, Photodetectors, Timing
from hilonn.errors import SaturationError
from hilonn.mesh.jit import dense_kernel
from hilonn.records import InstrumentRecord
from hilonn.typing import BoolArray, FloatArray, IntArray

NULLS = 16
"""Samples with the modulators at their null that end every play, or a sixteenth of its samples if that
is more: the noise of their mean is a quarter of a reading's, or less."""


def pair_watts(record: InstrumentRecord) -> tuple[FloatArray, FloatArray]:
    """W per A of both detectors of each pair (pairs,): a detector that the record does not accept counts nothing, and
    one that is left alone counts twice, so that it stands for the pair (|E|^2 then stays in a difference)."""
    alive = record.accepted("gain")
    watts = np.where(alive, 1.0 / record.value("gain"), 0.0)
    plus, minus = np.split(watts, 2)
    return (
        np.where(minus == 0.0, 2.0 * plus, plus),
        np.where(plus == 0.0, 2.0 * minus, minus),
    )


class Detection:
    """Reads pairs of detectors against what they read without a signal.

    The baseline of a pair (dark currents, the local oscillator's imbalance, light that leaks through
    the modulators) is read in the same play, with the modulators at their null: what leaks depends on
    the matrix that is programmed, and at 64 ports it would be a quarter of the signal's spread.
    """

    def __init__(
        self,
        detectors: Photodetectors,
        channels: IntArray,
        record: InstrumentRecord,
        timing: Timing,
        statistics: ChipStatistics,
    ) -> None:
        self._detectors = detectors
        self._statistics = statistics
        self._plus, self._minus = np.split(channels, 2)
        self._timing = timing
        self.learn(record)

    def learn(self, record: InstrumentRecord) -> None:
        """Count with the gains of ``record`` from now on, and with the detectors that it accepts: others may stand at their
        rail."""
        self._watts_plus, self._watts_minus = pair_watts(record)
        alive = record.accepted("gain")
        self._counted: IntArray | slice = slice(None)
        if not alive.all():
            self._counted = np.concatenate((self._plus, self._minus))[alive]

    def read(
        self,
        modulators: Modulators,
        drive: FloatArray,
        averages: int,
        index: int | None,
        *,
        difference: bool,
        null: FloatArray,
        ready: Callable[[], None] | None = None,
    ) -> tuple[FloatArray, int, float]:
        """W above the baseline (samples, pairs), the range read at, the fraction saturated.

        With ``index`` None the smallest range that holds the batch is searched from the detectors'
        present one; SaturationError where the largest does not hold it. ``ready`` is called when everything is armed
        and loaded, before light is played.
        """
        signal, baseline, index, clipped = self._against_null(
            modulators, drive, averages, index, null=null, ready=ready
        )
        watts = np.empty((len(signal), len(self._plus)))
        minus = -self._watts_minus if difference else self._watts_minus
        _pairs(signal, baseline, self._plus, self._minus, self._watts_plus, minus, watts)
        return watts, index, clipped

    def watch(
        self,
        modulators: Modulators,
        drive: FloatArray,
        averages: int,
        index: int | None,
        *,
        null: FloatArray,
        ready: Callable[[], None] | None = None,
    ) -> tuple[FloatArray, FloatArray, int, float]:
        """As ``read``, but each pair's two detectors by themselves: W above the baseline (samples, pairs), twice."""
        signal, baseline, index, clipped = self._against_null(
            modulators, drive, averages, index, null=null, ready=ready
        )
        above = signal - baseline
        return (
            above[:, self._plus] * self._watts_plus,
            above[:, self._minus] * self._watts_minus,
            index,
            clipped,
        )

    def _against_null(
        self,
        modulators: Modulators,
        drive: FloatArray,
        averages: int,
        index: int | None,
        *,
        null: FloatArray,
        ready: Callable[[], None] | None,
    ) -> tuple[FloatArray, FloatArray, int, float]:
        """What every detector reads (samples, detectors) and what it reads without a signal (detectors,), in its unit."""
        detectors = self._detectors
        if index is None:
            index = self._search(modulators, drive, ready)
        if detectors.range != index:
            detectors.set_range(index)
        samples = len(drive)
        nulls = max(NULLS, samples // NULLS)
        played = np.empty((samples + nulls, len(null)))
        played[:samples], played[samples:] = drive, null
        signal, clipped = self._raw(modulators, played, averages, ready)
        return signal[:samples], signal[samples:].mean(axis=0), index, clipped

    def still(
        self,
        modulators: Modulators,
        samples: int,
        averages: int,
        index: int,
        *,
        null: FloatArray,
    ) -> tuple[FloatArray, BoolArray]:
        """What every detector reads at range ``index`` with the modulators at their null, in its own unit, and where it
        stands at the range's end: (samples, detectors) each."""
        detectors = self._detectors
        if detectors.range != index:
            detectors.set_range(index)
        detectors.arm(samples, averages, self._timing)
        drive = np.repeat(null[np.newaxis], samples, axis=0)
        modulators.load(drive, replace(self._timing, plays=averages))
        modulators.play()
        found = detectors.fetch()
        order = np.concatenate((self._plus, self._minus))
        return found.signal[:, order], found.saturated[:, order]

    def _search(
        self, modulators: Modulators, drive: FloatArray, ready: Callable[[], None] | None
    ) -> int:
        """From the largest range down to the smallest whose full scale exceeds the largest reading
        with a quarter to spare."""
        detectors = self._detectors
        index = len(detectors.ranges) - 1
        if detectors.range != index:
            detectors.set_range(index)
        raw, clipped = self._raw(modulators, drive, 1, ready)
        if clipped > 0.0:
            raise SaturationError(
                f"{detectors.name}: {clipped:.1%} of the readings are saturated at the largest "
                f"range ({detectors.ranges[-1]:g} {detectors.spec.unit}); lower the laser power or "
                "the input gain"
            )
        needed = float(raw[:, self._counted].max()) * 1.25
        while index > 0 and detectors.ranges[index - 1] > needed:
            index -= 1
        return index

    def _raw(
        self,
        modulators: Modulators,
        drive: FloatArray,
        averages: int,
        ready: Callable[[], None] | None,
    ) -> tuple[FloatArray, float]:
        played = replace(self._timing, plays=averages)
        readable = self._detectors.most_samples(averages, self._timing)
        chunk = min(modulators.most_samples(played), readable)
        parts: list[DetectorReadings] = []
        started, took = time.perf_counter(), self._statistics.took
        for first in range(0, len(drive), chunk):
            piece = drive[first : first + chunk]
            now = time.perf_counter()
            self._detectors.arm(len(piece), averages, self._timing)
            now = took(self._detectors.name, now)
            modulators.load(piece, played)
            now = took(modulators.name, now)
            if ready is not None:
                waited = time.perf_counter()
                ready()
                now = time.perf_counter()
                started += now - waited
            modulators.play()
            now = took(modulators.name, now)
            parts.append(self._detectors.fetch())
            took(self._detectors.name, now)
        self._statistics.wire_seconds += time.perf_counter() - started
        if len(parts) == 1:
            return parts[0].signal, self._clipped(parts[0].saturated)
        signal = np.concatenate([part.signal for part in parts])
        return signal, self._clipped(np.concatenate([part.saturated for part in parts]))

    def _clipped(self, saturated: BoolArray) -> float:
        """The fraction of readings of detectors that count which stand at the end of their range."""
        counted = saturated[:, self._counted]
        return float(np.count_nonzero(counted)) / max(counted.size, 1)


@dense_kernel
def _pairs(
    signal: FloatArray,
    baseline: FloatArray,
    plus: IntArray,
    minus: IntArray,
    watts_plus: FloatArray,
    watts_minus: FloatArray,
    watts: FloatArray,
) -> None:
    """Write W of both detectors together (samples, pairs)."""
    for s in range(watts.shape[0]):
        for k in range(watts.shape[1]):
            p, q = plus[k], minus[k]
            above = (signal[s, p] - baseline[p]) * watts_plus[k]
            watts[s, k] = above + (signal[s, q] - baseline[q]) * watts_minus[k]
