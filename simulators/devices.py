"""Banks of the simulated bench: views on a plant, without state of their own."""

from __future__ import annotations

import numpy as np

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Identity,
    Modulators,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.simulators.plant import Plant
from hilonn.typing import FloatArray

VENDOR = "hilonn"
MAX_SAMPLES = 65536
SETTLING = 5.0  # heater time constants: 0.7 % of a step is left


def identity(plant: Plant, model: str) -> Identity:
    """Simulated boxes carry the chip's serial number: architecture, ports and chip seed."""
    return Identity(VENDOR, model, plant.serial)


class SimulatedPhaseShifters(PhaseShifters):
    """Voltages on the chip's heaters and, where there is one, the local oscillator's (last).

    The drive is rounded to the converter's grid, uniform in voltage; ``read_back`` returns that.
    ``max_power`` is what the highest voltage gives on the nominal cold resistance.
    """

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        p, high = plant.parameters, plant.heaters.high
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=high,
            resolution=plant.heaters.step,
            max_power=1.001 * high**2 / p.resistance,
            resistance=p.resistance,
            settling_time=SETTLING * p.heater_time_constant,
        )
        super().__init__(name, plant.truth.heaters, spec)
        self._plant = plant

    def identity(self) -> Identity:
        return identity(self._plant, "simulated phase shifters")

    def _write(self, drive: FloatArray) -> None:
        self._plant.write_heaters(drive)

    def _read_back(self) -> FloatArray:
        return self._plant.heaters.drive.copy()

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        self._plant.write_heaters(np.zeros(self.channels))


class SimulatedModulators(Modulators):
    """Voltages on push-pull modulators, played sample by sample; at rest they stand at 0 V."""

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        high = plant.modulation.high
        spec = ChannelSpec(unit="V", low=-high, high=high, resolution=plant.modulation.step)
        super().__init__(name, plant.truth.ports, spec, MAX_SAMPLES)
        self._plant = plant
        self._period = 0.0

    def identity(self) -> Identity:
        return identity(self._plant, "simulated modulators")

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        self._plant.load(drive)
        self._period = timing.sample_period * timing.samples_per_reading

    def _play(self) -> None:
        self._plant.play(self._period)

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        self._plant.load(None)


class SimulatedPhotodetectors(Photodetectors):
    """Currents in A of plus_0 .. plus_{n-1}, minus_0 .. minus_{n-1}; ten ranges, a factor 2 apart.

    A sample that takes several readings (``samples_per_reading``) is read as so many plays.
    """

    nonblocking = True

    def __init__(self, name: str, plant: Plant) -> None:
        ranges = plant.detection.ranges
        spec = ChannelSpec(unit="A", low=-ranges[-1] / 8, high=ranges[-1])
        super().__init__(name, 2 * plant.truth.ports, spec, ranges, MAX_SAMPLES)
        self._plant = plant
        self._follow()
        plant.restored.append(self._follow)

    def _follow(self) -> None:
        self.range = self._plant.detection.range
        self._armed = None

    def identity(self) -> Identity:
        return identity(self._plant, "simulated photodetectors")

    def _set_range(self, index: int) -> None:
        self._plant.set_range(index)

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        self._plant.arm(samples, averages * timing.samples_per_reading, timing.sample_period)

    def _fetch(self) -> DetectorReadings:
        return DetectorReadings(*self._plant.fetch())

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _safe_state(self) -> None:
        return None  # a detector drives nothing
