"""Records drawn from a plant's truth, until a calibration measures them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hilonn.records import ChipRecord, InstrumentRecord, Quantity, Records
from hilonn.simulators.randomness import generator
from hilonn.simulators.temperature import REFERENCE
from hilonn.simulators.truth import WAVELENGTH, Truth
from hilonn.typing import BoolArray

if TYPE_CHECKING:
    from hilonn.simulators.plant import Plant

CREATED = "1970-01-01T00:00:00+00:00"
"""The virtual clock's origin: the same plant gives the same record, hash and all."""

PERIOD = 10e-6  # s, sample period for which the noise is stated

# The stated error of a phase, split over what it comes from (their squares add up to 1).
_OFFSET, _POWER, _RESISTANCE = 0.8, 0.5, math.sqrt(0.11)
_TYPICAL_TURN = 2 * math.pi / math.sqrt(3)  # rms of a heater's own phase, uniform up to a turn


def hand_out(plant: Plant, chip: str, error: float, splitters: bool, crosstalk: bool) -> Records:
    """Records of ``plant`` for the chip that the bench calls ``chip``.

    Phases carry a residual of ``error`` rad rms, made of offset, P_pi and resistance; the rest is
    true at the plant's start. Without ``splitters`` or ``crosstalk`` the record holds the ideal
    value with the process's spread as its uncertainty. What no record holds: drift, thermo-optic
    nonlinearity, temperature. Dead heaters are not accepted.
    """
    truth, rng = plant.truth, generator(plant.chip_seed, "record")
    source = f"drawn from the plant, residual {1e3 * error:g} mrad rms a phase; not measured"
    quantities = _heaters(truth, error, rng)
    if crosstalk or len(plant.crosstalk_kernel) == 0:
        kernel, doubt = plant.crosstalk_kernel, 0.0
    else:
        kernel, doubt = np.zeros((0, 3)), plant.parameters.crosstalk
    quantities["crosstalk_kernel"] = _known(kernel, doubt)
    if truth.architecture == "crossbar":
        quantities |= _crossbar(truth)
    else:
        quantities |= _mesh(plant, error, splitters, rng)
    v0, v1, v2 = plant.detection.variance_terms(PERIOD)
    return Records(
        chip=ChipRecord(
            chip=plant.serial,
            architecture=truth.architecture,
            ports=truth.ports,
            created=CREATED,
            source=source,
            temperature=REFERENCE,
            wavelength=WAVELENGTH,
            quantities=quantities,
        ),
        modulators=InstrumentRecord(
            serial=plant.serial,
            kind="modulators",
            created=CREATED,
            source=source,
            quantities={
                "v_pi": _known(truth.v_pi),
                "bias": _known(truth.bias),
                "extinction_leak": _known(truth.leak),
            },
        ),
        photodetectors=InstrumentRecord(
            serial=plant.serial,
            kind="photodetectors",
            created=CREATED,
            source=source,
            quantities={
                "gain": _known(truth.gain),
                "dark": _known(truth.dark),
                "noise_v0": _known(v0),
                "noise_v1": _known(v1),
                "noise_v2": _known(v2),
            },
        ),
    )


def _known(
    value: np.ndarray, uncertainty: float = 0.0, accepted: BoolArray | None = None
) -> Quantity:
    value = np.array(value)
    return Quantity(
        value=value,
        uncertainty=np.full(value.shape, uncertainty),
        accepted=np.ones(value.shape, dtype=bool) if accepted is None else accepted.copy(),
    )


def _heaters(truth: Truth, error: float, rng: np.random.Generator) -> dict[str, Quantity]:
    count, alive = truth.heaters, ~truth.dead
    relative_power = _POWER * error / _TYPICAL_TURN
    relative_resistance = _RESISTANCE * error / _TYPICAL_TURN
    offset = truth.phase_offset + _OFFSET * error * rng.standard_normal(count)
    power = truth.power_per_pi * (1 + relative_power * rng.standard_normal(count))
    ohm = truth.resistance * (1 + relative_resistance * rng.standard_normal(count))
    return {
        "heater_resistance": _known(
            ohm, relative_resistance * float(truth.resistance.mean()), alive
        ),
        "heater_resistance_rise": _known(truth.resistance_rise, 0.0, alive),
        "heater_phase_offset": _known(offset, _OFFSET * error, alive),
        "heater_power_per_pi": _known(
            power, relative_power * float(truth.power_per_pi.mean()), alive
        ),
    }


def _mesh(
    plant: Plant, error: float, splitters: bool, rng: np.random.Generator
) -> dict[str, Quantity]:
    truth = plant.truth
    into, out = error * rng.standard_normal((2, truth.ports))
    errors = truth.splitter_errors if splitters else np.zeros_like(truth.splitter_errors)
    doubt = 0.0 if splitters else plant.parameters.splitter_error
    size = np.abs(truth.output_facet)
    return {
        "splitter_errors": _known(errors, doubt),
        "mzi_transmission": _known(truth.mzi_transmission),
        "input_field": _known(truth.launched_field * truth.input_facet * np.exp(1j * into)),
        "output_gain": _known(2 * truth.lo_field * size),
        "output_phase": _known(np.angle(truth.output_facet) + out, error),
        "output_power_gain": _known(size**2),
    }


def _crossbar(truth: Truth) -> dict[str, Quantity]:
    square = (truth.ports, truth.ports)
    a, b = truth.splitter_errors.T
    contrast = truth.mzi_transmission * np.cos(2 * a) * np.cos(2 * b) / truth.ports
    out = (np.abs(truth.output_facet) ** 2)[:, np.newaxis]
    return {
        "input_power": _known((truth.launched_field * np.abs(truth.input_facet)) ** 2),
        "weight_gain": _known(out * contrast.reshape(square)),
    }
