"""The link budget: how much of what the record expects arrives from every input, and at every output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.checks.report import CheckStep, State, numbered
from hilonn.typing import FloatArray, IntArray

WEAK = 3.0
"""dB below the others from which a path is told; the record of a poor chip scatters by 1 to 2."""
LOST = 10.0
"""dB below the others, or below the record, from which a path is as good as dark."""
FLOOR = 40.0
"""dB: nothing is said of what is weaker."""
ALIKE, UNLIKE = 0.6, 0.4
"""Correlations from which a path is taken for another, and up to which it is not taken for itself."""
CLEAN = "align its fibre, clean its facet and its connectors, check its polarisation"


@dataclass(frozen=True, slots=True)
class Budget:
    """``found`` and ``wanted`` (outputs, inputs): what the chip multiplies by. ``decibels`` of one unit of them: 20 where they
    are fields, 10 where they are powers. ``outputs``, ``inputs``: the chip's ports that they are at."""

    found: FloatArray
    wanted: FloatArray
    decibels: float
    outputs: IntArray
    inputs: IntArray

    def ports(self, axis: int) -> IntArray:
        """Of the inputs (axis 1) or outputs (axis 0)."""
        return self.inputs if axis == 1 else self.outputs

    def level(self) -> float:
        """dB that everything is above the record."""
        share = float((self.found * self.wanted).sum() / (self.wanted**2).sum())
        return float(self._db(np.array([share]))[0])

    def paths(self, axis: int) -> FloatArray:
        """dB above the record of every input (axis 1) or output (axis 0), what the rest loses taken off."""
        over = 1 - axis
        shares = (self.found * self.wanted).sum(axis=over) / (self.wanted**2).sum(axis=over)
        found = self._db(shares)
        return np.asarray(found - np.median(found))

    def mistaken(self, axis: int) -> dict[int, int]:
        """Inputs (axis 1) or outputs (axis 0) that do what another should."""
        found, wanted = (self.found, self.wanted) if axis == 0 else (self.found.T, self.wanted.T)
        likeness = _unit(found) @ _unit(wanted).T
        own, best = np.diagonal(likeness), likeness.argmax(axis=1)
        wrong = (own < UNLIKE) & (likeness.max(axis=1) > ALIKE) & (best != np.arange(len(own)))
        return {int(i): int(best[i]) for i in np.flatnonzero(wrong)}

    def reversed_outputs(self) -> list[int]:
        """Outputs whose sign is wrong."""
        likeness = (_unit(self.found) * _unit(self.wanted)).sum(axis=1)
        return np.flatnonzero(likeness < -ALIKE).tolist()

    def _db(self, shares: FloatArray) -> FloatArray:
        least = 10 ** (-FLOOR / self.decibels)
        return np.asarray(self.decibels * np.log10(np.maximum(np.abs(shares), least)))


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))


def budget_steps(chip: str, budget: Budget) -> list[CheckStep]:
    """All paths together, then inputs, then outputs."""
    swapped = budget.reversed_outputs()
    steps = [_all(chip, budget)]
    steps.append(_paths(f"inputs of {chip}", "input", budget, 1, []))
    steps.append(_paths(f"outputs of {chip}", "output", budget, 0, swapped))
    return steps


def _all(chip: str, budget: Budget) -> CheckStep:
    level = budget.level()
    state: State = "BAD" if level < -LOST else "warn" if abs(level) > WEAK else "ok"
    advice = ""
    if level < -WEAK:
        advice = (
            "what all paths share is weak: the laser's power and wavelength, an amplifier, the local oscillator's fibre and "
            "shutter, the whole fibre array, polarisation. If the pattern below is wrong too, it may be the wiring: "
            "`hilonn poke`"
        )
    elif level > WEAK:
        advice = "more light than when the record was made: is the laser's power what it was then?"
    return CheckStep(
        f"link budget of {chip}",
        state,
        f"{level:+.1f} dB of what the record expects",
        advice,
        {"level_db": level},
    )


def _paths(name: str, what: str, budget: Budget, axis: int, swapped: list[int]) -> CheckStep:
    decibels = budget.paths(axis)
    mistaken = budget.mistaken(axis)
    ports = budget.ports(axis)

    def at(paths: list[int]) -> list[int]:
        return [int(ports[i]) for i in paths]

    lost = [i for i in np.flatnonzero(decibels < -LOST).tolist() if i not in mistaken]
    weak = [
        i
        for i in np.flatnonzero(decibels < -WEAK).tolist()
        if i not in mistaken and i not in lost and i not in swapped
    ]
    values = {
        f"{what}s_db": decibels.tolist(),
        f"{what}s": ports.tolist(),
        "weak": at(weak),
        "lost": at(lost),
        "reversed": at(swapped),
        "acts_as": {str(ports[i]): int(ports[j]) for i, j in mistaken.items()},
    }
    told, advice = [], []
    state: State = "ok"
    if mistaken:
        state = "BAD"
        told.append(
            ", ".join(
                f"{what} {ports[i]} does what {what} {ports[j]} should" for i, j in mistaken.items()
            )
        )
        advice.append("wires are swapped: `hilonn poke` says which; mend them, or the wiring")
    if swapped:
        state = "BAD"
        told.append(f"{numbered(what, at(swapped))} with the wrong sign")
        advice.append("are the pair's two detectors swapped? `hilonn poke` says which")
    if lost:
        state = "BAD"
        told.append(f"{numbered(what, at(lost))} dark ({', '.join(_dbs(decibels, lost))})")
    if weak:
        state = "warn" if state == "ok" else state
        told.append(f"{numbered(what, at(weak))} weak ({', '.join(_dbs(decibels, weak))})")
    if lost or weak:
        more = ", see that its modulator is driven" if what == "input" else ""
        if what == "output" and weak:
            more = "; -6 dB is a pair of which one detector is dead"
        advice.append(CLEAN + more)
    if not told:
        told.append(
            f"from {decibels.min():+.1f} to {decibels.max():+.1f} dB, beside what all share"
        )
    return CheckStep(name, state, "; ".join(told), "; ".join(advice), values)


def _dbs(decibels: FloatArray, which: list[int]) -> list[str]:
    return [f"{decibels[i]:.1f} dB" for i in which[:8]]
