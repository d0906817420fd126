"""Any one box is lost in the middle of training: the others are safe within a second, and learning stops or goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilonn.bench import Bench
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout, HilonnError, InterlockError
from hilonn.runs import Run
from hilonn.simulators.emulators.lab import Lab
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.simulators.emulators.server import TcpServer
from tests.lab import lab_4
from tests.lab.truth import Learning, Loss, Truth, bench_with, running, suffer, wait_until

WAIT = 'on_connection_lost = "wait"\non_interlock = "wait"\npatience = 60.0\n'
STOP = ""
TIME = 1.0
"""s in which the others have to be safe."""
WELL = 0.95
"""Accuracy on xor that every seed reaches undisturbed."""
NEVER_ASKED = {"shutter"}
"""A box to which nobody talks while all of a network is read one way: that it hangs shows when it is next needed."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_4.build() as running:
        yield running


@pytest.fixture
def truth(lab: Lab) -> Iterator[Truth]:
    with Truth(lab) as watching:
        yield watching


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """No worker is left behind."""
    yield
    wait_until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith("hilonn ")],
        "the bench's threads are gone",
    )


def server(lab: Lab, box: str) -> TcpServer:
    found = lab.servers[box]
    assert isinstance(found, TcpServer)
    return found


def loss_of(lab: Lab, box: str, kind: str) -> Loss:
    """``dropped``: the connection breaks. ``off``: the box goes off, and comes back as after power-on. ``hung``: it
    answers nothing, and its connection stays."""
    own = server(lab, box)
    if kind == "dropped":
        return Loss(box, own.drop)
    if kind == "off":
        return Loss(box, own.switch_off, own.switch_on)
    return Loss(box, own.hang, own.wake)


def in_time(loss: Loss) -> bool:
    print(loss)
    return loss.safe - loss.noticed < TIME


@pytest.mark.parametrize("kind", ["dropped", "off", "hung"])
def test_every_box_is_waited_for_and_learning_goes_on(
    lab: Lab, truth: Truth, tmp_path: Path, kind: str
) -> None:
    bench = bench_with(lab, tmp_path / "bench.toml", WAIT)
    boxes = [b for b in lab_4.BOXES if kind != "hung" or b not in NEVER_ASKED]
    losses = [loss_of(lab, box, kind) for box in boxes]
    with running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, losses)
    assert learning.error is None
    assert [loss for loss in losses if not in_time(loss)] == []
    assert len(learning.events("back")) >= len(losses)
    assert learning.accuracy >= WELL
    assert not truth.on(), "and all is off at the end"


@pytest.mark.parametrize("kind", ["dropped", "off", "hung"])
@pytest.mark.parametrize("box", lab_4.BOXES)
def test_every_box_stops_the_run_with_the_rest_safe(
    lab: Lab, truth: Truth, tmp_path: Path, box: str, kind: str
) -> None:
    if kind == "hung" and box in NEVER_ASKED:
        pytest.skip("nobody asks it anything")
    bench = bench_with(lab, tmp_path / "bench.toml", STOP)
    loss = loss_of(lab, box, kind)
    with running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss], plays=10)
    if kind == "off":
        server(lab, box)  # it is on again: suffer() has seen to it
    assert in_time(loss)
    assert isinstance(learning.error, (ConnectionLost, DeviceTimeout, DeviceError))
    assert not isinstance(learning.error, InterlockError)
    assert learning.error.exit_code == 1
    run = Run.open(learning.folder)
    assert run.load_checkpoint()["weights"], "the checkpoint is whole"
    assert run.events()[-1]["kind"] == "lost"


def open_and_close(lab: Lab) -> Loss:
    laser = lab.servers["santec"].instrument
    assert isinstance(laser, SantecTslBox)
    return Loss("", laser.open_interlock, laser.close_interlock)


def disturbed(lab: Lab) -> Loss:
    controller = lab.servers["tec"].instrument
    assert isinstance(controller, MeerstetterBox)
    return Loss("", lambda: controller.disturb(1.5))


@pytest.mark.parametrize("event", [open_and_close, disturbed])
def test_an_interlock_is_waited_out_if_the_bench_file_says_so(
    lab: Lab, truth: Truth, tmp_path: Path, event: object
) -> None:
    bench = bench_with(lab, tmp_path / "bench.toml", WAIT)
    loss = event(lab)  # type: ignore[operator]
    with running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss])
    assert learning.error is None
    assert in_time(loss)
    assert learning.accuracy >= WELL


@pytest.mark.parametrize("event", [open_and_close, disturbed])
def test_an_interlock_stops_the_run(lab: Lab, truth: Truth, tmp_path: Path, event: object) -> None:
    bench = bench_with(lab, tmp_path / "bench.toml", 'on_connection_lost = "wait"')
    loss = event(lab)  # type: ignore[operator]
    with running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss])
    assert in_time(loss)
    assert isinstance(learning.error, InterlockError)
    assert learning.error.exit_code == 3
    with Bench.open(bench) as again:
        again.light_on()
        assert "santec" in truth.on()


def test_nothing_is_learned_in_the_dark(lab: Lab, truth: Truth, tmp_path: Path) -> None:
    """Steps taken between the laser's trip and its being noticed are taken back."""
    bench = bench_with(lab, tmp_path / "bench.toml", WAIT)
    loss = open_and_close(lab)
    with running(Learning(lab, bench, tmp_path / "run", epochs=4)) as learning:
        learning.wait_for_plays(60)
        suffer(learning, truth, [loss], plays=1)
    assert learning.error is None
    losses = [e["loss"] for e in learning.events("epoch")]
    assert all(value < 0.4 for value in losses), "no epoch's loss has darkness in it"


def test_a_loss_while_heaters_are_asked_is_waited_for_too(
    lab: Lab, truth: Truth, tmp_path: Path
) -> None:
    bench = bench_with(lab, tmp_path / "bench.toml", WAIT)
    learning = Learning(lab, bench, tmp_path / "run", epochs=1, asks_heaters=True)
    with running(learning):
        suffer(learning, truth, [loss_of(lab, "meter0", "off")], plays=5)
    assert learning.error is None
    kinds = [e["kind"] for e in Run.open(learning.folder).events()]
    assert kinds[:3] == ["lost", "back", "heaters"], "it was lost before the first step"


def test_heat_is_off_in_time_on_a_slow_wire(tmp_path: Path) -> None:
    """With the boxes' own times; every write of a chain takes as long as it takes on a serial line."""
    with lab_4.build(latency=True) as slow, Truth(slow) as truth:
        bench = bench_with(slow, tmp_path / "bench.toml", STOP)
        loss = loss_of(slow, "meter0", "dropped")
        with running(Learning(slow, bench, tmp_path / "run")) as learning:
            suffer(learning, truth, [loss], plays=5)
    assert in_time(loss)
    assert isinstance(learning.error, ConnectionLost)


def test_patience_ends(lab: Lab, truth: Truth, tmp_path: Path) -> None:
    bench = bench_with(
        lab, tmp_path / "bench.toml", 'on_connection_lost = "wait"\npatience = 1.0\n'
    )
    loss = loss_of(lab, "meter0", "off")
    back, loss.end = loss.end, None
    with running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss])
    assert back is not None
    back()
    assert isinstance(learning.error, ConnectionLost)
    assert "waited 1 s; then" in str(learning.error)
    assert not truth.on()


def test_another_box_in_its_place_is_refused(lab: Lab, truth: Truth, tmp_path: Path) -> None:
    bench = bench_with(
        lab, tmp_path / "bench.toml", 'on_connection_lost = "wait"\npatience = 2.0\n'
    )
    own = server(lab, "meter0")
    known = own.instrument.identity  # type: ignore[attr-defined]

    def exchanged() -> None:
        own.instrument.identity = "Keysight,N7745A,MY00000000,1"  # type: ignore[attr-defined]
        own.drop()

    try:
        with running(Learning(lab, bench, tmp_path / "run")) as learning:
            suffer(learning, truth, [Loss("meter0", exchanged)])
    finally:
        own.instrument.identity = known  # type: ignore[attr-defined]
    assert isinstance(learning.error, HilonnError)
    assert "answers now" in str(learning.error)
    assert not truth.on()


def test_a_laser_comes_back_at_the_power_that_it_had(
    lab: Lab, truth: Truth, tmp_path: Path
) -> None:
    bench = bench_with(lab, tmp_path / "bench.toml", WAIT)
    laser = lab.servers["santec"].instrument
    assert isinstance(laser, SantecTslBox)
    laser.power = 8e-3
    with running(Learning(lab, bench, tmp_path / "run", epochs=4)) as learning:
        suffer(learning, truth, [loss_of(lab, "santec", "off")])
    assert learning.error is None
    assert laser.power == pytest.approx(8e-3)
    laser.power = 10e-3
