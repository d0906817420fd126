"""A crossbar: one interferometer a weight, powers added on two buses an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hilonn.chips.chip import Batch, ChipReadings, Settings
from hilonn.chips.heater_chip import HeaterChip
from hilonn.chips.ports import usable_inputs, usable_outputs
from hilonn.chips.wiring import allow
from hilonn.clock import Clock
from hilonn.devices import Timing
from hilonn.errors import ConfigError
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.typing import BoolArray, FloatArray

ROLES = {"phase_shifters", "modulators", "photodetectors"}


class CrossbarChip(HeaterChip):
    """Balanced readout: the difference of an output's two buses is sum_j g_ij cos(theta_ij) P_j.

    Inputs are powers. Signed ones are played twice, their positive and their negative parts, in
    one pass, and subtracted. Heaters are counted output by output.
    """

    def __init__(
        self,
        name: str,
        ports: int,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> None:
        allow(wiring, ROLES, name)
        columns, rows = np.meshgrid(np.arange(ports), np.arange(ports))
        layout = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
        super().__init__(name, "crossbar", ports, layout, wiring, records, clock, timing)
        self.signed_readout = "balanced"
        self.readouts = frozenset({"balanced"})
        self._level_out()

    @property
    def seen(self) -> BoolArray:
        return np.outer(usable_outputs(self.records), usable_inputs(self.records)).ravel()

    def take(self, records: Records) -> None:
        super().take(records)
        self._level_out()

    def _level_out(self) -> None:
        """Every weight is brought down to what the weakest path can do."""
        chip = self.records.chip
        gain = self.at.part(chip.value("weight_gain") * chip.value("input_power"))
        self._weakest = float(gain.min())
        self._level = self._weakest / gain

    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        """As ``CoherentChip.run``; the only readout is ``balanced``."""
        started = self.clock.now()
        if batch.readout != "balanced" or batch.quadrature == "both":
            raise ConfigError(
                f"{self.id} has the readout balanced and no quadratures, not {batch.readout!r}"
            )
        self._check_inputs(batch.inputs)
        inputs = batch.inputs
        signed = bool((inputs < 0.0).any())
        powers = np.concatenate([inputs, -inputs]) if signed else inputs
        with self._programmed(settings, {}) as ready:
            signal, index, clipped = self._detection.read(
                self._modulators,
                self._modulator_drive(np.sqrt(np.maximum(powers, 0.0))),
                batch.averages,
                batch.range,
                difference=True,
                null=self._null,
                ready=ready,
            )
        if signed:
            signal = signal[: len(inputs)] - signal[len(inputs) :]
        self.statistics.runs += 1
        values = signal[:, self.at.outputs[: settings.shape[0]]] * (settings.scale / self._weakest)
        seconds = self.clock.now() - started
        return ChipReadings(values, clipped > 0.0, clipped, index, seconds, True)

    def _phases(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        count, m, n = matrices.shape
        weights = np.zeros((count, self.outputs, self.inputs))
        weights[:, :m, :n] = matrices
        scale = np.abs(weights).max(axis=(1, 2))
        scale[scale == 0.0] = 1.0
        cosines = self.at.spread(weights / scale[:, None, None] * self._level)
        nothing = np.zeros((count, 0))
        return np.arccos(cosines).reshape(count, -1), scale, nothing, nothing
