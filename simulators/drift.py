"""What moves by itself: the local oscillator, input fibres, heaters, modulator bias, gains.

The local oscillator (Ornstein-Uhlenbeck) steps at every play. The input fibres (Ornstein-Uhlenbeck
too) step when they would move by more than ``INPUT_STEP`` of their spread, the slow walks (Brownian)
when the fastest of them would move by more than ``SLOW_STEP``: their lag is then at most that (1 sd),
and fields and transfer matrix can be kept meanwhile.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from hilonn.mesh.sincos import sincos
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.randomness import generator, generator_state, restore_generator
from hilonn.simulators.truth import Truth
from hilonn.typing import ComplexArray, FloatArray, Snapshot

SLOW_STEP = 20e-6
"""rad (heaters, bias), relative (gain)."""

INPUT_STEP = 0.02
"""In standard deviations of an input fibre's walk."""

Walk = TypeVar("Walk", float, FloatArray)
HOUR = 3600.0
UNLOCKED = 1.0
"""rad per square root of a second: a fibre of some metres left to itself."""

LOCK_WINDOW = 0.5
"""rad: a servo whose error is larger reports no lock."""


class Drift:
    """Random walks around the truth, all zero in the mean. ``advance`` moves them to a time."""

    def __init__(self, truth: Truth, p: PlantParameters, seed: int) -> None:
        ports = truth.ports
        self._fast_rng = generator(seed, "fast drift")
        self._slow_rng = generator(seed, "slow drift")
        self._lo_scale = float(p.lo_wander), float(p.lo_wander_time)
        self._fibre_scale = float(p.input_phase_drift), float(p.input_phase_time)
        self._wanders, self._fibres_move = bool(p.lo_wander), bool(p.input_phase_drift)
        self._input_interval = 0.5 * INPUT_STEP**2 * p.input_phase_time
        start = self._fast_rng.standard_normal(ports + 1)
        self._lo = float(p.lo_wander * start[0])
        self.inputs: FloatArray = p.input_phase_drift * start[1:]
        rates = (p.heater_drift, p.modulator_bias_drift, p.detector_gain_drift)
        lengths = (truth.heaters, ports, 2 * ports)
        self._rates = np.repeat(rates, lengths) / math.sqrt(HOUR)
        self._slow = np.zeros(sum(lengths))
        self._parts = np.cumsum(lengths)[:2]
        largest = float(self._rates.max())
        self._interval = (SLOW_STEP / largest) ** 2 if largest > 0 else math.inf
        self._now = 0.0
        self._slow_since = self._inputs_since = 0.0
        self._lost = False
        self._free = 0.0
        self._view()

    def _view(self) -> None:
        self.heaters, self.bias, self.gain = np.split(self._slow, self._parts)

    def advance(self, now: float) -> bool:
        """Move to ``now`` (s); True when a slow walk has stepped."""
        elapsed = now - self._now
        if elapsed > 0:
            self._now = now
            if self._wanders:
                self._step_oscillator(elapsed)
            waited = now - self._inputs_since
            if self._fibres_move and waited >= self._input_interval:
                self._step_fibres(waited)
                self._inputs_since = now
            if self._lost:
                self._free += UNLOCKED * math.sqrt(elapsed) * self._fast_rng.standard_normal()
        elapsed = now - self._slow_since
        if elapsed < self._interval:
            return False
        self._slow_since = now
        moved = self._rates * math.sqrt(elapsed) * self._slow_rng.standard_normal(self._slow.size)
        self._slow = self._slow + moved  # never in place: modulation keeps what the last one gave
        self._view()
        return True

    def _step_oscillator(self, elapsed: float) -> None:
        """One exact step of the one walk that steps at every play: a number, not an array."""
        self._lo = _relaxed(self._lo_scale, self._lo, elapsed, self._fast_rng.standard_normal())

    def _step_fibres(self, elapsed: float) -> None:
        """One exact step of all fibres. Never in place: modulation keeps what the last one gave."""
        fresh = self._fast_rng.standard_normal(self.inputs.size)
        self.inputs = _relaxed(self._fibre_scale, self.inputs, elapsed, fresh)

    def shift_heaters(self, heater: int | None, phase: float) -> None:
        """A sudden step of ``phase`` (rad) on one heater or on all."""
        self.heaters[slice(None) if heater is None else heater] += phase

    def lose_lock(self) -> None:
        """From now on the local oscillator walks free."""
        self._lost = True

    @property
    def lo(self) -> float:
        """Phase of the local oscillator away from its lock point, rad."""
        return self._lo + self._free

    @property
    def locked(self) -> bool:
        return not self._lost and abs(self.lo) < LOCK_WINDOW

    def snapshot(self) -> Snapshot:
        return {
            "fast_generator": generator_state(self._fast_rng),
            "slow_generator": generator_state(self._slow_rng),
            "walk": np.concatenate(([self._lo], self.inputs)),
            "slow": self._slow.copy(),
            "now": self._now,
            "slow_since": self._slow_since,
            "inputs_since": self._inputs_since,
            "lost": self._lost,
            "free": self._free,
        }

    def restore(self, saved: Snapshot) -> None:
        restore_generator(self._fast_rng, saved["fast_generator"])
        restore_generator(self._slow_rng, saved["slow_generator"])
        walk = np.array(saved["walk"], float)
        self._lo, self.inputs = float(walk[0]), walk[1:]
        self._slow = np.array(saved["slow"], float)
        self._now = float(saved["now"])
        self._slow_since = float(saved["slow_since"])
        self._inputs_since = float(saved["inputs_since"])
        self._lost = bool(saved["lost"])
        self._free = float(saved["free"])
        self._view()


def _relaxed(scale: tuple[float, float], walk: Walk, elapsed: float, fresh: Walk) -> Walk:
    """``walk`` after ``elapsed`` s of an Ornstein-Uhlenbeck process of standard deviation and time ``scale``, by standard normal
    numbers ``fresh``."""
    sd, time = scale
    moved = math.sqrt(-math.expm1(-2 * elapsed / time)) * fresh
    return math.exp(-elapsed / time) * walk + sd * moved


def angles_to_field(angles: FloatArray) -> ComplexArray:
    """e^{i angle}."""
    field: ComplexArray = np.empty(angles.shape, np.complex128)
    field.imag, field.real = sincos(angles)
    return field
