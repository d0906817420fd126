"""Records handed out: the truth, with the stated residual and nothing hidden named."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.errors import ConfigError
from hilonn.records import Records
from hilonn.simulators.connection import PlantConnection, PlantOptions, plant_of
from hilonn.simulators.truth import Truth
from tests.simulators.benchtop import Benchtop


def hand_out(**options: object) -> tuple[Records, Truth]:
    connection = PlantConnection("plant", PlantOptions(**options))  # type: ignore[arg-type]
    return connection.records("mesh"), connection.plant.truth


def value(records: Records, name: str) -> np.ndarray:
    return records.chip.quantities[name].value


def phase_errors(records: Records, truth: Truth) -> np.ndarray:
    """Record's phase less the true one (heaters, voltages), for turns spread evenly up to 2 pi."""
    wanted = np.linspace(0, 2, 41) * truth.power_per_pi[:, np.newaxis]
    rise, ohm = truth.resistance_rise[:, np.newaxis], truth.resistance[:, np.newaxis]
    squared = wanted * ohm * (1 + rise * wanted)
    believed = value(records, "heater_resistance")[:, np.newaxis]
    power = (np.sqrt(1 + 4 * rise * squared / believed) - 1) / 2 / rise
    turn = np.pi * power / value(records, "heater_power_per_pi")[:, np.newaxis]
    offset = value(records, "heater_phase_offset")[:, np.newaxis]
    true = truth.phase_offset[:, np.newaxis] + np.linspace(0, 2 * np.pi, 41)
    return np.asarray(offset + turn - true)


@pytest.mark.parametrize(
    ("preset", "given", "error"),
    [("typical", None, 0.010), ("harsh", None, 0.050), ("typical", 0.002, 0.002)],
)
def test_phases_are_off_by_the_stated_residual(
    preset: str, given: float | None, error: float
) -> None:
    records, truth = hand_out(ports=32, preset=preset, record_error=given)
    rms = np.sqrt((phase_errors(records, truth) ** 2).mean())
    assert rms == pytest.approx(error, rel=0.06)
    assert f"residual {1e3 * error:g} mrad rms a phase; not measured" in records.chip.source
    assert records.photodetectors.source == records.chip.source


def test_ideal_record_is_the_truth() -> None:
    records, truth = hand_out(preset="ideal")
    np.testing.assert_array_equal(value(records, "heater_phase_offset"), truth.phase_offset)
    np.testing.assert_array_equal(value(records, "heater_power_per_pi"), truth.power_per_pi)
    np.testing.assert_array_equal(value(records, "heater_resistance"), truth.resistance)
    assert value(records, "crosstalk_kernel").shape == (0, 3)


def test_record_and_plant_agree_on_what_a_reading_means() -> None:
    """The record alone predicts homodyne and power readings of a chip with every static fault."""
    static = (
        "splitter_errors", "mzi_loss", "coupling_loss", "static_phase", "heater_spread",
        "self_heating", "crosstalk", "modulator_spread", "detector_gain_spread", "dark_current",
    )  # fmt: skip
    top = Benchtop(real=static, ports=4)
    records = top.plant.records("mesh", 0.0, True, True)
    drive = np.random.default_rng(0).uniform(0, 4.4, top.heaters.channels)
    top.heat(drive)
    ohm, rise = value(records, "heater_resistance"), value(records, "heater_resistance_rise")
    power = (np.sqrt(1 + 4 * rise * drive**2 / ohm) - 1) / 2 / rise
    own = np.pi * power / value(records, "heater_power_per_pi")
    layout, phases = top.plant.truth.layout, value(records, "heater_phase_offset") + own
    for columns, rows, share in value(records, "crosstalk_kernel"):
        for i, place in enumerate(layout):
            source = np.flatnonzero((layout == place + np.array([columns, rows])).all(axis=1))
            phases[i] += share * own[source].sum()
    from hilonn.mesh import SvdMesh

    mesh = SvdMesh(
        4,
        splitter_errors=value(records, "splitter_errors"),
        mzi_transmission=value(records, "mzi_transmission"),
    )
    inputs = np.random.default_rng(1).uniform(-1, 1, (5, 4))
    box = {name: q.value for name, q in records.modulators.quantities.items()}
    meter = {name: q.value for name, q in records.photodetectors.quantities.items()}
    volts = box["bias"] + 2 * box["v_pi"] / np.pi * np.arcsin(inputs)
    null = np.tile(box["bias"], (1, 1))

    def watts(drives: np.ndarray) -> np.ndarray:
        return np.asarray((top.play(drives).signal - meter["dark"]) / meter["gain"])

    leaving = (inputs * value(records, "input_field")) @ mesh.matrix(phases[:-1]).T
    angle = np.angle(leaving) + value(records, "output_phase") - phases[-1]
    expected = value(records, "output_gain") * np.abs(leaving) * np.cos(angle)
    seen = watts(volts) - watts(null)
    np.testing.assert_allclose(seen[:, :4] - seen[:, 4:], expected, atol=1e-14)
    top.shutter.select(0)
    seen = watts(volts)
    expected = value(records, "output_power_gain") * np.abs(leaving) ** 2
    np.testing.assert_allclose(seen[:, :4] + seen[:, 4:], expected, atol=1e-14)


def test_crossbar_record_predicts_its_readings() -> None:
    top = Benchtop(
        architecture="crossbar", ports=3, real=("coupling_loss", "mzi_loss", "static_phase")
    )
    records = top.plant.records("mesh", 0.0, True, True)
    top.heat(2.0)
    power = 2.0**2 / 500
    phases = value(records, "heater_phase_offset") + np.pi * power / 0.020
    weights = value(records, "weight_gain") * np.cos(phases).reshape(3, 3)
    amplitudes = np.random.default_rng(0).uniform(0, 1, (4, 3))
    expected = (amplitudes**2 * value(records, "input_power")) @ weights.T
    np.testing.assert_allclose(top.homodyne(amplitudes), expected, atol=1e-15)


def test_record_is_the_same_each_time_and_another_for_another_chip() -> None:
    first, _ = hand_out(ports=4, noise_seed=0)
    assert hand_out(ports=4, noise_seed=5)[0].hash() == first.hash()
    assert hand_out(ports=4, chip_seed=1)[0].hash() != first.hash()


def test_what_is_not_recorded_is_ideal_with_the_spread_as_its_uncertainty() -> None:
    records, truth = hand_out(ports=4, record_splitters=False, record_crosstalk=False)
    splitters = records.chip.quantities["splitter_errors"]
    assert truth.splitter_errors.any()
    assert not splitters.value.any()
    np.testing.assert_array_equal(splitters.uncertainty, 0.02)
    assert value(records, "crosstalk_kernel").shape == (0, 3)


def test_dead_heaters_are_not_accepted() -> None:
    records, truth = hand_out(preset="harsh")
    accepted = records.chip.quantities["heater_power_per_pi"].accepted
    np.testing.assert_array_equal(accepted, ~truth.dead)
    assert (~accepted).sum() == 3


def test_noise_in_the_record_is_that_of_the_readings() -> None:
    noises = ("detector_noise", "shot_noise", "thermal_noise", "rin", "adc")
    top = Benchtop(architecture="crossbar", ports=2, real=noises)
    meter = top.plant.records("mesh", 0.0, True, True).photodetectors.quantities
    signal = top.read(np.full((20000, 2), 0.7)).signal
    terms = [meter[f"noise_v{k}"].value * 0.49e-3**k for k in range(3)]
    np.testing.assert_allclose(signal.var(axis=0)[:2], np.sum(terms, axis=0)[:2], rtol=0.04)


def test_connection_names_what_is_wrong_with_its_options() -> None:
    for options in ({"effects": {"crostalk": False}}, {"faults": ["laser_tripp"]}):
        with pytest.raises(ConfigError, match=r"connections\.plant: .*did you mean"):
            PlantConnection("plant", PlantOptions(**options))
    with pytest.raises(ConfigError, match=r"devices\.heaters: .*transport = 'plant'"):
        plant_of("heaters", None)
