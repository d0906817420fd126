"""What the boxes of an emulated lab share: the chip, the light between them, triggers, and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hilonn.simulators.plant import Plant
from hilonn.typing import FloatArray, IntArray

SETTLING = 5.0
"""Heater time constants that a client waits after a write, as the simulated bench tells it."""
TICK = 1e-9
"""s: in lockstep the lab's time is whole ones of these. What is due within one is due."""
SAME = 1e-3
"""Periods that differ by less, relatively, are one period."""


@dataclass
class Generator:
    """What one box plays when the trigger comes: ``columns`` of the modulators, ``pattern`` (samples, columns) in
    V at the modulators, one sample every ``period`` s, ``cycles`` times over (None: as long as somebody reads). It then
    stands at its sample ``rests``."""

    columns: list[int]
    pattern: FloatArray
    period: float
    cycles: int | None = None
    rests: int = -1

    def rows(self, indices: IntArray, period: float) -> FloatArray:
        """What it shows at the samples ``indices`` of ``period`` s after the trigger."""
        samples = len(self.pattern)
        if abs(period / self.period - 1.0) > SAME:
            indices = np.floor((indices + 0.5) * period / self.period).astype(np.int64)
        shown = indices % samples
        if self.cycles is not None:
            shown = np.where(indices < samples * self.cycles, shown, self.rests)
        return self.pattern[shown]


@dataclass
class Listener:
    """A meter that waits for the trigger: it reads detectors ``columns``, ``samples`` samples of ``period`` s, at full
    scales ``full_scale`` (len(columns),) in W, and is given (signal in W, saturated), each (samples, columns). One that
    averages plays asks for the samples of all of them, one play after another. ``stages``: of its amplifiers' gain, a
    factor 2 apart, of which each reading takes the finest that holds it."""

    columns: list[int]
    samples: int
    period: float
    full_scale: FloatArray
    deliver: Callable[[FloatArray, np.ndarray], None] = field(repr=False)
    stages: int = 1


class Rack:
    """Owner of the plant behind an emulated lab, and of its time.

    On wall time the plant's clock follows the real one; in ``lockstep`` it moves only with what boxes are busy
    with, what is played, and what a client asks it to wait for. Without a plant the boxes stand alone: they
    keep their own settings and read darkness. One lock: boxes act one at a time, as light does.
    """

    def __init__(self, plant: Plant | None = None, *, lockstep: bool = False) -> None:
        self.plant = plant
        self.lockstep = lockstep
        self.lock = threading.RLock()
        self.heaters: FloatArray = np.zeros(0 if plant is None else plant.truth.heaters)
        self._written: float | None = None
        self._heated = False
        self._worked: dict[str, float] = {}
        self._least = 0.0
        self._started = time.monotonic()
        self._virtual = 0  # ns: whole numbers add up to the same in any order
        self._generators: dict[str, Generator] = {}
        self._listeners: dict[str, Listener] = {}
        self._shown: FloatArray = np.zeros(0 if plant is None else plant.truth.ports)

    @property
    def responsivity(self) -> float:
        """A/W by which meters turn their detectors' currents into W: what every one of them should have."""
        return 1.0 if self.plant is None else self.plant.parameters.responsivity

    def warm_up(self) -> None:
        """Have the kernels compiled that light needs, on a small chip of the same kind: the first time takes seconds, and a
        client would wait for them."""
        if self.plant is None:
            return
        small = Plant(self.plant.truth.architecture, 2, self.plant.parameters)
        small.set_laser(emission=True)
        for volts in (1.0, 2.0):  # one that has settled, and one that has not
            small.write_heaters(np.full(small.truth.heaters, volts))
            small.load(np.full((4, 2), volts))
            for _ in range(2):
                small.arm(4, 1, 1e-5)
                small.play(1e-5)
                small.fetch()
            small.clock.sleep(1.0)

    # -- time -------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds in the lab."""
        if self.lockstep:
            return 1e-9 * self._virtual
        return time.monotonic() - self._started

    def busy(self, seconds: float) -> None:
        """A box works for ``seconds``: in lockstep the lab's time moves, else the server waits them out."""
        if self.lockstep:
            self._virtual += round(1e9 * seconds)

    def account(self, box: str, seconds: float) -> None:
        """``box`` was busy for ``seconds``, by its latency model."""
        self._worked[box] = self._worked.get(box, 0.0) + seconds

    @property
    def least_seconds(self) -> float:
        """The shortest time in which the triggers so far could have come: from one to the next the longest of the boxes'
        busy times, with the heaters' settling where they were written, and what was played."""
        return self._least

    def _count(self, played: float) -> None:
        settling = SETTLING * self.plant.parameters.heater_time_constant if self.plant else 0.0
        self._least += max(self._worked.values(), default=0.0) + played + settling * self._heated
        self._worked.clear()
        self._heated = False

    def sleep(self, seconds: float) -> None:
        """A client waits, in lockstep."""
        self.busy(max(seconds, 0.0))

    def _follow(self) -> Plant:
        """The plant, now. Modules of heaters that were written one after another turn together, at the last one's time."""
        assert self.plant is not None
        clock = self.plant.clock
        if self._written is not None:
            clock.set(max(clock.now(), self._written))
            self._written = None
            self.plant.write_heaters(self.heaters.copy())
        clock.set(max(clock.now(), self.now()))
        return self.plant

    # -- light and heat -----------------------------------------------------------------------------

    def write_heaters(self, first: int, volts: FloatArray) -> None:
        """Voltages of the heaters ``first`` ...; those beyond the chip's drive nothing."""
        if self.plant is None:
            return
        end = min(first + len(volts), len(self.heaters))
        if first >= end:
            return
        self.heaters[first:end] = volts[: end - first]
        self._written, self._heated = self.now(), True

    def set_laser(self, *, emission: bool | None = None, power: float | None = None) -> None:
        """Light on or off; power in W."""
        if self.plant is not None:
            self._follow().set_laser(emission=emission, power=power)

    def emission(self) -> bool:
        """Whether light comes out: an interlock may have taken it."""
        if self.plant is None:
            return False
        self._follow().update()
        return self.plant.emission

    def set_switch(self, position: int) -> None:
        """The local oscillator's shutter."""
        if self.plant is not None:
            self._follow().set_switch(position)

    def temperature(self) -> float:
        """degC of the chip's mount."""
        if self.plant is None:
            return 25.0
        plant = self._follow()
        plant.update()
        return plant.temperature.at(plant.clock.now())

    def temperature_stable(self) -> bool:
        """Whether the mount stands within its window."""
        if self.plant is None:
            return True
        plant = self._follow()
        plant.update()
        return bool(plant.temperature.stable(plant.clock.now()))

    def set_temperature(self, setpoint: float) -> None:
        """degC wanted of the mount."""
        if self.plant is not None:
            plant = self._follow()
            plant.update()
            plant.temperature.set(setpoint, plant.clock.now())

    # -- samples ------------------------------------------------------------------------------------

    def prepare(self, box: str, generator: Generator | None) -> None:
        """``box`` will play at the trigger; None: it does not."""
        if generator is None:
            self._generators.pop(box, None)
        else:
            self._generators[box] = generator

    def show(self, columns: list[int], volts: float) -> None:
        """Modulators ``columns`` stand at ``volts`` until something plays on them: 0 V where an output is off."""
        if self.plant is not None:
            self._shown = self._shown.copy()
            self._shown[columns] = volts

    def listen(self, box: str, listener: Listener | None) -> None:
        """``box`` will read at the trigger; None: it does not."""
        if listener is None:
            self._listeners.pop(box, None)
        else:
            self._listeners[box] = listener

    def trigger(self) -> float:
        """The trigger line pulses: generators play, meters read. Returns the seconds that it takes."""
        listeners = list(self._listeners.values())
        self._listeners.clear()
        duration = self._happen(list(self._generators.values()), listeners)
        self._count(duration)
        return duration

    def read(self, listener: Listener) -> float:
        """A meter reads by itself, with what the modulators show at rest. Returns the seconds that it takes."""
        return self._happen([], [listener])

    def play(self, box: str, generators: list[Generator]) -> float:
        """``box`` plays by itself, and nobody else hears its trigger. Returns the seconds that it takes."""
        own = self._listeners.pop(box, None)
        return self._happen(generators, [] if own is None else [own])

    def sample(
        self, columns: list[int], full_scale: FloatArray, period: float, stages: int = 1
    ) -> tuple[FloatArray, np.ndarray]:
        """One reading (W) now of detectors ``columns``, at full scales ``full_scale`` (columns,) in W, with what the
        modulators show at rest: (columns,) each."""
        found: list[tuple[FloatArray, np.ndarray]] = []
        self.read(
            Listener(columns, 1, period, full_scale, lambda *reading: found.append(reading), stages)
        )
        signal, saturated = found[0]
        return signal[0], saturated[0]

    def _happen(self, playing: list[Generator], listeners: list[Listener]) -> float:
        """Light of one play, read by every listener; afterwards the modulators stand where their boxes leave them."""
        if self.plant is None:
            return self._in_the_dark(listeners)
        plant = self._follow()
        started = plant.clock.now()
        ends = [started + len(g.pattern) * (g.cycles or 1) * g.period for g in playing]
        for period in sorted({m.period for m in listeners}):
            plant.clock.set(started)  # meters of another period read the same play
            group = [m for m in listeners if m.period == period]
            self._deliver(plant, playing, group, period)
            ends.append(plant.clock.now())
        plant.clock.set(max(ends, default=started))
        for generator in playing:
            self._shown = self._shown.copy()
            self._shown[generator.columns] = generator.pattern[generator.rests]
        duration = plant.clock.now() - started
        self.busy(duration)
        return duration

    def _in_the_dark(self, listeners: list[Listener]) -> float:
        duration = 0.0
        for listener in listeners:
            shape = (listener.samples, len(listener.columns))
            listener.deliver(np.zeros(shape), np.zeros(shape, dtype=bool))
            duration = max(duration, listener.samples * listener.period)
        self.busy(duration)
        return duration

    def _deliver(
        self, plant: Plant, playing: list[Generator], listeners: list[Listener], period: float
    ) -> None:
        """What meters of one ``period`` read, on their own grid of samples."""
        scales = np.full(2 * plant.truth.ports, plant.detection.ranges[-1])
        for listener in listeners:
            scales[listener.columns] = listener.full_scale * self.responsivity
        plant.detection.full_scales = scales
        plant.detection.stages = max(m.stages for m in listeners)
        samples = max(m.samples for m in listeners)
        own = max([g.period for g in playing], default=period)
        ratio = period / own
        if abs(ratio - 1.0) < SAME:
            signal, saturated = self._expose(plant, playing, np.arange(samples), own, period)
        elif ratio < 1.0:  # several readings of each sample
            indices = np.floor((np.arange(samples) + 0.5) * ratio).astype(np.int64)
            cycle = round(max([len(g.pattern) for g in playing], default=1) / ratio)
            signal, saturated = self._expose(plant, playing, indices, own, period, cycle)
        else:  # several samples in each reading
            edges = np.floor(np.arange(samples) * ratio + SAME).astype(np.int64)
            count = int(np.floor(samples * ratio + SAME))
            signal, saturated = self._expose(plant, playing, np.arange(count), own, own)
            lengths = np.diff(np.append(edges, count))[:, np.newaxis]
            signal = np.add.reduceat(signal, edges, axis=0) / lengths
            saturated = np.logical_or.reduceat(saturated, edges, axis=0)
        for listener in listeners:
            listener.deliver(
                signal[: listener.samples, listener.columns] / self.responsivity,
                saturated[: listener.samples, listener.columns],
            )

    def _expose(
        self,
        plant: Plant,
        playing: list[Generator],
        indices: IntArray,
        own: float,
        period: float,
        cycle: int | None = None,
    ) -> tuple[FloatArray, np.ndarray]:
        """Currents (samples, detectors) at the samples ``indices`` of ``own`` s after the trigger, read for ``period`` s each,
        cycle by cycle: drift and noise of a cycle are its own, as in the plant's own repeats, and the light of one that
        repeats is computed once."""
        if cycle is None:
            cycle = max([len(g.pattern) for g in playing], default=len(indices))
        loaded: FloatArray | None = None
        parts = []
        for first in range(0, len(indices), cycle):
            part = indices[first : first + cycle]
            rows = np.repeat(self._shown[np.newaxis], len(part), axis=0)
            for generator in playing:
                rows[:, generator.columns] = generator.rows(part, own)
            if loaded is None or not np.array_equal(rows, loaded):
                plant.load(rows)
                loaded = rows
            plant.arm(len(rows), 1, period)
            plant.play(period)
            parts.append(plant.fetch())
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
