"""Records against what the simulated plant hides: what benchmarks and tests of calibration score with.

Nothing in calibration/ may look here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hilonn.calibration.gauges import canonical
from hilonn.calibration.stages import Layout, Optics, layout_of, transfer
from hilonn.chips.crosstalk import stencil
from hilonn.records import Records
from hilonn.simulators.plant import Plant
from hilonn.transfer import phase_of_power, power_of_voltage
from hilonn.typing import BoolArray, FloatArray

DRIVES = 20
"""Random settings, own phases uniform up to a turn, over which phases and matrices are compared."""


@dataclass(frozen=True)
class Errors:
    """``phase`` (rad, rms over heaters and random settings, modulo gauges and one common phase), ``phase_median`` of
    the heaters' own, ``phase_modulo`` as ``phase``, row and column phases of the matrix apart (fibres move by more than some
    calibrations have wrong); ``matrix``: relative Frobenius error of the record's forward model, outputs' gains apart;
    ``crosstalk``: relative, of the off-diagonal norm; ``pair_gain``, ``v_pi``: largest relative errors; ``bias`` (V),
    ``couplers`` (rad) rms; ``inside``: by kind, how many values lie within their uncertainty, and of how many (``modulo fibres``: less what
    phases of the input fibres do, which wander)."""

    phase: float
    phase_median: float
    phase_modulo: float
    matrix: float
    crosstalk: float
    pair_gain: float
    v_pi: float
    bias: float
    couplers: float
    inside: dict[str, tuple[int, int]]


def errors(records: Records, plant: Plant) -> Errors:
    """What ``records`` have wrong about ``plant``, as it was at its start: opened with the seeds of the calibration."""
    truth = plant.truth
    plant.update()  # faults from the start strike
    dead = ~plant.heaters._alive
    layout = layout_of(truth.architecture, truth.ports)
    chip, h = records.chip, layout.heaters
    told = chip.uncertainty("heater_phase_offset")[:h]
    usable = chip.accepted("heater_phase_offset")[:h] & ~dead[:h] & (told < 0.3)
    into = np.angle(truth.input_facet) + plant.drift.inputs  # fibres do not start at zero
    offset = canonical(layout, truth.phase_offset[:h], into, np.angle(truth.output_facet))
    volts = _volts(plant, layout)
    real = _phases(offset, _true_own(plant, volts, dead), plant.crosstalk_kernel, layout)
    believed = _phases(
        canonical(
            layout,
            chip.value("heater_phase_offset")[:h],
            np.angle(chip.value("input_field")),
            np.angle(np.exp(1j * chip.value("output_phase"))),
        ),
        _own(records, volts),
        chip.value("crosstalk_kernel"),
        layout,
    )
    outputs = layout.stages[-1].index
    seen = usable.copy()
    if truth.architecture == "svd_mesh":
        seen[[s for s in layout.stages if s.part == "right"][-1].index] = False
    off = _wrapped(believed - real)
    common = np.exp(1j * off[:, outputs[usable[outputs]]]).mean()
    off[:, outputs] = _wrapped(off[:, outputs] - np.angle(common))
    rms = np.sqrt((off[:, seen] ** 2).mean(axis=0))
    static = _wrapped(chip.value("heater_phase_offset")[:h] - offset)
    static[outputs] = _wrapped(static[outputs] - _middle(static[outputs[usable[outputs]]]))
    ports = truth.ports
    pair = _ratio(records.photodetectors.value("gain"), ports) / _ratio(truth.gain, ports) - 1
    pairs = np.logical_and(*np.split(records.photodetectors.accepted("gain"), 2))
    mods = records.modulators
    used = mods.accepted("v_pi")
    v_off = (mods.value("v_pi") - truth.v_pi)[used]
    bias_off = (mods.value("bias") - truth.bias)[used]
    gain_doubt = (
        2
        * (records.photodetectors.uncertainty("gain") / records.photodetectors.value("gain"))[
            :ports
        ]
    )
    errors_off = chip.value("splitter_errors") - truth.splitter_errors
    inside = {
        "offset": _inside(static[seen], told[seen]),
        "offset modulo fibres": _inside(_without_fibres(layout, static, told, seen), told[seen]),
        "pair_gain": _inside(pair[pairs], gain_doubt[pairs]),
        "v_pi": _inside(v_off, mods.uncertainty("v_pi")[used]),
        "bias": _inside(bias_off, mods.uncertainty("bias")[used]),
        "couplers": _inside(errors_off.ravel(), chip.uncertainty("splitter_errors").ravel()),
    }
    return Errors(
        float(np.sqrt((rms**2).mean())),
        float(np.median(rms)),
        _modulo(layout, off[:, seen], seen),
        _matrix_error(records, plant, layout, real, believed),
        _crosstalk_error(records, plant, layout),
        float(np.abs(pair[pairs]).max()),
        float(np.abs(v_off / truth.v_pi[used]).max()),
        float(np.sqrt((bias_off**2).mean())),
        float(np.sqrt((errors_off**2).mean())),
        inside,
    )


def _modulo(layout: Layout, off: FloatArray, seen: BoolArray) -> float:
    """rms of ``off`` (settings, seen heaters), less what phases at the inputs and behind the outputs would do."""
    ports, nothing = layout.ports, np.zeros(layout.heaters)
    step = 1e-3
    gauges = []
    for row in step * np.eye(ports):
        for ends in ((row, 0 * row), (0 * row, row)):
            gauges.append(_wrapped(canonical(layout, nothing, *ends))[seen] / step)
    directions = np.array(gauges).T
    mean = off.mean(axis=0)
    rest = off - directions @ np.linalg.lstsq(directions, mean, rcond=None)[0]
    return float(np.sqrt((rest**2).mean()))


def _without_fibres(
    layout: Layout, off: FloatArray, told: FloatArray, seen: BoolArray
) -> FloatArray:
    """``off`` (heaters,) of the ``seen`` ones, less what phases at the inputs do: fibres move, and their phases are in those of
    the heaters behind them."""
    step, nothing = 1e-3, np.zeros(layout.heaters)
    rows = step * np.eye(layout.ports)
    moved = [_wrapped(canonical(layout, nothing, row, 0 * row))[seen] / step for row in rows]
    sure = 1 / np.maximum(told[seen], 1e-9)
    directions = np.array(moved).T
    known = told[seen] > 0
    fibres = np.linalg.lstsq(
        (directions * sure[:, np.newaxis])[known], (off[seen] * sure)[known], rcond=None
    )[0]
    return np.asarray(off[seen] - directions @ fibres)


def _volts(plant: Plant, layout: Layout) -> FloatArray:
    p = plant.parameters
    rng = np.random.default_rng(77)
    cold = rng.random((DRIVES, layout.heaters)) * 2 * p.power_per_pi
    return np.asarray(np.minimum(np.sqrt(cold * p.resistance), plant.heaters.high))


def _true_own(plant: Plant, volts: FloatArray, dead: BoolArray) -> FloatArray:
    """The plant's own formula: self-heating, and a thermo-optic bend that no record holds."""
    truth, h = plant.truth, volts.shape[1]
    power = power_of_voltage(volts, truth.resistance[:h], truth.resistance_rise[:h])
    ratio = power / truth.power_per_pi[:h]
    bend = plant.parameters.thermo_optic_nonlinearity
    own = np.pi * ratio * (1 + bend * (ratio / 2 - 1))
    return np.where(dead[:h], 0.0, own)


def _own(records: Records, volts: FloatArray) -> FloatArray:
    chip, h = records.chip, volts.shape[1]
    power = power_of_voltage(
        volts, chip.value("heater_resistance")[:h], chip.value("heater_resistance_rise")[:h]
    )
    usable = chip.accepted("heater_power_per_pi")[:h]
    return np.where(usable, phase_of_power(power, chip.value("heater_power_per_pi")[:h]), 0.0)


def _phases(offset: FloatArray, own: FloatArray, kernel: FloatArray, layout: Layout) -> FloatArray:
    spread: csr_array = stencil(kernel, layout.positions)
    return np.asarray(offset + own + (spread @ own.T).T)


def _matrix_error(
    records: Records, plant: Plant, layout: Layout, real: FloatArray, believed: FloatArray
) -> float:
    truth, chip = plant.truth, records.chip
    inputs = records.modulators.accepted("v_pi")
    there = transfer(
        layout,
        real,
        Optics(
            truth.splitter_errors,
            truth.mzi_transmission,
            np.abs(truth.launched_field * truth.input_facet).astype(complex),
            np.ones(truth.ports, complex),
        ),
    )
    said = transfer(
        layout,
        believed,
        Optics(
            chip.value("splitter_errors"),
            chip.value("mzi_transmission"),
            np.abs(chip.value("input_field")).astype(complex),
            np.ones(truth.ports, complex),
        ),
    )
    there, said = there[:, :, inputs], said[:, :, inputs]
    turn = (said.conj() * there).sum(axis=(1, 2))
    said = said * (turn / np.abs(turn))[:, np.newaxis, np.newaxis]
    gain = (said.conj() * there).sum(axis=(0, 2)).real / (np.abs(said) ** 2).sum(axis=(0, 2))
    outputs = chip.accepted("output_gain")
    missing = (gain[:, np.newaxis] * said - there)[:, outputs]
    return float(np.linalg.norm(missing) / np.linalg.norm(there[:, outputs]))


def _crosstalk_error(records: Records, plant: Plant, layout: Layout) -> float:
    said = stencil(records.chip.value("crosstalk_kernel"), layout.positions)
    there = stencil(plant.crosstalk_kernel, layout.positions)
    size = float(np.sqrt((there.data**2).sum()))
    return float(np.sqrt(((said - there).data ** 2).sum())) / size if size else 0.0


def _inside(off: FloatArray, doubt: FloatArray) -> tuple[int, int]:
    return int((np.abs(off) < doubt).sum()), int(off.size)


def _ratio(gain: FloatArray, ports: int) -> FloatArray:
    return np.asarray(gain[:ports] / gain[ports:])


def _wrapped(phase: FloatArray) -> FloatArray:
    return np.asarray(np.angle(np.exp(1j * phase)))


def _middle(phase: FloatArray) -> float:
    return float(np.angle(np.exp(1j * phase).mean()))


def phases_at(plant: Plant, volts: FloatArray) -> FloatArray:
    """Phases (heaters,) rad that there are at ``volts`` (heaters,)."""
    layout = layout_of(plant.truth.architecture, plant.truth.ports)
    offset = plant.truth.phase_offset[: layout.heaters] + plant.drift.heaters[: layout.heaters]
    own = _true_own(plant, volts[np.newaxis], plant.truth.dead)
    return np.asarray(_phases(offset, own, plant.crosstalk_kernel, layout)[0])


def row_fidelity(plant: Plant, volts: FloatArray, wanted: FloatArray) -> float:
    """Mean over rows of |<row wanted, row there>| of unit rows, at ``volts`` (heaters,): inputs carry their phases, powers of
    inputs are even."""
    layout = layout_of(plant.truth.architecture, plant.truth.ports)
    phase = np.angle(plant.truth.input_facet) + plant.drift.inputs
    optics = Optics(
        plant.truth.splitter_errors,
        plant.truth.mzi_transmission,
        np.exp(1j * phase),
        np.ones(plant.truth.ports, complex),
    )
    there = transfer(layout, phases_at(plant, volts)[np.newaxis], optics)[0]
    there = there / np.linalg.norm(there, axis=1, keepdims=True)
    return float(np.abs((there * wanted).sum(axis=1)).mean())


def outputs_of_power(records: Records, plant: Plant) -> tuple[FloatArray, FloatArray]:
    """|field| (settings, outputs, inputs) that the record says, and that there is, at random drives."""
    layout = layout_of(plant.truth.architecture, plant.truth.ports)
    volts, h = _volts(plant, layout), layout.heaters
    one = np.ones(plant.truth.ports, complex)
    sizes = []
    for offset, own, kernel, errors_of, passed in (
        (
            records.chip.value("heater_phase_offset")[:h],
            _own(records, volts),
            records.chip.value("crosstalk_kernel"),
            records.chip.value("splitter_errors"),
            records.chip.value("mzi_transmission"),
        ),
        (
            plant.truth.phase_offset[:h],
            _true_own(plant, volts, plant.truth.dead),
            plant.crosstalk_kernel,
            plant.truth.splitter_errors,
            plant.truth.mzi_transmission,
        ),
    ):
        optics = Optics(errors_of, passed, one, one)
        sizes.append(np.abs(transfer(layout, _phases(offset, own, kernel, layout), optics)))
    return sizes[0], sizes[1]
