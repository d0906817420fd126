"""A plant with its devices, and the few moves that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from hilonn.devices import DetectorReadings, Timing
from hilonn.simulators import EFFECTS, Plant, resolve
from hilonn.simulators.devices import (
    SimulatedModulators,
    SimulatedPhaseShifters,
    SimulatedPhotodetectors,
)
from hilonn.simulators.sources import SimulatedLaser, SimulatedSwitch

TIMING = Timing(1e-5)


class Benchtop:
    """Everything ideal except what is named: ``real`` effects come from the preset ``typical``."""

    def __init__(
        self,
        *,
        real: tuple[str, ...] = (),
        preset: str | None = None,
        ports: int = 4,
        architecture: Any = "svd_mesh",
        light: bool = True,
        faults: tuple[Any, ...] = (),
        chip_seed: int = 0,
        noise_seed: int = 0,
        **figures: float,
    ) -> None:
        if preset is None:
            effects = {name: name in real for name in EFFECTS}
            parameters = resolve("typical", effects, figures)
        else:
            parameters = resolve(preset, None, figures)
        self.plant = Plant(
            architecture,
            ports,
            parameters,
            chip_seed=chip_seed,
            noise_seed=noise_seed,
            faults=faults,
        )
        self.ports = ports
        self.heaters = SimulatedPhaseShifters("heaters", self.plant)
        self.modulators = SimulatedModulators("inputs", self.plant)
        self.detectors = SimulatedPhotodetectors("meter", self.plant)
        self.laser = SimulatedLaser("laser", self.plant)
        self.shutter = SimulatedSwitch("shutter", self.plant)
        self.laser.set_emission(light)

    def heat(self, drive: np.ndarray | float, wait: float = 1.0) -> None:
        """Write one voltage or all, and wait."""
        self.heaters.write(np.broadcast_to(np.asarray(drive, float), (self.heaters.channels,)))
        self.plant.clock.sleep(wait)

    def read(self, inputs: np.ndarray, averages: int = 1) -> DetectorReadings:
        """Play amplitudes ``inputs`` (samples, ports) in [-1, 1] of ideal modulators; read."""
        p = self.plant.parameters
        return self.play(2 * p.v_pi / np.pi * np.arcsin(inputs), averages)

    def play(self, drive: np.ndarray, averages: int = 1) -> DetectorReadings:
        """Play voltages (samples, ports); read."""
        self.modulators.load(drive, TIMING)
        self.detectors.arm(len(drive), averages, TIMING)
        self.modulators.play()
        return self.detectors.fetch()

    def powers(self, inputs: np.ndarray) -> np.ndarray:
        """Powers at the outputs (samples, ports) in W, the local oscillator blocked."""
        self.shutter.select(0)
        signal = self.read(inputs).signal / self.plant.parameters.responsivity
        self.shutter.select(1)
        return np.asarray(signal[:, : self.ports] + signal[:, self.ports :])

    def homodyne(self, inputs: np.ndarray) -> np.ndarray:
        """Difference of each pair (samples, ports) in W."""
        signal = self.read(inputs).signal / self.plant.parameters.responsivity
        return np.asarray(signal[:, : self.ports] - signal[:, self.ports :])
