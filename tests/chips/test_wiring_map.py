"""Wires that are where they should be, and wires that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.chips.wiring_map import WiringMap, map_wiring
from hilonn.errors import ConfigError

STRAIGHT = {
    "phase_shifters": 'phase_shifters = "heaters:0-527"',
    "modulators": 'modulators = "inputs"',
    "photodetectors": 'photodetectors = "meter"',
}
PRESET = 'preset = "typical"'


def mapped(tmp_path: Path, wires: dict[str, str] | None = None, preset: str = PRESET) -> WiringMap:
    text = registry.load("hilonn.benches", "simulated")()
    for role, straight in STRAIGHT.items():
        assert straight in text
        text = text.replace(straight, (wires or {}).get(role, straight))
    path = tmp_path / "bench.toml"
    path.write_text(text.replace(PRESET, preset))
    with Bench.open(path, seed=0) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        return map_wiring(chip)


def test_a_chip_that_is_wired_right(tmp_path: Path) -> None:
    found = mapped(tmp_path)
    assert found.good
    assert min(found.heaters.own) > 0.7


def test_swapped_and_dead_heaters_are_named(tmp_path: Path) -> None:
    wires = '["heaters:0-19", "heaters:300", "heaters:21-299", "heaters:20", "heaters:301-527"]'
    found = mapped(
        tmp_path,
        {"phase_shifters": f"phase_shifters = {wires}"},
        PRESET + '\nfaults = ["dead_heater:37", "dead_heater:411"]',
    )
    assert found.heaters.swapped == [(20, 300)]
    assert found.heaters.misplaced.tolist() == [20, 300]
    assert found.heaters.silent.tolist() == [37, 411]
    assert not len(found.heaters.strange)
    assert found.inputs.good
    assert found.detectors.good
    assert not found.good


def test_a_shifted_ribbon_is_seen(tmp_path: Path) -> None:
    """Eight channels, each one place too far."""
    shifted = ", ".join(f'"heaters:{100 + (k + 1) % 8}"' for k in range(8))
    wires = f'phase_shifters = ["heaters:0-99", {shifted}, "heaters:108-527"]'
    found = mapped(tmp_path, {"phase_shifters": wires}).heaters
    assert found.misplaced.tolist() == list(range(100, 108))
    assert [int(found.acts_as[100 + k]) for k in range(8)] == [100 + (k + 1) % 8 for k in range(8)]


def test_dead_detectors_are_named(tmp_path: Path) -> None:
    found = mapped(tmp_path, preset=PRESET + '\nfaults = ["dead_detector:3", "dead_detector:23"]')
    assert found.detectors.silent.tolist() == [3, 23]
    assert not len(found.heaters.misplaced)


def test_swapped_inputs_and_detectors_are_named_and_do_not_hide_a_heater(tmp_path: Path) -> None:
    wires = {
        "modulators": 'modulators = ["inputs:0-3", "inputs:5", "inputs:4", "inputs:6-15"]',
        "photodetectors": 'photodetectors = ["meter:0-1", "meter:18", "meter:3-17", "meter:2", "meter:19-31"]',
        "phase_shifters": 'phase_shifters = ["heaters:1", "heaters:0", "heaters:2-527"]',
    }
    found = mapped(tmp_path, wires)
    assert found.inputs.swapped == [(4, 5)]
    assert found.detectors.swapped == [(2, 18)]
    assert found.heaters.swapped == [(0, 1)]
    assert found.as_dict()["heaters"]["swapped"] == [[0, 1]]


def test_a_crossbar_has_no_forward_model() -> None:
    with Bench.open("simulated-crossbar", seed=0) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        with pytest.raises(ConfigError, match="forward model"):
            map_wiring(chip)
