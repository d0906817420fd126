"""The heater test finds what is dead, and only that, by what a user could do."""

from __future__ import annotations

from pathlib import Path
from tomllib import loads

import numpy as np
import pytest
import tomli_w

from hilonn.bench import Bench
from hilonn.bench_file import read_source
from hilonn.chips import HeaterChip, check_heaters
from hilonn.errors import SaturationError
from hilonn.simulators.connection import PlantConnection


def silent_on(bench: Bench, seed: int = 0) -> list[int]:
    bench.light_on()
    chip = bench.chip()
    assert isinstance(chip, HeaterChip)
    return check_heaters(chip, seed).silent.tolist()


@pytest.mark.parametrize("chip_seed", [0, 1])
def test_the_dead_heaters_of_a_harsh_chip_are_found(chip_seed: int) -> None:
    with Bench.open("simulated-harsh", seed=0, chip_seed=chip_seed) as bench:
        plant = bench.connections["plant"]
        assert isinstance(plant, PlantConnection)
        dead = np.flatnonzero(plant.plant.truth.dead[:528])
        assert len(dead) == 3
        assert silent_on(bench) == dead.tolist()


@pytest.mark.slow
def test_what_is_dead_is_not_taken_for_alive() -> None:
    """Drift and chance stay below the threshold: six chips of which three heaters are dead, asked four times, the last ones with
    many averages, when drift is largest beside noise and noise is known from the fewest readings."""
    for seed in range(6):
        with Bench.open("simulated-harsh", seed=seed, chip_seed=seed % 2) as bench:
            plant = bench.connections["plant"]
            assert isinstance(plant, PlantConnection)
            dead = np.flatnonzero(plant.plant.truth.dead[:528])
            bench.light_on()
            chip = bench.chip()
            assert isinstance(chip, HeaterChip)
            tested = check_heaters(chip, seed)
            assert set(dead) <= set(tested.silent.tolist())


@pytest.mark.parametrize("name", ["simulated", "simulated-crossbar"])
def test_a_healthy_chip_has_none(name: str) -> None:
    with Bench.open(name, seed=1, chip_seed=4) as bench:
        assert silent_on(bench) == []


def test_heaters_that_die_are_found(tmp_path: Path) -> None:
    text = loads(read_source("simulated").text)
    text["connections"]["plant"]["faults"] = ["dead_heater:37", "dead_heater:211"]
    path = tmp_path / "bench.toml"
    path.write_text(tomli_w.dumps(text))
    with Bench.open(path, seed=0) as bench:
        assert silent_on(bench) == [37, 211]


def test_detectors_that_saturate_at_any_light_are_told(tmp_path: Path) -> None:
    text = loads(read_source("simulated").text)
    text["connections"]["plant"]["faults"] = ["saturated_detector:3"]
    path = tmp_path / "bench.toml"
    path.write_text(tomli_w.dumps(text))
    with Bench.open(path, seed=0) as bench, pytest.raises(SaturationError, match="meter"):
        silent_on(bench)
