"""What the boxes of an emulated lab share: the chip, the light between them, triggers, and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hilonn.simulators.plant import Plant
from hilonn.typing import FloatArray


@dataclass
class Generator:
    """What one box plays when the trigger comes: ``columns`` of the modulators, ``pattern`` (samples, columns) in
    V at the modulators, one sample every ``period`` s, ``cycles`` times."""

    columns: list[int]
    pattern: FloatArray
    period: float
    cycles: int = 1


@dataclass
class Listener:
    """A meter that waits for the trigger: it reads detectors ``columns``, ``samples`` samples of ``period`` s, at full
    scales ``full_scale`` (len(columns),) in W, and is given (signal in W, saturated), each (samples, columns)."""

    columns: list[int]
    samples: int
    period: float
    full_scale: FloatArray
    deliver: Callable[[FloatArray, np.ndarray], None] = field(repr=False)


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
        self._started = time.monotonic()
        self._virtual = 0.0
        self._ahead = 0.0
        self._generators: dict[str, Generator] = {}
        self._listeners: dict[str, Listener] = {}

    @property
    def responsivity(self) -> float:
        """A/W by which meters turn their detectors' currents into W: what every one of them should have."""
        return 1.0 if self.plant is None else self.plant.parameters.responsivity

    # -- time -------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds in the lab."""
        if self.lockstep:
            return self._virtual
        return time.monotonic() - self._started

    def busy(self, seconds: float) -> None:
        """A box works for ``seconds``: in lockstep the lab's time moves, else the server waits them out."""
        if self.lockstep:
            self._virtual += seconds

    def sleep(self, seconds: float) -> None:
        """A client waits, in lockstep."""
        self.busy(max(seconds, 0.0))

    def _follow(self) -> Plant:
        assert self.plant is not None
        clock = self.plant.clock
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
        self.heaters = self.heaters.copy()
        self.heaters[first:end] = volts[: end - first]
        self._follow().write_heaters(self.heaters)

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

    def listen(self, box: str, listener: Listener | None) -> None:
        """``box`` will read at the trigger; None: it does not."""
        if listener is None:
            self._listeners.pop(box, None)
        else:
            self._listeners[box] = listener

    def trigger(self) -> float:
        """The trigger line pulses: generators play, meters read. Returns the seconds that it takes."""
        if self.plant is None:
            return self._trigger_in_the_dark()
        plant = self._follow()
        pattern, period = self._pattern(plant)
        duration = len(pattern) * period
        listeners = list(self._listeners.values())
        self._listeners.clear()
        plant.load(pattern)
        if listeners:
            signal, saturated = self._read(plant, listeners, pattern, period)
            for listener in listeners:
                columns = listener.columns
                samples = listener.samples
                listener.deliver(
                    _long_enough(signal[:, columns], samples),
                    _long_enough(saturated[:, columns], samples),
                )
        else:
            plant.play(period)
        self.busy(duration)
        return duration

    def sample(
        self, columns: list[int], full_scale: FloatArray, period: float
    ) -> tuple[FloatArray, np.ndarray]:
        """One reading (W) now of detectors ``columns``, at full scales ``full_scale`` (columns,) in W, with what the
        modulators show at rest: (columns,) each."""
        if self.plant is None:
            return np.zeros(len(columns)), np.zeros(len(columns), dtype=bool)
        plant = self._follow()
        scales = np.full(2 * plant.truth.ports, plant.detection.ranges[-1])
        scales[columns] = full_scale * self.responsivity
        plant.detection.full_scales = scales
        plant.arm(1, 1, period)
        signal, saturated = plant.fetch()
        self.busy(period)
        return signal[0, columns] / self.responsivity, saturated[0, columns]

    def _trigger_in_the_dark(self) -> float:
        duration = 0.0
        for listener in self._listeners.values():
            shape = (listener.samples, len(listener.columns))
            listener.deliver(np.zeros(shape), np.zeros(shape, dtype=bool))
            duration = max(duration, listener.samples * listener.period)
        self._listeners.clear()
        self.busy(duration)
        return duration

    def _pattern(self, plant: Plant) -> tuple[FloatArray, float]:
        """What all modulators show, (samples, ports): a box that does not play rests at 0 V, a shorter one stays at its
        last sample."""
        playing = list(self._generators.values())
        samples = max([len(g.pattern) * g.cycles for g in playing], default=1)
        period = max([g.period for g in playing], default=1e-5)
        pattern = np.zeros((samples, plant.truth.ports))
        for generator in playing:
            played = np.tile(generator.pattern, (generator.cycles, 1))
            pattern[:, generator.columns] = _long_enough(played, samples)
        return pattern, period

    def _read(
        self, plant: Plant, listeners: list[Listener], pattern: FloatArray, period: float
    ) -> tuple[FloatArray, np.ndarray]:
        scales = np.full(2 * plant.truth.ports, plant.detection.ranges[-1])
        for listener in listeners:
            scales[listener.columns] = listener.full_scale * self.responsivity
        plant.detection.full_scales = scales
        plant.arm(len(pattern), 1, period)
        plant.play(period)
        signal, saturated = plant.fetch()
        return signal / self.responsivity, saturated


def _long_enough(values: np.ndarray, samples: int) -> np.ndarray:
    """The first ``samples`` rows; the last one is held where there are fewer."""
    if len(values) >= samples:
        return values[:samples]
    return np.concatenate((values, np.repeat(values[-1:], samples - len(values), axis=0)))
