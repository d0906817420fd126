"""Chips of interfering light: a mesh, and a local oscillator to read signed fields against."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from hilonn.chips.chip import Batch, ChipReadings, Readout, Settings
from hilonn.chips.cones import elements_of, seen_heaters
from hilonn.chips.heater_chip import HeaterChip
from hilonn.chips.ports import first_of, run_of
from hilonn.chips.wiring import allow, require
from hilonn.clock import Clock
from hilonn.devices import PhaseShifters, Switch, Timing
from hilonn.errors import ConfigError
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.transfer import power_of_phase, voltage_of_power
from hilonn.typing import BoolArray, FloatArray, Snapshot

ROLES = {
    "phase_shifters",
    "modulators",
    "photodetectors",
    "local_oscillator",
    "local_oscillator_switch",
}
QUADRATURES = (0.0, np.pi / 2)


class CoherentChip(HeaterChip):
    """Readouts: ``power``; and ``homodyne`` where a local oscillator is wired.

    Each output's pair of detectors reads |E +- LO|^2 / 2. Homodyne takes the difference, 2 |LO|
    Re(E exp(-i phi)); power blocks the oscillator (or subtracts it, where no switch is wired) and
    takes the sum.
    """

    def __init__(
        self,
        name: str,
        architecture: str,
        ports: int,
        layout: FloatArray,
        wiring: Mapping[str, Wire],
        records: Records,
        clock: Clock,
        timing: Timing,
    ) -> None:
        allow(wiring, ROLES, name)
        super().__init__(name, architecture, ports, layout, wiring, records, clock, timing)
        self._oscillator_drives: dict[float, float] = {}
        self._oscillator = (
            self._wire_oscillator(wiring, len(layout)) if "local_oscillator" in wiring else None
        )
        self._switch: Switch | None = None
        if "local_oscillator_switch" in wiring:
            device = wiring["local_oscillator_switch"].device
            if not isinstance(device, Switch):
                raise ConfigError(
                    f"chips.{name}.wiring.local_oscillator_switch: {device.name} is no switch"
                )
            self._switch = device
        self._position: int | None = None
        readouts: set[Readout] = {"power"}
        if self._oscillator is not None:
            self.signed_readout = "homodyne"
            readouts.add("homodyne")
        self.readouts = frozenset(readouts)
        self._fold_gains()

    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        """Program if needed, wait for settling, play ``batch`` and read it.

        Raises LimitError for inputs outside [-1, 1], ConfigError for a readout that is not there,
        SaturationError where ``batch.range`` is None and no range is large enough.
        """
        started = self.clock.now()
        if batch.readout not in self.readouts:
            raise ConfigError(
                f"{self.id} has no readout {batch.readout!r}; it has "
                f"{', '.join(sorted(self.readouts))}"
            )
        self._check_inputs(batch.inputs)
        homodyne = batch.readout == "homodyne"
        if not homodyne and batch.quadrature == "both":
            raise ConfigError("only homodyne has two quadratures")
        drive = self._modulator_drive(batch.inputs * self._equalise[: batch.inputs.shape[1]])
        parts = []
        locked, clipped, index = True, 0.0, batch.range
        for quadrature in QUADRATURES[: 2 if batch.quadrature == "both" else 1]:
            with self._programmed(settings, self._oscillator_drive(quadrature)) as ready:
                self._let_oscillator(homodyne)
                signal, index, fraction = self._detection.read(
                    self._modulators,
                    drive,
                    batch.averages,
                    index,
                    difference=homodyne,
                    null=self._null,
                    ready=ready,
                )
            parts.append(signal)
            clipped = max(clipped, fraction)
            if homodyne:
                locked = locked and self._locked()
        self.statistics.runs += 1
        m = settings.shape[0]
        values: np.ndarray = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
        values = values[:, first_of(self._output_run, m)]
        if homodyne:
            values = values * (self._homodyne_scale[:m] * settings.scale)
        else:
            values = values * (self._power_scale[:m] * settings.scale**2)
        assert index is not None
        seconds = self.clock.now() - started
        return ChipReadings(values, clipped > 0.0, clipped, index, seconds, locked)

    @property
    def seen(self) -> BoolArray:
        every = np.arange(self.ports)
        inputs, outputs = np.isin(every, self.at.inputs), np.isin(every, self.at.outputs)
        elements = elements_of(self.architecture, self.ports)
        return seen_heaters(elements, len(self._layout), inputs, outputs)

    def take(self, records: Records) -> None:
        super().take(records)
        if self._oscillator is not None:
            self._find_quadratures(len(self._layout))
        self._fold_gains()

    @contextmanager
    def _prepared(self, settings: Settings) -> Iterator[Callable[[], None]]:
        with self._programmed(settings, self._oscillator_drive(0.0)) as ready:
            self._let_oscillator(True)
            yield ready

    def _watched_drive(self, inputs: FloatArray) -> FloatArray:
        return self._modulator_drive(inputs * self._equalise[: inputs.shape[1]])

    def snapshot(self) -> Snapshot:
        return super().snapshot() | {"position": self._position}

    def restore(self, snapshot: Snapshot) -> None:
        super().restore(snapshot)
        self._position = snapshot["position"]

    @abstractmethod
    def _transmission(self) -> float:
        """Mean amplitude that the mesh passes, from the record's losses."""

    def _fold_gains(self) -> None:
        """Equalise the inputs that are used to the weakest of them; fold all known gains into one factor an output."""
        chip = self.records.chip
        field = chip.value("input_field")
        used = np.abs(field[self.at.inputs])
        weakest = float(used.min())
        self._equalise = weakest / used
        self._input_turn = np.exp(-1j * np.angle(field))
        self._output_turn = np.exp(-1j * chip.value("output_phase"))[:, None]
        amplitude = self._transmission() * weakest
        outputs = self.at.outputs
        self._output_run = run_of(outputs)
        self._homodyne_scale = 1.0 / (chip.value("output_gain")[outputs] * amplitude)
        self._power_scale = 1.0 / (chip.value("output_power_gain")[outputs] * amplitude**2)

    def _wire_oscillator(self, wiring: Mapping[str, Wire], heaters: int) -> int:
        """The oscillator's channel; its drives are worked out here, and for each new record."""
        device, channels = require(wiring, "local_oscillator", PhaseShifters, 1, self.name)
        if device is not self._shifters:
            raise ConfigError(
                f"chips.{self.name}.wiring.local_oscillator must be a channel of "
                f"{self._shifters.name}, so that one write sets mesh and oscillator; it is on "
                f"{device.name}"
            )
        channel = int(channels[0])
        if channel in self._heater_channels:
            raise ConfigError(
                f"chips.{self.name}.wiring: channel {channel} of {device.name} is wired "
                "to both the mesh and the local oscillator"
            )
        self._find_quadratures(heaters)
        return channel

    def _find_quadratures(self, heaters: int) -> None:
        """The oscillator's drive in phase and a quarter of a turn on."""
        chip = self.records.chip
        offset, power_per_pi, resistance, rise = (
            chip.value(quantity)[heaters]
            for quantity in (
                "heater_phase_offset",
                "heater_power_per_pi",
                "heater_resistance",
                "heater_resistance_rise",
            )
        )
        for phase in QUADRATURES:
            power = power_of_phase(np.mod(phase - offset, 2.0 * np.pi), power_per_pi)
            self._oscillator_drives[phase] = float(voltage_of_power(power, resistance, rise))

    def _oscillator_drive(self, phase: float) -> dict[int, float]:
        if self._oscillator is None:
            return {}
        return {self._oscillator: self._oscillator_drives[phase]}

    def _let_oscillator(self, through: bool) -> None:
        position = int(through)
        if self._switch is not None and self._position != position:
            self._switch.select(position)
            self._position = position

    def forget(self) -> None:
        super().forget()
        self._position = None

    def _locked(self) -> bool:
        return self._switch is None or self._switch.locked()
