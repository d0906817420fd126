"""The parameters of a record's forward model in one vector, and records in and out of it.

Quantities that are positive stand in the vector as logarithms, so that products become sums and an
uncertainty is a relative one; an input field stands as the logarithm of its size and its phase.
The cold resistances are not in it: at a voltage, only resistance times power a half turn counts (reference:
physics rule 4), and the record's resistance is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hilonn.errors import CalibrationError
from hilonn.records import ChipRecord, InstrumentRecord, Quantity, Records
from hilonn.typing import BoolArray, FloatArray

CHIP = (
    "heater_phase_offset",
    "heater_power_per_pi",
    "heater_resistance_rise",
    "crosstalk_kernel",
    "splitter_errors",
    "mzi_transmission",
    "input_size",
    "input_phase",
    "output_gain",
    "output_phase",
    "output_power_gain",
)
DETECTORS = ("gain", "dark")
MODULATORS = ("v_pi", "bias", "extinction_leak")
LOGARITHMS = frozenset(
    {
        "heater_power_per_pi",
        "mzi_transmission",
        "input_size",
        "output_gain",
        "output_power_gain",
        "gain",
        "v_pi",
    }
)


@dataclass(frozen=True)
class Names:
    """Where each quantity stands in a vector of ``size`` parameters; ``kernel`` (k, 2) are the offsets
    (columns, rows) whose shares are parameters."""

    slices: Mapping[str, slice]
    size: int
    kernel: FloatArray

    @classmethod
    def of(cls, ports: int, heaters: int, mzis: int, kernel: FloatArray) -> Names:
        sizes = {
            "heater_phase_offset": heaters,
            "heater_power_per_pi": heaters,
            "heater_resistance_rise": heaters,
            "crosstalk_kernel": len(kernel),
            "splitter_errors": 2 * mzis,
            "mzi_transmission": mzis,
            "gain": 2 * ports,
            "dark": 2 * ports,
        }
        slices, first = {}, 0
        for name in (*CHIP, *DETECTORS, *MODULATORS):
            last = first + sizes.get(name, ports)
            slices[name] = slice(first, last)
            first = last
        return cls(slices, first, kernel)

    def split(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Views of ``vector`` (size, ...) by name."""
        return {name: vector[part] for name, part in self.slices.items()}

    def title(self, index: int) -> str:
        """Which parameter stands at ``index``."""
        for name, part in self.slices.items():
            if part.start <= index < part.stop:
                return f"{name}[{index - part.start}]"
        raise IndexError(index)


@dataclass(frozen=True)
class Estimate:
    """``values`` (size,), ``sd`` (size,) one standard deviation, and what is ``known`` at all (size,): a
    quantity that a record does not accept is not."""

    values: FloatArray
    sd: FloatArray
    known: BoolArray


def read(records: Records, names: Names) -> Estimate:
    """The records' quantities as a vector; CalibrationError where one is missing or not positive."""
    values, sd = np.zeros(names.size), np.zeros(names.size)
    known = np.ones(names.size, bool)
    for name, part in names.slices.items():
        if name == "crosstalk_kernel":
            values[part], sd[part] = _kernel(records.chip, names.kernel)
            continue
        record, source = _owner(records, name)
        value = record.value(source)
        doubt = record.uncertainty(source)
        if source == "input_field":
            size = np.abs(value)
            value, doubt = (
                (size, doubt) if name == "input_size" else (np.angle(value), doubt / size)
            )
        if name in LOGARITHMS:
            if not (value > 0).all():
                raise CalibrationError(
                    f"the record of {record.title} has a {source!r} that is not positive: a forward "
                    "model needs positive gains, powers and transmissions"
                )
            value, doubt = np.log(value), doubt / value
        values[part], sd[part] = np.ravel(value), np.ravel(doubt)
        known[part] = np.ravel(record.accepted(source))
    return Estimate(values, sd, known)


def write(estimate: Estimate, names: Names, start: Records, created: str, source: str) -> Records:
    """``start`` with the estimate's values and uncertainties in place of its own; what it accepted stays
    accepted where the estimate knows it."""
    values, sd = names.split(estimate.values), names.split(estimate.sd)
    known = names.split(estimate.known)
    chip, detectors, modulators = (
        dict(r.quantities) for r in (start.chip, start.photodetectors, start.modulators)
    )
    for name in names.slices:
        value, doubt = values[name], sd[name]
        if name in LOGARITHMS:
            value = np.exp(value)
            doubt = value * doubt
        place = chip if name in CHIP else detectors if name in DETECTORS else modulators
        if name == "crosstalk_kernel":
            rows = np.column_stack((names.kernel, value))
            place[name] = Quantity.of(rows, np.column_stack((0 * names.kernel, doubt)))
        elif name in ("input_size", "input_phase"):
            continue
        else:
            before = place[name].value
            place[name] = Quantity(
                value.reshape(before.shape),
                doubt.reshape(before.shape),
                known[name].reshape(before.shape),
            )
    size = np.exp(values["input_size"])
    chip["input_field"] = Quantity(
        size * np.exp(1j * values["input_phase"]),
        # One number for a complex value: the larger of what size and phase may be off.
        size * np.maximum(sd["input_size"], sd["input_phase"]),
        np.array(known["input_size"] & known["input_phase"]),
    )
    new = {"created": created, "source": source}
    return Records(
        replace(start.chip, quantities=chip, **new),  # type: ignore[arg-type]
        replace(start.modulators, quantities=modulators, **new),  # type: ignore[arg-type]
        replace(start.photodetectors, quantities=detectors, **new),  # type: ignore[arg-type]
    )


def offsets_within(layout: FloatArray, reach: float) -> FloatArray:
    """(k, 2): the offsets (columns, rows), up to ``reach`` pitches, at which a heater of ``layout``
    (heaters, 2) has a neighbour."""
    steps = np.arange(-int(reach), int(reach) + 1)
    near = [(c, r) for c in steps for r in steps if 0 < np.hypot(c, r) <= reach]
    places = {(float(c), float(r)) for c, r in layout}
    return np.array(
        [o for o in near if any((c + o[0], r + o[1]) in places for c, r in places)], float
    ).reshape(-1, 2)


def _owner(records: Records, name: str) -> tuple[ChipRecord | InstrumentRecord, str]:
    if name in DETECTORS:
        return records.photodetectors, name
    if name in MODULATORS:
        return records.modulators, name
    return records.chip, "input_field" if name in ("input_size", "input_phase") else name


def _kernel(chip: ChipRecord, offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    rows, doubt = chip.value("crosstalk_kernel"), chip.uncertainty("crosstalk_kernel")
    known = {(c, r): (v, d[-1]) for (c, r, v), d in zip(rows, doubt, strict=True)}
    found = np.array([known.get((c, r), (0.0, 0.0)) for c, r in offsets]).reshape(-1, 2)
    return found[:, 0], found[:, 1]
