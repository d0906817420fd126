"""Pure functions between drives, powers, phases and light. SI units, vectorised."""

from __future__ import annotations

import numpy as np

from hilonn.errors import LimitError
from hilonn.typing import FloatArray


def power_of_voltage(voltage: FloatArray, resistance: FloatArray, rise: FloatArray) -> FloatArray:
    """Electrical power (W) of a heater at ``voltage`` (V): P = V^2 / R, R = R0 (1 + rise P).

    ``resistance`` R0 (ohm, cold), ``rise`` (1/W). The positive root, finite at rise = 0
    (reference: calibration.md section 2, with V in place of I).
    """
    v2 = np.square(voltage)
    return np.asarray(2.0 * v2 / (resistance + np.sqrt(resistance * (resistance + 4 * rise * v2))))


def voltage_of_power(power: FloatArray, resistance: FloatArray, rise: FloatArray) -> FloatArray:
    """The voltage (V) that dissipates ``power`` (W): V = sqrt(P R0 (1 + rise P))."""
    if np.any(np.less(power, 0.0)):
        raise LimitError(f"no voltage dissipates a negative power ({np.min(power):g} W)")
    return np.asarray(np.sqrt(power * resistance * (1.0 + rise * power)))


def phase_of_power(power: FloatArray, power_per_pi: FloatArray) -> FloatArray:
    """Phase (rad) that a heater adds at ``power`` (W)."""
    return np.asarray(np.pi * power / power_per_pi)


def power_of_phase(phase: FloatArray, power_per_pi: FloatArray) -> FloatArray:
    """Power (W) for an added ``phase`` (rad)."""
    return np.asarray(phase * power_per_pi / np.pi)


def amplitude_of_drive(drive: FloatArray, v_pi: FloatArray, bias: FloatArray) -> FloatArray:
    """Signed field, in units of full drive, of a push-pull modulator biased at its null:
    sin(pi (V - V0) / (2 V_pi))."""
    return np.asarray(np.sin(np.pi * (drive - bias) / (2.0 * v_pi)))


def drive_of_amplitude(amplitude: FloatArray, v_pi: FloatArray, bias: FloatArray) -> FloatArray:
    """The drive (V) for a signed ``amplitude`` in [-1, 1]; LimitError outside."""
    largest = float(np.max(np.abs(amplitude), initial=0.0))
    if not largest <= 1.0:
        raise LimitError(
            f"an amplitude of {largest:.4g} was asked of modulators that give at most 1 (full "
            "drive); scale the inputs down. Nothing was written"
        )
    return np.asarray(bias + (2.0 * v_pi / np.pi) * np.arcsin(amplitude))


def power_of_signal(signal: FloatArray, gain: FloatArray, dark: FloatArray) -> FloatArray:
    """Optical power (W) from a photocurrent (A), ``gain`` in A/W, ``dark`` in A."""
    return np.asarray((signal - dark) / gain)
