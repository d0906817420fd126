"""From wanted phases to heater drives: crosstalk, 2 pi branches, masks, the drive's range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hilonn.chips.crosstalk import stencil
from hilonn.errors import CalibrationError
from hilonn.mesh.jit import kernel
from hilonn.records import ChipRecord
from hilonn.transfer import (
    phase_of_power,
    power_of_phase,
    power_of_voltage,
    voltage_of_power,
)
from hilonn.typing import BoolArray, FloatArray

TOLERANCE = 1e-4
"""rad: what the fixed point of the crosstalk may leave."""
ITERATIONS = 12
TWO_PI = 2.0 * np.pi


@dataclass(frozen=True)
class Heaters:
    """What a record knows of ``n`` heaters, ready for programming."""

    offset: FloatArray
    power_per_pi: FloatArray
    resistance: FloatArray
    rise: FloatArray
    usable: BoolArray
    crosstalk: csr_array
    largest: FloatArray
    """Largest own phase (rad) within the drive's range."""

    @classmethod
    def of(cls, record: ChipRecord, layout: FloatArray, high: FloatArray) -> Heaters:
        """``high`` (n,): the largest drive (V) of each heater."""
        n = len(layout)
        resistance = record.value("heater_resistance")[:n]
        rise = record.value("heater_resistance_rise")[:n]
        power_per_pi = record.value("heater_power_per_pi")[:n]
        largest = phase_of_power(power_of_voltage(high, resistance, rise), power_per_pi)
        usable = (
            record.accepted("heater_phase_offset")[:n] & record.accepted("heater_power_per_pi")[:n]
        )
        short = np.flatnonzero(usable & (largest < TWO_PI))
        if short.size:
            raise CalibrationError(
                f"heater {short[0]} of {record.chip} reaches {largest[short[0]]:.2f} rad at its "
                f"limit of {high[short[0]]:.2f} V ({short.size} heaters fall short of 2 pi): raise "
                "the limit in the bench file, or mask the channel in the record"
            )
        return cls(
            record.value("heater_phase_offset")[:n],
            power_per_pi,
            resistance,
            rise,
            usable,
            stencil(record.value("crosstalk_kernel"), layout),
            largest,
        )

    def self_phases(self, wanted: FloatArray, near: FloatArray | None) -> FloatArray:
        """Own phases q (k, n) >= 0 with q + C q = wanted - offset (mod 2 pi).

        ``near`` (k, n), NaN where there is none: of the branches in range, the nearest to it;
        otherwise the least power. CalibrationError where crosstalk does not converge.
        """
        # Heaters by tiles, since a sparse matrix takes many columns at once.
        target = np.ascontiguousarray((wanted - self.offset).T)
        guess = np.full(target.shape, np.pi) if near is None else np.nan_to_num(near.T, nan=np.pi)
        q = np.mod(target - self.crosstalk @ guess, TWO_PI)
        if near is not None:
            q = self._nearest(q, near.T)
        for _ in range(ITERATIONS):
            q[~self.usable] = 0.0
            left = _correct(q, target, self.crosstalk @ q, self.usable, self.largest)
            if left < TOLERANCE:
                return np.ascontiguousarray(q.T)
        raise CalibrationError(
            f"crosstalk does not converge: {left:.2e} rad are left after "
            f"{ITERATIONS} rounds; the record's crosstalk_kernel is too strong to be inverted"
        )

    def drives(self, q: FloatArray) -> FloatArray:
        """Voltages (k, n) for own phases."""
        return voltage_of_power(power_of_phase(q, self.power_per_pi), self.resistance, self.rise)

    def _nearest(self, q: FloatArray, near: FloatArray) -> FloatArray:
        known = np.isfinite(near)
        branch = TWO_PI * np.round(np.where(known, near - q, 0.0) / TWO_PI)
        moved = q + branch
        fits = (moved >= 0.0) & (moved <= self.largest[:, np.newaxis])
        return np.where(fits, moved, q)


@kernel
def _correct(
    q: FloatArray,
    target: FloatArray,
    spread: FloatArray,
    usable: BoolArray,
    largest: FloatArray,
) -> float:
    """Add to ``q`` (heaters, tiles) what is missing at ``target``, modulo a turn and within range;
    returns the largest of it (rad)."""
    worst = 0.0
    for i in range(q.shape[0]):
        if usable[i]:
            for j in range(q.shape[1]):
                error = target[i, j] - spread[i, j] - q[i, j]
                error -= TWO_PI * np.rint(error / TWO_PI)
                moved = q[i, j] + error
                moved += TWO_PI if moved < 0.0 else 0.0
                moved -= TWO_PI if moved > largest[i] else 0.0
                q[i, j] = moved
                worst = max(worst, abs(error))
    return worst


def near_phases(near: Sequence[FloatArray | None], heaters: int) -> FloatArray | None:
    """Own phases to stay near to (k, heaters), NaN rows where there are none."""
    if all(n is None for n in near):
        return None
    return np.stack([np.full(heaters, np.nan) if n is None else n for n in near])
