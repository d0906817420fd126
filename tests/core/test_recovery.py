"""Making safe side by side, interlocks that hold after a recovery, and waiting that ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.clock import VirtualClock
from hilonn.devices import ChannelSpec, Device, Identity, PhaseShifters
from hilonn.errors import (
    ConnectionLost,
    DeviceError,
    DeviceTimeout,
    InterlockError,
    Interrupted,
    LimitError,
    NotSafe,
    SafeStateTaken,
    tell_too,
)
from hilonn.recovery import pause
from hilonn.safe_order import make_safe, stages
from hilonn.safety import RAMP_SECONDS, Interlock, MembersGate, SafetyGate
from hilonn.typing import FloatArray
from hilonn.workers import Worker
from tests.exits.small_bench import (
    bench_file,
    controller_of,
    heaters_of,
    laser_of,
    modulators_of,
    plant_of,
)

LONG = 20.0


class Box(Device):
    """Made safe by calling ``act``."""

    def __init__(self, name: str, act: Callable[[], None] = lambda: None) -> None:
        super().__init__(name)
        self._act = act
        self.is_open = True

    def identity(self) -> Identity:
        return Identity("maker", "box", self.name)

    def _open(self) -> None: ...

    def _close(self) -> None: ...

    def _safe_state(self) -> None:
        self._act()


class Slow(PhaseShifters):
    """A write takes ``seconds`` on the clock."""

    def __init__(self, clock: VirtualClock, seconds: float, slew: float = np.inf) -> None:
        super().__init__("slow", 2, ChannelSpec("V", 0.0, 10.0, slew_rate=slew))
        self.clock, self.seconds, self.writes = clock, seconds, 0
        self.held: FloatArray = np.zeros(2)

    def identity(self) -> Identity:
        return Identity("maker", "slow", "1")

    def _open(self) -> None: ...

    def _close(self) -> None: ...

    def _write(self, drive: FloatArray) -> None:
        self.clock.sleep(self.seconds)
        self.held, self.writes = drive, self.writes + 1

    def _read_back(self) -> FloatArray:
        return self.held

    def _safe_state(self) -> None:
        self._write(np.zeros(2))


def steps(device: Device) -> list[Callable[[], None]]:
    return [device.safe_state]


def test_a_box_that_hangs_holds_up_none_of_the_others() -> None:
    answers, others_safe = threading.Event(), threading.Event()
    hung = Box("laser", lambda: (answers.wait(LONG), None)[1])
    later = Box("heaters", others_safe.set)
    workers = {d.name: Worker(d.name) for d in (hung, later)}

    def answer() -> None:
        assert others_safe.wait(LONG)
        answers.set()

    helper = threading.Thread(target=answer)
    helper.start()
    assert make_safe([[hung], [later]], steps, lambda d: workers[d.name], LONG) == []
    assert others_safe.is_set()
    helper.join()
    for worker in workers.values():
        worker.end()


def test_order_is_kept_where_boxes_answer_and_every_failure_is_told() -> None:
    done: list[str] = []

    def fails() -> None:
        done.append("b")
        raise DeviceError("b is broken")

    boxes = [
        Box("a", lambda: done.append("a")),
        Box("b", fails),
        Box("c", lambda: done.append("c")),
    ]
    workers = {"a": Worker("a"), "b": Worker("b")}
    failures = make_safe([[box] for box in boxes], steps, lambda d: workers.get(d.name), LONG)
    assert done == ["a", "b", "c"]
    assert [str(f) for f in failures] == ["b is broken"]
    for worker in workers.values():
        worker.end()


def test_stages_follow_the_file_then_light_then_the_rest(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:

        def names(order: list[str]) -> list[list[str]]:
            return [[d.name for d in stage] for stage in stages(bench.devices, order)]

        told = names(["laser", "inputs", "heaters"])
        assert told[:3] == [["laser"], ["inputs"], ["heaters"]]
        assert sorted(n for stage in told for n in stage) == sorted(bench.devices)
        assert names([])[:2] == [["laser"], ["inputs"]]


def test_a_bank_in_the_order_stands_for_its_members() -> None:
    first, second, other = Box("in0"), Box("in1"), Box("meter")
    bank = Box("inputs")
    bank.members = (first, second)
    devices: dict[str, Device] = {d.name: d for d in (other, first, second, bank)}
    staged = stages(devices, ["inputs"])
    assert [[d.name for d in stage] for stage in staged] == [["in0", "in1"], ["meter"]]


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 20), (0.04, 8), (0.1, 3), (0.2, 0), (2.0, 0)])
def test_a_ramp_is_bounded_whatever_the_wire(seconds: float, most: int) -> None:
    clock = VirtualClock()
    gate = SafetyGate(clock)
    box = Slow(clock, seconds)
    gate.guard(box)
    box.write(np.full(2, 8.0))
    begun, box.writes = clock.now(), 0
    gate.lower(box)
    assert box.writes <= most
    assert clock.now() - begun <= RAMP_SECONDS + seconds
    if most:
        assert not box.held.any()


def test_a_slew_rate_is_kept_on_any_wire() -> None:
    clock = VirtualClock()
    gate = SafetyGate(clock)
    box = Slow(clock, 0.3, slew=10.0)
    gate.guard(box)
    gate.ramp(box, np.full(2, 8.0))
    begun = clock.now()
    gate.lower(box)
    assert clock.now() - begun >= 0.8
    assert not box.held.any()


def watched(
    value: list[float], lit: list[bool], every: float = 0.0
) -> tuple[SafetyGate, list[int]]:
    gate = SafetyGate(VirtualClock())
    trips: list[int] = []
    gate.on_trip = lambda: trips.append(1)
    gate.watch(
        Interlock("x", lambda: value[0], 0.0, 10.0, 2.0, 8.0, every=every, active=lambda: lit[0])
    )
    return gate, trips


def test_an_interlock_of_a_laser_rests_while_it_is_dark() -> None:
    value, lit = [-1.0], [False]
    gate, trips = watched(value, lit)
    gate.check_interlocks(anew=True)
    assert gate.seen == np.inf
    lit[0] = True
    with pytest.raises(InterlockError, match="tripped"):
        gate.check_interlocks()
    assert trips == [1]
    lit[0] = False
    gate.check_interlocks()
    assert gate.seen == np.inf


def test_what_is_due_soon_is_looked_at_ahead() -> None:
    value, lit = [5.0], [True]
    gate, trips = watched(value, lit, every=1.0)
    clock, reads = gate._clock, []
    gate.watch(Interlock("y", lambda: reads.append(1) or 0.0, every=1.0))  # type: ignore[func-returns-value]
    gate.check_interlocks()
    for seconds, count in ((0.4, 1), (0.2, 2), (0.45, 2), (0.1, 3)):
        clock.sleep(seconds)
        gate.look_ahead()
        assert len(reads) == count
        gate.check_interlocks()  # nothing is left for it
        assert len(reads) == count
    value[0] = 11.0
    clock.sleep(0.6)
    with pytest.raises(InterlockError):
        gate.look_ahead()
    assert trips == [1]


def test_threads_side_by_side_ask_a_silent_box_once() -> None:
    """It takes its timeout once, not once a thread; the next that asks does ask."""
    gate = SafetyGate(VirtualClock())
    asked, second_waits, reads = threading.Event(), threading.Event(), []

    def read() -> float:
        reads.append(1)
        asked.set()
        assert second_waits.wait(LONG)
        raise DeviceTimeout("the controller does not answer")

    gate.watch(Interlock("x", read))
    found: list[BaseException] = []

    def ask() -> None:
        try:
            gate.check_interlocks()
        except DeviceTimeout as error:
            found.append(error)

    class Noticing:
        """The gate's lock, which tells when a second thread comes for it."""

        def __init__(self) -> None:
            self.lock, self.came = threading.RLock(), 0

        def __enter__(self) -> None:
            self.came += 1
            if self.came == 2:
                second_waits.set()
            self.lock.acquire()

        def __exit__(self, *error: object) -> None:
            self.lock.release()

    gate._reading = Noticing()  # type: ignore[assignment]
    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    assert asked.wait(LONG)
    threads[1].start()
    for thread in threads:
        thread.join(LONG)
    assert [str(e) for e in found] == ["the controller does not answer"] * 2
    assert reads == [1]
    ask()
    assert reads == [1, 1]


def test_a_trip_is_not_forgotten_in_the_dark() -> None:
    """Only light can tell whether it lets go: it stays off until somebody says so, and trips again where it is no better."""
    value, lit = [11.0], [True]
    gate, trips = watched(value, lit)

    def dark() -> None:
        trips.append(1)
        lit[0] = False

    gate.on_trip = dark
    with pytest.raises(InterlockError, match=r"is outside 0 \.\. 10"):
        gate.check_interlocks()
    gate.check_interlocks()  # it rests in the dark
    for _ in range(2):
        with pytest.raises(InterlockError, match=r"x has tripped.*look_again"):
            gate.ask_light()
    gate.look_again()
    gate.ask_light()
    lit[0], value[0] = True, 9.0  # better, but not within the levels at which it lets go
    with pytest.raises(InterlockError, match="not within the levels"):
        gate.check_interlocks()
    assert trips == [1, 1]
    assert not lit[0]
    with pytest.raises(InterlockError, match="light stays off"):
        gate.ask_light()
    gate.look_again()
    lit[0], value[0] = True, 5.0
    gate.check_interlocks()
    lit[0] = False
    gate.ask_light()


def test_a_bench_keeps_dark_after_a_trip_of_its_laser(tmp_path: Path) -> None:
    tail = '[[safety.interlocks]]\ndevice = "laser"\nquantity = "power"\nlow = 1e-6\n'
    with Bench.open(bench_file(tmp_path, tail=tail)) as bench:
        bench.light_on()
        laser = laser_of(bench)
        power = laser.power()
        laser.set_power(0.0)
        with pytest.raises(InterlockError, match="tripped"):
            heaters_of(bench).write(np.zeros(heaters_of(bench).channels))
        assert not laser.emission()
        with bench.gate.making_safe():
            laser.set_power(power)
        with pytest.raises(InterlockError, match="light stays off"):
            bench.light_on()
        assert not plant_of(bench).emission
        bench.gate.look_again()
        bench.light_on()
        assert plant_of(bench).emission


def test_what_tripped_lets_go_within_its_levels_only_also_after_a_recovery() -> None:
    value, lit = [11.0], [True]
    gate, _ = watched(value, lit, every=60.0)
    with pytest.raises(InterlockError, match=r"is outside 0 \.\. 10"):
        gate.check_interlocks()
    gate.look_again()
    value[0] = 9.0
    with pytest.raises(InterlockError, match=r"not yet within 2 \.\. 8"):
        gate.check_interlocks()
    value[0] = 5.0
    gate.check_interlocks()
    value[0] = 11.0
    gate.check_interlocks()  # within `every`
    with pytest.raises(InterlockError):
        gate.check_interlocks(anew=True)


def test_a_trip_says_what_could_not_be_made_safe() -> None:
    value, lit = [11.0], [True]
    gate, _ = watched(value, lit)

    def unsafe() -> None:
        raise DeviceError("the laser does not answer")

    gate.on_trip = unsafe
    with pytest.raises(InterlockError, match="the laser does not answer"):
        gate.check_interlocks()


def test_only_the_thread_that_makes_safe_passes_a_tripped_interlock(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        heaters = heaters_of(bench)
        high = [False]
        bench.gate.watch(Interlock("x", lambda: float(high[0]), 0.0, 0.5, 0.0, 0.5))
        bench.light_on()
        high[0] = True
        found: list[Any] = []

        def other() -> None:
            try:
                heaters.write(np.full(heaters.channels, 1.0))
            except LimitError as error:
                found.append(error)

        with bench.gate.making_safe():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(LONG)
            heaters.write(np.zeros(heaters.channels))
        assert isinstance(found[0], InterlockError)
        assert not plant_of(bench).heaters.target.any()


def test_a_bank_asks_interlocks_once_before_its_members_work(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        reads: list[int] = []

        def read() -> float:
            reads.append(1)
            return 0.0

        bench.gate.watch(Interlock("x", read))
        gate, member = MembersGate(bench.gate), modulators_of(bench)
        gate.ask(member, "play", np.zeros(0))
        assert len(reads) == 1
        with gate.passed(gate.plans.current):
            bench.gate.ask(member, "play", np.zeros(0))
        assert len(reads) == 1
        bench.gate.ask(member, "play", np.zeros(0))
        assert len(reads) == 2


def test_a_trip_is_waited_out_on_a_simulated_bench(tmp_path: Path) -> None:
    """An interlock on the laser's light: off, made safe, on again as the file says."""
    tail = ""
    path = bench_file(tmp_path, {"safety": 'on_interlock = "wait"'}, tail)
    with Bench.open(path) as bench:
        bench.light_on()
        told: list[str] = []
        bench.recover(InterlockError("the door was open"), told.append)
        assert told == ["up to 3600 s: the door was open\nLight is off"]
        assert laser_of(bench).emission()
        with pytest.raises(ConnectionLost, match="gone"):
            bench.recover(ConnectionLost("gone"))


def test_patience_and_a_wish_to_stop_end_the_waiting(tmp_path: Path) -> None:
    lines = {"safety": 'on_connection_lost = "wait"\npatience = 3.0'}
    with Bench.open(bench_file(tmp_path, lines)) as bench:
        bench.light_on()

        def never() -> None:
            raise DeviceError("it is still broken")

        bench.light_on = lambda asked=None: never()  # type: ignore[method-assign]
        with pytest.raises(ConnectionLost, match=r"(?s)gone.*waited 3 s; then: it is still broken"):
            bench.recover(ConnectionLost("gone"))
        calls: list[int] = []

        def asked() -> None:
            calls.append(1)
            if len(calls) > 3:
                raise Interrupted

        with pytest.raises(Interrupted):
            bench.recover(ConnectionLost("gone"), asked=asked)
        assert not plant_of(bench).emission


def test_by_hand_is_asked_for_only_where_light_may_be_on(tmp_path: Path) -> None:
    lines = {"safety": 'on_connection_lost = "wait"\npatience = 60.0'}
    with Bench.open(bench_file(tmp_path, lines)) as bench:
        told: list[str] = []
        safe, laser = bench.safe_state, laser_of(bench)

        def unsafe() -> None:
            safe()
            raise NotSafe("lab", ["q was lost\nmore", "q was lost"])

        def gone() -> bool:
            raise ConnectionLost("the laser is gone")

        bench.safe_state = unsafe  # type: ignore[method-assign]
        bench.recover(ConnectionLost("q hung up\nand more"), told.append)
        lost, emission = "up to 60 s: q hung up\n", laser.emission
        assert told == [f"{lost}Light is off; may not be safe until it is back: q was lost"]
        bench.safe_state, laser.emission = safe, gone  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            bench.recover(ConnectionLost("q hung up"), told.append, stop)
        assert told[1] == f"{lost}Light may be on: switch {laser.name} off by hand"
        laser.emission = emission  # type: ignore[method-assign]


def stop() -> None:
    raise Interrupted


def test_light_that_has_to_wait_does_not_outlast_patience(tmp_path: Path) -> None:
    lines = {"safety": 'on_connection_lost = "wait"\npatience = 30.0'}
    with Bench.open(bench_file(tmp_path, lines)) as bench:
        bench.light_on()
        controller = controller_of(bench)
        controller.stable = lambda: False  # type: ignore[method-assign]
        begun = bench.clock.now()
        with pytest.raises(ConnectionLost, match=r"(?s)gone.*waited 30 s; then: a temperature"):
            bench.recover(ConnectionLost("gone"))
        assert bench.clock.now() - begun < 40.0
        assert not plant_of(bench).emission


def test_a_safe_state_of_another_thread_ends_the_waiting(tmp_path: Path) -> None:
    lines = {"safety": 'on_connection_lost = "wait"'}
    with Bench.open(bench_file(tmp_path, lines)) as bench:
        controller = controller_of(bench)

        def stable() -> bool:
            thread = threading.Thread(target=bench.safe_state)
            thread.start()
            thread.join(LONG)
            return True

        controller.stable = stable  # type: ignore[method-assign]
        with pytest.raises(SafeStateTaken):
            bench.recover(ConnectionLost("gone"))
        assert not plant_of(bench).emission


def test_a_safe_state_that_somebody_takes_between_two_looks_ends_the_waiting(
    tmp_path: Path,
) -> None:
    lines = {"safety": 'on_connection_lost = "wait"'}
    with Bench.open(bench_file(tmp_path, lines)) as bench:
        taken: list[int] = []

        def asked() -> None:
            if not taken:
                taken.append(1)
                thread = threading.Thread(target=bench.safe_state)
                thread.start()
                thread.join(LONG)

        with pytest.raises(SafeStateTaken, match="stays dark"):
            bench.recover(ConnectionLost("gone"), asked=asked)
        assert not plant_of(bench).emission


def test_what_kept_a_bench_from_opening_is_told_before_what_closing_it_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are told: the reason first, and that something may be on."""

    def no_identity(bench: Bench) -> None:
        raise DeviceError("another box answers")

    def unsafe(bench: Bench) -> None:
        raise NotSafe("bench", ["laser does not answer"])

    monkeypatch.setattr(Bench, "_check_boxes", no_identity)
    monkeypatch.setattr(Bench, "_let_go", unsafe)
    with pytest.raises(
        DeviceError, match=r"(?s)^another box answers.*laser does not answer"
    ) as told:
        Bench.open(bench_file(tmp_path))
    assert not isinstance(told.value, NotSafe)


def test_a_safe_state_that_never_ends_is_told(tmp_path: Path) -> None:
    answers = threading.Event()
    hung, other = Box("laser", lambda: (answers.wait(LONG), None)[1]), Box("heaters")
    workers = {d.name: Worker(d.name) for d in (hung, other)}
    failures = make_safe([[hung], [other]], steps, lambda d: workers[d.name], 0.01)
    assert [type(f) for f in failures] == [DeviceTimeout]
    assert "laser is not through" in str(failures[0])
    answers.set()
    for worker in workers.values():
        worker.end()
    with Bench.open(bench_file(tmp_path, {"devices.heaters": "limits.slew_rate = 0.1"})) as bench:
        assert bench._longest_safe_state() >= 65.0  # 6.5 V at 0.1 V/s is no hanging
        behind = len(bench._behind("plant"))
        assert behind > 1
        bench.gate.lowering = lambda device: 100.0  # type: ignore[method-assign]
        assert bench._longest_safe_state() >= 100.0 * behind  # one wire: one after another


def test_closing_tells_every_failure_and_closes_all(tmp_path: Path) -> None:
    bench = Bench.open(bench_file(tmp_path))
    closed: list[str] = []
    for name, device in bench.devices.items():

        def close(name: str = name) -> None:
            closed.append(name)
            if name in ("laser", "heaters"):
                raise OSError(f"{name} sticks")

        device.close = close  # type: ignore[method-assign]
    laser_of(bench)._safe_state = lambda: broken()  # type: ignore[method-assign]

    def broken() -> None:
        raise DeviceError("the laser does not answer")

    with pytest.raises(
        DeviceError,
        match=r"(?s)did not close whole.*does not answer.*heaters: OSError: heaters sticks",
    ) as caught:
        bench.close()
    assert "devices.laser: OSError: laser sticks" in str(caught.value)
    assert closed == list(bench.devices)
    bench.close()  # twice


def test_pauses_are_cut_into_slices() -> None:
    clock, asked = VirtualClock(), []
    pause(clock, 1.0, lambda: asked.append(clock.now()))
    assert clock.now() == pytest.approx(1.0)
    assert len(asked) >= 6


def test_errors_keep_their_kind_when_more_is_told() -> None:
    error = ConnectionLost("the meter is gone")
    tell_too(error, "and the laser could not be switched off")
    assert str(error) == "the meter is gone\nand the laser could not be switched off"
    nothing = Interrupted()
    tell_too(nothing, "x")
    assert str(nothing) == "x"


def test_a_worker_hands_on_what_was_raised_and_ends() -> None:
    worker = Worker("w")

    def fails() -> None:
        raise DeviceError("it is broken")

    task = worker.give(fails)
    with pytest.raises(DeviceError, match="it is broken"):
        task.wait(LONG)
    assert worker.give(lambda: None).wait(LONG)
    worker.end()
    assert not [t for t in threading.enumerate() if t.name == "w"]
