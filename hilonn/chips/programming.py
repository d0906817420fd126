"""From wanted phases to heater drives: crosstalk, 2 pi branches, masks, the drive's range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hilonn.chips.crosstalk import stencil
from hilonn.errors import CalibrationError
from hilonn.mesh.jit import dense_kernel
from hilonn.mesh.runs import RunMatrix
from hilonn.records import ChipRecord
from hilonn.transfer import (
    phase_of_power,
    power_of_phase,
    power_of_voltage,
    voltage_of_power,
)
from hilonn.typing import BoolArray, FloatArray, IntArray

TOLERANCE = 1e-4
"""rad: what the fixed point of the crosstalk may leave."""
ITERATIONS = 200
"""Rounds at most; five do, but where one heater after another goes round by a turn because its neighbour did."""
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
    warmth: RunMatrix
    """The same as ``crosstalk``, for one vector at a time."""
    largest: FloatArray
    """Largest own phase (rad) within the drive's range."""
    reach: float
    """Largest phase that a heater gets where every one turns by 1 rad: what a correction leaves of itself."""

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
        crosstalk = stencil(record.value("crosstalk_kernel"), layout)
        elements = crosstalk.tocoo()
        return cls(
            record.value("heater_phase_offset")[:n],
            power_per_pi,
            resistance,
            rise,
            usable,
            crosstalk,
            RunMatrix.of(elements.row, elements.col, elements.data),
            largest,
            float(np.bincount(elements.row, np.abs(elements.data)).max(initial=0.0)),
        )

    def self_phases(self, wanted: FloatArray, near: FloatArray | None) -> FloatArray:
        """Own phases q (k, n) >= 0 with q + C q = wanted - offset (mod 2 pi).

        ``near`` (k, n), NaN where there is none: of the branches in range, the nearest to it;
        otherwise the least power. CalibrationError where crosstalk does not converge.
        """
        target = np.ascontiguousarray(wanted - self.offset)
        known = np.full(target.shape, np.nan) if near is None else near
        guess = np.where(np.isnan(known), np.pi, known)
        q = np.empty_like(target)
        runs = self.warmth
        left = _find(
            q,
            target,
            guess,
            known,
            self.usable,
            self.largest,
            runs.row,
            runs.column,
            runs.length,
            runs.share,
            TOLERANCE / max(self.reach, 1e-300),
        )
        if left >= 0:
            self._refuse(q[left], target[left])
        return q

    def _spread(self, q: FloatArray) -> FloatArray:
        """What every heater takes of the own phases ``q`` (n,) of the others."""
        spread = np.zeros(len(q))
        self.warmth.add(q, spread)
        return spread

    def _refuse(self, q: FloatArray, target: FloatArray) -> None:
        """Say why ``q`` (n,) has not come to ``target`` (n,)."""
        left = target - self._spread(q) - q
        left -= TWO_PI * np.rint(left / TWO_PI)
        worst = int(np.argmax(np.abs(np.where(self.usable, left, 0.0))))
        before = q.copy()
        _correct(q, target, self._spread(q), self.usable, self.largest)
        round_and_round = np.flatnonzero(np.abs(q - before) > np.pi)
        if self.reach < 1.0 and len(round_and_round):
            heater = int(round_and_round[0])
            raise CalibrationError(
                f"no phases are found at which crosstalk is made up for: heater {heater} goes round by a turn and back as its "
                f"neighbours make up for it, since it reaches {self.largest[heater]:.2f} rad, hardly more than a turn "
                f"({len(round_and_round)} heaters do); raise its limit in the bench file, or mask the channel in the record"
            )
        raise CalibrationError(
            f"crosstalk does not converge: {abs(left[worst]):.2e} rad are left at heater {worst} after "
            f"{ITERATIONS} rounds; the record's crosstalk_kernel is too strong to be inverted"
        )

    def drives(self, q: FloatArray) -> FloatArray:
        """Voltages (k, n) for own phases."""
        return voltage_of_power(power_of_phase(q, self.power_per_pi), self.resistance, self.rise)


@dense_kernel
def _begin(
    q: FloatArray,
    target: FloatArray,
    spread: FloatArray,
    known: FloatArray,
    usable: BoolArray,
    largest: FloatArray,
) -> None:
    """Write ``q`` (heaters,), modulo a turn what is missing at ``target``: of the branches in range, the nearest to what
    is ``known`` (NaN: the lowest)."""
    for i in range(q.size):
        least = target[i] - spread[i]
        least -= TWO_PI * np.floor(least / TWO_PI)
        moved = least + TWO_PI * np.rint((known[i] - least) / TWO_PI)
        fits = (moved >= 0.0) & (moved <= largest[i])  # not where it is NaN
        moved = moved if fits else least
        q[i] = moved if usable[i] else 0.0


@dense_kernel
def _correct(
    q: FloatArray,
    target: FloatArray,
    spread: FloatArray,
    usable: BoolArray,
    largest: FloatArray,
) -> float:
    """Add to ``q`` (heaters,) what is missing at ``target``, modulo a turn and within range; returns the largest change
    (rad), a change of the branch included: it warms others as any does."""
    worst = 0.0
    for i in range(q.size):
        error = target[i] - spread[i] - q[i]
        error -= TWO_PI * np.rint(error / TWO_PI)
        moved = q[i] + error
        moved += TWO_PI if moved < 0.0 else 0.0
        moved -= TWO_PI if moved > largest[i] else 0.0
        moved = moved if usable[i] else q[i]
        worst = max(worst, abs(moved - q[i]))
        q[i] = moved
    return worst


@dense_kernel
def _warm(
    q: FloatArray,
    row: IntArray,
    column: IntArray,
    length: IntArray,
    share: FloatArray,
    spread: FloatArray,
) -> None:
    """As ``RunMatrix.add``, to zero: kernels of other modules are not called, since the cache does not see that they change."""
    spread[:] = 0.0
    for r in range(row.size):
        to, source, part = np.uintp(row[r]), np.uintp(column[r]), share[r]
        for i in range(np.uintp(length[r])):
            spread[to + i] += part * q[source + i]


@dense_kernel
def _find(
    q: FloatArray,
    target: FloatArray,
    guess: FloatArray,
    known: FloatArray,
    usable: BoolArray,
    largest: FloatArray,
    row: IntArray,
    column: IntArray,
    length: IntArray,
    share: FloatArray,
    small: float,
) -> int:
    """Write ``q`` (k, heaters) for every ``target``, until no phase changes by ``small`` (rad); returns the first tile for which
    it goes on changing, -1 where there is none. All in one, so that another thread is not asked for the interpreter at each round."""
    spread = np.empty(q.shape[1])
    for tile in range(q.shape[0]):
        _warm(guess[tile], row, column, length, share, spread)
        _begin(q[tile], target[tile], spread, known[tile], usable, largest)
        found = False
        for _ in range(ITERATIONS):
            _warm(q[tile], row, column, length, share, spread)
            if _correct(q[tile], target[tile], spread, usable, largest) < small:
                found = True
                break
        if not found:
            return tile
    return -1


def near_phases(near: Sequence[FloatArray | None], heaters: int) -> FloatArray | None:
    """Own phases to stay near to (k, heaters), NaN rows where there are none."""
    if all(n is None for n in near):
        return None
    return np.stack([np.full(heaters, np.nan) if n is None else n for n in near])
