"""Determinism, snapshots, journal and the order of verbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilonn.errors import DeviceError, ResumeError, StorageError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.journal import read_journal
from tests.simulators.benchtop import TIMING, Benchtop

ARCHITECTURES = ["svd_mesh", "unitary_mesh", "triangular_mesh", "crossbar"]
FAULTS = ("dead_detector:1@0.004s", "stuck_heater:3@0.05s", "lock_loss@0.08s")


def work(top: Benchtop, rounds: range) -> list[np.ndarray]:
    """A little of everything, some plays before the heaters have settled."""
    seen = []
    for k in rounds:
        rng = np.random.default_rng(k)
        top.heat(rng.uniform(0, 4, top.heaters.channels), [0.0, 3e-5, 1e-4, 0.03][k % 4])
        if k % 3 == 0:
            top.shutter.select(k % 2)
        top.detectors.set_range(9 - k % 3)
        seen.append(top.read(rng.uniform(-1, 1, (6, top.ports)), averages=1 + k % 2).signal)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_seeds_same_readings_other_seeds_others(architecture: str) -> None:
    def run(**seeds: int) -> np.ndarray:
        top = Benchtop(preset="typical", architecture=architecture, **seeds)  # type: ignore[arg-type]
        return np.concatenate(work(top, range(6)))

    first = run()
    np.testing.assert_array_equal(run(), first)
    assert (run(noise_seed=1) != first).any()
    assert abs(run(chip_seed=1) - first).max() > 1e-6


@pytest.mark.parametrize("start", [7, 14])  # before and after the later faults
@pytest.mark.parametrize("preset", ["typical", "harsh"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_restored_plant_goes_on_bit_for_bit(architecture: str, preset: str, start: int) -> None:
    def new() -> Benchtop:
        return Benchtop(preset=preset, architecture=architecture, faults=FAULTS)

    top = new()
    work(top, range(start))
    saved = through_a_file(top.plant.snapshot())
    expected = work(top, range(start, 20))
    other = new()
    work(other, range(3))  # somewhere else altogether
    other.plant.restore(saved)
    assert other.detectors.range == 9 - (start - 1) % 3
    for a, b in zip(work(other, range(start, 20)), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.plant.clock.now() == top.plant.clock.now()
    top.plant.restore(saved)  # backwards in time, and in place
    for a, b in zip(work(top, range(start, 20)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def through_a_file(state: Any) -> Any:
    """As a checkpoint does: arrays to bytes and back, the rest through JSON."""
    if isinstance(state, dict):
        return {key: through_a_file(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return np.frombuffer(state.tobytes(), state.dtype).reshape(state.shape)
    return json.loads(json.dumps(state))


def test_a_snapshot_is_not_moved_by_what_follows() -> None:
    top = Benchtop(preset="typical")
    work(top, range(3))
    saved = top.plant.snapshot()
    before = json.dumps(saved, default=lambda a: a.tolist())
    work(top, range(3, 8))
    assert json.dumps(saved, default=lambda a: a.tolist()) == before


def test_another_chips_snapshot_is_refused() -> None:
    saved = Benchtop(preset="typical").plant.snapshot()
    with pytest.raises(ResumeError, match="svd_mesh-4-0"):
        Benchtop(preset="typical", chip_seed=1).plant.restore(saved)
    with pytest.raises(ResumeError, match="another preset"):
        Benchtop(preset="harsh").plant.restore(saved)


def test_journal_shows_what_is_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    top = Benchtop(light=False)
    top.plant.keep_journal(path)
    top.laser.set_emission(True)
    for volts in (1.0, 0.5, 0.8):  # only the first is news
        top.heat(volts)
    top.heat(2.0)
    last = read_journal(path)[-1]
    assert last["emission"] is True
    assert last["heaters"] == 2.0
    top.laser.safe_state()
    top.heaters.safe_state()
    top.shutter.safe_state()
    top.plant.close()
    lines = read_journal(path)
    assert [line["heaters"] for line in lines] == [0, 0, 1.0, 2.0, 2.0, 0, 0]
    assert lines[-1]["emission"] is False
    assert lines[-1]["heaters"] == 0.0
    assert lines[-1]["heater_peak"] == 2.0
    assert lines[-1]["switch"] == 0
    assert lines[-1]["time"] == 4.0


def test_journal_is_appended_to_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for _ in range(2):
        plant = Plant("crossbar", 2, resolve("ideal"))
        plant.keep_journal(path)
        plant.close()
    with path.open("a") as file:
        file.write('{"time": 3')
    assert len(read_journal(path)) == 2


def test_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.*folder that exists"):
        Plant("crossbar", 2, resolve("ideal")).keep_journal(tmp_path / "nowhere" / "j")


def test_laser_trip_is_in_the_journal(tmp_path: Path) -> None:
    top = Benchtop(faults=("laser_trip@1s",))
    top.plant.keep_journal(tmp_path / "j")
    top.plant.clock.sleep(2.0)
    top.read(np.zeros((1, 4)))
    top.plant.close()
    assert [line["emission"] for line in read_journal(tmp_path / "j")] == [True, False]


def test_playing_moves_the_clock_on() -> None:
    top = Benchtop()
    top.read(np.zeros((20, 4)), averages=3)
    assert top.plant.clock.now() == pytest.approx(20 * 3 * 1e-5)
    top.modulators.play()  # nothing armed: light, and time, and no reading
    assert top.plant.clock.now() == pytest.approx(20 * 4 * 1e-5)


def test_verbs_out_of_order_are_refused() -> None:
    top = Benchtop()
    with pytest.raises(DeviceError, match="nothing is loaded"):
        top.modulators.play()
    top.modulators.load(np.zeros((3, 4)), TIMING)
    top.detectors.arm(2, 1, TIMING)
    with pytest.raises(DeviceError, match="armed for 2 samples and the modulators hold 3"):
        top.modulators.play()
    top.modulators.safe_state()
    with pytest.raises(DeviceError, match="nothing is loaded"):
        top.modulators.play()


def test_heaters_of_each_architecture() -> None:
    assert Benchtop(ports=16).heaters.channels == 529
    assert Benchtop(ports=16, architecture="unitary_mesh").heaters.channels == 257
    assert Benchtop(ports=16, architecture="crossbar").heaters.channels == 256


def test_devices_answer_with_the_chips_serial_number() -> None:
    top = Benchtop(chip_seed=7)
    boxes = (top.heaters, top.modulators, top.detectors, top.laser, top.shutter)
    assert {box.identity().serial for box in boxes} == {"svd_mesh-4-7"}
    assert all(box.nonblocking for box in boxes)
