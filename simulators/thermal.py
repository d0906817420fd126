"""Heaters: voltage to power with self-heating, power to phase, and the lag between them."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from hilonn.mesh.jit import dense_kernel
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.truth import FULL_TURN, Truth
from hilonn.typing import FloatArray, Snapshot

Ratio = TypeVar("Ratio", float, FloatArray)


@dense_kernel
def _heat(drive: FloatArray, conductance: FloatArray, rise: FloatArray, power: FloatArray) -> None:
    for i in range(drive.size):
        cold = drive[i] * drive[i] * conductance[i]
        power[i] = 2 * cold / (1 + np.sqrt(1 + rise[i] * cold))


@dense_kernel
def _own(
    target: FloatArray,
    missing: FloatArray,
    left: float,
    per_pi: FloatArray,
    bend: float,
    own: FloatArray,
) -> None:
    for i in range(own.size):
        ratio = (target[i] + missing[i] * left) * per_pi[i]
        own[i] = ratio * ((math.pi * bend / 2) * ratio + math.pi * (1 - bend))


@dense_kernel
def _step(
    drive: FloatArray,
    grain: float,
    target: FloatArray,
    missing: FloatArray,
    left: float,
    set_to: FloatArray,
    before: FloatArray,
) -> None:
    """The drive put on the converter's grid, and the power (W) that there is while ``left`` of the last step is missing."""
    for i in range(drive.size):
        set_to[i] = np.rint(drive[i] / grain) * grain if grain > 0 else drive[i]
        before[i] = target[i] + missing[i] * left


@dense_kernel
def _largest(missing: FloatArray, per_pi: FloatArray) -> float:
    largest = 0.0
    for i in range(missing.size):
        largest = max(largest, abs(missing[i]) * per_pi[i])
    return largest


class Heaters:
    """Drives and powers of all heaters. Time is passed in; only ``write`` changes the target.

    The true power relaxes from what it was at the last write to its target as exp(-t / tau).
    """

    def __init__(self, truth: Truth, p: PlantParameters) -> None:
        self._truth = truth
        self._tau = p.heater_time_constant
        self._nonlinearity = p.thermo_optic_nonlinearity
        self._cold_conductance = 1 / truth.resistance
        self._rise = 4 * truth.resistance_rise
        self._per_pi = 1 / truth.power_per_pi
        self._alive = ~truth.dead
        self._all_alive = not truth.dead.any()
        self._stuck = np.full(truth.heaters, np.nan)  # W
        self._any_stuck = False
        self.high = drive_limit(p)
        self.step = self.high / (2**p.drive_bits - 1) if p.drive_bits else 0.0
        self.drive: FloatArray = np.zeros(truth.heaters)
        self.target: FloatArray = np.zeros(truth.heaters)
        self._missing: FloatArray = np.zeros(
            truth.heaters
        )  # W, power at the last write less the target
        self._since = 0.0
        self._missing_phase = 0.0  # rad, largest on the chip at the last write
        self._missing_phase_lo = 0.0

    def write(self, drive: FloatArray, now: float) -> None:
        """New voltages (heaters,), put on the converter's grid."""
        self.drive, before = np.empty_like(self.target), np.empty_like(self.target)
        left = self.decay(now)
        _step(drive, self.step, self.target, self._missing, left, self.drive, before)
        self._aim(before, now)

    def stick(self, heater: int, power: float | None, now: float) -> None:
        """From now on ``heater`` keeps ``power`` (W), or what it has."""
        before = self.target + self._missing * self.decay(now)
        self._stuck[heater] = before[heater] if power is None else power
        self._any_stuck = True
        self._aim(before, now)

    def kill(self, heater: int, now: float) -> None:
        """From now on ``heater`` is an open circuit."""
        before = self.target + self._missing * self.decay(now)
        self._alive[heater] = False
        self._all_alive = False
        self._aim(before, now)

    def _aim(self, before: FloatArray, now: float) -> None:
        self.target = self._powers(self.drive)
        self._missing = before - self.target if self._tau > 0 else np.zeros_like(before)
        self._since = now
        self._measure_missing()

    def _measure_missing(self) -> None:
        chip = self._truth.chip_heaters
        self._missing_phase = math.pi * _largest(self._missing[:chip], self._per_pi[:chip])
        self._missing_phase_lo = math.pi * _largest(self._missing[chip:], self._per_pi[chip:])

    def _powers(self, drive: FloatArray) -> FloatArray:
        """P = V^2 / R(P) with R = R0 (1 + rise P): the positive root, finite without rise."""
        power = np.empty_like(drive)
        _heat(drive, self._cold_conductance, self._rise, power)
        if not self._all_alive:
            power = np.where(self._alive, power, 0.0)
        if self._any_stuck:
            power = np.where(np.isnan(self._stuck), power, self._stuck)
        return power

    def decay(self, now: float) -> float:
        """What is left, at ``now``, of the step of the last write."""
        return math.exp(-(now - self._since) / self._tau) if self._tau > 0 else 0.0

    def lag(self, now: float) -> tuple[float, float]:
        """Largest phase (rad) still missing at ``now``: on the chip, on the local oscillator."""
        left = self.decay(now)
        return self._missing_phase * left, self._missing_phase_lo * left

    def own_phases(self, left: float) -> FloatArray:
        """Phase (heaters,) that each heater gives itself, with ``left`` of the last step missing.

        pi p (1 + b (p / 2 - 1)), p the power in units of its P_pi, b the nonlinearity: exact at a
        full turn, where a lab would fit it.
        """
        own = np.empty_like(self.target)
        _own(self.target, self._missing, left, self._per_pi, self._nonlinearity, own)
        return own

    def lo_phase(self) -> float:
        """The local oscillator heater's own phase when nothing is missing."""
        return self._own_phase(float(self.target[-1] * self._per_pi[-1]))

    def lo_phases(self, left: FloatArray) -> FloatArray:
        """The local oscillator heater's own phase for each share ``left`` of the step missing."""
        return self._own_phase((self.target[-1] + self._missing[-1] * left) * self._per_pi[-1])

    def _own_phase(self, ratio: Ratio) -> Ratio:
        """Of a power in units of its P_pi; as ``own_phases``."""
        return math.pi * ratio * (1 + self._nonlinearity * (ratio / 2 - 1))

    def snapshot(self) -> Snapshot:
        return {
            "drive": self.drive.copy(),
            "target": self.target.copy(),
            "missing": self._missing.copy(),
            "since": self._since,
            "stuck": self._stuck.copy(),
            "alive": self._alive.copy(),
        }

    def restore(self, saved: Snapshot) -> None:
        self.drive = np.array(saved["drive"], float)
        self.target = np.array(saved["target"], float)
        self._missing = np.array(saved["missing"], float)
        self._since = float(saved["since"])
        self._stuck = np.array(saved["stuck"], float)
        self._any_stuck = not bool(np.isnan(self._stuck).all())
        self._alive = np.array(saved["alive"], bool)
        self._all_alive = bool(self._alive.all())
        self._measure_missing()


def drive_limit(p: PlantParameters) -> float:
    """The supply's voltage: a turn and a half on the worst heater of the process, up to 0.5 V."""
    power = 1.5 * FULL_TURN * p.power_per_pi * (1 + 3 * p.power_per_pi_spread)
    rise = p.resistance_rise / (FULL_TURN * p.power_per_pi)
    resistance = p.resistance * (1 + 3 * p.resistance_spread) * (1 + rise * power)
    return math.ceil(2 * math.sqrt(power * resistance)) / 2
