"""`hilonn check` on simulated benches: each kind of fault is named, and a good bench is told to be good."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.checks import CheckReport, CheckStep
from hilonn.checks.bench import _advised
from hilonn.checks.pattern import ABOVE, ITSELF

PRESET = 'preset = "typical"'
CHIP = "svd_mesh-16-0"


def bench_file(folder: Path, changes: dict[str, str] | None = None, more: str = "") -> Path:
    text = registry.load("hilonn.benches", "simulated")()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "bench.toml"
    path.write_text(text + more)
    return path


def checked(
    folder: Path,
    changes: dict[str, str] | None = None,
    *,
    more: str = "",
    faults: tuple[str, ...] = (),
    break_it: Callable[[Any], None] | None = None,
) -> CheckReport:
    """``break_it`` is given the plant."""
    struck = f"{PRESET}\nfaults = {list(faults)}"
    changes = (changes or {}) | ({PRESET: struck} if faults else {})
    with Bench.open(bench_file(folder, changes, more), seed=0) as bench:
        if break_it is not None:
            break_it(bench.connections["plant"].plant)  # type: ignore[attr-defined]
        return bench.check()


def bad(report: CheckReport) -> list[str]:
    return [s.name for s in report.steps if s.state == "BAD"]


def warned(report: CheckReport) -> list[str]:
    return [s.name for s in report.steps if s.state == "warn"]


@pytest.mark.parametrize("name", ["simulated", "simulated-crossbar", "ideal"])
def test_a_good_bench_is_told_to_be_good_without_a_warning(name: str) -> None:
    with Bench.open(name, seed=0) as bench:
        report = bench.check()
    assert report.go
    assert not warned(report)
    assert {s.state for s in report.steps} == {"ok"}
    assert str(report).splitlines()[-1] == f"GO: bench {name} (simulated)"


def test_a_harsh_chip_is_go() -> None:
    with Bench.open("simulated-harsh", seed=0) as bench:
        report = bench.check()
    assert report.go, str(report)
    assert len(report.step("record of mesh").values["not_accepted"]) == 3


def test_a_chip_without_a_local_oscillator_is_read_by_power(tmp_path: Path) -> None:
    changes = {'local_oscillator = "heaters:528"': "", 'local_oscillator_switch = "lo_shutter"': ""}
    report = checked(tmp_path, changes)
    assert report.go, str(report)
    assert "read by power" in report.step(f"known pattern through {CHIP}").found


def test_a_dead_detector_is_named_and_its_output_is_weak(tmp_path: Path) -> None:
    report = checked(tmp_path, faults=("dead_detector:21",))
    step = report.step("detectors of meter")
    assert step.values["dead"] == [21]
    assert "21 (output 5, minus)" in step.found
    outputs = report.step(f"outputs of {CHIP}")
    assert outputs.values["weak"] + outputs.values["lost"] == [5]
    assert not report.go


def test_a_detector_at_its_rail_is_named(tmp_path: Path) -> None:
    report = checked(tmp_path, faults=("saturated_detector:9",))
    assert report.step("darkness at meter").values["railed"] == [9]
    assert "mend what is bad above first" in str(report)
    assert not report.go


def test_stray_light_is_named(tmp_path: Path) -> None:
    def leak(plant: Any) -> None:
        plant.truth.dark[12] += 0.5 * plant.detection.ranges[0]

    report = checked(tmp_path, break_it=leak)
    step = report.step("darkness at meter")
    assert step.state == "warn"
    assert step.values["stray"] == [12]
    assert "cover the chip" in step.advice
    assert report.go


def test_a_dark_input_and_a_weak_one_are_told_apart(tmp_path: Path) -> None:
    def loosen(plant: Any) -> None:
        plant.modulation._into[3] *= 10 ** (-30 / 20)
        plant.modulation._into[7] *= 10 ** (-5 / 20)

    report = checked(tmp_path, break_it=loosen)
    step = report.step(f"inputs of {CHIP}")
    assert step.values["lost"] == [3]
    assert step.values["weak"] == [7]
    assert step.values["inputs_db"][7] == pytest.approx(-5.0, abs=0.5)
    assert "align its fibre" in step.advice
    assert not report.go


def test_a_weak_output_is_told(tmp_path: Path) -> None:
    def soil(plant: Any) -> None:
        plant.truth.output_facet[2] *= 10 ** (-6 / 20)

    report = checked(tmp_path, break_it=soil)
    step = report.step(f"outputs of {CHIP}")
    assert step.state == "warn"
    assert step.values["weak"] == [2]
    assert step.values["outputs_db"][2] == pytest.approx(-6.0, abs=0.6)


def test_a_weak_laser_shows_in_the_level(tmp_path: Path) -> None:
    report = checked(tmp_path, break_it=lambda plant: plant.set_laser(power=0.05))
    step = report.step(f"link budget of {CHIP}")
    assert step.state == "warn"
    assert step.values["level_db"] == pytest.approx(
        -6.0, abs=0.5
    )  # its light is oscillator and signal


def test_no_light_at_all(tmp_path: Path) -> None:
    report = checked(tmp_path, break_it=lambda plant: plant.set_laser(power=0.0))
    assert report.step("detectors of meter").found == "no detector sees light"
    assert not report.go


def test_a_laser_that_goes_off_by_itself(tmp_path: Path) -> None:
    with Bench.open(
        bench_file(tmp_path, {PRESET: f'{PRESET}\nfaults = ["laser_trip@0.02s"]'})
    ) as b:
        report = b.check()
    assert not report.go
    assert "light stays on" in bad(report) or "light on" in bad(report)


def test_a_laser_found_on_is_switched_off_for_the_dark(tmp_path: Path) -> None:
    report = checked(tmp_path, break_it=lambda plant: plant.set_laser(emission=True))
    assert report.step("light off").state == "warn"
    assert report.step("darkness at meter").state == "ok"
    assert report.go


def test_swapped_inputs_and_outputs_are_named(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        {
            'modulators = "inputs"': 'modulators = ["inputs:0-3", "inputs:5", "inputs:4", "inputs:6-15"]',
            'photodetectors = "meter"': 'photodetectors = ["meter:0-1", "meter:18", "meter:3-17", "meter:2", "meter:19-31"]',
        },
    )
    assert report.step(f"inputs of {CHIP}").values["acts_as"] == {"4": 5, "5": 4}
    assert report.step(f"outputs of {CHIP}").values["reversed"] == [2]
    assert "hilonn poke" in report.step(f"inputs of {CHIP}").advice
    assert not report.go


def test_a_chip_on_the_wrong_wires_fails_its_pattern(tmp_path: Path) -> None:
    shifted = 'phase_shifters = ["heaters:8-527", "heaters:0-7"]'
    report = checked(tmp_path, {'phase_shifters = "heaters:0-527"': shifted})
    step = report.step(f"known pattern through {CHIP}")
    assert step.state == "BAD"
    assert "hilonn poke" in step.advice


def test_another_chip_than_the_record_s(tmp_path: Path) -> None:
    with Bench.open("simulated", seed=0) as bench:
        records = bench.chip().records
    records.save(tmp_path / "other.json")
    path = bench_file(tmp_path, {'record = "connection:plant"': 'record = "other.json"'})
    with Bench.open(path, chip_seed=1) as bench:
        report = bench.check()
    assert not report.go
    assert report.step("record of meter").state == "warn"  # of another serial number
    assert report.step(f"known pattern through {CHIP}").state == "BAD"


def test_a_total_power_that_is_too_small(tmp_path: Path) -> None:
    report = checked(tmp_path, {"total_power = 25.0": "total_power = 4.0"})
    assert report.step("power of heaters").state == "BAD"
    step = report.step(f"known pattern through {CHIP}")
    assert step.state == "BAD"
    assert "4 W are allowed" in step.found
    assert report.step("safe state").good


def test_no_total_power_is_a_warning(tmp_path: Path) -> None:
    report = checked(tmp_path, {"total_power = 25.0\n": ""})
    assert warned(report) == ["power of heaters"]
    assert report.go


def test_limits_that_keep_heaters_from_a_full_turn(tmp_path: Path) -> None:
    changes = {
        'driver = "simulated_phase_shifters"': 'driver = "simulated_phase_shifters"\nlimits = { high = 4.4 }'
    }
    step = checked(tmp_path, changes).step("limits of heaters")
    assert step.state == "BAD"
    assert "cannot reach 2 pi" in step.found


def test_limits_beyond_the_box_s_own_are_told(tmp_path: Path) -> None:
    changes = {
        'driver = "simulated_phase_shifters"': 'driver = "simulated_phase_shifters"\nlimits = { high = 20.0 }'
    }
    report = checked(tmp_path, changes)
    told = [s for s in report.steps if s.name == "limits of heaters"]
    assert told[0].state == "warn"
    assert "the box's own is" in told[0].found
    assert report.go


def test_modulators_that_cannot_be_driven_fully(tmp_path: Path) -> None:
    changes = {
        'driver = "simulated_modulators"': 'driver = "simulated_modulators"\nlimits = { high = 3.0 }'
    }
    step = checked(tmp_path, changes).step("limits of inputs")
    assert step.state == "BAD"
    assert "cannot be driven fully" in step.found


def test_a_temperature_that_does_not_settle_keeps_the_light_off(tmp_path: Path) -> None:
    def restless(plant: Any) -> None:
        plant.temperature.stable = lambda now: False

    report = checked(tmp_path, break_it=restless)
    assert report.step("temperature of temperature").state == "BAD"
    assert "light on" not in [s.name for s in report.steps]
    assert report.step("safe state").good


def test_a_temperature_that_the_record_was_not_made_at(tmp_path: Path) -> None:
    with Bench.open("simulated", seed=0) as bench:
        bench.devices["temperature"].set_setpoint(28.0)  # type: ignore[attr-defined]
        bench.clock.sleep(60.0)
        report = bench.check()
    step = report.step("record of mesh")
    assert step.state == "warn"
    assert "28.00 degC" in step.found


def test_an_interlock_that_has_tripped(tmp_path: Path) -> None:
    lock = '\n[[safety.interlocks]]\ndevice = "temperature"\nquantity = "temperature"\nlow = 30.0\n'
    report = checked(tmp_path, more=lock)
    assert report.step("interlocks").state == "BAD"
    assert report.step("safe state").good


def test_without_a_chip_light_stays_off(tmp_path: Path) -> None:
    text = registry.load("hilonn.benches", "simulated")()
    path = tmp_path / "bench.toml"
    path.write_text(text[: text.index("[chips.mesh]")] + "[safety]\ntotal_power = 1.0\n")
    with Bench.open(path) as bench:
        report = bench.check()
    assert report.go
    assert "light on" not in [s.name for s in report.steps]


def test_a_lost_lock(tmp_path: Path) -> None:
    report = checked(tmp_path, faults=("lock_loss",))
    assert report.step(f"local oscillator of {CHIP}").state == "BAD"


def test_heaters_slower_than_the_file_says(tmp_path: Path) -> None:
    with Bench.open("simulated", seed=0) as bench:
        plant = bench.connections["plant"].plant  # type: ignore[attr-defined]
        plant.heaters._tau = 1e-3
        plant.parameters = replace(plant.parameters, heater_time_constant=1e-3)
        report = bench.check()
    step = report.step("settling of heaters")
    assert step.state == "warn"
    assert step.values["moved"] > 0.1
    assert "settling_time" in step.advice


def test_records_that_have_expired() -> None:
    past = "2020-01-01T00:00:00+00:00"
    with Bench.open("simulated", seed=0) as bench:
        chip = bench.chip()
        known = chip.records
        chip.records = replace(
            known,
            chip=replace(known.chip, expires=past),
            modulators=replace(known.modulators, expires=past),
        )
        report = bench.check()
    assert warned(report) == ["record of mesh", "record of inputs"]
    assert "expired on 2020" in report.step("record of mesh").found


def test_nothing_is_said_of_paths_that_nobody_has_measured(tmp_path: Path) -> None:
    report = checked(tmp_path, {'record = "connection:plant"': 'record = "nominal"'})
    assert report.go, str(report)
    for step in (report.step("record of mesh"), report.step("known pattern through mesh")):
        assert step.state == "warn"
        assert "hilonn calibrate" in step.advice
    assert report.step("record of meter").found == "nominal: from the bench file, not measured"
    assert "serial number" not in str(report)
    for word in ("swapped", "dark (", "serial , ", "light that is not ours"):
        assert word not in str(report)


def test_a_dead_detector_of_a_nominal_chip_is_named(tmp_path: Path) -> None:
    changes = {'record = "connection:plant"': 'record = "nominal"'}
    report = checked(tmp_path, changes, faults=("dead_detector:21",))
    assert bad(report) == ["detectors of meter"]


def test_what_is_bad_above_is_spoken_of_only_where_something_is() -> None:
    good = CheckStep("limits", "ok", "fine")
    first, then = (CheckStep(f"pattern {k}", "BAD", "it refuses", ABOVE) for k in range(2))
    told = list(_advised([good, first, then]))
    assert [s.advice for s in told] == ["", ITSELF, ABOVE]


def test_values_are_plain_for_json(tmp_path: Path) -> None:
    report = checked(tmp_path)
    found = json.loads(json.dumps(report.as_dict()))
    assert found["go"] is True
    assert found["warnings"] == 0
    by_name = {s["name"]: s for s in found["steps"]}
    assert len(by_name["detectors of meter"]["rise_db"]) == 32
    assert np.isfinite(by_name["darkness at meter"]["dark"]).all()
