"""Twins: plants made of records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.chips import Batch
from hilonn.errors import ConfigError
from hilonn.records import load_records
from hilonn.simulators.twin import bench_of
from hilonn.workflow import RunOptions, train
from tests.chips.meshes import bench_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a calibration leaves it: a record, and what its boxes can do."""
    bench = tmp_path / "chip.toml"
    bench.write_text(bench_text("svd_mesh", 4))
    made = tmp_path / "calibration"
    made.mkdir()
    with Bench.open(bench) as opened:
        opened.chip().records.save(made / "record.json")
    setup = {
        "drive_high": [6.0] * 37,
        "drive_step": 0.001,
        "modulator_high": [4.0] * 4,
        "ranges": [1e-4, 2e-3],
        "sample_period": 2e-5,
    }
    (made / "calibration.json").write_text(json.dumps({"setup": setup}))
    return made


def test_a_twin_is_what_the_record_says(folder: Path) -> None:
    with Bench.open(f"twin:{folder}") as bench:
        assert bench.backend == "twin"
        bench.light_on()
        chip = bench.chip()
        assert chip.records.hash() == load_records(folder / "record.json").hash()
        wanted = np.random.default_rng(0).standard_normal((4, 4))
        (settings,) = chip.compile_exactly(wanted[np.newaxis], [None])
        read = chip.run(settings, Batch(np.eye(4), "homodyne", averages=256)).values.T
        assert np.linalg.norm(read - wanted) < 0.02 * np.linalg.norm(wanted)


def test_a_twins_boxes_are_those_of_the_calibration(folder: Path) -> None:
    with Bench.open(f"twin:{folder}") as bench:
        heaters, inputs, meter = (bench.devices[n] for n in ("heaters", "inputs", "meter"))
        assert heaters.spec.high == 6.0  # type: ignore[attr-defined]
        assert heaters.spec.resolution == 0.001  # type: ignore[attr-defined]
        assert inputs.spec.high == 4.0  # type: ignore[attr-defined]
        assert meter.ranges[-1] == pytest.approx(2e-3)  # type: ignore[attr-defined]
        assert bench.file.timing.sample_period == 2e-5


def test_a_twin_is_as_noisy_as_its_record(folder: Path) -> None:
    (folder / "calibration.json").unlink()
    records = load_records(folder / "record.json")
    with Bench.open(f"twin:{folder}") as bench:
        meter = bench.devices["meter"]
        timing = bench.chip()._detection._timing  # type: ignore[attr-defined]
        meter.arm(4000, 1, timing)  # type: ignore[attr-defined]
        spread = meter.fetch().signal.std(axis=0)  # type: ignore[attr-defined]
    assert np.allclose(spread, np.sqrt(records.photodetectors.value("noise_v0")), rtol=0.1)


def test_a_record_alone_has_a_twin_too(folder: Path) -> None:
    with Bench.open(f"twin:{folder / 'record.json'}") as bench:
        assert bench.chip().records.chip.ports == 4


def test_what_makes_no_twin_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no record at .*nothing"):
        Bench.open(f"twin:{tmp_path / 'nothing'}")
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"calibration.json cannot be read"):
        bench_of(str(folder))


def test_a_heater_that_the_record_does_not_accept_is_dead_in_the_twin(folder: Path) -> None:
    records = load_records(folder / "record.json")
    records.chip.quantities["heater_phase_offset"].accepted[5] = False
    records.save(folder / "record.json")
    with Bench.open(f"twin:{folder}") as bench:
        plant = bench.connections["plant"].plant  # type: ignore[attr-defined]
        assert np.flatnonzero(plant.truth.dead).tolist() == [5]


def test_training_begins_on_a_twin_and_goes_on_on_the_chip(folder: Path, tmp_path: Path) -> None:
    from hilonn.experiment import parse_experiment

    text = """
    [data]
    name = "digits"
    principal_components = 4
    [[layers]]
    type = "dense"
    outputs = 10
    [rule]
    name = "two_pass"
    [training]
    epochs = 1
    batch = 256
    """
    experiment = parse_experiment(text, name="small", folder=tmp_path, where="a test")
    first = train(experiment, f"twin:{folder}", tmp_path / "a", RunOptions())
    assert first["backend"] == "twin"
    second = train(
        experiment,
        str(tmp_path / "chip.toml"),
        tmp_path / "b",
        RunOptions(),
        begin_with=tmp_path / "a",
    )
    assert second["backend"] == "simulated"
    header = json.loads((tmp_path / "b" / "run.json").read_text())
    assert header["began_with_weights"] == first["weights_sha256"]
    assert second["test_accuracy"] > first["test_accuracy"] - 0.05
