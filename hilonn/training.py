"""The controller: epochs of steps, evaluation, checkpoints, and how a run stops and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hilonn.bench import Bench
from hilonn.chips import MatrixChip
from hilonn.datasets import Split
from hilonn.errors import (
    ConfigError,
    ConnectionLost,
    DeviceError,
    DeviceTimeout,
    HilonnError,
    InterlockError,
    ResumeError,
)
from hilonn.errors import Interrupted as Interrupted  # raised by what is here
from hilonn.monitors import Watched
from hilonn.network import Network
from hilonn.passes import (
    Keep,
    PairRetake,
    PassLog,
    PassRequest,
    PassRunner,
    Programmed,
    Trace,
    Weights,
)
from hilonn.records import Records
from hilonn.rules import NoiseReading, Rule, StepResult, TrainingBatch
from hilonn.runs import (
    Run,
    environment,
    generator_state,
    hilonn_version,
    restore_generator,
    weights_sha256,
)
from hilonn.typing import BoolArray, FloatArray, IntArray, Snapshot

WORSE = 0.1
"""An epoch whose training loss exceeds the best one's by this share of the first step's is taken
back."""
SLOWER = 0.5
"""What an epoch taken back leaves of every rate."""
NOISE_SAMPLES = 64
"""Samples, or a batch if that is more, whose readings are repeated once an epoch."""
LOOK_STEPS = 100
"""Steps between two glances at the chip's temperature and power, besides one at every epoch's begin."""
RETAKES = 20
"""How often one step's pair may be retaken before the run stops: gains and ranges only grow."""
LOST = (ConnectionLost, DeviceTimeout, DeviceError, InterlockError)
"""What a bench may wait out."""
TRIES = 3
"""How often the same step, epoch's begin or evaluation is begun anew after a loss; then its error is raised."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a data set gave on the chip. ``confusion[i, j]``: label i read as j."""

    accuracy: float
    loss: float
    confusion: IntArray
    predictions: IntArray
    seconds: float

    @property
    def samples(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a display may show; handed to the callback after steps, epochs and evaluations.

    ``metrics`` of this step, or of the epoch that ended; ``running``: loss and accuracy of the epoch
    so far; ``status``: ``Bench.status`` as last read; ``spent``: wall seconds by what the
    runner waited for; ``may_stop``: patience may end the run before ``epochs``.
    """

    kind: str
    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: dict[str, float]
    running: dict[str, float] = field(default_factory=dict)
    status: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    passes: int = 0
    retakes: int = 0
    chip_seconds: float = 0.0
    may_stop: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how to train. ``patience`` epochs without a better validation accuracy stop
    the run and keep the best weights; None trains to the end and keeps the last.
    ``checkpoint_seconds`` of wall time between checkpoints inside an epoch; one is written at
    every epoch's end too. ``evaluate_every`` epochs between validations."""

    epochs: int
    batch: int
    patience: int | None = None
    checkpoint_seconds: float = 30.0
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training: {name} must be at least 1, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"training: patience must be at least 1, got {self.patience}")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What learning may come back to: weights, the rule's state, and how the tiles were programmed."""

    weights: Weights
    rule: Snapshot
    programmed: tuple[Programmed, ...]

    def pack(self) -> Snapshot:
        """For a checkpoint."""
        return {
            "weights": list(self.weights),
            "rule": self.rule,
            "programmed": [p.pack(w) for p, w in zip(self.programmed, self.weights, strict=True)],
        }

    def unprogrammed(self) -> _Kept:
        """The same, its tiles' settings no more than where to look for new ones."""
        return replace(
            self, programmed=tuple(Programmed(None, p.settings) for p in self.programmed)
        )

    @classmethod
    def unpack(cls, saved: Snapshot | None) -> _Kept | None:
        """The inverse of ``pack``."""
        if saved is None:
            return None
        weights = _weights(saved["weights"])
        programmed = tuple(
            Programmed.unpack(p, w) for p, w in zip(saved["programmed"], weights, strict=True)
        )
        return cls(weights, saved["rule"], programmed)


@dataclass(slots=True)
class _State:
    """Everything that a step changes, besides runner and bench: what a checkpoint holds."""

    def unprogram(self) -> None:
        """The chip has a new record: settings of what may be come back to are no more than where to look for new ones."""
        good = self.good
        self.good = None if good is None else good.unprogrammed()
        if self.began is good:
            self.began = self.good
        elif self.began is not None:
            self.began = self.began.unprogrammed()

    weights: Weights
    rule: Snapshot
    order: np.random.Generator
    permutation: IntArray
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = -1
    best_weights: Weights = ()
    pace: float = 1.0
    good_loss: float = np.inf
    good: _Kept | None = None
    first_loss: float = np.inf
    began: _Kept | None = None
    noise: tuple[float, ...] = ()
    stopped: bool = False
    prepared: bool = False
    wall_seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    status: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Trusted:
    """A state of learning, and when (s on the bench's clock) it was reached. Trusted once every interlock was looked at
    later and found good: light may have gone while nobody looked, and what was learned since is of darkness."""

    at: float
    state: _State
    programmed: tuple[Programmed, ...]

    def unprogram(self) -> None:
        """As ``_State.unprogram``."""
        self.programmed = tuple(Programmed(None, p.settings) for p in self.programmed)
        self.state.unprogram()


class Trainer:
    """Trains ``network`` with ``rule`` on ``chip``; the same code for a lab's chip and a plant."""

    def __init__(
        self,
        chip: MatrixChip,
        network: Network,
        rule: Rule,
        *,
        seed: int = 0,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.chip = chip
        self.network = network
        self._asked = self.rule = rule
        self.seed = seed
        self._on_progress = on_progress
        weights_seed, feedback_seed, order_seed = np.random.SeedSequence(seed).spawn(3)
        weights = network.initial_weights(np.random.default_rng(weights_seed))
        rule_state = rule.initial_state(network, np.random.default_rng(feedback_seed))
        self.runner = PassRunner(chip, network.place(chip))
        self._state = _State(
            weights,
            rule_state,
            np.random.default_rng(order_seed),
            np.zeros(0, dtype=int),
        )
        self._origin = chip.clock.now()
        self.on_wait: Callable[[str], None] = lambda text: None
        """Told what a bench waits for that has lost a box, and for how long."""
        self.on_back: Callable[[float], None] = lambda seconds: None
        """Told after how many s all was back."""
        self.monitors: dict[str, Watched] = {} if self.bench is None else self.bench.monitors(chip)
        """What watches the chip between steps, by its name in the bench file."""
        self._new_records: Records | None = None
        self._run: Run | None = None
        self._waits = False  # whether what is lost is waited for, as the bench file says
        self._interruptions: _Interruptions | None = None
        self._trusted: _Trusted | None = None
        self._fresh: _Trusted | None = None
        self._farthest = (-1, -1)
        self._losses = 0
        self._plan: int | None = None
        self.spread: tuple[float, ...] = ()
        """Standard deviation of every layer's activations where their noise was last measured."""

    @property
    def noise(self) -> tuple[float, ...]:
        """rms scatter of a reading of every layer's activations, measured once an epoch."""
        return self._state.noise

    @property
    def bench(self) -> Bench | None:
        """The bench that the chip was opened by, if any."""
        return self.chip.bench if isinstance(self.chip.bench, Bench) else None

    @property
    def weights(self) -> Weights:
        return self._state.weights

    @property
    def weights_sha256(self) -> str:
        return weights_sha256(list(self._state.weights))

    @property
    def wall_seconds(self) -> float:
        """Seconds of wall time spent in training (before an interruption too)."""
        return self._state.wall_seconds

    def chip_seconds(self) -> float:
        """Seconds of the bench's clock since this trainer began (a resumed run's included)."""
        return self.chip.clock.now() - self._origin

    def fit(
        self,
        train: Split,
        *,
        validation: Split | None = None,
        epochs: int = 40,
        batch: int = 32,
        out: str | Path | None = None,
        header: dict[str, Any] | None = None,
        patience: int | None = None,
        checkpoint_seconds: float = 30.0,
        evaluate_every: int = 1,
        log_passes: bool = False,
        followed: Split | None = None,
        prepare: Callable[[Run], None] | None = None,
    ) -> Run | None:
        """Train and return the run (None without ``out``).

        ``prepare`` is called with a new run before its first step. ``followed`` is read after each
        epoch beside ``validation``, for a curve (logged as ``followed_accuracy``); nothing is chosen
        by it.

        Raises ConfigError for data that does not fit the network, before light is on; Interrupted
        after a first Ctrl-C (the step finished, the checkpoint written); and whatever the bench
        raises.
        """
        schedule = Schedule(epochs, batch, patience, checkpoint_seconds, evaluate_every)
        self.check_data(train, "training")
        if validation is not None:
            self.check_data(validation, "validation")
        if patience is not None and validation is None:
            raise ConfigError("training: patience needs validation data")
        run = None
        if out is not None:
            run = Run.create(Path(out), self.header() | (header or {}), self.snapshot())
        if run is None:
            self._fit(train, validation, schedule, None, log_passes, followed)
            return None
        with run:
            self._prepare(run, prepare)
            self._fit(train, validation, schedule, run, log_passes, followed)
        return run

    def resume(
        self,
        run: Run,
        train: Split,
        *,
        validation: Split | None,
        schedule: Schedule,
        log_passes: bool = False,
        forced: Sequence[str] = (),
        followed: Split | None = None,
        prepare: Callable[[Run], None] | None = None,
    ) -> None:
        """Go on from ``run``'s checkpoint; events after it are dropped, for they happen again.
        ``prepare`` is called only where the run was cut off before it was through.

        ``forced`` lists what has changed since and is gone on with all the same: it is recorded,
        what belongs to the bench is measured anew, and only what was learned is kept.
        """
        self.check_data(train, "training")
        self.restore(run.rewind(), exact=not forced)
        if forced:
            run.event("forced_resume", differences=list(forced))
        self._prepare(run, prepare)
        self._fit(train, validation, schedule, run, log_passes, followed)

    def evaluate(self, split: Split, weights: Weights | None = None) -> Evaluation:
        """Run ``split`` through the chip once with ``weights`` (default: the trainer's), each reading
        averaged as the rule averages its own."""
        self.check_data(split, "evaluation")
        if split.targets.ndim == 2:
            raise ConfigError("evaluation counts right labels; numbers are compared with `read`'s")
        chosen = self._state.weights if weights is None else weights
        request = PassRequest(split.inputs, chosen, keep="output", averages=self.rule.plays)

        def run() -> tuple[float, Trace]:
            if self.bench is not None:
                self.bench.light_on()
            started = time.perf_counter()
            self.runner.begin_step()
            return started, self.runner.run([request])[0]

        started, trace = self._surely(run)
        targets = self._wanted(split.targets)
        predictions = trace.output.argmax(axis=1)
        confusion = np.zeros((self.network.outputs, self.network.outputs), dtype=int)
        np.add.at(confusion, (np.asarray(split.targets, dtype=int), predictions), 1)
        return Evaluation(
            accuracy=float((predictions == split.targets).mean()),
            loss=float(self.rule.loss(trace.output, targets).mean()),
            confusion=confusion,
            predictions=predictions,
            seconds=time.perf_counter() - started,
        )

    def read(self, inputs: FloatArray, keep: Keep = "after") -> Trace:
        """One trip of ``inputs`` through the chip with the trainer's weights; light must be on."""
        request = PassRequest(inputs, self._state.weights, keep=keep, averages=self.rule.plays)

        def run() -> Trace:
            self.runner.begin_step()
            return self.runner.run([request])[0]

        return self._surely(run)

    def watch(self, run: Run | None = None) -> None:
        """Let every monitor look whose time has come, and take the record that it brings; ``run`` keeps what was found.
        ``fit`` does it before each step. Light must be on."""
        bench = self.bench
        if bench is None:
            return
        for name, watched in self.monitors.items():
            began = self.chip.clock.now()
            if not watched.due(began):
                continue
            try:
                look = watched.look(bench)
            finally:
                self.chip.forget()
            if look.records is not None:
                self._take(look.records)
            if run is not None:
                run.event(
                    "monitor",
                    monitor=name,
                    chip_seconds=self.chip_seconds(),
                    took=round(self.chip.clock.now() - began, 6),
                    recalibrated=look.records is not None,
                    told=look.told,
                    fault=look.fault,
                    found=dict(look.found),
                )

    def _take(self, records: Records) -> None:
        """Go on with ``records``: drives found with the old ones are found again, those kept to come back to as well."""
        self.chip.take(records)
        self._new_records = records
        self.runner.program_anew()
        self._state.unprogram()
        for kept in {id(t): t for t in (self._trusted, self._fresh) if t is not None}.values():
            kept.unprogram()

    def header(self) -> dict[str, Any]:
        """What a run says of this trainer: chip, record, back end, rule, seed, versions."""
        bench, records = self.bench, self.chip.records
        return {
            "hilonn": hilonn_version(),
            "experiment": repr(self.network),
            "rule": repr(self._asked),
            "bench_source": None if bench is None else bench.name,
            "bench_text": None if bench is None else bench.text,
            "backend": None if bench is None else bench.backend,
            "chip": self.chip.id,
            "architecture": self.chip.architecture,
            "record": records.hash(),
            "record_source": records.chip.source,
            "record_date": records.chip.created,
            "clock_origin": self._origin,
            "seed": self.seed,
            "environment": environment(),
        }

    def check_data(self, split: Split, what: str) -> None:
        """ConfigError where ``split`` does not fit the network."""
        width = split.inputs.shape[1]
        if width != self.network.inputs:
            raise ConfigError(
                f"{what} data has {width} features, the network takes {self.network.inputs}"
            )
        if len(split.targets) == 0:
            raise ConfigError(f"{what} data is empty")
        if split.targets.ndim == 2:
            if split.targets.shape[1] != self.network.outputs:
                raise ConfigError(
                    f"{what} data has {split.targets.shape[1]} targets a sample, the network has "
                    f"{self.network.outputs} outputs"
                )
            return
        if int(split.targets.max()) >= self.network.outputs:
            raise ConfigError(
                f"{what} data has a label {int(split.targets.max())}, the network has only "
                f"{self.network.outputs} outputs (0 .. {self.network.outputs - 1})"
            )

    def _prepare(self, run: Run, prepare: Callable[[Run], None] | None) -> None:
        if prepare is None or self._state.prepared:
            return
        with _Interruptions(self.bench) as interruptions:
            self._run, self._waits, self._interruptions = run, True, interruptions
            self._surely(lambda: prepare(run))
            self._state.prepared = True
            self._save(run)
            if interruptions.requested:
                raise Interrupted

    def _fit(
        self,
        train: Split,
        validation: Split | None,
        schedule: Schedule,
        run: Run | None,
        log_passes: bool,
        followed: Split | None,
    ) -> None:
        state, runner = self._state, self.runner
        bench = self.bench
        self._farthest, self._losses = (-1, -1), 0
        if log_passes:
            if run is None:
                raise ConfigError("a pass log needs a run folder: give `out`")
            if self.monitors:
                raise ConfigError(
                    "a run whose record a monitor may change cannot be replayed: leave --log-passes out, or "
                    f"[monitors.{next(iter(self.monitors))}] in the bench file"
                )
            self._keep_records(run)
            runner.log = PassLog(run, self.chip.clock)
        started = time.perf_counter() - state.wall_seconds
        saved = time.perf_counter()
        steps = -(-len(train.targets) // schedule.batch)
        with _Interruptions(bench) as interruptions, self._one_plan():
            self._run, self._waits, self._interruptions = run, True, interruptions
            self._plan_now()
            if bench is not None:
                with self._as_planned():
                    bench.light_on()
            self._trust_now()
            while state.epoch < schedule.epochs and not state.stopped:
                for batch in self._batches(train, schedule, steps):
                    try:
                        with self._as_planned():
                            self.watch(run)
                            result = self._step(batch)
                        if bench is not None:
                            bench.check_peers()
                        self._absorb(result, len(batch.labels))
                        if state.step % LOOK_STEPS == 0:
                            self._look()
                        due = time.perf_counter() - saved >= schedule.checkpoint_seconds
                        saves = run is not None and (due or interruptions.requested)
                        self._trust(sure=saves or state.step == steps)
                    except LOST as error:
                        self._recover(error)
                        self._go_back()
                        continue
                    state.wall_seconds = time.perf_counter() - started
                    self._report("step", schedule, steps, result.metrics)
                    if run is not None and saves:
                        self._save(run)
                        saved = time.perf_counter()
                    if interruptions.requested:
                        raise Interrupted
                self._end_epoch(validation, followed, schedule, steps, run, started)
                if run is not None:
                    self._save(run)
                    saved = time.perf_counter()
                if interruptions.requested:
                    raise Interrupted
            if state.best_weights and schedule.patience is not None:
                state.weights = state.best_weights
            if run is not None:
                self._save(run)
                run.event("trained", weights_sha256=self.weights_sha256)

    # -- losses -----------------------------------------------------------------------------------

    def _recover(self, error: HilonnError) -> None:
        """Wait for what the bench lost, if its file says so; the run keeps what happened. Raises ``error`` otherwise, and
        Interrupted where somebody asks to stop meanwhile."""
        bench, run, state = self.bench, self._run, self._state
        if bench is None or not self._waits:
            raise error
        reached = (state.epoch, state.step)
        self._losses = 1 if reached > self._farthest else self._losses + 1
        self._farthest = max(reached, self._farthest)
        waits = bench.waits_for(error) and self._losses <= TRIES
        began = time.perf_counter()
        if run is not None:
            run.event("lost", error=str(error), epoch=state.epoch, step=state.step, waits=waits)
        if not waits:
            raise error
        bench.recover(error, self.on_wait, self._asked_to_stop)
        if self._plan is not None:
            self._plan_now()
        self.chip.forget()
        seconds = time.perf_counter() - began
        self.runner.statistics.recoveries += 1
        self.runner.statistics.recovery_seconds += seconds
        if run is not None:
            run.event("back", seconds=round(seconds, 3))
        self.on_back(seconds)

    @contextmanager
    def _one_plan(self) -> Iterator[None]:
        """Within, from ``_plan_now`` on: see there."""
        try:
            yield
        finally:
            self._plan = None

    def _plan_now(self) -> None:
        """Light is on: what follows belongs together, until somebody makes the bench safe."""
        self._plan = None if self.bench is None else self.bench.gate.plans.current

    def _as_planned(self) -> AbstractContextManager[None]:
        """Within: a safe state that somebody else took since light went on is not gone past (SafeStateTaken)."""
        if self.bench is None or self._plan is None:
            return nullcontext()
        return self.bench.gate.plans.made(self._plan)

    def _asked_to_stop(self) -> None:
        if self._interruptions is not None and self._interruptions.requested:
            raise Interrupted("interrupted while it waited for what was lost")

    def _surely(self, work: Callable[[], T]) -> T:
        """``work()``, with all well at its end; begun anew after a loss that the bench waits for."""
        losses = 0
        while True:
            try:
                with self._as_planned():
                    result = work()
                if self.bench is not None:
                    self.bench.make_sure()
                return result
            except LOST as error:
                losses += 1
                if losses > TRIES:
                    raise
                self._recover(error)

    def _trust(self, sure: bool) -> None:
        """After a step: look whether an older state can be trusted by now; ``sure``: look at everything, and trust this
        one. Raises what looking raises."""
        bench = self.bench
        if bench is None or not bench.watched:
            return
        if sure:
            bench.make_sure()
            self._trust_now()
            return
        if self._fresh is not None and bench.gate.seen > self._fresh.at:
            self._trusted, self._fresh = self._fresh, None
        if self._fresh is None:
            self._fresh = self._reached(bench)

    def _trust_now(self) -> None:
        bench = self.bench
        watched = bench is not None and bench.watched
        self._trusted = self._reached(bench) if bench is not None and watched else None
        self._fresh = None

    def _reached(self, bench: Bench) -> _Trusted:
        state = replace(self._state, metrics=dict(self._state.metrics))
        return _Trusted(bench.clock.now(), state, self.runner.programmed())

    def _go_back(self) -> None:
        """To what was learned while all was well. Gains and ranges are chosen anew: they may be those of darkness."""
        saved, self._fresh = self._trusted, None
        if saved is None:
            return
        kept = replace(saved.state, metrics=dict(saved.state.metrics))
        for item in fields(_State):
            setattr(self._state, item.name, getattr(kept, item.name))
        self.runner.program(saved.programmed)
        self.runner.refresh()

    def _wanted(self, targets: IntArray | FloatArray) -> FloatArray:
        """(samples, outputs): labels as one-hot rows, numbers as they are."""
        if targets.ndim == 2:
            return np.asarray(targets, dtype=float)
        return one_hot(np.asarray(targets, dtype=int), self.network.outputs)

    def _look(self) -> None:
        """Glance at the bench: at the same steps in every run, since a plant moves when it is asked."""
        if self.bench is not None:
            self._state.status = self.bench.status()

    def _keep_records(self, run: Run) -> None:
        """What the log needs to be replayed: the chips' records as they are now."""
        folder = run.folder / "record"
        if self.bench is None or folder.exists():
            return
        folder.mkdir()
        for name, chip in self.bench.chips.items():
            chip.records.save(folder / f"{name}.json")

    def begin_epoch(self, train: Split, batch: int) -> None:
        """What every epoch begins with: a glance at the bench, a new order, the noise measured; before
        the first one, what the rule leaves to the noise is settled. ``fit`` does it by itself."""
        state, asked = self._state, self.rule
        self._surely(self._look)
        if state.began is None:
            state.began = self._kept()
        state.permutation = state.order.permutation(len(train.targets))

        def measure() -> None:
            self.rule = asked
            self._measure_noise(train, state.permutation[: max(batch, NOISE_SAMPLES)])

        self._surely(measure)
        self._trust_now()

    def _batches(self, train: Split, schedule: Schedule, steps: int) -> Iterator[TrainingBatch]:
        state = self._state
        if state.step == 0:
            self.begin_epoch(train, schedule.batch)
        total = schedule.epochs * steps
        while state.step < steps:
            first = state.step * schedule.batch
            chosen = state.permutation[first : first + schedule.batch]
            targets = self._wanted(train.targets[chosen])
            # From the step's number alone, so that a resumed run learns from the same images.
            drawn = np.random.default_rng((self.seed, state.epoch, state.step))
            yield TrainingBatch(
                train.batch(chosen, drawn),
                targets,
                targets.argmax(axis=1),
                progress=(state.epoch * steps + state.step) / total,
                pace=state.pace,
                noise=state.noise,
            )

    def _measure_noise(self, train: Split, chosen: IntArray) -> None:
        """What a reading of each layer's activation scatters by, from two trips that should agree;
        before the first step also what the rule leaves to the noise to settle."""
        if self.rule.in_silico:
            return
        state = self._state
        inputs = train.inputs[chosen]
        averages = self.rule.plays
        self.runner.begin_step()
        request = PassRequest(inputs, state.weights, averages=averages)
        # Two runs, not one: programming anew is part of what a reading scatters by.
        (first,), (again,) = self.runner.run([request]), self.runner.run([request])
        state.noise = tuple(
            float(np.sqrt(0.5 * ((a - b) ** 2).mean()))
            for a, b in zip(first.after, again.after, strict=True)
        )
        self.spread = tuple(float(a.std()) for a in first.after)
        if state.epoch == 0 and self.rule is self._asked:
            targets = self._wanted(train.targets[chosen])
            self.rule = self.rule.settled(
                NoiseReading(inputs, first.after, state.noise, targets, state.weights, state.rule)
            )
            gained = self.rule.plays / averages
            state.noise = tuple(n / np.sqrt(gained) for n in state.noise)

    def _step(self, batch: TrainingBatch) -> StepResult:
        """One step of the rule; restarted from the same state when a pair must be retaken."""
        for _ in range(RETAKES):
            self.runner.begin_step()
            generator = self.rule.step(self.network, self._state.weights, self._state.rule, batch)
            try:
                try:
                    requests = next(generator)
                    while True:
                        requests = generator.send(self.runner.run(requests))
                except StopIteration as stop:
                    result: StepResult = stop.value
                    return result
            except PairRetake:
                continue
        raise ConfigError(
            f"a pair of passes was retaken {RETAKES} times: the second trip's inputs keep "
            "growing; lower feedback_scale or the rates"
        )

    def _absorb(self, result: StepResult, samples: int) -> None:
        state = self._state
        state.weights, state.rule = self.runner.follow(result.weights), result.state
        if np.isinf(state.first_loss):
            state.first_loss = result.loss
        state.loss_sum += result.loss * samples
        state.correct += result.correct
        state.seen += samples
        for key, value in result.metrics.items():
            state.metrics[key] = state.metrics.get(key, 0.0) + value * samples
        state.step += 1

    def _end_epoch(
        self,
        validation: Split | None,
        followed: Split | None,
        schedule: Schedule,
        steps: int,
        run: Run | None,
        started: float,
    ) -> None:
        state = self._state
        metrics = {
            "loss": state.loss_sum / state.seen,
            "accuracy": state.correct / state.seen,
            **{key: value / state.seen for key, value in state.metrics.items()},
        }
        if self._went_wrong(metrics["loss"]):
            metrics["taken_back"] = 1.0
        last = state.epoch + 1 == schedule.epochs
        if validation is not None and (last or (state.epoch + 1) % schedule.evaluate_every == 0):
            evaluation = self.evaluate(validation)
            metrics |= {
                "validation_loss": evaluation.loss,
                "validation_accuracy": evaluation.accuracy,
            }
            if evaluation.accuracy > state.best_accuracy:
                state.best_accuracy, state.best_epoch = evaluation.accuracy, state.epoch
                state.best_weights = state.weights
            elif schedule.patience and state.epoch - state.best_epoch >= schedule.patience:
                state.stopped = True
        if followed is not None:
            metrics["followed_accuracy"] = self.evaluate(followed).accuracy
        self.runner.refresh()
        state.epoch += 1
        state.step, state.loss_sum, state.correct, state.seen = 0, 0.0, 0, 0
        state.metrics = {}
        state.wall_seconds = time.perf_counter() - started
        if run is not None:
            statistics = self.runner.statistics
            run.event(
                "epoch",
                epoch=state.epoch,
                epochs=schedule.epochs,
                wall_seconds=round(state.wall_seconds, 3),
                chip_seconds=self.chip_seconds(),
                passes=statistics.passes,
                retakes=statistics.retakes,
                pair_retakes=statistics.pair_retakes,
                **state.status,
                **metrics,
            )
        self._report("epoch", schedule, steps, metrics)

    def _went_wrong(self, loss: float) -> bool:
        """Keep an epoch's outcome, or take it back and halve the rates.

        An epoch's loss tells of the weights that it began with as much as of those that it ended
        with, so what is kept as good is what the epoch *before* the best one left.
        """
        state = self._state
        if loss <= state.good_loss + WORSE * state.first_loss:
            if loss <= state.good_loss:
                state.good_loss, state.good = loss, state.began
            state.began = self._kept()
            return False
        assert state.good is not None  # the first epoch's loss is always good
        state.pace *= SLOWER
        state.weights, state.rule = state.good.weights, self.rule.at_rest(state.good.rule)
        self.runner.program(state.good.programmed)
        state.began = state.good
        return True

    def _kept(self) -> _Kept:
        return _Kept(self._state.weights, self._state.rule, self.runner.programmed())

    def _report(self, kind: str, schedule: Schedule, steps: int, metrics: dict[str, float]) -> None:
        if self._on_progress is None:
            return
        state, statistics = self._state, self.runner.statistics
        seen = max(state.seen, 1)
        self._on_progress(
            Progress(
                kind,
                state.epoch,
                schedule.epochs,
                state.step,
                steps,
                metrics,
                {"loss": state.loss_sum / seen, "accuracy": state.correct / seen},
                state.status,
                statistics.spent(state.wall_seconds),
                statistics.passes,
                statistics.retakes + statistics.pair_retakes,
                self.chip_seconds(),
                schedule.patience is not None,
            )
        )

    def _save(self, run: Run) -> None:
        if self.runner.log is not None:
            self.runner.log.flush()
        run.checkpoint(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Everything that the next step depends on."""
        state = self._state
        bench = self.bench
        return {
            "weights": list(state.weights),
            "rule": state.rule,
            "order": generator_state(state.order),
            "permutation": state.permutation,
            "progress": {
                name: getattr(state, name)
                for name in (
                    "epoch",
                    "step",
                    "loss_sum",
                    "correct",
                    "seen",
                    "best_accuracy",
                    "best_epoch",
                    "pace",
                    "good_loss",
                    "first_loss",
                    "stopped",
                    "prepared",
                    "wall_seconds",
                )
            },
            "metrics": state.metrics,
            "status": state.status,
            "best_weights": list(state.best_weights),
            "good": None if state.good is None else state.good.pack(),
            "began": None
            if state.began is None or state.began is state.good
            else state.began.pack(),
            "noise": list(state.noise),
            "settled": self.rule.model_dump() if self.rule is not self._asked else None,
            "origin": self._origin,
            "monitors": {name: w.snapshot() for name, w in self.monitors.items()},
            "new_records": None if self._new_records is None else self._new_records.pack(),
            "runner": self.runner.snapshot(state.weights),
            "bench": bench.snapshot() if bench is not None and bench.exact_resume else None,
        }

    def take_over(self, snapshot: Snapshot) -> None:
        """Begin with what another run has learned: its weights and its rule's state (feedback, momentum), on whatever
        chip it ran; its progress, order and settings are left. ResumeError where its network is another."""
        weights = self._checked_weights(snapshot)
        self._state.weights = weights
        self._state.rule = snapshot["rule"]

    def _checked_weights(self, snapshot: Snapshot) -> Weights:
        weights = tuple(np.asarray(w, dtype=np.float32) for w in snapshot["weights"])
        wanted = [(layer.outputs, layer.inputs) for layer in self.network.layers]
        if [w.shape for w in weights] != wanted:
            raise ResumeError(
                f"the checkpoint holds weights of shapes {[w.shape for w in weights]}, the "
                f"network has {wanted}"
            )
        return weights

    def restore(self, snapshot: Snapshot, *, exact: bool = True) -> None:
        """Take up ``snapshot``. ``exact`` false keeps what was learned and drops what belongs to
        another chip: settings, ranges and the plant's state."""
        weights = self._checked_weights(snapshot)
        self._state = _State(
            weights,
            snapshot["rule"],
            restore_generator(snapshot["order"]),
            np.asarray(snapshot["permutation"], dtype=int),
            best_weights=_weights(snapshot["best_weights"]),
            good=_Kept.unpack(snapshot["good"]),
            began=_Kept.unpack(snapshot["began"] or snapshot["good"]),
            noise=tuple(snapshot["noise"]),
            metrics=dict(snapshot["metrics"]),
            status=dict(snapshot["status"]),
            **snapshot["progress"],
        )
        if snapshot["settled"] is not None:
            self.rule = self._asked.model_copy(update=snapshot["settled"])
        if not exact:
            self.runner.statistics = type(self.runner.statistics)(
                **snapshot["runner"]["statistics"]
            )
            return
        if snapshot.get("new_records") is not None:
            self._new_records = Records.unpack(snapshot["new_records"])
            self.chip.take(self._new_records)
        for name, saved in snapshot.get("monitors", {}).items():
            self.monitors[name].restore(saved)
        self.runner.restore(snapshot["runner"], weights)
        self._origin = snapshot["origin"]
        bench = self.bench
        if bench is not None and snapshot["bench"] is not None:
            bench.restore(snapshot["bench"])


class _Interruptions:
    """The bench's two-stage Ctrl-C, or none where the chip belongs to no bench."""

    def __init__(self, bench: Bench | None) -> None:
        self._context = None if bench is None else bench.interruptions()
        self._flag: Any = None

    def __enter__(self) -> _Interruptions:
        self._flag = None if self._context is None else self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*error)

    @property
    def requested(self) -> bool:
        return bool(self._flag is not None and self._flag.requested)


def _weights(saved: Sequence[FloatArray]) -> Weights:
    return tuple(np.asarray(w, np.float32) for w in saved)


def one_hot(labels: IntArray | Sequence[int], classes: int) -> FloatArray:
    """(samples, classes) of 0 and 1."""
    return np.asarray(np.eye(classes)[np.asarray(labels)])


def wrongly_read(evaluation: Evaluation, split: Split) -> BoolArray:
    """Which samples of ``split`` were read wrongly, (samples,)."""
    return np.asarray(evaluation.predictions != split.targets)
