"""One verb of a device at a time, and none after a safe state that was planned before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.clock import VirtualClock
from hilonn.devices import ChannelSpec, Identity, PhaseShifters, device
from hilonn.drivers.bank import BankOfPhaseShifters
from hilonn.errors import DeviceError, DeviceTimeout, HilonnError, LimitError, SafeStateTaken
from hilonn.safety import SafetyGate
from hilonn.training import Progress, Trainer
from hilonn.typing import FloatArray
from tests.core.test_training import NETWORK, RULE, centred_xor
from tests.exits.small_bench import bench_file, heaters_of, laser_of, modulators_of, plant_of

LONG = 20.0


class Heaters(PhaseShifters):
    """Two channels; ``wire`` is what was sent, in order; ``busy`` is called with a write in the wire."""

    def __init__(self, name: str = "heaters") -> None:
        super().__init__(name, 2, ChannelSpec("V", 0.0, 10.0))
        self.wire: list[float] = []
        self.busy: Callable[[], None] = lambda: None

    def identity(self) -> Identity:
        return Identity("maker", "heaters", "1")

    def _open(self) -> None: ...

    def _close(self) -> None: ...

    def _write(self, drive: FloatArray) -> None:
        self.busy()
        self.wire.append(float(drive[0]))

    def _read_back(self) -> FloatArray:
        return np.full(2, self.wire[-1] if self.wire else 0.0)

    def _safe_state(self) -> None:
        self.wire.append(0.0)


class Done:
    """``work`` in a thread of its own, and what it raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: BaseException | None = None

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def join(self) -> BaseException | None:
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self.error


def guarded(*boxes: Heaters) -> SafetyGate:
    gate = SafetyGate(VirtualClock())
    for box in boxes:
        gate.guard(box)
    return gate


def volts(value: float) -> FloatArray:
    return np.full(2, value)


def in_the_wire(box: Heaters) -> tuple[threading.Event, threading.Event]:
    """Set once a write is in the wire; it ends when the other is set."""
    begun, go = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        assert go.wait(LONG)

    box.busy = busy
    return begun, go


@pytest.mark.parametrize("on_a_bench", [True, False])
def test_what_was_planned_before_a_safe_state_is_refused_in_any_thread(on_a_bench: bool) -> None:
    box = Heaters()
    if on_a_bench:
        guarded(box)
    plans = box.gate.plans
    with plans.made():
        plan = plans.current
        box.write(volts(1.0))
        Done(box.safe_state).join()
        with pytest.raises(SafeStateTaken, match=r"heaters\.write.*nothing was written"):
            box.write(volts(2.0))

    def late() -> None:
        with plans.made(plan):
            box.write(volts(3.0))

    assert isinstance(Done(late).join(), SafeStateTaken)
    assert box.wire == [1.0, 0.0]
    box.write(volts(4.0))  # planned anew
    assert box.wire == [1.0, 0.0, 4.0]


def test_what_is_in_the_wire_ends_before_the_zeros_are_sent() -> None:
    box = Heaters()
    gate = guarded(box)
    begun, go = in_the_wire(box)
    writing = Done(lambda: box.write(volts(5.0)))
    assert begun.wait(LONG)
    called_off = threading.Event()
    call_off = gate.plans.call_off

    def noted() -> None:
        call_off()
        called_off.set()

    gate.plans.call_off = noted  # type: ignore[method-assign]
    making = Done(box.safe_state)
    assert called_off.wait(LONG)
    assert box.wire == []
    go.set()
    assert writing.join() is None
    assert making.join() is None
    assert box.wire == [5.0, 0.0]
    assert gate.last(box) is not None
    np.testing.assert_array_equal(gate.last(box), np.zeros(2))


def test_a_write_that_hangs_is_gone_past_told_and_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "LONGEST_TURN", 0.02)
    box = Heaters()
    gate = guarded(box)
    begun, go = in_the_wire(box)
    writing = Done(lambda: box.write(volts(5.0)))
    assert begun.wait(LONG)
    with pytest.raises(DeviceTimeout, match="another thread"):
        gate.lower(box)
    with pytest.raises(DeviceError, match="beside a verb that had not ended"):
        box.safe_state()
    assert box.wire == [0.0]
    generation = gate.generation
    go.set()
    late = writing.join()
    assert isinstance(late, SafeStateTaken)
    assert "switched off again" in str(late)
    assert box.wire == [0.0, 5.0, 0.0]
    assert gate.generation > generation
    assert gate.last(box) is None
    box.busy = lambda: None
    box.write(volts(1.0))
    assert box.wire[-1] == 1.0


def test_a_hung_write_that_fails_is_taken_back_and_keeps_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "LONGEST_TURN", 0.02)
    box = Heaters()
    begun, go = threading.Event(), threading.Event()

    def fails() -> None:
        begun.set()
        assert go.wait(LONG)
        raise DeviceTimeout("no answer")

    box.busy = fails
    writing = Done(lambda: box.write(volts(5.0)))
    assert begun.wait(LONG)
    with pytest.raises(DeviceError, match="beside"):
        box.safe_state()
    go.set()
    assert isinstance(writing.join(), DeviceTimeout)
    assert box.wire == [0.0, 0.0]


def test_a_bank_hands_its_plan_to_its_members() -> None:
    first, second = Heaters("first"), Heaters("second")
    gate = guarded(first, second)
    bank = BankOfPhaseShifters("bank", [first, second])
    gate.guard(bank)
    bank.open()
    safe = threading.Event()

    def made_safe_meanwhile() -> None:
        gate.plans.call_off()
        safe.set()

    first.busy = made_safe_meanwhile
    with second.turn():  # the second member comes later
        writing = Done(lambda: bank.write(np.full(4, 2.0)))
        assert safe.wait(LONG)
    assert isinstance(writing.join(), SafeStateTaken)
    assert first.wire == [2.0]  # it was in the wire
    assert second.wire == []
    first.busy = lambda: None
    bank.write(np.full(4, 3.0))
    assert second.wire == [3.0]
    bank.close()


def test_taking_light_away_needs_no_plan(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        bench.light_on()
        laser = laser_of(bench)
        with bench.gate.plans.made():
            bench.gate.plans.call_off()
            with pytest.raises(SafeStateTaken):
                laser.set_power(1e-4)
            laser.set_emission(False)
            with pytest.raises(SafeStateTaken):
                laser.set_emission(True)
            with pytest.raises(SafeStateTaken):
                modulators_of(bench).play()
            with bench.gate.making_safe():
                heaters_of(bench).write(np.zeros(heaters_of(bench).channels))
        assert not plant_of(bench).emission


def test_a_pass_ends_at_a_safe_state_of_another_thread(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        found = chip.compile(np.eye(4)[None], [None])[0]
        with chip._programmed(found, {}) as finish:
            finish()
            assert Done(bench.safe_state).join() is None
            with pytest.raises(SafeStateTaken, match="play"):
                modulators_of(bench).play()
        assert not plant_of(bench).heaters.target.any()


def test_training_does_not_go_past_a_safe_state_of_another_thread(tmp_path: Path) -> None:
    seen: list[int] = []
    with Bench.open(bench_file(tmp_path)) as bench:

        def stop(progress: Progress) -> None:
            if progress.kind == "step":
                seen.append(progress.step)
                if len(seen) == 2:
                    assert Done(bench.safe_state).join() is None

        train, _, _ = centred_xor()
        trainer = Trainer(bench.chip(), NETWORK, RULE, on_progress=stop)
        with pytest.raises(SafeStateTaken, match="nothing was written"):
            trainer.fit(train, epochs=2, batch=20)
        assert len(seen) == 2
        assert not plant_of(bench).emission
        assert not plant_of(bench).heaters.target.any()
        trainer.fit(train, epochs=1, batch=20)  # somebody asked for it anew
        assert plant_of(bench).emission


def test_light_stays_off_where_a_safe_state_comes_while_it_is_waited_for(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        stable = iter([False, True])
        controller = next(d for d in bench.devices.values() if hasattr(d, "stable"))
        controller.stable = lambda: next(stable, True)

        def meanwhile() -> None:
            Done(bench.safe_state).join()

        with pytest.raises(SafeStateTaken, match="set_emission"):
            bench.light_on(meanwhile)
        assert not plant_of(bench).emission
        bench.light_on()
        assert plant_of(bench).emission


@given(
    st.lists(st.tuples(st.sampled_from(["plan", "write", "safe"]), st.integers(0, 2)), max_size=30)
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_in_whatever_order_a_write_is_done_only_by_a_plan_that_holds(
    acts: list[tuple[str, int]],
) -> None:
    box = Heaters()
    plans = guarded(box).plans
    made, holds, expected = [plans.current] * 3, [True] * 3, 0.0
    for act, k in acts:
        if act == "plan":
            made[k], holds[k] = plans.current, True
        elif act == "safe":
            box.safe_state()
            holds, expected = [False] * 3, 0.0
        else:
            try:
                with plans.made(made[k]):
                    box.write(volts(1.0 + k))
                assert holds[k]
                expected = 1.0 + k
            except SafeStateTaken:
                assert not holds[k]
        assert (box.wire or [0.0])[-1] == expected


def test_after_many_races_the_last_word_is_zero() -> None:
    box = Heaters()
    plans = guarded(box).plans
    together = threading.Barrier(3)

    def write() -> None:
        with plans.made():
            together.wait(LONG)
            for _ in range(5):
                box.write(volts(1.0))

    for _ in range(50):
        writers = [Done(write), Done(write)]
        together.wait(LONG)
        box.safe_state()
        assert all(isinstance(w.join(), SafeStateTaken | None) for w in writers)
        assert box.wire[-1] == 0.0


def test_a_device_tells_who_it_is_when_it_cannot_be_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "LONGEST_TURN", 0.02)

    class Stubborn(Heaters):
        def _safe_state(self) -> None:
            raise DeviceError("it does not answer")

    box = Stubborn()
    begun, go = in_the_wire(box)
    writing = Done(lambda: box.write(volts(5.0)))
    assert begun.wait(LONG)
    with pytest.raises(HilonnError, match="does not answer"):
        box.safe_state()
    go.set()
    late = writing.join()
    assert isinstance(late, SafeStateTaken)
    assert "heaters may not be safe: it does not answer" in str(late)


def test_a_write_that_ends_after_it_was_gone_past_leaves_zeros_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "LONGEST_TURN", 0.02)
    monkeypatch.setattr(device, "TURNS_AFTER", 1000)
    box = Heaters()
    gate = guarded(box)
    begun, go = in_the_wire(box)
    writing = Done(lambda: box.write(volts(5.0)))
    assert begun.wait(LONG)
    zeros = box._safe_state

    def passed() -> None:
        zeros()
        go.set()  # only once the safe state has gone past the write

    monkeypatch.setattr(box, "_safe_state", passed)
    box.safe_state()
    assert isinstance(writing.join(), SafeStateTaken)
    assert box.wire[-1] == 0.0 and 5.0 in box.wire
    assert gate.last(box) is not None


@pytest.mark.parametrize("way", ["ramp", "bring"])
def test_the_steps_of_a_ramp_are_of_one_plan(way: str) -> None:
    box = Heaters()
    gate = SafetyGate(VirtualClock())
    gate.guard(box, {"slew_rate": 1.0})
    box.busy = lambda: box.gate.plans.call_off() if len(box.wire) == 2 else None
    with pytest.raises(SafeStateTaken):
        getattr(gate, way)(box, volts(8.0))
    assert len(box.wire) == 3, "the one in the wire was the last"


def test_nothing_is_planned_while_a_safe_state_is_under_way() -> None:
    box = Heaters()
    gate = guarded(box)
    with gate.plans.none_made():
        with pytest.raises(SafeStateTaken, match="nothing was written"):
            box.write(volts(1.0))
        box.safe_state()
    box.write(volts(1.0))
    assert box.wire == [0.0, 1.0]


def test_light_stays_off_after_a_safe_state_in_the_dark(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        bench.light_on()
        with pytest.raises(SafeStateTaken), bench.darkness():
            Done(bench.safe_state).join()
        assert not laser_of(bench).emission()
        bench.light_on()
        assert laser_of(bench).emission()


def test_what_a_bank_asked_for_is_counted_before_it_is_written() -> None:
    """Two banks ask one after the other, and neither has been written yet: together they would be too hot."""
    gate = SafetyGate(VirtualClock(), total_power=10.0)
    boxes = [Heaters(name) for name in ("a", "b", "c", "d")]
    for box in boxes:
        gate.guard(box, {"resistance": 10.0})
    banks = [
        BankOfPhaseShifters("left", boxes[:2]),
        BankOfPhaseShifters("right", boxes[2:]),
    ]
    gate.admit_together(banks[0], np.full(4, 4.0))  # 6.4 W
    with pytest.raises(LimitError, match="all heaters together"):
        gate.admit_together(banks[1], np.full(4, 4.0))
