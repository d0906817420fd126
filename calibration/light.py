"""Transfer matrices by homodyne: superpositions of all inputs with known signs, both signs of each, two quadratures.

Half the difference of a pattern and its negative is linear in the field: dark currents, the oscillator's imbalance,
light that leaks through a modulator's null, and |E|^2 on detectors that are not quite a pair all drop out. Where light is stuck
at an input, |E|^2 does not: its beat with the rest changes its sign with the pattern, and what one detector of a pair reads
alone is then of no use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import hadamard

from hilonn.calibration.rig import Rig, Setup
from hilonn.chips.detection import pair_watts
from hilonn.chips.ports import usable_outputs
from hilonn.errors import SaturationError
from hilonn.records import Records
from hilonn.transfer import drive_of_amplitude, power_of_phase, voltage_of_power
from hilonn.typing import BoolArray, ComplexArray, FloatArray

QUADRATURES = (0.0, np.pi / 2)


def sign_patterns(ports: int) -> FloatArray:
    """Signs (patterns, ports), +-1, whose columns are orthogonal: patterns = the next power of two."""
    count = 1 << max(ports - 1, 1).bit_length()
    return np.asarray(hadamard(count)[:, :ports], dtype=float)


@dataclass(frozen=True, eq=False)
class Light:
    """How matrices are read (where one of a pair is dead, the other stands for both): ``signs`` (patterns, ports), at ``amplitude`` of the full drive; ``volts``
    (2 patterns, ports) at a share of that, patterns and then their negatives; what detectors and oscillator are known to be."""

    signs: FloatArray
    amplitude: float
    volts: Callable[[float], FloatArray]
    oscillator: tuple[float, float]
    plus: FloatArray
    minus: FloatArray

    @property
    def patterns(self) -> int:
        return len(self.signs)


def light_of(setup: Setup, known: Records, amplitude: float) -> Light:
    """``Light`` by what ``known`` holds of modulators, detectors and the oscillator's heater."""
    signs = sign_patterns(setup.ports)
    bias = known.modulators.value("bias")
    v_pi, usable = known.modulators.value("v_pi"), known.modulators.accepted("v_pi")
    both = amplitude * np.concatenate((signs, -signs))

    def volts(share: float) -> FloatArray:
        asked = np.where(usable, drive_of_amplitude(share * both, v_pi, bias), bias)
        return np.asarray(np.minimum(np.maximum(asked, setup.modulator_low), setup.modulator_high))

    plus, minus = pair_watts(known.photodetectors)
    if not usable.all():
        paired = usable_outputs(known)
        plus, minus = np.where(paired, plus, 0.0), np.where(paired, minus, 0.0)
    return Light(signs, amplitude, volts, oscillator_drives(setup, known), plus, minus)


def oscillator_drives(setup: Setup, known: Records) -> tuple[float, float]:
    """Volts on the oscillator's heater at its two quadratures."""
    if not setup.oscillator:
        return (0.0, 0.0)
    chip = known.chip
    offset, per_pi, ohm, rise = (
        chip.value(f"heater_{name}")[-1]
        for name in ("phase_offset", "power_per_pi", "resistance", "resistance_rise")
    )
    first, second = (
        float(voltage_of_power(power_of_phase(np.mod(q - offset, 2 * np.pi), per_pi), ohm, rise))
        for q in QUADRATURES
    )
    return first, second


def rails(known: Records) -> BoolArray:
    """Detectors (2 ports,) that are known to be of no use, and may stand at their rail."""
    return np.asarray(~known.photodetectors.accepted("gain"))


def read_half(rig: Rig, light: Light, averages: int, ignore: BoolArray) -> FloatArray:
    """Half differences (patterns, 2 ports) of currents at what is programmed. Where the detectors' largest range does
    not hold them, inputs are dimmed, from then on, and readings scaled up by as much."""
    while True:
        try:
            signal, _ = rig.ranged(light.volts(rig.dimming), averages, ignore)
            break
        except SaturationError:
            if rig.dimming < FAINTEST:
                raise
            rig.dimming *= DIM
    half = (signal[: light.patterns] - signal[light.patterns :]) / 2
    return np.asarray(half / rig.dimming)


DIM, FAINTEST = 0.75, 0.1


def read_odd(
    rig: Rig, light: Light, drive: FloatArray, averages: int, ignore: BoolArray
) -> FloatArray:
    """Half differences (2 quadratures, patterns, 2 ports) of currents at ``drive`` (heaters,) V, without
    the oscillator's."""
    odd = np.empty((2, light.patterns, 2 * rig.setup.ports), np.float32)
    rig.let_oscillator(True)
    for i, oscillator in enumerate(light.oscillator):
        rig.program(np.append(drive, oscillator))
        odd[i] = read_half(rig, light, averages, ignore)
    return odd


def matrices(light: Light, odd: FloatArray) -> ComplexArray:
    """Matrices (s, outputs, inputs) in W of difference at full drive, from ``read_odd``'s (s, 2, patterns, 2 ports);
    rows of pairs that are not usable, and columns of inputs that are not, are zero or noise."""
    ports = light.signs.shape[1]
    pairs = odd[..., :ports] * light.plus - odd[..., ports:] * light.minus
    field: ComplexArray = pairs[:, 0] + 1j * pairs[:, 1]
    solved: ComplexArray = field.swapaxes(1, 2) @ light.signs
    return solved / (light.patterns * light.amplitude)


def matrix_noise(light: Light, pair_variance: FloatArray, averages: int) -> FloatArray:
    """Standard deviation (outputs,) of the real part of an element of ``matrices``, from the variance of one
    reading of a pair's difference, W^2."""
    variance = pair_variance / (2 * light.patterns * averages) / light.amplitude**2
    return np.asarray(np.sqrt(variance))
