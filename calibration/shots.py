"""Random settings, and what the detectors read at them: the raw data of the global fit and of a twin's score.

A shot is one programming of all heaters, each a random part of a turn, the oscillator's among them, and a handful
of random patterns of all modulators at once, signed and of known phase: superpositions leave no direction
dark that one-hot inputs leave (reference: physics rule 3), and random phases of the oscillator read both quadratures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hilonn.calibration.rig import Rig
from hilonn.errors import SaturationError
from hilonn.records import Records
from hilonn.transfer import power_of_phase, voltage_of_power
from hilonn.typing import BoolArray, FloatArray, IntArray

TURN = 2.1 * np.pi
"""rad: own phases are drawn up to this, a little more than a programming uses."""
SETTLED = 2.0
"""Times to settle that are waited for."""
TRIALS = 6
"""Shots by which a range is chosen."""
FILLED = 0.9
"""Of a range: what the trials' readings may fill."""


@dataclass(frozen=True)
class Shots:
    """``heaters`` (shots, heaters) V as written, the oscillator's last; ``modulators`` (shots, samples, ports) V;
    ``through`` (shots,) whether the oscillator was let through; ``signal`` and ``saturated`` (shots, samples, 2 * ports),
    A; ``range`` (shots,) index; ``time`` (shots,) s; each reading the mean of ``averages``, of samples of ``period`` s."""

    heaters: FloatArray
    modulators: FloatArray
    through: BoolArray
    signal: FloatArray
    saturated: BoolArray
    range: IntArray
    time: FloatArray
    averages: IntArray
    period: FloatArray

    def __len__(self) -> int:
        return len(self.heaters)

    def part(self, which: Any) -> Shots:
        """Some of them."""
        return replace(
            self,
            **{
                f.name: getattr(self, f.name)[which]
                for f in fields(self)
                if f.name not in ("averages", "period")
            },
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """For an .npz file; ``Shots(**arrays)`` is the inverse."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}


def joined(parts: list[Shots]) -> Shots:
    """All shots of ``parts``, which were read alike."""
    whole = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in fields(Shots)
        if f.name not in ("averages", "period")
    }
    return replace(parts[0], **whole)


@dataclass(frozen=True)
class Draw:
    """Drives to be shot: as in ``Shots``."""

    heaters: FloatArray
    modulators: FloatArray
    through: BoolArray


def draw(
    records: Records,
    shots: int,
    samples: int,
    rng: np.random.Generator,
    high: FloatArray,
    *,
    amplitude: float = 1.0,
    dark: float = 0.0,
    step: float = 0.0,
    turn: float = TURN,
) -> Draw:
    """``shots`` random settings of ``samples`` patterns: own phases uniform up to ``turn`` (rad) within the drives' range
    ``high`` (heaters,) V, modulators' angles uniform up to ``amplitude`` of full drive, the oscillator's shutter closed in
    a share ``dark`` of them. Drives are multiples of ``step`` (V), where the supply has one: what is written is then what
    is driven, and a converter's grid no noise. ``records`` need only be about right.
    """
    chip, mods = records.chip, records.modulators
    own = rng.uniform(0.0, turn, (shots, len(high)))
    power = power_of_phase(own, chip.value("heater_power_per_pi"))
    volts = voltage_of_power(
        power, chip.value("heater_resistance"), chip.value("heater_resistance_rise")
    )
    usable = chip.accepted("heater_phase_offset") & chip.accepted("heater_power_per_pi")
    volts = np.where(usable, np.minimum(volts, high), 0.0)
    if step > 0.0:
        volts = step * np.floor(volts / step)
    angle = amplitude * rng.uniform(-1.0, 1.0, (shots, samples, chip.ports))
    modulators = mods.value("bias") + angle * mods.value("v_pi")
    return Draw(volts, modulators, rng.random(shots) >= dark)


def acquire(
    rig: Rig,
    wanted: Draw,
    averages: int,
    use: BoolArray | None = None,
    on_shot: Callable[[int], None] = lambda done: None,
) -> Iterator[Shots]:
    """Shoot ``wanted``, in parts of up to 64 shots, each to be stored before the next.

    Ranges are chosen by the first few shots, one for an open shutter and one for a closed one; what is saturated
    nevertheless is marked and not taken again. Detectors that are not in ``use`` (2 ports,) may stand at their rail. Raises SaturationError where the largest range is too small,
    LimitError where the gate refuses a drive.
    """
    low, high = rig.setup.modulator_low, rig.setup.modulator_high
    modulators = np.minimum(np.maximum(wanted.modulators, low), high)
    wanted = replace(wanted, modulators=modulators)
    ranges = {
        through: _range(rig, wanted, through, use) for through in np.unique(wanted.through).tolist()
    }
    for first in range(0, len(wanted.heaters), 64):
        which = range(first, min(first + 64, len(wanted.heaters)))
        signal, saturated, times = [], [], []
        for k in which:
            rig.check()
            rig.set_range(ranges[bool(wanted.through[k])])
            rig.let_oscillator(bool(wanted.through[k]))
            rig.program(wanted.heaters[k])
            # What a step leaves after one time to settle, 0.7 % of it, is three times the noise of a fit.
            rig.clock.sleep(SETTLED * rig.setup.settling_time)
            found = rig.read(wanted.modulators[k], averages)
            signal.append(found[0])
            saturated.append(found[1])
            times.append(rig.clock.now())
            on_shot(k + 1)
        part = slice(which.start, which.stop)
        yield Shots(
            wanted.heaters[part],
            wanted.modulators[part],
            wanted.through[part],
            np.stack(signal),
            np.stack(saturated),
            np.array([ranges[bool(t)] for t in wanted.through[part]]),
            np.array(times),
            np.array(averages),
            np.array(rig.setup.sample_period),
        )


def _range(rig: Rig, wanted: Draw, through: bool, use: BoolArray | None) -> int:
    """The smallest range that holds what a few shots read."""
    ranges = rig.setup.ranges
    counted = slice(None) if use is None else use
    rig.set_range(len(ranges) - 1)
    rig.let_oscillator(through)
    largest, clipped = 0.0, 0.0
    which = np.flatnonzero(wanted.through == through)[:TRIALS]
    for k in which:
        rig.program(wanted.heaters[k])
        signal, saturated = rig.read(wanted.modulators[k])
        largest = max(largest, float(np.quantile(signal[:, counted], 0.995)))
        clipped += float(saturated[:, counted].mean()) / len(which)
    if clipped > 0.05:
        raise SaturationError(
            f"{clipped:.0%} of the readings of random settings are saturated at the largest range "
            f"({ranges[-1]:g}): lower the laser's power or the amplitude of the shots"
        )
    fits = np.flatnonzero(FILLED * ranges >= largest)
    return int(fits[0]) if fits.size else len(ranges) - 1
