"""How far two records of one chip are apart, value by value, in units of what both together are unsure of.

Both started from the same datasheet, so that what no reading tells (``hilonn.chips.gauges``) has the same values in both by
convention. Two things are not the same and no calibration's fault: the phases of the input fibres and of the oscillator are others
at another time, and stand in the offsets of the chip's first and last heaters; they are fitted and taken off (inputs and one).
A detector that gives watts and one that gives amperes differ by a factor that the caller knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hilonn.chips.forward import ForwardModel
from hilonn.chips.gauges import held, phase_gauges
from hilonn.chips.parameters import read
from hilonn.records import Records
from hilonn.typing import FloatArray

TURNS = ("heater_phase_offset", "input_phase", "output_phase")


def apart(first: Records, second: Records, responsivity: float = 1.0) -> dict[str, FloatArray]:
    """|difference| / sqrt(u1^2 + u2^2), with its sign, of every value that both are unsure of, by quantity.

    ``responsivity`` (A/W): the second's detectors give W, the first's A.
    """
    model, here = ForwardModel.of(first, first.chip.value("crosstalk_kernel")[:, :2])
    names = model.names
    there = read(second, names)
    moved = there.values.copy()
    part, doubt = names.split(moved), names.split(there.sd.copy())
    part["gain"] += np.log(responsivity)
    part["dark"] *= responsivity
    doubt["dark"] *= responsivity
    difference = moved - here.values
    turned = names.split(difference)
    for name in TURNS:
        turned[name][:] = (turned[name] + np.pi) % (2 * np.pi) - np.pi
    sd_there = np.concatenate([doubt[name] for name in names.slices])
    counted = here.known & there.known & (here.sd > 0) & (there.sd > 0) & ~held(model)
    sd = np.where(counted, np.hypot(here.sd, sd_there), np.inf)
    fibres = np.where(counted[:, np.newaxis], _fibres(model), 0.0)
    weight = 1.0 / sd
    found = np.linalg.lstsq(fibres * weight[:, np.newaxis], difference * weight, rcond=None)[0]
    scaled = (difference - fibres @ found) * weight
    split, counts = names.split(scaled), names.split(counted)
    return {name: split[name][counts[name]] for name in names.slices if counts[name].any()}


def _fibres(model: ForwardModel) -> FloatArray:
    """(size, ports + 1): what another phase of each input fibre, and of the oscillator, does to the rest of a record."""
    names, gauges = model.names, phase_gauges(model)
    fixed = np.flatnonzero(held(model))
    part = names.slices["input_phase"]
    free = [*range(part.start, part.stop), names.slices["heater_phase_offset"].stop - 1]
    wanted = np.eye(names.size)[fixed][:, free]
    moved: FloatArray = gauges @ np.linalg.solve(gauges[fixed], wanted)
    return moved


def table(found: Sequence[dict[str, FloatArray]]) -> str:
    """rms and share beyond 1, 2 and 3 by quantity and of all, several pairs pooled."""
    lines = [
        "| quantity | values | rms | beyond 1 | beyond 2 | beyond 3 | largest |\n|---|---|---|---|---|---|---|"
    ]
    names = list(found[0])
    whole = {name: np.concatenate([f[name] for f in found]) for name in names}
    whole["all"] = np.concatenate([*whole.values()])
    for name, values in whole.items():
        size = np.abs(values)
        shares = " | ".join(f"{(size > k).mean():.1%}" for k in (1, 2, 3))
        rms = float(np.sqrt((values**2).mean()))
        lines.append(f"| {name} | {len(values)} | {rms:.2f} | {shares} | {size.max():.1f} |")
    return "\n".join(lines)
