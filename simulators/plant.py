"""The plant: one simulated chip with its instruments, on a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hilonn.clock import VirtualClock
from hilonn.errors import DeviceError, ResumeError
from hilonn.simulators.crosstalk import crosstalk_kernel, lay
from hilonn.simulators.detection import Detection
from hilonn.simulators.drift import Drift, angles_to_field
from hilonn.simulators.faults import Fault, check_channels, parse_faults
from hilonn.simulators.journal import Journal
from hilonn.simulators.modulation import Modulation
from hilonn.simulators.optics import Transfer, optics_of
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.temperature import Temperature
from hilonn.simulators.thermal import Heaters
from hilonn.simulators.truth import Architecture, draw
from hilonn.simulators.twin import Twin, as_noisy
from hilonn.typing import BoolArray, ComplexArray, FloatArray, Snapshot

if TYPE_CHECKING:
    from hilonn.records import Records

SETTLED = 1e-4
"""rad: a heater's lag below this is not followed."""

LINEAR = 0.1
"""rad: up to this lag the chip is interpolated between its start and its end, both exact (error lag^2 / 8)."""

FULL_SCALE = 2.0
"""Largest range over the largest reading expected."""
SETTLED_LO = 1e-5
_SETTLED = np.zeros(1)  # nothing missing, at any sample
_DARK = np.zeros(1, np.complex128)
NOMINAL_POWER = 0.1
"""W of the laser at which an input gets its launched power; split to all inputs and oscillator."""


@dataclass(frozen=True)
class Boxes:
    """What a twin's boxes can do where it is not what the process would have: the supplies' largest voltage and step,
    V; the detectors' largest range, A; the time of a reading for which the record states the noise, s."""

    drive_high: float | None = None
    drive_step: float | None = None
    modulator_high: float | None = None
    full_scale: float | None = None
    noise_period: float = 1e-5

    def fit(self, plant: Plant) -> None:
        """Make the plant's boxes so."""
        if self.drive_high is not None:
            plant.heaters.high = self.drive_high
        if self.drive_step is not None:
            plant.heaters.step = self.drive_step
        if self.modulator_high is not None:
            plant.modulation.high = self.modulator_high
        if self.full_scale is not None:
            ranges = plant.detection.ranges
            plant.detection.ranges = tuple(r * self.full_scale / ranges[-1] for r in ranges)


class PlantClock(VirtualClock):
    """A virtual clock that a snapshot can set back."""

    def set(self, instant: float) -> None:
        """Make it ``instant`` (s)."""
        self._now = instant


class Plant:
    """Owner of everything that a bench cannot see. Devices call it; nothing else changes it.

    ``truth`` and the parts below are open to tests and to the handing out of records; a chip or a
    calibration must not look. Raises ConfigError for a fault on a channel that does not exist.
    """

    def __init__(
        self,
        architecture: Architecture,
        ports: int,
        parameters: PlantParameters,
        *,
        chip_seed: int = 0,
        noise_seed: int = 0,
        faults: Sequence[str | Mapping[str, Any]] = (),
        twin: Twin | None = None,
        boxes: Boxes = Boxes(),
    ) -> None:
        self.chip_seed = chip_seed
        self.twin = twin
        if twin is None:
            self.truth = draw(architecture, ports, parameters, chip_seed)
        else:
            self.truth = twin.truth
            scale = (
                boxes.full_scale or FULL_SCALE * parameters.responsivity * twin.truth.largest_power
            )
            parameters = as_noisy(twin, scale, boxes.noise_period)
        self.parameters = parameters
        self.clock = PlantClock()
        self.heaters = Heaters(self.truth, parameters)
        self.modulation = Modulation(self.truth, parameters)
        self.detection = Detection(self.truth, parameters, noise_seed)
        self.drift = Drift(self.truth, parameters, noise_seed)
        self.temperature = Temperature(parameters.temperature_time)
        self.crosstalk_kernel = crosstalk_kernel(parameters) if twin is None else twin.kernel
        boxes.fit(self)
        self._optics = optics_of(self.truth, parameters.detector_noise)
        self._crosstalk = lay(self.truth.layout, self.crosstalk_kernel)
        self.faults: tuple[Fault, ...] = parse_faults(faults)
        check_channels(self.faults, self.truth.heaters, 2 * ports)
        self._struck = 0
        self._next_fault = self.faults[0].at if self.faults else math.inf
        self.emission = False
        self.laser_power = NOMINAL_POWER
        self.switch = 1
        self.pattern: FloatArray | None = None
        self._rest = self.modulation.quantised(np.zeros((1, ports)))
        self._armed: tuple[int, int, float] | None = None
        self._reading: tuple[FloatArray, BoolArray] | None = None
        self._settled: Transfer | None = None
        self._kept: tuple[ComplexArray, Transfer, np.ndarray] | None = None
        self._base = self.truth.phase_offset.copy()
        self._warm = 0.0
        self.restored: list[Callable[[], None]] = []
        self._journal: Journal | None = None
        self._stuck: dict[int, float] = {}

    @property
    def serial(self) -> str:
        """What the chip's instruments print as their serial number; a twin's print the chip's name."""
        if self.twin is not None:
            return self.twin.records.chip.chip
        return f"{self.truth.architecture}-{self.truth.ports}-{self.chip_seed}"

    def keep_journal(self, path: Path) -> None:
        """Append every visible change to the file ``path`` from now on, first the state as it is.

        Raises StorageError if it cannot be written.
        """
        self.close()
        self._journal = Journal(path)
        self._enter()

    # Verbs of the devices

    def write_heaters(self, drive: FloatArray) -> None:
        """Heater voltages (heaters,)."""
        self.update()
        self.heaters.write(drive, self.clock.now())
        self._settled = None
        self._enter()

    def set_laser(self, *, emission: bool | None = None, power: float | None = None) -> None:
        """Light on or off; power in W."""
        self.update()
        self.emission = self.emission if emission is None else emission
        self.laser_power = self.laser_power if power is None else power
        self._enter()

    def set_switch(self, position: int) -> None:
        """The local oscillator's shutter: 1 open, 0 closed."""
        self.update()
        self.switch = position
        self._enter()

    def load(self, drive: FloatArray | None) -> None:
        """The modulators' voltages (samples, ports) for the next play; None forgets them."""
        self.pattern = None if drive is None else self._held(self.modulation.quantised(drive))

    def _held(self, drive: FloatArray) -> FloatArray:
        """``drive`` (samples, ports) with the volts of modulators that are stuck."""
        if self._stuck:
            drive = drive.copy()
            drive[:, list(self._stuck)] = list(self._stuck.values())
        return drive

    def set_range(self, index: int) -> None:
        """The detectors' range from the next reading on."""
        self.detection.range = index

    def arm(self, samples: int, repeats: int, period: float) -> None:
        """Read at the next play: ``repeats`` plays averaged, one sample every ``period`` s."""
        self._armed, self._reading = (samples, repeats, period), None

    def play(self, period: float) -> None:
        """Play the pattern as often as the armed detectors average, or once unread."""
        if self.pattern is None:
            raise DeviceError("the modulators were asked to play and nothing is loaded; load first")
        if self._armed is None:
            self.clock.sleep(len(self.pattern) * period)
            return
        samples, repeats, reading_period = self._armed
        if samples != len(self.pattern):
            raise DeviceError(
                f"the detectors are armed for {samples} samples and the modulators hold "
                f"{len(self.pattern)}; arm as many as were loaded"
            )
        self._reading = self._expose(self.pattern, repeats, reading_period)
        self._armed = None

    def fetch(self) -> tuple[FloatArray, BoolArray]:
        """Currents (samples, channels) in A, and which of them stand at the end of the range.

        Without a play since ``arm``, what arrives with the modulators at rest is read.
        """
        if self._reading is None:
            if self._armed is None:
                raise DeviceError("the detectors were not armed since the last reading")
            samples, repeats, period = self._armed
            self._reading = self._expose(self._rest.repeat(samples, axis=0), repeats, period)
            self._armed = None
        reading, self._reading = self._reading, None
        return reading

    # Physics

    def update(self) -> None:
        """Let faults strike, and drifts and temperature move, up to now."""
        now = self.clock.now()
        while self._next_fault <= now:
            self._strike(self.faults[self._struck], now)
            self._struck += 1
            left = self.faults[self._struck :]
            self._next_fault = left[0].at if left else math.inf
        warm = self.temperature.excess(now)
        if self.drift.advance(now) or warm != self._warm:
            self._warm = warm
            self._rebase()

    def _rebase(self) -> None:
        """Phases without drive have moved: the kept transfer no longer holds."""
        self._base = self.truth.phase_offset + self.drift.heaters
        if self._warm:
            self._base += self._warm * self.truth.temperature_phase
        self._settled = None

    def _strike(self, fault: Fault, now: float) -> None:
        channel = -1 if fault.channel is None else fault.channel
        if fault.kind == "stuck_heater":
            self.heaters.stick(channel, fault.value, now)
        elif fault.kind == "dead_heater":
            self.heaters.kill(channel, now)
        elif fault.kind == "stuck_modulator":
            self._stuck[channel] = fault.value or 0.0
            self._rest = self._held(self._rest)
            self.pattern = None if self.pattern is None else self._held(self.pattern)
        elif fault.kind == "dead_detector":
            self.detection.kill(channel)
        elif fault.kind == "saturated_detector":
            self.detection.fill(channel)
        elif fault.kind == "drift_step":
            self.drift.shift_heaters(fault.channel, fault.value or 0.0)
        elif fault.kind == "laser_trip":
            self.emission = False
            self._enter()
        elif fault.kind == "lock_loss":
            self.drift.lose_lock()
        elif fault.kind == "temperature_step":
            self.temperature.disturb(fault.value or 0.0, now)
        self._rebase()

    def phases(self, missing: float = 0.0) -> FloatArray:
        """True phases (chip heaters,) in rad, ``missing`` of the heaters' last step to come."""
        chip = self.truth.chip_heaters
        own = self.heaters.own_phases(missing)
        return self._crosstalk.add(own[:chip], self._base[:chip])

    def _expose(
        self, drive: FloatArray, repeats: int, period: float
    ) -> tuple[FloatArray, BoolArray]:
        shape = (len(drive), 2 * self.truth.ports)
        signal, saturated = np.zeros(shape), np.zeros(shape, dtype=bool)
        for _ in range(repeats):
            self.update()
            powers = self._light(drive, period) if self.emission else np.zeros(shape)
            self.detection.read(powers, self.drift.gain, period, signal, saturated)
            self.clock.sleep(len(drive) * period)
        if repeats > 1:
            signal /= repeats
        return signal, saturated

    def _light(self, drive: FloatArray, period: float) -> FloatArray:
        """Powers on the detectors (samples, channels) in W of one play that starts now."""
        power = self.laser_power / NOMINAL_POWER
        fields = self.modulation.fields(drive, self.drift.bias, self.drift.inputs, power)
        lag, lag_lo = self.heaters.lag(self.clock.now())
        if lag < SETTLED and lag_lo < SETTLED_LO:
            left = _SETTLED
        else:  # share of the last step that is missing at each sample
            tau = self.parameters.heater_time_constant
            fall = np.exp(np.arange(len(drive)) * (-period / tau))
            left = self.heaters.decay(self.clock.now()) * fall
        arriving = self._through(fields, lag, left)
        return self._optics.detected(arriving, self._oscillator(power, left))

    def _through(self, fields: ComplexArray, lag: float, left: FloatArray) -> np.ndarray:
        if lag < SETTLED:
            return self._settled_light(fields)
        share = left / left[0]
        first = int(np.count_nonzero(lag * share > LINEAR))  # samples too far out to interpolate
        end = int(np.count_nonzero(lag * share >= SETTLED))  # the rest has settled
        arriving = self._settled_light(fields).copy()
        for s in range(first):
            behind = self.phases(float(left[s]))
            arriving[s : s + 1] = self._optics.passed(fields[s : s + 1], behind)
        if first < end:
            late = slice(first, end)
            still = (share[late] / share[first])[:, np.newaxis]
            start = self._optics.passed(fields[late], self.phases(float(left[first])))
            arriving[late] += still * (start - arriving[late])
        return arriving

    def _settled_light(self, fields: ComplexArray) -> np.ndarray:
        """What arrives when nothing is missing; not to be changed."""
        settled = self._settled
        if settled is None:
            settled = self._settled = self._optics.transfer(self.phases())
        kept = self._kept
        if kept is None or kept[0] is not fields or kept[1] is not settled:
            kept = self._kept = (fields, settled, self._optics.arriving(fields, settled))
        return kept[2]

    def _oscillator(self, power: float, left: FloatArray) -> ComplexArray:
        """Field of the local oscillator, relative to its nominal one, at each share ``left``."""
        if not self.switch or self.truth.heaters == self.truth.chip_heaters:
            return _DARK
        still = float(self._base[-1]) + self.drift.lo
        if left is _SETTLED:
            phase = self.heaters.lo_phase() + still
            return np.array([math.sqrt(power) * complex(math.cos(phase), math.sin(phase))])
        return math.sqrt(power) * angles_to_field(self.heaters.lo_phases(left) + still)

    # State

    def locked(self) -> bool:
        """Whether the local oscillator's phase lock holds."""
        self.update()
        return self.drift.locked

    def records(self, chip: str, error: float, splitters: bool, crosstalk: bool) -> Records:
        """See ``hilonn.simulators.handout``."""
        from hilonn.simulators.handout import hand_out

        return hand_out(self, chip, error, splitters, crosstalk)

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _enter(self) -> None:
        if self._journal is not None:
            self._journal.enter(
                self.clock.now(),
                self.emission,
                self.laser_power,
                self.switch,
                float(np.abs(self.heaters.drive).max()),
            )

    def snapshot(self) -> Snapshot:
        """All state between two readings; ``restore`` continues bit for bit."""
        return {
            "serial": self.serial,
            "process": repr(self.parameters),
            "now": self.clock.now(),
            "heaters": self.heaters.snapshot(),
            "detection": self.detection.snapshot(),
            "drift": self.drift.snapshot(),
            "temperature": self.temperature.snapshot(),
            "struck": self._struck,
            "stuck_modulators": {str(k): v for k, v in self._stuck.items()},
            "emission": self.emission,
            "laser_power": self.laser_power,
            "switch": self.switch,
            "pattern": None if self.pattern is None else self.pattern.copy(),
            "base": self._base.copy(),
            "warm": self._warm,
        }

    def restore(self, saved: Snapshot) -> None:
        """Continue from ``snapshot``. Raises ResumeError if that was another chip's."""
        if saved["serial"] != self.serial:
            raise ResumeError(
                f"a snapshot of the simulated chip {saved['serial']} cannot be restored into "
                f"{self.serial}; open the bench with the same chip, ports and chip seed"
            )
        if saved["process"] != repr(self.parameters):
            raise ResumeError(
                "the snapshot's plant was made with another preset, effects or parameters: "
                f"{saved['process']}; give the same"
            )
        if not 0 <= int(saved["struck"]) <= len(self.faults):
            raise ResumeError("the snapshot's plant had other faults; give the same list")
        self.clock.set(float(saved["now"]))
        self.heaters.restore(saved["heaters"])
        self.detection.restore(saved["detection"])
        self.drift.restore(saved["drift"])
        self.temperature.restore(saved["temperature"])
        self._struck = int(saved["struck"])
        self._stuck = {int(k): float(v) for k, v in saved["stuck_modulators"].items()}
        self._rest = self._held(self.modulation.quantised(np.zeros((1, self.truth.ports))))
        left = self.faults[self._struck :]
        self._next_fault = left[0].at if left else math.inf
        self.emission = bool(saved["emission"])
        self.laser_power = float(saved["laser_power"])
        self.switch = int(saved["switch"])
        pattern = saved["pattern"]
        self.pattern = None if pattern is None else np.array(pattern, float)
        self._base = np.array(saved["base"], float)
        self._warm = float(saved["warm"])
        self._armed = self._reading = None
        self._settled = None
        for tell in self.restored:
            tell()
        self._enter()
