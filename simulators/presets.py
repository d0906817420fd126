"""What a simulated chip and its instruments are made of: one table, three presets.

Figures marked [P] are the project's agreed presets (docs/reference/simulated-chip.md); the others are argued
beside them. Every figure can be overridden by name, and every effect switched off by name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from hilonn.errors import ConfigError

Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class PlantParameters:
    """A process: SI units, losses in dB (positive), spreads as relative standard deviations.

    The defaults are the preset ``typical``.
    """

    # Chip
    splitter_error: float = 0.02  # [P] rad, sd of a coupler's angle
    mzi_loss: float = 0.1  # [P] dB per interferometer
    mzi_loss_spread: float = 0.02  # [P] dB, sd
    coupling_loss: float = 2.0  # [P] dB per facet: edge couplers
    coupling_loss_spread: float = 0.3  # [P] dB, sd
    static_phase: float = 1.0  # [P] phases uniform over this fraction of a turn: no zero is made

    # Heaters
    power_per_pi: float = 0.020  # [P] W: TiN heaters
    power_per_pi_spread: float = 0.03  # [P]
    resistance: float = 500.0  # [P] ohm, cold
    resistance_spread: float = 0.03  # [P]
    resistance_rise: float = 0.05  # [P] relative, at the power of a full turn
    # dn/dT of silicon rises with temperature, by some percent over a full turn, and the heat
    # conductance falls; a fit through 0 and 2 pi absorbs nearly all. What is left: relative excess
    # slope at the start, 3 mrad at pi, below what a record of 10 mrad can show.
    thermo_optic_nonlinearity: float = 0.002
    crosstalk: float = 0.01  # [P] share of its phase that a heater gives to one at one pitch
    crosstalk_length: float = 1.0  # [P] pitches over which that falls e-fold
    crosstalk_reach: float = 3.0  # pitches; beyond, at most 0.05 % is left out
    heater_time_constant: float = 20e-6  # [P] s
    heater_drift: float = 2e-3  # [P] rad per square root of an hour
    dead_heater_fraction: float = 0.0  # [P]
    # Arms of an interferometer differ in length and width by little: of the 0.1 rad/K that a
    # 100 um silicon waveguide turns, a tenth is taken to be unbalanced.
    temperature_phase: float = 0.010  # rad/K, sd over the heaters
    temperature_time: float = 3.0  # s, a mounted chip on its Peltier element

    # Drives and modulators
    drive_bits: int = 12  # [P] of the voltage, heaters and modulators alike; 0 is continuous
    launched_power: float = 1e-3  # [P] W per input at full drive and nominal laser power
    v_pi: float = 3.5  # [P] V
    v_pi_spread: float = 0.01  # [P]
    # A null found once and trimmed on the bias port: a few percent of V_pi stays.
    modulator_bias_spread: float = 0.02  # of V_pi, sd
    modulator_extinction: float = 30.0  # [P] dB
    modulator_bias_drift: float = 5e-3  # [P] rad per square root of an hour

    # Detectors
    responsivity: float = 0.9  # [P] A/W
    detector_gain_spread: float = 0.03  # [P]
    # Amplifier and fibre connectors at constant room temperature: 0.05 % an hour.
    detector_gain_drift: float = 5e-4  # relative per square root of an hour
    dark_current: float = 10e-9  # A: InGaAs of 0.3 mm at 25 degC is specified at 1 to 10 nA
    detector_noise: float = 0.005  # [P] sd of a reading, share of the full scale in use
    load_resistance: float = 1e4  # ohm: a transimpedance of 10 kohm, noise 4 k T B / R
    shot_noise: float = 1.0  # factor on 2 q I B
    rin: float = -145.0  # [P] dB/Hz, common to all light of the one laser
    adc_bits: int = 12  # [P] over -1/8 to 1 full scale; 0 is continuous
    saturation_onset: float = 2.0  # [P] times the largest expected power

    # Light paths off the chip
    lo_wander: float = 0.020  # [P] rad, Ornstein-Uhlenbeck
    lo_wander_time: float = 60.0  # [P] s
    # The inputs run side by side in one fibre array; between them a quarter of what separates
    # them from the local oscillator's own fibre.
    input_phase_drift: float = 0.005  # rad, Ornstein-Uhlenbeck
    input_phase_time: float = 60.0  # s

    record_error: float = 0.010  # [P] rad rms a phase, where a record is handed out


TYPICAL = PlantParameters()

HARSH = PlantParameters(
    splitter_error=0.05,  # [P] broadband
    mzi_loss=0.3,  # [P]
    mzi_loss_spread=0.1,  # [P]
    coupling_loss=4.0,  # [P] grating couplers
    coupling_loss_spread=1.0,  # [P]
    power_per_pi=0.030,  # [P]
    power_per_pi_spread=0.10,  # [P]
    resistance_spread=0.10,  # [P]
    resistance_rise=0.15,  # [P]
    thermo_optic_nonlinearity=0.010,  # 16 mrad at pi; a third of the record's 50 mrad
    crosstalk=0.04,  # [P]
    heater_time_constant=100e-6,  # [P]
    heater_drift=20e-3,  # [P]
    dead_heater_fraction=0.006,  # [P] 3 of 528
    temperature_phase=0.030,  # three times less balanced
    drive_bits=10,  # [P]
    v_pi_spread=0.05,  # [P]
    modulator_bias_spread=0.05,  # as the V_pi
    modulator_extinction=20.0,  # [P]
    modulator_bias_drift=30e-3,  # [P]
    responsivity=0.8,  # [P]
    detector_gain_spread=0.10,  # [P]
    detector_gain_drift=5e-3,  # a connector that is touched
    dark_current=100e-9,  # a warm or a large diode
    detector_noise=0.02,  # [P]
    load_resistance=1e3,  # a 1 kohm load without amplifier
    rin=-130.0,  # [P]
    adc_bits=8,  # [P]
    saturation_onset=1.1,  # [P]
    lo_wander=0.100,  # [P]
    lo_wander_time=10.0,  # [P]
    input_phase_drift=0.025,  # a quarter again
    input_phase_time=10.0,
    record_error=0.050,  # [P]
)

EFFECTS: Mapping[str, Mapping[str, float]] = {
    "splitter_errors": {"splitter_error": 0.0},
    "mzi_loss": {"mzi_loss": 0.0, "mzi_loss_spread": 0.0},
    "coupling_loss": {"coupling_loss": 0.0, "coupling_loss_spread": 0.0},
    "static_phase": {"static_phase": 0.0},
    "heater_spread": {"power_per_pi_spread": 0.0, "resistance_spread": 0.0},
    "self_heating": {"resistance_rise": 0.0},
    "thermo_optic_nonlinearity": {"thermo_optic_nonlinearity": 0.0},
    "crosstalk": {"crosstalk": 0.0},
    "heater_lag": {"heater_time_constant": 0.0},
    "heater_drift": {"heater_drift": 0.0},
    "dead_heaters": {"dead_heater_fraction": 0.0},
    "temperature": {"temperature_phase": 0.0},
    "drive_resolution": {"drive_bits": 0},
    "modulator_spread": {"v_pi_spread": 0.0, "modulator_bias_spread": 0.0},
    "modulator_extinction": {"modulator_extinction": math.inf},
    "modulator_bias_drift": {"modulator_bias_drift": 0.0},
    "detector_gain_spread": {"detector_gain_spread": 0.0},
    "detector_gain_drift": {"detector_gain_drift": 0.0},
    "dark_current": {"dark_current": 0.0},
    "detector_noise": {"detector_noise": 0.0},
    "thermal_noise": {"load_resistance": math.inf},
    "shot_noise": {"shot_noise": 0.0},
    "rin": {"rin": -math.inf},
    "adc": {"adc_bits": 0},
    "saturation": {"saturation_onset": math.inf},
    "lo_wander": {"lo_wander": 0.0},
    "input_phase_drift": {"input_phase_drift": 0.0},
}
"""Each effect by name, and the figures that make it exactly absent."""

_OFF = {name: value for figures in EFFECTS.values() for name, value in figures.items()}

IDEAL = replace(TYPICAL, **_OFF, record_error=0.0)  # type: ignore[arg-type]

PRESETS: Mapping[str, PlantParameters] = {"ideal": IDEAL, "typical": TYPICAL, "harsh": HARSH}

_POSITIVE = {
    "power_per_pi", "resistance", "crosstalk_length", "temperature_time", "launched_power", "v_pi",
    "responsivity", "load_resistance", "saturation_onset", "lo_wander_time", "input_phase_time",
}  # fmt: skip
_WHOLE = {"drive_bits", "adc_bits"}
_BITS = 24  # a finer grid than any converter's
_INFINITE = {"load_resistance", "saturation_onset", "modulator_extinction"}
_SHARES = {"static_phase", "dead_heater_fraction"}


def resolve(
    preset: str,
    effects: Mapping[str, bool] | None = None,
    parameters: Mapping[str, float] | None = None,
) -> PlantParameters:
    """The figures of ``preset`` with ``parameters`` in their place and ``effects`` switched off.

    An effect set to false is absent whatever ``parameters`` says; set to true it is as the preset
    and ``parameters`` have it. Raises ConfigError for an unknown name or an impossible figure.
    """
    chosen = _known("preset", preset, PRESETS)
    values: dict[str, float] = {}
    names = {field.name: None for field in fields(PlantParameters)}
    for name, value in (parameters or {}).items():
        _known("parameter", name, names)
        values[name] = _checked(name, value)
    for name, on in (effects or {}).items():
        figures = _known("effect", name, EFFECTS)
        if not isinstance(on, bool):
            raise ConfigError(f"effects.{name} is true or false, not {on!r}")
        if not on:
            values.update(figures)
    return replace(chosen, **values)  # type: ignore[arg-type]


def _checked(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ConfigError(f"parameters.{name} is a number, not {value!r}")
    if name in _WHOLE and not (value == int(value) and 0 <= value <= _BITS):
        raise ConfigError(f"parameters.{name} is a whole number from 0 to {_BITS}, not {value!r}")
    if name != "rin" and (value < 0 or (name in _POSITIVE and value == 0)):
        wanted = "above 0" if name in _POSITIVE else "at least 0"
        raise ConfigError(f"parameters.{name} must be {wanted}, got {value!r}")
    if math.isinf(value) and name not in _INFINITE and not (name == "rin" and value < 0):
        raise ConfigError(f"parameters.{name} must be finite, got {value!r}")
    if name in _SHARES and value > 1:
        raise ConfigError(f"parameters.{name} is a share from 0 to 1, got {value!r}")
    return int(value) if name in _WHOLE else float(value)


def _known(kind: str, name: str, known: Mapping[str, Known]) -> Known:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown {kind} {name!r}{hint}; known: {', '.join(known)}")
    return known[name]
