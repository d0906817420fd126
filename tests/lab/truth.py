"""What is really on in an emulated lab, over time; and a run on it that something happens to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hilonn.bench import Bench
from hilonn.experiment import parse_experiment
from hilonn.runs import Run
from hilonn.simulators.emulators.dicon_switch import DiconBox
from hilonn.simulators.emulators.lab import Lab
from hilonn.simulators.emulators.red_pitaya import RedPitayaBox
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.training import Trainer
from hilonn.workflow import ask_heaters
from tests.lab import lab_4

LOOK = 5e-3
"""s between two looks at what is on."""
LONG = 30.0
"""s: a bound for hangs."""


class Truth:
    """Looks at the lab's boxes, past every wire. ``on()`` names those that give light, heat or volts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: list[tuple[float, frozenset[str]]] = []

    def on(self) -> frozenset[str]:
        found = set()
        for name, server in self.lab.servers.items():
            box = server.instrument
            if isinstance(box, SantecTslBox) and box._on:
                found.add(name)
            if isinstance(box, RedPitayaBox) and any(out.on for out in box.outputs.values()):
                found.add(name)
            if isinstance(box, DiconBox) and box.channel != 1:
                found.add(name)
        if (self.lab.rack.heaters != 0.0).any():
            found.add("q")
        return frozenset(found)

    def safe_at(self, since: float, but: str) -> float:
        """The first moment after ``since`` at which all but the box ``but`` were off; inf where there is none."""
        moments = (at for at, on in list(self.seen) if at >= since and not on - {but})
        return next(moments, float("inf"))

    def was_on(self, before: float, box: str) -> bool:
        return any(box in on for at, on in list(self.seen) if at < before)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK):
            self.seen.append((time.time(), self.on()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """AssertionError where it does not happen."""
    deadline = time.monotonic() + LONG
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(LOOK)


@dataclass
class Loss:
    """``begin`` takes a box away, ``end`` gives it back (None: it comes back by itself)."""

    box: str
    begin: Callable[[], None]
    end: Callable[[], None] | None = None
    began: float = 0.0
    noticed: float = 0.0
    safe: float = float("inf")

    def __str__(self) -> str:
        return (
            f"{self.box}: noticed {self.noticed - self.began:.3f} s after it happened, the others safe "
            f"{self.safe - self.noticed:.3f} s later"
        )


@dataclass
class Learning:
    """A run on the lab's bench in this process. ``accuracy`` after it ended; ``error`` that ended it."""

    lab: Lab
    bench: Path
    folder: Path
    epochs: int = 6
    seed: int = 0
    text: str = lab_4.XOR
    master: str = "rp1"
    asks_heaters: bool = False
    accuracy: float = 0.0
    error: BaseException | None = None
    trainer: Any = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        try:
            with Bench.open(self.bench, seed=self.seed) as bench:
                text = self.text.format(epochs=self.epochs)
                experiment = parse_experiment(text, name="test", folder=Path())
                data = experiment.load_data(None)
                network = experiment.network(data)
                self.trainer = Trainer(bench.chip(), network, experiment.rule, seed=self.seed)
                self.trainer.fit(
                    data.train,
                    epochs=self.epochs,
                    batch=experiment.file.training.batch,
                    out=self.folder,
                    checkpoint_seconds=0.5,
                    prepare=self._prepare if self.asks_heaters else None,
                )
                self.accuracy = self.trainer.evaluate(data.test).accuracy
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        finally:
            self.ended.set()

    def _prepare(self, run: Run) -> None:
        ask_heaters(self.trainer, self.trainer.bench, run)

    def events(self, kind: str) -> list[dict[str, Any]]:
        if not (self.folder / "events.jsonl").exists():
            return []
        return [e for e in Run.open(self.folder).events() if e["kind"] == kind]

    def played(self) -> int:
        master = self.lab.servers[self.master].instrument
        assert isinstance(master, RedPitayaBox)
        return master.played

    def wait_for_plays(self, count: int) -> None:
        """Until so many more plays have been started."""
        begun = self.played()
        wait_until(
            lambda: self.played() >= begun + count or self.ended.is_set(), f"{count} were played"
        )
        assert not self.ended.is_set(), f"it ended before: {self.error!r}"


@contextmanager
def running(learning: Learning) -> Iterator[Learning]:
    """Within: it runs, beside the test."""
    thread = threading.Thread(target=learning, daemon=True)
    thread.start()
    try:
        yield learning
        assert learning.ended.wait(4 * LONG), "the run neither ended nor failed"
    finally:
        for server in learning.lab.servers.values():
            server.wake()
        thread.join(4 * LONG)


def suffer(learning: Learning, truth: Truth, losses: list[Loss], plays: int = 30) -> None:
    """``losses`` one after another, each in the middle of training."""
    for loss in losses:
        learning.wait_for_plays(plays)
        wait_until(lambda: "santec" in truth.on(), "light is on")
        loss.began = time.time()

        def missed(since: float = loss.began) -> list[float]:
            # A busy machine may have lost a box before by itself, for a late answer.
            return [e["time"] for e in learning.events("lost") if e["time"] >= since]

        loss.begin()
        wait_until(lambda: bool(missed()), f"{loss.box} is missed")
        loss.noticed = missed()[0]
        wait_until(
            lambda lost=loss: truth.safe_at(lost.noticed, lost.box) < float("inf"),  # type: ignore[misc]
            f"all but {loss.box} are safe; on are {sorted(truth.on())}",
        )
        loss.safe = truth.safe_at(loss.noticed, loss.box)
        if loss.end is not None:
            loss.end()


def bench_with(lab: Lab, path: Path, safety: str, watched: bool = True) -> Path:
    """The lab's bench file with more lines in ``[safety]``."""
    lab.write_bench(path)
    more = safety + (lab_4.WATCHED if watched else "")
    path.write_text(path.read_text("utf-8").replace("# more of safety", more), "utf-8")
    return path
