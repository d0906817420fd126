"""Plays a batch and reads it: chunks, ranges, retakes, baselines, pairs of detectors."""

from __future__ import annotations

import numpy as np

from hilonn.chips.chip import Batch
from hilonn.devices import DetectorReadings, Modulators, Photodetectors, Timing
from hilonn.errors import SaturationError
from hilonn.records import Records
from hilonn.typing import FloatArray, IntArray, Snapshot

BASELINE_SAMPLES = 256


class Detection:
    """Reads pairs of detectors; remembers what they read without light."""

    def __init__(
        self, detectors: Photodetectors, channels: IntArray, records: Records, timing: Timing
    ) -> None:
        self._detectors = detectors
        self._plus, self._minus = np.split(channels, 2)
        self._straight = np.array_equal(channels, np.arange(detectors.channels))
        gain = records.photodetectors.value("gain")
        self._per_watt_plus, self._per_watt_minus = np.split(1.0 / gain, 2)
        self._timing = timing
        self._baselines: dict[tuple[int, int, int, bool], FloatArray] = {}

    def read(
        self,
        modulators: Modulators,
        drive: FloatArray,
        batch: Batch,
        difference: bool,
        null: FloatArray,
        key: tuple[int, int],
    ) -> tuple[FloatArray, int, float]:
        """Baseline-corrected W (samples, pairs), the range that it was read at, and the fraction
        of readings that stood at its end (0 unless ``batch.range`` was given)."""
        index = self._detectors.range if batch.range is None else batch.range
        while True:
            if self._detectors.range != index:
                self._detectors.set_range(index)
            baseline = self._baseline(modulators, null, index, difference, key)
            signal, clipped = self._play(modulators, drive, batch.averages, difference)
            if clipped == 0.0 or batch.range is not None:
                return signal - baseline, index, clipped
            if index + 1 == len(self._detectors.ranges):
                raise SaturationError(
                    f"{self._detectors.name}: {clipped:.1%} of the readings are saturated at the "
                    f"largest range ({self._detectors.ranges[-1]:g} {self._detectors.spec.unit}); "
                    "lower the laser power or the input gain"
                )
            index += 1

    def _play(
        self, modulators: Modulators, drive: FloatArray, averages: int, difference: bool
    ) -> tuple[FloatArray, float]:
        chunk = min(modulators.max_samples, self._detectors.max_samples)
        parts: list[DetectorReadings] = []
        for first in range(0, len(drive), chunk):
            piece = drive[first : first + chunk]
            self._detectors.arm(len(piece), averages, self._timing)
            modulators.load(piece, self._timing)
            modulators.play()
            parts.append(self._detectors.fetch())
        signal = parts[0].signal if len(parts) == 1 else np.concatenate([p.signal for p in parts])
        clipped = float(np.mean([p.saturated.mean() for p in parts]))
        plus = signal[:, self._plus] * self._per_watt_plus
        minus = signal[:, self._minus] * self._per_watt_minus
        return (plus - minus if difference else plus + minus), clipped

    def _baseline(
        self,
        modulators: Modulators,
        null: FloatArray,
        index: int,
        difference: bool,
        key: tuple[int, int],
    ) -> FloatArray:
        name = (*key, index, difference)
        if name not in self._baselines:
            dark = np.tile(null, (BASELINE_SAMPLES, 1))
            self._baselines[name] = self._play(modulators, dark, 1, difference)[0].mean(axis=0)
        return self._baselines[name]

    def snapshot(self) -> Snapshot:
        return {
            "keys": [[int(part) for part in key] for key in self._baselines],
            "values": list(self._baselines.values()),
        }

    def restore(self, snapshot: Snapshot) -> None:
        self._baselines = {
            (k[0], k[1], k[2], bool(k[3])): np.array(v)
            for k, v in zip(snapshot["keys"], snapshot["values"], strict=True)
        }
