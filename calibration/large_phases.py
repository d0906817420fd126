"""The crosstalk routine's fit at many ports: see ``hilonn.calibration.large_crosstalk``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hilonn.calibration.columns import ColumnFit
from hilonn.calibration.distances import Distances, distances
from hilonn.calibration.drives import nominal_ohm
from hilonn.calibration.large_crosstalk import Chip, Sweep, walked_again, with_shares
from hilonn.calibration.light import Light, matrices
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Setup
from hilonn.calibration.routine import Fit, Routine, whole
from hilonn.calibration.stages import Optics, layout_of
from hilonn.calibration.sweeps import Phases, gains, heater_quantities, mean_turned, usable_ports
from hilonn.records import Quantity, Records
from hilonn.typing import BoolArray, ComplexArray, FloatArray

TURNS = 3
"""Of shares and columns: the phases' median error is 47, 20, 10, 7 mrad after none to three of them, and then 7."""
HEATING = 0.01
"""1/W: how far a column's self-heating may lie from what all had (sd)."""


def fit_large(
    setup: Setup,
    known: Records,
    light: Light,
    raw: Raw,
    drive: FloatArray,
    found: ComplexArray,
    reach: float,
) -> Fit:
    """From ``found`` (s, ports, ports) at ``drive`` (s, heaters) V, and the sweeps of the routine ``phases``.

    CalibrationError where those are not in the same folder as ``raw``.
    """
    layout = layout_of(setup.architecture, setup.ports)
    near = distances(layout.positions, reach)
    ohm = nominal_ohm(setup)
    swept, rest, background = _read(setup, light, raw.beside("phases"))
    inputs, outputs = usable_ports(known, light)
    used = np.outer(outputs, inputs).astype(float)
    chip = _start(setup, known, near, rest**2 / ohm)
    for _ in range(TURNS):
        chip, _, _ = with_shares(chip, drive**2 / ohm, found, used)
        chip, fits, sure = walked_again(chip, swept, background, inputs, outputs, HEATING)
    chip, told, left = with_shares(chip, drive**2 / ohm, found, used)
    quantities = _quantities(setup, known, chip, swept, fits, sure, left)
    rows = [(*o, s) for os, s in zip(near.offsets, chip.share, strict=True) for o in os]
    doubt = [(0.0, 0.0, s) for os, s in zip(near.offsets, told, strict=True) for _ in os]
    quantities["crosstalk_kernel"] = Quantity.of(np.array(rows), np.array(doubt))
    return Fit(
        chip=quantities,
        arrays={"distance": near.length, "share": chip.share, "share_uncertainty": told},
        figures={"residual": left, "crosstalk_of_a_neighbour": float(chip.share[0])},
    )


def _read(setup: Setup, light: Light, raw: Raw) -> tuple[list[Sweep], FloatArray, ComplexArray]:
    """The columns' sweeps, the drives (heaters,) V of their background, and its matrix."""
    found = []
    for i, stage in enumerate(Phases().stages(setup)):
        block = raw.load(f"column-{i:03d}")
        seen = matrices(light, block["odd"].astype(float)).astype(np.complex64)
        found.append(Sweep(stage, block["drive"] ** 2 / nominal_ohm(setup), seen))
    rests = [raw.load(f"rest-{i}") for i in range(2)]
    seen = np.concatenate([matrices(light, r["odd"].astype(float)) for r in rests])
    return found, rests[0]["rest"], mean_turned(seen)


def _start(setup: Setup, known: Records, near: Distances, rest: FloatArray) -> Chip:
    """What ``known`` says, its crosstalk none as long as no random setting was read."""
    chip, layout = known.chip, layout_of(setup.architecture, setup.ports)
    h = layout.heaters
    usable = chip.accepted("heater_power_per_pi")[:h] & chip.accepted("heater_phase_offset")[:h]
    scale = setup.nominal.power_per_pi / chip.value("heater_power_per_pi")[:h]
    optics = Optics(
        chip.value("splitter_errors"),
        chip.value("mzi_transmission"),
        chip.value("input_field").astype(complex),
        chip.value("output_gain").astype(complex),
    )
    start = Chip(
        layout,
        rest,
        setup.nominal.power_per_pi,
        near.pairs,
        chip.value("heater_phase_offset")[:h],
        np.where(usable, scale, 0.0),
        chip.value("heater_resistance_rise")[:h].copy(),
        np.zeros(len(near.length)),
        optics,
    )
    return replace(start, resting=start.resting + start.own(rest))


def _quantities(
    setup: Setup,
    known: Records,
    chip: Chip,
    swept: list[Sweep],
    fits: list[ColumnFit],
    sure: BoolArray,
    left: float,
) -> dict[str, Quantity]:
    heaters = np.arange(chip.layout.heaters)
    offset, records = chip.offset, known
    # What is left of a matrix, over sqrt(ports), is what its phases are off in the mean (physics rule 12).
    common = left / np.sqrt(setup.ports)
    for sweep, fit in zip(swept, fits, strict=True):
        index = sweep.stage.index
        own = np.where(fit.alive, 2 * fit.noise / np.maximum(fit.size, 1e-300), np.pi)
        told = np.where(sure[index], np.hypot(own, common), np.pi / np.sqrt(3.0))
        values = heater_quantities(setup, records, index, fit, offset[index], told)
        records = Routine.update(Phases(), records, Fit(chip=values), [])
    # Columns are all that was swept: an SVD chip's attenuators keep their frequencies, and have new offsets.
    before = records.chip.value("heater_phase_offset")
    quantities = {
        name: records.chip.quantities[name]
        for name in ("heater_phase_offset", "heater_power_per_pi", "heater_resistance_rise")
    }
    quantities["heater_phase_offset"] = Quantity(
        whole(before, heaters, np.mod(offset, 2 * np.pi)),
        records.chip.uncertainty("heater_phase_offset"),
        records.chip.accepted("heater_phase_offset"),
    )
    quantities["splitter_errors"] = Quantity.of(chip.optics.errors, 0.01)
    return quantities | gains(setup, known, chip.optics)
