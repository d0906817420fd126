"""Opening, wiring, lighting and saving a bench."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from hilonn import registry
from hilonn.bench import Bench
from hilonn.chips import Batch
from hilonn.clock import WallClock
from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, LimitError
from hilonn.registry import Driver
from hilonn.typing import FloatArray
from tests.exits.small_bench import (
    HEATERS,
    bench_file,
    controller_of,
    heaters_of,
    laser_of,
    plant_of,
    state,
)


class BoxOptions(BaseModel):
    """A fake box: how it behaves."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fault: str = ""


class Box(PhaseShifters):
    """Two heaters of 100 ohm on a wire that can fail."""

    made: list[Box]
    meeting: threading.Barrier

    def __init__(self, name: str, options: BoxOptions) -> None:
        super().__init__(name, 2, ChannelSpec("V", 0.0, 5.0, resistance=100.0))
        self.fault = options.fault
        self.drive: FloatArray = np.full(2, 2.0 if self.fault == "left on" else 0.0)
        self.calls: list[str] = []
        Box.made.append(self)

    def identity(self) -> Identity:
        if self.fault == "mute":
            raise DeviceError("no answer to *IDN?")
        return Identity("Lab", "Box", f"serial of {self.name}")

    def _open(self) -> None:
        self.calls.append("open")
        if self.fault == "absent":
            raise ConnectionLost(f"nothing answers where {self.name} should be")
        if self.fault == "meets":
            Box.meeting.wait()

    def _close(self) -> None:
        self.calls.append("close")

    def _write(self, drive: FloatArray) -> None:
        self.drive = drive.copy()
        if self.fault == "loses answers":
            raise ConnectionLost("written, but the answer was lost")

    def _read_back(self) -> FloatArray:
        return self.drive.copy()

    def _safe_state(self) -> None:
        self.calls.append("safe_state")
        self.drive = np.zeros(2)


def _build(name: str, options: Any, connection: object) -> Box:
    return Box(name, options)


@pytest.fixture(autouse=True)
def boxes() -> Iterator[list[Box]]:
    """The driver ``test_box``, and every box that a bench made."""
    Box.made = []
    Box.meeting = threading.Barrier(2, timeout=20)
    registry.register("hilonn.devices", "test_box", Driver(BoxOptions, _build))
    yield Box.made


def lab(folder: Path, devices: dict[str, str], rest: str = "") -> Path:
    """A bench of boxes; ``devices`` maps names to their lines."""
    sections = [
        f'[devices.{name}]\ndriver = "test_box"\n{lines}' for name, lines in devices.items()
    ]
    path = folder / "boxes.toml"
    path.write_text("\n".join(['backend = "hardware"', *sections, rest]), "utf-8")
    return path


# -- opening ----------------------------------------------------------------------------------------


def test_a_bench_without_a_plant_keeps_wall_time(tmp_path: Path) -> None:
    with Bench.open(lab(tmp_path, {"a": ""})) as bench:
        assert isinstance(bench.clock, WallClock)
        assert bench.backend == "hardware"
        assert bench.identities["a"].serial == "serial of a"
        assert not bench.exact_resume
        with pytest.raises(ConfigError, match="cannot be saved exactly"):
            bench.snapshot()
        with pytest.raises(ConfigError, match="no device 'b': bench boxes has a"):
            bench.device("b")
        with pytest.raises(ConfigError, match="no chips"):
            bench.chip()


def test_all_failures_at_open_come_in_one_tree(tmp_path: Path, boxes: list[Box]) -> None:
    path = lab(
        tmp_path,
        {
            "well": "",
            "gone": 'fault = "absent"',
            "mute": 'fault = "mute"',
            "swapped": 'identity.serial = "serial of another"',
            "lost": 'fault = "absent"',
        },
    )
    with pytest.raises(ConnectionLost) as caught:
        Bench.open(path)
    head, *branches = str(caught.value).splitlines()
    assert "4 of 5" in head
    assert len(branches) == 4
    for branch, words in zip(
        branches,
        (
            ("devices.gone", "ConnectionLost", "nothing answers where gone should be"),
            ("devices.lost", "ConnectionLost", "nothing answers where lost should be"),
            ("devices.mute", "DeviceError", "no answer to *IDN?"),
            ("devices.swapped", "'serial of another'", "'serial of swapped'"),
        ),
        strict=True,
    ):
        assert branch.startswith("  ")
        for word in words:
            assert word in branch
    calls = {box.name: box.calls for box in boxes}
    assert calls["well"][-2:] == ["safe_state", "close"], "what did open is made safe and closed"
    assert calls["gone"] == ["open"], "what did not open is left alone"
    Bench.open(lab(tmp_path, {"well": ""})).close()  # the lock was released


def test_boxes_that_block_open_side_by_side(tmp_path: Path) -> None:
    """Each waits in its ``open`` for the other."""
    path = lab(tmp_path, {"a": 'fault = "meets"', "b": 'fault = "meets"'})
    with Bench.open(path) as bench:
        assert len(bench.identities) == 2


def test_opening_changes_no_output(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        plant = plant_of(bench)
        assert not plant.emission
        assert not plant.heaters.drive.any()
        assert bench.gate.last(heaters_of(bench)) is None, "nothing is assumed of what is found"


def test_total_power_counts_every_bank(tmp_path: Path, boxes: list[Box]) -> None:
    path = lab(tmp_path, {"a": "", "b": ""}, "[safety]\ntotal_power = 0.1")
    with Bench.open(path) as bench:
        first, second = (bench.device(name) for name in "ab")
        assert isinstance(first, Box) and isinstance(second, Box)
        first.write(np.array([2.0, 2.0]))  # 80 mW
        with pytest.raises(LimitError, match="total_power"):
            second.write(np.array([1.2, 1.2]))  # 28.8 mW
        assert not second.drive.any()
        second.write(np.array([0.9, 0.9]))  # 16.2 mW
        second.safe_state()
        first.write(np.array([2.2, 2.2]))  # 96.8 mW, now that the other holds none


def test_total_power_counts_a_write_whose_answer_was_lost(tmp_path: Path, boxes: list[Box]) -> None:
    """The box may hold the new drive: the worse of the two is counted."""
    path = lab(tmp_path, {"a": "", "b": ""}, "[safety]\ntotal_power = 0.1")
    with Bench.open(path) as bench:
        first, second = (bench.device(name) for name in "ab")
        assert isinstance(first, Box) and isinstance(second, Box)
        first.write(np.zeros(2))
        first.fault = "loses answers"
        with pytest.raises(ConnectionLost):
            first.write(np.array([2.0, 2.0]))
        with pytest.raises(LimitError, match="total_power"):
            second.write(np.array([1.2, 1.2]))
        held = (first.drive**2).sum() / 100 + (second.drive**2).sum() / 100
        assert held <= 0.1
        first.fault = ""


def test_total_power_counts_what_was_found(tmp_path: Path, boxes: list[Box]) -> None:
    """An earlier process may have left heaters on."""
    devices = {"a": 'fault = "left on"', "b": ""}
    path = lab(tmp_path, devices, "[safety]\ntotal_power = 0.1")
    with Bench.open(path) as bench:
        first, second = (bench.device(name) for name in "ab")
        assert isinstance(first, Box) and isinstance(second, Box)
        np.testing.assert_array_equal(first.drive, 2.0)  # 80 mW, and opening changed nothing
        with pytest.raises(LimitError, match="total_power"):
            second.write(np.array([1.2, 1.2]))
        assert not second.drive.any()
        second.write(np.array([0.9, 0.9]))


def test_two_simulated_benches_side_by_side() -> None:
    with Bench.open("ideal") as first, Bench.open("ideal") as second:
        first.light_on()
        assert laser_of(first).emission()
        assert not laser_of(second).emission()


def test_seeds_reach_the_plant(tmp_path: Path) -> None:
    path = bench_file(tmp_path)
    with Bench.open(path, seed=3, chip_seed=4) as bench:
        assert plant_of(bench).chip_seed == 4
        assert bench.identities["laser"].serial.endswith("-4")


def test_swapped_wires_swap_what_the_chip_drives(tmp_path: Path) -> None:
    plain, crossed = tmp_path / "plain", tmp_path / "crossed"
    plain.mkdir()
    crossed.mkdir()
    wires = {
        plain: 'phase_shifters = "heaters:0-35"',
        crossed: 'phase_shifters = ["heaters:7", "heaters:1-6", "heaters:0", "heaters:8-35"]',
    }
    drives = {}
    for folder, line in wires.items():
        with Bench.open(bench_file(folder, {"chips.mesh.wiring": line}), seed=0) as bench:
            chip = bench.chip()
            bench.light_on()
            (settings,) = chip.compile(np.eye(4)[None], [None])
            chip.run(settings, Batch(np.eye(4), "homodyne", range=9))
            drives[folder] = heaters_of(bench).read_back()
    order = np.arange(HEATERS)
    order[[0, 7]] = order[[7, 0]]
    assert drives[plain].max() > 0.1
    assert drives[plain][0] != drives[plain][7]
    np.testing.assert_array_equal(drives[crossed], drives[plain][order])


# -- light ------------------------------------------------------------------------------------------


def test_light_waits_for_the_temperature(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        controller_of(bench).set_setpoint(30.0)
        assert not controller_of(bench).stable()
        bench.light_on()
        assert controller_of(bench).stable()
        assert laser_of(bench).emission()
        assert bench.clock.now() > 5.0


def test_light_stays_off_where_the_temperature_never_settles(tmp_path: Path) -> None:
    steps = ", ".join(f'"temperature_step=5@{5 * k}s"' for k in range(200))
    path = bench_file(tmp_path, {"connections.plant": f"faults = [{steps}]"})
    with Bench.open(path) as bench:
        with pytest.raises(DeviceError, match=r"temperature did not settle.*light stays off"):
            bench.light_on()
        assert not plant_of(bench).emission


def test_light_comes_back_after_a_trip_only_when_asked_anew(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"connections.plant": 'faults = ["laser_trip@2.0s"]'})
    with Bench.open(path) as bench:
        bench.light_on()
        bench.clock.wait_until(3.0)
        assert not laser_of(bench).emission()
        with pytest.raises(LimitError, match="tripped"):
            bench.light_on()
        assert not laser_of(bench).emission()
        bench.safe_state()
        bench.light_on()
        assert laser_of(bench).emission()


# -- closing, saving ----------------------------------------------------------------------------------


def test_safe_state_and_closing_twice(tmp_path: Path) -> None:
    bench = Bench.open(bench_file(tmp_path))
    bench.light_on()
    heaters_of(bench).write(np.full(HEATERS, 2.0))
    generation = bench.gate.generation
    bench.safe_state()
    plant = plant_of(bench)
    assert (plant.emission, plant.switch, plant.pattern) == (False, 0, None)
    assert not plant.heaters.drive.any()
    assert bench.gate.generation > generation, "whoever believed the chip programmed is told"
    bench.light_on()
    bench.close()
    bench.close()
    assert not plant.emission


def test_the_file_may_order_how_a_bench_is_made_safe(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"safety": 'order = ["heaters", "laser"]'})
    bench = Bench.open(path)
    bench.light_on()
    heaters_of(bench).write(np.full(HEATERS, 2.0))
    plant = plant_of(bench)
    written: list[bool] = []
    write = plant.write_heaters

    def noted(drive: FloatArray) -> None:
        written.append(plant.emission)
        write(drive)

    plant.write_heaters = noted  # type: ignore[method-assign]
    bench.close()
    assert written and all(written), "the heaters are down before the laser is off"
    assert not plant.emission


def test_snapshot_restores_gate_light_and_plant(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        bench.light_on()
        heaters_of(bench).write(np.full(HEATERS, 2.0))
        saved, before = bench.snapshot(), state(bench)
        bench.clock.sleep(1.0)
        heaters_of(bench).write(np.full(HEATERS, 1.0))
        bench.safe_state()
        assert state(bench) != before
        bench.restore(saved)
        assert state(bench) == before
        assert laser_of(bench).emission()
