from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest

from hilonn.errors import ConfigError
from hilonn.simulators import EFFECTS, PRESETS, PlantParameters, resolve

# (parameter, typical, harsh): the project's table of presets.
TABLE = [
    ("splitter_error", 0.02, 0.05),
    ("mzi_loss", 0.1, 0.3),
    ("mzi_loss_spread", 0.02, 0.1),
    ("coupling_loss", 2.0, 4.0),
    ("coupling_loss_spread", 0.3, 1.0),
    ("static_phase", 1.0, 1.0),
    ("record_error", 0.010, 0.050),
    ("power_per_pi", 0.020, 0.030),
    ("power_per_pi_spread", 0.03, 0.10),
    ("resistance_rise", 0.05, 0.15),
    ("crosstalk", 0.01, 0.04),
    ("heater_time_constant", 20e-6, 100e-6),
    ("drive_bits", 12, 10),
    ("modulator_extinction", 30, 20),
    ("v_pi_spread", 0.01, 0.05),
    ("modulator_bias_drift", 5e-3, 30e-3),
    ("detector_noise", 0.005, 0.02),
    ("adc_bits", 12, 8),
    ("detector_gain_spread", 0.03, 0.10),
    ("rin", -145, -130),
    ("saturation_onset", 2.0, 1.1),
    ("lo_wander", 0.020, 0.100),
    ("lo_wander_time", 60, 10),
    ("heater_drift", 2e-3, 20e-3),
    ("launched_power", 1e-3, 1e-3),
    ("resistance", 500, 500),
    ("resistance_spread", 0.03, 0.10),
    ("v_pi", 3.5, 3.5),
    ("responsivity", 0.9, 0.8),
]


@pytest.mark.parametrize(("name", "typical", "harsh"), TABLE)
def test_presets_hold_the_table(name: str, typical: float, harsh: float) -> None:
    assert getattr(PRESETS["typical"], name) == typical
    assert getattr(PRESETS["harsh"], name) == harsh


def test_ideal_is_typical_with_every_effect_off() -> None:
    off = resolve("typical", dict.fromkeys(EFFECTS, False))
    assert replace(off, record_error=0.0) == PRESETS["ideal"]


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_off_changes_its_own_figures_and_no_others(effect: str) -> None:
    before, after = asdict(PRESETS["typical"]), asdict(resolve("typical", {effect: False}))
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= set(EFFECTS[effect])
    assert {name: after[name] for name in EFFECTS[effect]} == dict(EFFECTS[effect])


def test_off_wins_over_a_parameter_and_on_keeps_it() -> None:
    figures = {"crosstalk": 0.05}
    assert resolve("typical", {"crosstalk": False}, figures).crosstalk == 0.0
    assert resolve("typical", {"crosstalk": True}, figures).crosstalk == 0.05


def test_every_figure_can_be_given_by_name() -> None:
    figures = asdict(PRESETS["harsh"])
    assert resolve("typical", None, figures) == PRESETS["harsh"]
    assert isinstance(resolve("typical", None, {"adc_bits": 9.0}).adc_bits, int)


@pytest.mark.parametrize(
    ("preset", "effects", "parameters", "message"),
    [
        ("tipical", {}, {}, "did you mean 'typical'"),
        ("typical", {"crostalk": False}, {}, "did you mean 'crosstalk'"),
        ("typical", {}, {"mzi_los": 1.0}, "did you mean 'mzi_loss'"),
        ("typical", {}, {"mzi_loss": -1.0}, "at least 0"),
        ("typical", {}, {"v_pi": 0.0}, "above 0"),
        ("typical", {}, {"v_pi": math.nan}, "is a number"),
        ("typical", {}, {"v_pi": math.inf}, "finite"),
        ("typical", {}, {"adc_bits": 7.5}, "whole number"),
        ("typical", {}, {"static_phase": 2.0}, "from 0 to 1"),
        ("typical", {"adc": 0}, {}, "true or false"),
    ],
)
def test_what_cannot_be_is_named(
    preset: str, effects: dict[str, bool], parameters: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(preset, effects, parameters)


def test_parameters_are_frozen() -> None:
    with pytest.raises(AttributeError):
        PlantParameters().mzi_loss = 1.0  # type: ignore[misc]
