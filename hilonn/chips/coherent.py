"""What coherent chips share: drives and light in, balanced pairs and a local oscillator out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from hilonn.chips.chip import MOVED, Batch, ChipReadings, ChipStatistics, MatrixChip, Readout, Settings
from hilonn.chips.detection import Detection
from hilonn.chips.programming import Heaters, near_phases
from hilonn.chips.wiring import Wire, require
from hilonn.clock import Clock
from hilonn.devices import Modulators, PhaseShifters, Photodetectors, Switch, Timing
from hilonn.errors import CalibrationError, ConfigError, LimitError
from hilonn.records import Records
from hilonn.transfer import drive_of_amplitude, power_of_phase, voltage_of_power
from hilonn.typing import FloatArray, Snapshot

WIRES = ("phase_shifters", "modulators", "photodetectors")


class CoherentChip(MatrixChip):
    """A mesh between push-pull modulators and pairs of photodetectors."""

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
        self.id = records.chip.chip
        self.name = name
        self.architecture = architecture
        self.ports = ports
        self.records = records
        self.clock = clock
        self.statistics = ChipStatistics()
        if records.chip.architecture != architecture or records.chip.ports != ports:
            raise CalibrationError(
                f"chip {name} is a {architecture} of {ports} ports, its record is of "
                f"{records.chip.chip}, a {records.chip.architecture} of {records.chip.ports}"
            )
        heaters = require(wiring, "phase_shifters", PhaseShifters, len(layout), name)
        self._shifters: PhaseShifters = heaters.device
        self._heater_channels = heaters.channels
        modulators = require(wiring, "modulators", Modulators, ports, name)
        self._modulators: Modulators = modulators.device
        self._modulator_channels = modulators.channels
        detectors = require(wiring, "photodetectors", Photodetectors, 2 * ports, name)
        self._detectors: Photodetectors = detectors.device
        self._timing = timing
        self._heaters = Heaters.of(
            records.chip, layout, self._shifters.spec.bound("high", self._shifters.channels)[
                heaters.channels
            ]
        )
        self._oscillator = self._find_oscillator(wiring, name)
        self._switch: Switch | None = None
        if "local_oscillator_switch" in wiring:
            device = wiring["local_oscillator_switch"].device
            if not isinstance(device, Switch):
                raise ConfigError(f"chips.{name}.wiring: {device.name} is not a switch")
            self._switch = device
        self._detection = Detection(self._detectors, detectors.channels, records, timing)
        self.ranges = len(self._detectors.ranges)
        signed: Readout | None = "homodyne" if self._oscillator is not None else None
        self.signed_readout = signed
        self.readouts = frozenset({"power"} | ({signed} if signed else set()))
        self._amplitudes(records)
        self._drive = np.full(self._shifters.channels, np.nan)
        self._settled = -np.inf
        self._generation = -1
        self._position: int | None = None

    # -- what a coherent chip is asked ------------------------------------------------------

    def compile(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> list[Settings]:
        """Settings for real ``matrices`` (k, m, n), m <= outputs, n <= inputs. No I/O.

        Raises ConfigError for a wrong shape or NaN, CalibrationError where crosstalk cannot be
        inverted, LimitError where the drive's range cannot reach.
        """
        matrices = np.asarray(matrices, dtype=float)
        if matrices.ndim != 3 or matrices.shape[1] > self.outputs or matrices.shape[2] > self.inputs:
            raise ConfigError(
                f"{self.architecture} {self.id} takes matrices (k, m <= {self.outputs}, n <= "
                f"{self.inputs}), not {matrices.shape}"
            )
        if not np.isfinite(matrices).all():
            raise ConfigError(f"a matrix for {self.id} is not finite")
        count, m, n = matrices.shape
        phases, scale, left, right = self._decompose(matrices, near)
        known = near_phases([None if s is None else s.self_phase for s in near], phases.shape[1])
        q = self._heaters.self_phases(phases, known)
        drives = self._heaters.drives(q)
        if known is None:
            moved = np.zeros(count, dtype=int)
        else:
            moved = (np.abs(q - known) > MOVED).sum(axis=1)
        return [
            Settings(drives[i], q[i], float(scale[i]), (m, n), left[i], right[i], int(moved[i]))
            for i in range(count)
        ]

    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        """Program if needed, wait for settling, play ``batch`` and read it.

        Raises LimitError for inputs outside [-1, 1], ConfigError for a readout that is not there,
        SaturationError where ``batch.range`` is None and no range is large enough.
        """
        started = self.clock.now()
        if batch.readout not in self.readouts:
            raise ConfigError(
                f"{self.id} has no readout {batch.readout!r}; it has {', '.join(sorted(self.readouts))}"
            )
        drive = self._modulator_drive(settings, batch.inputs)
        homodyne = batch.readout == "homodyne"
        self._set_oscillator(homodyne)
        locked = True
        values = None
        for quadrature in (0.0, np.pi / 2)[: 2 if batch.quadrature == "both" else 1]:
            self._program(settings, quadrature)
            signal, index, clipped = self._detection.read(
                self._modulators, drive, batch, homodyne, self._null, self._baseline_key()
            )
            if homodyne:
                part = signal * self._homodyne_scale
                values = part if values is None else values + 1j * part
                locked = locked and self._is_locked()
            else:
                values = signal * self._power_scale
        assert values is not None
        m = settings.shape[0]
        factor = settings.scale if homodyne else settings.scale**2
        self.statistics.runs += 1
        return ChipReadings(
            values[:, :m] * factor,
            clipped > 0.0,
            clipped,
            index,
            self.clock.now() - started,
            locked,
        )

    def snapshot(self) -> Snapshot:
        return {
            "drive": self._drive,
            "settled": float(self._settled),
            "position": self._position,
            "baselines": self._detection.snapshot(),
            "statistics": dict(vars(self.statistics)),
        }

    def restore(self, snapshot: Snapshot) -> None:
        self._drive = np.array(snapshot["drive"])
        self._settled = snapshot["settled"]
        self._position = snapshot["position"]
        self._generation = self._gate_generation()
        self._detection.restore(snapshot["baselines"])
        self.statistics = ChipStatistics(**snapshot["statistics"])

    # -- what a subclass says ---------------------------------------------------------------

    @abstractmethod
    def _decompose(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> tuple[FloatArray, FloatArray, np.ndarray, np.ndarray]:
        """Phases (k, heaters), scales (k,), singular vectors (k, N, N) left and right."""

    @abstractmethod
    def _transmission(self) -> float:
        """Mean amplitude that the mesh passes, from the record's losses."""

    # -- parts ------------------------------------------------------------------------------

    def _amplitudes(self, records: Records) -> None:
        """Equalise the inputs to the weakest, and fold all known gains into one factor a port."""
        chip, boxes = records.chip, records.modulators
        field = chip.value("input_field")
        weakest = float(np.abs(field).min())
        self._equalise = weakest / np.abs(field)
        self._input_phase = np.angle(field)
        self._output_phase = chip.value("output_phase")
        amplitude = self._transmission() * weakest
        self._homodyne_scale = 1.0 / (chip.value("output_gain") * amplitude)
        self._power_scale = 1.0 / (chip.value("output_power_gain") * amplitude**2)
        self._v_pi, self._bias = boxes.value("v_pi"), boxes.value("bias")
        null = np.zeros(self._modulators.channels)
        null[self._modulator_channels] = self._bias
        self._null = null

    def _find_oscillator(self, wiring: Mapping[str, Wire], name: str) -> int | None:
        if "local_oscillator" not in wiring:
            return None
        wire = require(wiring, "local_oscillator", PhaseShifters, 1, name)
        if wire.device is not self._shifters:
            raise ConfigError(
                f"chips.{name}.wiring.local_oscillator must be a channel of the phase shifters' "
                f"device {self._shifters.name}, so that one write sets both; it is on "
                f"{wire.device.name}"
            )
        record = self.records.chip
        last = len(self._heater_channels)
        self._lo_offset = float(record.value("heater_phase_offset")[last])
        self._lo_power_per_pi = float(record.value("heater_power_per_pi")[last])
        self._lo_resistance = float(record.value("heater_resistance")[last])
        self._lo_rise = float(record.value("heater_resistance_rise")[last])
        self._lo_drives: dict[float, float] = {}
        return int(wire.channels[0])

    def _lo_drive(self, phase: float) -> float:
        if phase not in self._lo_drives:
            own = np.mod(phase - self._lo_offset, 2 * np.pi)
            power = power_of_phase(own, np.asarray(self._lo_power_per_pi))
            self._lo_drives[phase] = float(
                voltage_of_power(power, np.asarray(self._lo_resistance), np.asarray(self._lo_rise))
            )
        return self._lo_drives[phase]

    def _modulator_drive(self, settings: Settings, inputs: FloatArray) -> FloatArray:
        samples, n = inputs.shape
        if n > self.ports:
            raise ConfigError(f"{self.id} has {self.ports} inputs; a batch brings {n}")
        largest = float(np.abs(inputs).max(initial=0.0))
        if not largest <= 1.0 + 1e-12:
            raise LimitError(
                f"{self.id}: an input of {largest:.4g} was asked; inputs are in units of the "
                "modulators' full scale, -1 .. 1. Nothing was written"
            )
        amplitude = np.clip(inputs, -1.0, 1.0) * self._equalise[:n]
        drive = np.empty((samples, self._modulators.channels))
        drive[:] = self._null
        drive[:, self._modulator_channels[:n]] = drive_of_amplitude(
            amplitude, self._v_pi[:n], self._bias[:n]
        )
        return drive

    def _set_oscillator(self, on: bool) -> None:
        position = int(on)
        if self._switch is not None and self._position != position:
            self._switch.select(position)
            self._position = position

    def _is_locked(self) -> bool:
        locked = getattr(self._switch, "locked", None)
        return True if locked is None else bool(locked())

    def _baseline_key(self) -> tuple[int, int]:
        return (self._generation, -1 if self._position is None else self._position)

    def _gate_generation(self) -> int:
        return int(getattr(self._shifters.gate, "generation", 0))

    def _program(self, settings: Settings, oscillator_phase: float) -> None:
        generation = self._gate_generation()
        drive = self._drive.copy()
        if generation != self._generation or np.isnan(drive[0]):
            drive = np.zeros_like(drive)  # nothing is believed of unwired channels but zero
            self._generation = generation
            self._position = None
        drive[self._heater_channels] = settings.drive
        if self._oscillator is not None:
            drive[self._oscillator] = self._lo_drive(oscillator_phase)
        if not np.array_equal(drive, self._drive):
            self._shifters.write(drive)
            self._drive = drive
            self._settled = self.clock.now() + self._shifters.spec.settling_time
            self.statistics.programmings += 1
        self.clock.wait_until(self._settled)
