"""Wires that are where they should be, and wires that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.chips.wiring_map import WiringMap, map_wiring
from hilonn.errors import ConfigError

STRAIGHT = 'phase_shifters = "heaters:0-527"'
PRESET = 'preset = "typical"'


def mapped(tmp_path: Path, wires: str = STRAIGHT, preset: str = PRESET) -> WiringMap:
    text = registry.load("hilonn.benches", "simulated")()
    assert STRAIGHT in text
    path = tmp_path / "bench.toml"
    path.write_text(text.replace(STRAIGHT, wires).replace(PRESET, preset))
    with Bench.open(path, seed=0) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        return map_wiring(chip)


def test_a_chip_that_is_wired_right(tmp_path: Path) -> None:
    found = mapped(tmp_path)
    assert found.good
    assert sorted(found.own)[10] > 0.8


def test_swapped_and_dead_heaters_are_named(tmp_path: Path) -> None:
    wires = 'phase_shifters = ["heaters:0-19", "heaters:300", "heaters:21-299", "heaters:20", "heaters:301-527"]'
    found = mapped(tmp_path, wires, PRESET + '\nfaults = ["dead_heater:37", "dead_heater:411"]')
    assert found.swapped == [(20, 300)]
    assert found.misplaced.tolist() == [20, 300]
    assert found.silent.tolist() == [37, 411]
    assert not len(found.dark_inputs)
    assert not len(found.dark_outputs)
    assert not found.good


def test_a_shifted_ribbon_is_seen(tmp_path: Path) -> None:
    """Eight channels, each one place too far."""
    shifted = ", ".join(f'"heaters:{100 + (k + 1) % 8}"' for k in range(8))
    wires = f'phase_shifters = ["heaters:0-99", {shifted}, "heaters:108-527"]'
    found = mapped(tmp_path, wires)
    assert len(set(found.misplaced.tolist()) & set(range(100, 108))) >= 7
    assert set(found.misplaced.tolist()) <= set(range(100, 108))


def test_a_dead_detector_and_a_dark_input_are_named(tmp_path: Path) -> None:
    found = mapped(tmp_path, preset=PRESET + '\nfaults = ["dead_detector:3", "dead_detector:19"]')
    assert found.dark_outputs.tolist() == [3]


def test_a_crossbar_has_no_forward_model() -> None:
    with Bench.open("simulated-crossbar", seed=0) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        with pytest.raises(ConfigError, match="forward model"):
            map_wiring(chip)
