"""What chips with heaters, modulators and pairs of photodetectors share."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from hilonn.chips.chip import MOVED, NOTHING, ChipStatistics, MatrixChip, Settings
from hilonn.chips.detection import Detection
from hilonn.chips.ports import Ports, Unused, run_of
from hilonn.chips.programming import Heaters, near_phases
from hilonn.chips.wiring import require
from hilonn.clock import Clock, WallClock
from hilonn.devices import Modulators, PhaseShifters, Photodetectors, Timing
from hilonn.errors import (
    CalibrationError,
    ConfigError,
    InterlockError,
    LimitError,
)
from hilonn.records import Records
from hilonn.registry import Wire
from hilonn.transfer import drive_of_amplitude, phase_of_power, power_of_voltage
from hilonn.typing import BoolArray, FloatArray, IntArray, Snapshot

LISTENING = 0.2
"""s between two moments at which a wait for a wire hears Ctrl-C: on Windows a wait without end hears none."""
NEARLY = 0.95
"""Of the power budget, from which a programming begins anew at the phases that take the least power."""


def _ready() -> None:
    """Everything is there and has settled."""


class HeaterChip(MatrixChip):
    """Programs heaters through one vector write, plays batches, reads pairs of detectors."""

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
        self.name = name
        self.architecture = architecture
        self.ports = ports
        self._check_record(records)
        self.id = records.chip.chip
        self.clock = clock
        self.statistics = ChipStatistics()
        self._shifters, self._heater_channels = require(
            wiring, "phase_shifters", PhaseShifters, len(layout), name
        )
        self._heater_run = run_of(self._heater_channels)
        self._modulators, self._modulator_channels = require(
            wiring, "modulators", Modulators, ports, name
        )
        self._detectors, pairs = require(wiring, "photodetectors", Photodetectors, 2 * ports, name)
        self._layout = layout
        self._detection = Detection(
            self._detectors, pairs, records.photodetectors, timing, self.statistics
        )
        self.ranges = len(self._detectors.ranges)
        self._used_by: dict[int, tuple[IntArray | slice, FloatArray, FloatArray]]
        self._learn(records)
        self._drive = np.full(self._shifters.channels, np.nan)
        self._settled = -np.inf
        self._generation = -1

    def take(self, records: Records) -> None:
        """As ``MatrixChip.take``. CalibrationError where the record is of another chip."""
        self._check_record(records)
        if records.chip.chip != self.id:
            raise CalibrationError(
                f"chip {self.name} is {self.id}; a record of {records.chip.chip} was to take its record's place"
            )
        if Ports.of(records, self._most) != self.at:
            raise CalibrationError(
                f"{self.id} is in use with the ports that its record accepts; the new record accepts others, by which "
                "its matrices have another shape: open the bench anew with it"
            )
        self._detection.learn(records.photodetectors)
        self._learn(records)
        self.forget()

    def _check_record(self, records: Records) -> None:
        chip = records.chip
        if chip.architecture != self.architecture or chip.ports != self.ports:
            raise CalibrationError(
                f"chip {self.name} is a {self.architecture} of {self.ports} ports, its record is of {chip.chip}, "
                f"a {chip.architecture} of {chip.ports} ports"
            )

    def _learn(self, records: Records) -> None:
        """Keep ``records``, and what follows from them for heaters and modulators."""
        self.records = records
        self.at = Ports.of(records, self._most)
        self.inputs, self.outputs = len(self.at.inputs), len(self.at.outputs)
        high = self._shifters.spec.bound("high", self._shifters.channels)
        self._heaters = Heaters.of(records.chip, self._layout, high[self._heater_channels])
        self._v_pi = records.modulators.value("v_pi")
        self._bias = records.modulators.value("bias")
        # What does not modulate is asked for nothing, whatever its bias is taken to be.
        moving = records.modulators.accepted("v_pi") & records.modulators.accepted("bias")
        self._null = np.zeros(self._modulators.channels)
        self._null[self._modulator_channels] = np.where(moving, self._bias, 0.0)
        self._used_by = {}

    @property
    def _most(self) -> int:
        """Inputs and outputs of the largest matrix that a chip without faults takes."""
        return self.ports

    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        """Settings for real ``matrices`` (k, m, n), m <= outputs, n <= inputs. No I/O.

        Raises ConfigError for a wrong shape or NaN, CalibrationError where the record's crosstalk
        cannot be inverted.
        """
        matrices = self._checked(matrices)
        phases, scale, left, right = self._phases(matrices, near)
        return self._settings(matrices.shape[1:], phases, scale, left, right, near)

    def _checked(self, matrices: FloatArray) -> FloatArray:
        matrices = np.asarray(matrices, dtype=float)
        if (
            matrices.ndim != 3
            or matrices.shape[1] > self.outputs
            or matrices.shape[2] > self.inputs
        ):
            raise ConfigError(
                f"{self.architecture} {self.id} takes matrices (k, m <= {self.outputs}, n <= "
                f"{self.inputs}), not {matrices.shape}"
            )
        if not np.isfinite(matrices).all():
            raise ConfigError(f"a matrix for {self.id} is not finite")
        return matrices

    def _settings(
        self,
        shape: tuple[int, ...],
        phases: FloatArray,
        scale: FloatArray,
        left: FloatArray,
        right: FloatArray,
        near: Sequence[Settings | None],
        realised: FloatArray | None = None,
    ) -> list[Settings]:
        """Drives for the mesh's ``phases`` (k, heaters), nearest to what ``near`` wrote."""
        known = near_phases([None if s is None else s.self_phase for s in near], phases.shape[1])
        own = self._heaters.self_phases(phases, known)
        drives = self._heaters.drives(own)
        if known is not None:
            # Nearest to the last, turn upon turn, a chip would climb to its power's limit and stop there.
            hot = self.heater_power(drives) > NEARLY * self.power_budget
            if hot.any():
                own[hot] = self._heaters.self_phases(phases[hot], None)
                drives[hot] = self._heaters.drives(own[hot])
        moved = np.zeros(len(phases), dtype=int)
        if known is not None:
            moved = (np.abs(own - known) > MOVED).sum(axis=1)
        return [
            Settings(
                drives[i],
                own[i],
                float(scale[i]),
                (shape[0], shape[1]),
                left[i],
                right[i],
                int(moved[i]),
                NOTHING if realised is None else phases[i],
                NOTHING if realised is None else realised[i],
            )
            for i in range(len(phases))
        ]

    def spent(self) -> tuple[float, float]:
        return self.statistics.wire_seconds, self.statistics.settling_seconds

    def spent_by_device(self) -> dict[str, float]:
        return dict(self.statistics.device_seconds)

    def heater_power(self, drives: FloatArray) -> FloatArray:
        """W (k,) that the bench's gate counts for ``drives`` (k, heaters)."""
        resistance: FloatArray = self._heaters.resistance
        spec, channels = self._shifters.spec, self._shifters.channels
        known = None if self.bench is None else self.bench.gate.resistance(self._shifters)
        if known is None and spec.resistance is not None:
            known = spec.bound("resistance", channels)
        if known is not None:
            resistance = known[self._heater_channels]
        total: FloatArray = (drives * drives / resistance).sum(axis=1)
        return total

    @property
    def largest_phases(self) -> FloatArray:
        """The largest own phase (rad) of each heater within its drive's range."""
        return self._heaters.largest

    @property
    def layout(self) -> FloatArray:
        """(column, row) of each heater, in pitches."""
        return self._layout

    @property
    def settling_time(self) -> float:
        """Seconds that the heaters take after a write."""
        return self._shifters.spec.settling_time

    @property
    def heaters_of(self) -> PhaseShifters:
        """The device that drives the heaters."""
        return self._shifters

    @property
    def modulators_of(self) -> Modulators:
        """The device that plays the inputs."""
        return self._modulators

    @property
    def detectors_of(self) -> Photodetectors:
        """The device that reads the outputs."""
        return self._detectors

    @property
    def full_drives(self) -> tuple[FloatArray, FloatArray, IntArray]:
        """The lowest and the highest drive (inputs,) that inputs of -1 and 1 ask of the modulators, and their channels."""
        used = self.at.inputs
        ends = drive_of_amplitude(np.array([[-1.0], [1.0]]), self._v_pi[used], self._bias[used])
        return ends.min(axis=0), ends.max(axis=0), self._modulator_channels[used]

    @property
    def heater_channels(self) -> IntArray:
        """Its channel (heaters,) of each heater."""
        return self._heater_channels

    @property
    def written(self) -> FloatArray:
        """The drive (heaters,) that was last written, NaN where nothing is believed of it."""
        return self._drive[self._heater_channels]

    @property
    def usable(self) -> BoolArray:
        """Heaters that the record accepts."""
        return self._heaters.usable

    @property
    def seen(self) -> BoolArray:
        """Heaters (heaters,) that some reading can tell, by the ports that are used."""
        return np.ones(len(self._layout), bool)

    @property
    def unused(self) -> Unused:
        """What the record does not accept, and the chip does not use."""
        return Unused.of(self.records, self._heaters.usable)

    def drives_of(self, own: FloatArray) -> FloatArray:
        """Drives (heaters,) for own phases (heaters,) in rad; heaters not accepted stay at zero."""
        return np.where(self._heaters.usable, self._heaters.drives(own[np.newaxis])[0], 0.0)

    def phases_of(self, drive: FloatArray) -> FloatArray:
        """Own phases (heaters,) in rad that the record expects of ``drive`` (heaters,)."""
        known = self._heaters
        return phase_of_power(
            power_of_voltage(drive, known.resistance, known.rise), known.power_per_pi
        )

    def watch(
        self, settings: Settings, inputs: FloatArray, averages: int, index: int | None = None
    ) -> tuple[FloatArray, FloatArray, int]:
        """Program, play ``inputs`` (samples, n) and read every detector by itself: W above what it reads with the
        modulators at their null, (samples, pairs) for the detectors that add and for those that subtract, the pairs
        that are not used among them; and the range, which is chosen where ``index`` is None. Raises as ``run`` does."""
        self._check_inputs(inputs)
        with self._prepared(settings) as ready:
            plus, minus, index, _ = self._detection.watch(
                self._modulators,
                self._watched_drive(inputs),
                averages,
                index,
                null=self._null,
                ready=ready,
            )
        self.statistics.runs += 1
        return plus, minus, index

    def still(self, index: int, samples: int, averages: int = 1) -> tuple[FloatArray, BoolArray]:
        """What every detector reads at range ``index`` with the modulators at their null, in the device's own unit, and
        where it stands at the range's end: (samples, detectors) each, those that add first. Heaters stay as they are."""
        return self._detection.still(self._modulators, samples, averages, index, null=self._null)

    def _prepared(self, settings: Settings) -> AbstractContextManager[Callable[[], None]]:
        """``settings`` programmed for a signed reading."""
        return self._programmed(settings, {})

    def _watched_drive(self, inputs: FloatArray) -> FloatArray:
        """Drives for ``inputs`` (samples, n) as ``watch`` takes them."""
        return self._modulator_drive(inputs)

    def forward(self, own: FloatArray) -> FloatArray:
        """What the record says that the chip multiplies by at own phases (heaters,) in rad, per unit of scale: real
        (outputs, inputs). ConfigError where this architecture's record has no forward model."""
        raise ConfigError(f"the record of {self.id}, a {self.architecture}, has no forward model")

    def _mesh_phases(self, own: FloatArray) -> FloatArray:
        """Phases (heaters,) on the chip for own phases: offsets and crosstalk added."""
        spread: FloatArray = self._heaters.crosstalk @ own
        return self._heaters.offset + own + spread

    def forget(self) -> None:
        """The next pass writes its drives, whatever was written last."""
        self._drive = np.full(self._shifters.channels, np.nan)

    def snapshot(self) -> Snapshot:
        return {
            "drive": self._drive,
            "settled": float(self._settled),
            "statistics": dict(vars(self.statistics)),
        }

    def restore(self, snapshot: Snapshot) -> None:
        self._drive = np.array(snapshot["drive"])
        self._settled = snapshot["settled"]
        self._generation = self._gate_generation()
        for name, value in snapshot["statistics"].items():
            setattr(self.statistics, name, value)

    @abstractmethod
    def _phases(
        self, matrices: FloatArray, near: Sequence[Settings | None]
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Phases (k, heaters), scales (k,), and what a later programming stays near to (k, ...)."""

    @contextmanager
    def _programmed(
        self, settings: Settings, extra: Mapping[int, float]
    ) -> Iterator[Callable[[], None]]:
        """Within: ``settings``, and ``extra`` drives by channel, are on their way to the device, unless it holds them. What
        is given returns when they are there and have settled; light is played after it. Nothing is under way at the end.

        On a bench of wires the detectors are armed and the modulators loaded meanwhile: they are other boxes.
        """
        with self._shifters.gate.plans.made(), self._under_way(settings, extra) as finish:
            yield finish

    @contextmanager
    def _under_way(
        self, settings: Settings, extra: Mapping[int, float]
    ) -> Iterator[Callable[[], None]]:
        """``_programmed``, planned: a safe state taken meanwhile refuses what is not yet in a wire, here and in the block."""
        generation = self._gate_generation()
        if generation != self._generation:
            # A trip, a reconnect, a safe state: nothing is believed of what the device holds.
            self._generation = generation
            self.forget()
        # Channels that no chip is wired to stay at zero.
        drive = np.zeros(self._shifters.channels)
        drive[self._heater_run] = settings.drive
        for channel, value in extra.items():
            drive[channel] = value
        held = np.array_equal(drive, self._drive)
        if held or self._shifters.nonblocking or not isinstance(self.clock, WallClock):
            if not held:
                started = time.perf_counter()
                self._write(drive)
                self.statistics.wire_seconds += time.perf_counter() - started
            self._settle()
            yield _ready
        else:
            plans = self._shifters.gate.plans

            def write(plan: int) -> None:
                with plans.made(plan):
                    self._write(drive)

            with ThreadPoolExecutor(1, "heaters") as pool:
                writing = pool.submit(write, plans.current)

                def finish() -> None:
                    started = time.perf_counter()
                    if not writing.done():
                        self._shifters.gate.look_ahead()  # other boxes, while this one writes
                    while not writing.done():
                        wait((writing,), LISTENING)
                    writing.result()
                    self.statistics.wire_seconds += time.perf_counter() - started
                    self._settle()

                try:
                    yield finish
                except BaseException as error:
                    if not isinstance(error, Exception):
                        plans.call_off()  # who interrupts does not wait for the rest of a slow step up
                    failed = writing.exception()  # waits: nothing is under way when this is told
                    if isinstance(failed, InterlockError):
                        raise failed from error
                    raise

    def _write(self, drive: FloatArray) -> None:
        began = time.perf_counter()
        self._shifters.bring(drive)
        self.statistics.took(self._shifters.name, began)
        self._drive = drive
        self._settled = self.clock.now() + self._shifters.spec.settling_time
        self.statistics.programmings += 1

    def _settle(self) -> None:
        """Wait for what is left of the settling time."""
        started = time.perf_counter()
        self.clock.wait_until(self._settled)
        self.statistics.settling_seconds += time.perf_counter() - started

    def _gate_generation(self) -> int:
        return self._shifters.gate.generation

    def _check_inputs(self, inputs: FloatArray) -> None:
        if inputs.ndim != 2 or inputs.shape[1] > self.inputs:
            raise ConfigError(
                f"{self.id} has {self.inputs} inputs; a batch has the shape {inputs.shape}"
            )
        largest = float(np.abs(inputs).max(initial=0.0))
        if not largest <= 1.0 + 1e-12:
            raise LimitError(
                f"{self.id}: an input of {largest:.4g} was asked; inputs are in units of the "
                "modulators' full scale, -1 .. 1. Nothing was written"
            )

    def _modulator_drive(self, amplitudes: FloatArray) -> FloatArray:
        """Drives (samples, channels) for fields (samples, n), up to rounding within [-1, 1];
        all other modulators stay at their null."""
        channels, v_pi, bias = self._used(amplitudes.shape[1])
        drive = np.empty((len(amplitudes), self._modulators.channels))
        drive[:] = self._null
        rounded = np.maximum(amplitudes, -1.0)
        np.minimum(rounded, 1.0, out=rounded)  # 1 + 1e-12 is 1
        drive[:, channels] = drive_of_amplitude(rounded, v_pi, bias)
        return drive

    def _used(self, count: int) -> tuple[IntArray | slice, FloatArray, FloatArray]:
        """Modulators of the first ``count`` inputs that are used: their channels, V_pi and bias. Looked up in every pass."""
        if count not in self._used_by:
            used = self.at.inputs[:count]
            channels = run_of(self._modulator_channels[used])
            self._used_by[count] = channels, self._v_pi[used], self._bias[used]
        return self._used_by[count]
