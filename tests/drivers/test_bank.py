"""A bank over several boxes: channels in order, members' limits, one power."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.devices import ChannelSpec, Identity, PhaseShifters, device
from hilonn.drivers.bank import (
    BankOfModulators,
    BankOfPhaseShifters,
    BankOfPhotodetectors,
)
from hilonn.drivers.options import Options
from hilonn.errors import ConfigError, DeviceError, LimitError, SafeStateTaken
from hilonn.registry import Driver, register
from hilonn.simulators import Plant, resolve
from hilonn.simulators.devices import (
    SimulatedModulators,
    SimulatedPhaseShifters,
    SimulatedPhotodetectors,
)
from hilonn.testing import ActuatorsContract, ModulatorsContract, PhotodetectorsContract
from hilonn.typing import FloatArray


class TestPhaseShifters(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[BankOfPhaseShifters]:
        members = [
            SimulatedPhaseShifters(f"h{k}", Plant("svd_mesh", 2, resolve("typical")))
            for k in range(2)
        ]
        with members[0], members[1], BankOfPhaseShifters("heaters", members) as opened:
            yield opened


class TestModulators(ModulatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[BankOfModulators]:
        members = [
            SimulatedModulators(f"m{k}", Plant("svd_mesh", 2, resolve("typical"))) for k in range(2)
        ]
        with members[0], members[1], BankOfModulators("inputs", members, "m0") as opened:
            yield opened


class TestPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[BankOfPhotodetectors]:
        members = [
            SimulatedPhotodetectors(f"d{k}", Plant("svd_mesh", 2, resolve("typical")))
            for k in range(2)
        ]
        with members[0], members[1], BankOfPhotodetectors("meter", members) as opened:
            yield opened


class Box(PhaseShifters):
    """Two channels that keep what is written."""

    def __init__(self, name: str, high: float = 5.0, broken: bool = False) -> None:
        super().__init__(name, 2, ChannelSpec("V", 0.0, high, resistance=100.0))
        self.held: FloatArray = np.zeros(2)
        self.broken = broken
        self.stuck_on = False
        self.answers = threading.Event()
        self.answers.set()
        self.entered = threading.Event()
        self.made_safe = threading.Event()

    def identity(self) -> Identity:
        return Identity("lab", "box", self.name)

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        if self.broken:
            raise DeviceError(f"{self.name} is broken")
        self.entered.set()
        self.answers.wait()
        self.held = drive

    def _read_back(self) -> FloatArray:
        return self.held

    def _safe_state(self) -> None:
        if self.stuck_on:
            raise DeviceError(f"{self.name} is broken")
        self.answers.wait()
        self.held = np.zeros(2)
        self.made_safe.set()


BENCH = """
backend = "lab"
[devices.a]
driver = "box"
limits = {{ high = 3.0 }}
[devices.b]
driver = "box"
[devices.heaters]
driver = "bank"
members = {members}
{more}
[safety]
total_power = 0.5
"""


@pytest.fixture(autouse=True)
def boxes() -> None:
    register("hilonn.devices", "box", Driver(Options, lambda name, options, connection: Box(name)))


def opened(tmp_path: Path, members: str = '["b", "a"]', more: str = "") -> Bench:
    path = tmp_path / "bench.toml"
    path.write_text(BENCH.format(members=members, more=more))
    return Bench.open(path)


def test_channels_follow_the_members_as_they_are_named(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        heaters = bench.device("heaters")
        assert isinstance(heaters, PhaseShifters)
        heaters.write(np.array([4.0, 3.5, 1.0, 0.5]))
        np.testing.assert_array_equal(bench.device("b").held, [4.0, 3.5])  # type: ignore[attr-defined]
        np.testing.assert_array_equal(bench.device("a").held, [1.0, 0.5])  # type: ignore[attr-defined]
        assert bench.gate.power == pytest.approx((16 + 12.25 + 1 + 0.25) / 100)
        assert str(heaters.identity().serial) == "b a"


def test_a_members_limit_and_the_total_power_hold_behind_the_bank(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        heaters = bench.device("heaters")
        assert isinstance(heaters, PhaseShifters)
        with pytest.raises(LimitError, match=r"a\.write: 3.5 V on channel 1"):
            heaters.write(np.array([0.0, 0.0, 1.0, 3.5]))
        with pytest.raises(LimitError, match="all heaters together"):
            heaters.write(np.array([5.0, 5.0, 1.0, 1.0]))
        bench.safe_state()
        np.testing.assert_array_equal(heaters.read_back(), 0.0)


def test_power_may_move_from_one_box_to_another_and_is_added_up_over_all(tmp_path: Path) -> None:
    """0.44 W here, 0.18 W there: each within 0.5 W, both at once beyond it."""
    here, there = np.array([5.0, 4.4, 0.0, 0.0]), np.array([0.0, 0.0, 3.0, 3.0])
    with opened(tmp_path) as bench:
        heaters = bench.device("heaters")
        assert isinstance(heaters, PhaseShifters)
        for _ in range(10):
            heaters.write(here)
            heaters.write(there)
        with pytest.raises(LimitError, match=r"all heaters together would take 0\.6"):
            heaters.write(here + there)
        np.testing.assert_array_equal(heaters.read_back(), there)


def test_a_box_that_measures_below_zero_is_made_safe(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        box = bench.device("a")
        assert isinstance(box, Box)
        box.held = np.array([-1e-3, 4.0])  # as found, and beyond what the bench allows
        bench.safe_state()
        np.testing.assert_array_equal(box.held, 0.0)


def test_a_member_that_hangs_keeps_no_other_from_its_safe_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "LONGEST_TURN", 0.02)
    hung, well = Box("hung"), Box("well")
    with hung, well, BankOfPhaseShifters("heaters", [hung, well]) as bank:
        bank.write(np.ones(4))
        hung.entered.clear()
        hung.answers.clear()
        well.made_safe.clear()
        late = []

        def call(verb: Callable[[], None]) -> None:
            try:
                verb()
            except (DeviceError, SafeStateTaken) as error:
                late.append(error)

        threads = [
            threading.Thread(target=call, args=(verb,))
            for verb in (lambda: bank.write(np.full(4, 2.0)), bank.safe_state)
        ]
        try:
            threads[0].start()
            assert hung.entered.wait(10.0)
            threads[1].start()
            assert well.made_safe.wait(10.0)
            np.testing.assert_array_equal(well.held, 0.0)
            assert hung.held.any()  # its safe state is still in the wire
        finally:
            hung.answers.set()
            for thread in threads:
                thread.join(10.0)
        np.testing.assert_array_equal(hung.held, 0.0)
        assert late


@pytest.mark.parametrize("nonblocking", [False, True])
def test_broken_members_are_all_told_and_keep_no_other_from_its_safe_state(
    nonblocking: bool,
) -> None:
    boxes = [Box("a"), Box("b"), Box("c")]
    for box in boxes:
        box.nonblocking = nonblocking
    with boxes[2], BankOfPhaseShifters("heaters", boxes) as bank:
        bank.write(np.ones(6))
        boxes[0].stuck_on = boxes[1].stuck_on = True
        with pytest.raises(DeviceError, match=r"a is broken\nb is broken"):
            bank.safe_state()
        np.testing.assert_array_equal(boxes[2].held, 0.0)
        boxes[0].stuck_on = boxes[1].stuck_on = False


def test_limits_of_the_bank_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given to its members"):
        opened(tmp_path, more="limits = { high = 1.0 }")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ('["a", "nobody"]', "nobody"),
        ('["a", "a"]', "twice"),
        ("[]", "members"),
        ('["heaters"]', "no bank itself"),
    ],
)
def test_senseless_members_are_refused(tmp_path: Path, members: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        opened(tmp_path, members)


def test_a_failing_member_is_told_and_the_others_are_waited_for() -> None:
    members = [Box("good"), Box("bad", broken=True)]
    with members[0], BankOfPhaseShifters("heaters", members) as bank:
        with pytest.raises(DeviceError, match="bad is broken"):
            bank.write(np.ones(4))
        np.testing.assert_array_equal(members[0].held, 1.0)


def test_unlike_members_are_refused() -> None:
    one = SimulatedPhotodetectors("d", Plant("svd_mesh", 2, resolve("typical")))
    other = SimulatedPhotodetectors("e", Plant("svd_mesh", 2, resolve("harsh")))
    with pytest.raises(ConfigError, match="ranges"):
        BankOfPhotodetectors("meter", [one, other])
    with pytest.raises(ConfigError, match="is no member"):
        BankOfModulators(
            "inputs", [SimulatedModulators("m", Plant("svd_mesh", 2, resolve("typical")))], "n"
        )
