"""Drives to measure at, by the datasheet: sweeps uniform in power, random settings, the supply's grid."""

from __future__ import annotations

import numpy as np

from hilonn.calibration.rig import Setup
from hilonn.typing import FloatArray


def nominal_ohm(setup: Setup) -> float:
    """The resistance that stands for every heater's: only its product with the power per pi shows in a phase."""
    return setup.nominal.resistance


def top_of(setup: Setup, turns: float) -> FloatArray:
    """V^2 / R (W) of each heater at ``turns`` by the datasheet, or at its limit if that is lower."""
    power = 2 * turns * setup.nominal.power_per_pi
    return np.asarray(np.minimum(power, setup.drive_high**2 / nominal_ohm(setup)))


def on_grid(setup: Setup, volts: FloatArray) -> FloatArray:
    """``volts`` on the supply's grid, so that what is written is what is driven."""
    if not setup.drive_step:
        return volts
    return np.asarray(np.floor(volts / setup.drive_step) * setup.drive_step)


def background(setup: Setup, seed: int = 0) -> FloatArray:
    """Volts (heaters,) of a random setting at which every path carries light; the same one every time."""
    rng = np.random.default_rng([seed, setup.ports, 50])
    share = 0.05 + 0.9 * rng.random(setup.heaters)
    cold = share * top_of(setup, 1.0)[: setup.heaters]
    return on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))


def random_settings(setup: Setup, count: int, turns: float, seed: int) -> FloatArray:
    """Volts (count, heaters): every heater anywhere up to ``turns`` by the datasheet, uniform in power."""
    rng = np.random.default_rng([seed, setup.ports, 51])
    cold = rng.random((count, setup.heaters)) * top_of(setup, turns)[: setup.heaters]
    return on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))
