"""What a run will take, from a rehearsal of its first steps: ``hilonn estimate``.

Nothing is modelled that can be measured: the experiment's own rule takes a few dozen steps on its own
bench, evaluations of two sizes are timed, and the sum is scaled up.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.datasets import Dataset, Split
from hilonn.experiment import Experiment
from hilonn.rules import QUIET
from hilonn.runs import Run
from hilonn.training import Progress, Trainer
from hilonn.workflow import RunOptions, ask_heaters, compare_products, one_blas_thread, open_bench

WARM_UP = 12
"""Steps before the clock counts: kernels are compiled, gains and ranges found."""
REHEARSED_EPOCHS = 10_000
FEWEST, MOST = 12, 200
"""Steps that are timed."""
LATER = 0.15
"""Of the difference X - X' that learning begins with, what is left at its end (measured: 0.08 to 0.34 on digits and
MNIST): the error that is projected has shrunk."""
RETAKEN = 0.05
SETTLING = 0.5
LOUD_END = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Passes, seconds of the bench's clock, seconds of wall time."""

    passes: float = 0.0
    chip_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(self.parts(), other.parts(), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(self.parts(), other.parts(), strict=True)))

    def __mul__(self, count: float) -> Cost:
        return Cost(*(count * a for a in self.parts()))

    def parts(self) -> tuple[float, float, float]:
        return self.passes, self.chip_seconds, self.wall_seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """``training``: comparable with a result's passes and wall_seconds. ``whole``: with opening, the
    heater test and the test at the end. ``snr``: of X - X' in every hidden layer as it begins;
    ``snr_end`` what is left of it. ``checkpoint`` its size in bytes."""

    experiment: str
    bench: str
    backend: str
    tiles: int
    steps: int
    step: Cost
    training: Cost
    testing: Cost
    heater_test: Cost
    whole: Cost
    averages: int
    feedback_scale: float | None
    snr: tuple[float, ...]
    snr_end: tuple[float, ...]
    checkpoint: int
    advice: tuple[str, ...]
    unused: str = ""
    """What of the chip is not used, since its record does not accept it."""


def estimate(
    experiment: Experiment,
    bench_source: str,
    options: RunOptions,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    seconds: float = 10.0,
) -> Estimate:
    """Rehearse ``experiment`` on the bench for about ``seconds`` and say what all of it takes.

    On a lab's bench light is on and heaters move meanwhile, as in training. What was learned is
    thrown away. Raises what ``train`` raises.
    """
    dataset = experiment.load_data(None if options.data is None else Path(options.data))
    network = experiment.network(dataset)
    began = time.perf_counter()
    with one_blas_thread(), open_bench(bench_source, options) as bench:
        meter = _Meter(on_progress)
        trainer = Trainer(
            bench.chip(), network, experiment.rule, seed=options.seed, on_progress=meter.note
        )
        meter.trainer = trainer
        opening = Cost(wall_seconds=time.perf_counter() - began)
        with tempfile.TemporaryDirectory() as folder:
            return _rehearse(
                experiment, dataset, bench, trainer, meter, opening, Path(folder), seconds
            )


def _rehearse(
    experiment: Experiment,
    dataset: Dataset,
    bench: Bench,
    trainer: Trainer,
    meter: _Meter,
    opening: Cost,
    folder: Path,
    seconds: float,
) -> Estimate:
    section = experiment.file.training
    train, batch = dataset.train, section.batch
    steps = -(-len(train.targets) // batch)
    tested: list[Cost] = []

    def prepare(run: Run) -> None:
        before = meter.now()
        ask_heaters(trainer, bench, run)
        tested.append(meter.now() - before)

    def rehearse(steps: int) -> None:
        meter.steps.clear()
        meter.metrics.clear()
        meter.left = steps
        with suppress(_Enough):
            trainer.fit(train, epochs=REHEARSED_EPOCHS, batch=batch)

    out = folder / "run"
    meter.left = WARM_UP
    with suppress(_Enough):
        trainer.fit(train, epochs=REHEARSED_EPOCHS, batch=batch, out=out, prepare=prepare)
    run = Run.open(out)
    rehearse(FEWEST)
    typical = float(np.median([c.wall_seconds for c in meter.steps]))
    retakes, settled = trainer.runner.statistics.pair_retakes, _settling(trainer)
    rehearse(int(np.clip(math.ceil(seconds / max(typical, 1e-6)), FEWEST, MOST)))
    count = len(meter.steps)
    settling = (_settling(trainer) - settled) / max(sum(c.chip_seconds for c in meter.steps), 1e-30)
    retaken = (trainer.runner.statistics.pair_retakes - retakes) / count
    step = _sum(meter.steps) * (1.0 / count)
    before = meter.now()
    trainer.runner.refresh()
    trainer.begin_epoch(train, batch)
    beginning = meter.now() - before
    short = len(train.targets) % batch
    epoch = step * (steps - 1 + (short / batch if short else 1)) + beginning
    saving = _checkpoint(run, trainer)
    epoch += saving * (1 + epoch.wall_seconds / section.checkpoint_seconds)
    validations = section.epochs // section.evaluate_every + bool(
        section.epochs % section.evaluate_every
    )
    training = epoch * section.epochs
    if len(dataset.validation.targets):
        training += _evaluation(trainer, meter, dataset.validation) * validations
    testing = _evaluation(trainer, meter, dataset.test)
    if section.follow_test:
        training += testing * section.epochs
    before = meter.now()
    compare_products(trainer, dataset)  # as is done once, after the test
    testing += meter.now() - before
    heaters = _sum(tested)
    snr = _mean_metrics(meter.metrics, "snr_")
    return Estimate(
        experiment.name,
        bench.name,
        bench.backend,
        sum(p.tiles for p in trainer.runner.placements),
        steps * section.epochs,
        step,
        training,
        testing,
        heaters,
        opening + heaters + training + testing,
        trainer.rule.plays,
        getattr(trainer.rule, "feedback_scale", None),
        snr,
        tuple(LATER * s for s in snr),
        (run.folder / "checkpoint").stat().st_size,
        tuple(_advice(experiment, trainer, run, settling, snr, retaken)),
        str(trainer.chip.unused) if isinstance(trainer.chip, HeaterChip) else "",
    )


def _advice(
    experiment: Experiment,
    trainer: Trainer,
    run: Run,
    settling: float,
    snr: tuple[float, ...],
    retaken: float,
) -> list[str]:
    advice = []
    silent = [h for e in run.events() if e["kind"] == "heaters" for h in e["silent"]]
    if silent:
        advice.append(
            f"{len(silent)} heaters do not answer ({', '.join(map(str, silent[:8]))}"
            f"{', ...' if len(silent) > 8 else ''}): mark them as not accepted in the chip's record, "
            "or mend their wires, before a long run"
        )
    if snr and min(snr) * LATER < LOUD_END:
        layer = int(np.argmin(snr))
        advice.append(
            f"the difference of the two trips in hidden layer {layer} begins {min(snr):.1f} times "
            f"above the noise and will end near {min(snr) * LATER:.2f}: set averages = 'auto' and "
            "feedback_scale = 'auto', or more light"
        )
    loud = _loudest(trainer)
    if loud > QUIET and trainer.rule.plays == 1:
        advice.append(
            f"a reading scatters by {loud:.1%} of the hidden activations' own spread, and above "
            f"{QUIET:.0%} accuracy is lost: averages = {math.ceil((loud / QUIET) ** 2)} would do"
        )
    if settling > SETTLING:
        advice.append(
            f"{min(settling, 1.0):.0%} of the chip's time is heaters settling: a "
            f"larger batch than {experiment.file.training.batch} makes an epoch shorter"
        )
    if retaken > RETAKEN:
        advice.append(
            f"{retaken:.0%} of the steps are taken twice because the second trip leaves its range: a "
            "smaller feedback_scale helps"
        )
    tiles = sum(p.tiles for p in trainer.runner.placements)
    if tiles > len(trainer.runner.placements):
        advice.append(
            f"the network is larger than the chip: {tiles} tiles are programmed one after another in "
            "every trip, and added up digitally"
        )
    return advice


def _settling(trainer: Trainer) -> float:
    """Seconds of the chip's clock that its heaters have settled for so far, at most."""
    chip = trainer.chip
    if not isinstance(chip, HeaterChip):
        return 0.0
    return chip.statistics.programmings * chip.settling_time


def _loudest(trainer: Trainer) -> float:
    """The measured noise of the noisiest hidden layer, over its activations' scatter."""
    noise, spread = trainer.noise, trainer.spread
    hidden = list(zip(noise, spread, strict=True))[: max(len(noise) - 1, 1)]
    return max((n / max(s, 1e-30) for n, s in hidden), default=0.0)


def _evaluation(trainer: Trainer, meter: _Meter, split: Split) -> Cost:
    """Of the whole of ``split``, from two sizes of it."""
    costs = []
    total = len(split.targets)
    sizes = sorted({min(total, 64), min(total, 1024)})
    for size in sizes:
        fresh = tuple(w.copy() for w in trainer.weights)  # found anew, as after an epoch
        before = meter.now()
        trainer.evaluate(Split(split.inputs[:size], split.targets[:size]), fresh)
        costs.append(meter.now() - before)
    if len(costs) == 1:
        return costs[0]
    each = (costs[1] - costs[0]) * (1.0 / (sizes[1] - sizes[0]))
    # Passes do not grow with samples.
    slope = Cost(0.0, max(each.chip_seconds, 0.0), max(each.wall_seconds, 0.0))
    return costs[1] + slope * (total - sizes[1])


def _checkpoint(run: Run, trainer: Trainer) -> Cost:
    with Run.open(run.folder, write=True) as again:
        before = time.perf_counter()
        again.checkpoint(trainer.snapshot())
        return Cost(wall_seconds=time.perf_counter() - before)


def _sum(costs: list[Cost]) -> Cost:
    total = Cost()
    for cost in costs:
        total += cost
    return total


def _mean_metrics(metrics: list[dict[str, float]], prefix: str) -> tuple[float, ...]:
    names = sorted({name for m in metrics for name in m if name.startswith(prefix)})
    return tuple(float(np.mean([m[name] for m in metrics if name in m])) for name in names)


class _Enough(Exception):
    """The rehearsal has seen enough steps."""


class _Meter:
    """Takes the cost of every step from the trainer's progress."""

    trainer: Trainer
    left: int = 0

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.steps: list[Cost] = []
        self.metrics: list[dict[str, float]] = []
        self._on_progress = on_progress
        self._last: Cost | None = None

    def now(self) -> Cost:
        return Cost(
            self.trainer.runner.statistics.passes,
            self.trainer.chip_seconds(),
            time.perf_counter(),
        )

    def note(self, progress: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)
        if progress.kind != "step":
            return
        now = self.now()
        if self._last is not None and progress.step > 1:  # the first one has the epoch's beginning
            self.steps.append(now - self._last)
        self.metrics.append(progress.metrics)
        self._last = now
        self.left -= 1
        if self.left <= 0:
            self._last = None
            raise _Enough
