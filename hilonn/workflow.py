"""A training run from experiment to result: what ``hilonn train`` and ``resume`` do."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.bench import Bench
from hilonn.chips import HeaterChip, check_heaters
from hilonn.datasets import Dataset
from hilonn.errors import ConfigError, ResumeError
from hilonn.experiment import Experiment, parse_experiment
from hilonn.missed import Missed
from hilonn.replay import ReplayBench
from hilonn.runs import Run, differences
from hilonn.training import Evaluation, Progress, Schedule, Trainer
from hilonn.typing import FloatArray

REPLAY = "replay:"
MAPPED = 256
"""Test samples on which products are compared with what was asked."""
TRIPS = 4
"""Readings of them, between which noise differs and what the record has wrong does not."""
ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the user chose besides experiment and bench; kept in the run's header."""

    seed: int = 0
    chip_seed: int = 0
    data: str | None = None
    imports: tuple[str, ...] = ()
    log_passes: bool = False


def train(
    experiment: Experiment,
    bench_source: str,
    out: Path,
    options: RunOptions,
    on_progress: ProgressCallback | None = None,
    on_start: Callable[[Dataset, Trainer, Run | None], None] | None = None,
    begin_with: Path | None = None,
) -> dict[str, Any]:
    """Train ``experiment`` on the bench, evaluate on the held-out test part, return the result.

    ``begin_with``: the folder of a run whose weights and rule's state this one begins with, on whatever bench that was:
    a chip's twin, say. Everything that can be checked without the bench is checked before it is opened.
    """
    learned = None if begin_with is None else Run.open(begin_with)
    before = None if learned is None else learned.load_checkpoint()
    dataset = experiment.load_data(_folder(options))
    network = experiment.network(dataset)
    check_new_folder(out)
    with one_blas_thread(), open_bench(bench_source, options) as bench:
        trainer = Trainer(
            bench.chip(),
            network,
            experiment.rule,
            seed=options.seed,
            on_progress=on_progress,
        )
        head = header(experiment, trainer, bench_source, dataset, options)
        if learned is not None and before is not None:
            if learned.header["rule"] != head["rule"]:
                raise ConfigError(
                    f"{learned.folder} was trained with another rule, whose state this one cannot take over: "
                    f"{learned.header['rule']} there, {head['rule']} here"
                )
            trainer.take_over(before)
            head |= {
                "began_with": str(learned.folder),
                "began_with_weights": trainer.weights_sha256,
            }
        if on_start is not None:
            on_start(dataset, trainer, None)
        training = experiment.file.training
        trainer.fit(
            dataset.train,
            validation=dataset.validation if len(dataset.validation.targets) else None,
            epochs=training.epochs,
            batch=training.batch,
            patience=training.patience or None,
            checkpoint_seconds=training.checkpoint_seconds,
            evaluate_every=training.evaluate_every,
            out=out,
            header=head,
            log_passes=options.log_passes,
            followed=dataset.test if training.follow_test else None,
            prepare=lambda run: ask_heaters(trainer, bench, run),
        )
        with Run.open(out, write=True) as run:
            return _finish(run, trainer, bench, dataset)


def resume(
    folder: Path,
    *,
    force: bool = False,
    on_progress: ProgressCallback | None = None,
    on_start: Callable[[Dataset, Trainer, Run | None], None] | None = None,
) -> dict[str, Any]:
    """Go on with a run that was interrupted or killed; its end equals an undisturbed run's.

    Raises ResumeError where chip, record, experiment, data or version differ, unless ``force``,
    which is recorded in the run.
    """
    with Run.open(folder, write=True) as run:
        finished = run.result()
        if finished is not None:
            return finished
        run.load_checkpoint()  # a corrupt one is told before anything is opened
        experiment, options, dataset = _reload(run)
        network = experiment.network(dataset)
        with one_blas_thread(), open_bench(run.header["bench_source"], options) as bench:
            trainer = Trainer(
                bench.chip(), network, experiment.rule, seed=options.seed, on_progress=on_progress
            )
            found = _differences(
                run, experiment, trainer, dataset, options, force, "resumed exactly"
            )
            if on_start is not None:
                on_start(dataset, trainer, run)
            training = experiment.file.training
            trainer.resume(
                run,
                dataset.train,
                validation=dataset.validation if len(dataset.validation.targets) else None,
                schedule=Schedule(
                    training.epochs,
                    training.batch,
                    training.patience or None,
                    training.checkpoint_seconds,
                    training.evaluate_every,
                ),
                log_passes=options.log_passes,
                forced=found,
                followed=dataset.test if training.follow_test else None,
                prepare=lambda run: ask_heaters(trainer, bench, run),
            )
            return _finish(run, trainer, bench, dataset)


def evaluate(folder: Path, *, force: bool = False) -> tuple[dict[str, Any], Evaluation]:
    """Run the test part through the chip with a run's latest weights; changes no file."""
    run = Run.open(folder)
    experiment, options, dataset = _reload(run)
    network = experiment.network(dataset)
    with one_blas_thread(), open_bench(run.header["bench_source"], options) as bench:
        trainer = Trainer(bench.chip(), network, experiment.rule, seed=options.seed)
        found = _differences(
            run, experiment, trainer, dataset, options, force, "evaluated as it was"
        )
        trainer.restore(run.load_checkpoint(), exact=not found)
        evaluation = trainer.evaluate(dataset.test)
        result = {
            "test_accuracy": evaluation.accuracy,
            "test_loss": evaluation.loss,
            "test_samples": evaluation.samples,
            "confusion": evaluation.confusion.tolist(),
            "weights_sha256": trainer.weights_sha256,
            "backend": bench.backend,
            "run": str(folder),
        }
        return result, evaluation


def one_blas_thread() -> AbstractContextManager[object]:
    """BLAS on one thread: a tile's products are too small to share, and the result of a run then
    does not depend on the number of cores."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def open_bench(source: str, options: RunOptions) -> Bench:
    """The bench for these options; ``replay:RUN`` is that of a logged run."""
    if source.startswith(REPLAY):
        return ReplayBench.of(source.removeprefix(REPLAY))
    return Bench.open(
        source, seed=options.seed, chip_seed=options.chip_seed, imports=options.imports
    )


def header(
    experiment: Experiment,
    trainer: Trainer,
    bench_source: str,
    dataset: Dataset,
    options: RunOptions,
) -> dict[str, Any]:
    """What a run says of itself: enough to know it again, and to refuse another's checkpoint."""
    return trainer.header() | {
        "experiment": experiment.name,
        "experiment_text": experiment.text,
        "experiment_folder": str(experiment.folder),
        "bench_source": bench_source,
        "data": dataset.name,
        "data_digest": dataset.digest,
        "data_sizes": [len(s.targets) for s in (dataset.train, dataset.validation, dataset.test)],
        "chip_seed": options.chip_seed,
        "options": {
            "seed": options.seed,
            "chip_seed": options.chip_seed,
            "data": options.data,
            "imports": list(options.imports),
            "log_passes": options.log_passes,
        },
    }


def check_new_folder(out: Path) -> None:
    """ConfigError where a run cannot be made in ``out``: found before light is on."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"the run folder {out} exists and is not empty; give another --out, or "
            f"`hilonn resume {out}` if it is a run to go on with"
        )
    above = out.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"the run folder {out} cannot be made: {above} is not a writable folder")


def ask_heaters(trainer: Trainer, bench: Bench, run: Run) -> None:
    """Ask every heater of the chip, and keep in the run what answered."""
    chip = trainer.chip
    if isinstance(bench, ReplayBench):
        _copy_event(bench.run, run, "heaters")
    if not isinstance(chip, HeaterChip):
        return
    bench.light_on()
    tested = check_heaters(chip, trainer.seed)
    run.event(
        "heaters",
        response=[round(float(r), 3) for r in tested.response],
        silent=tested.silent.tolist(),
        masked=chip.unused.heaters,
        unused_inputs=chip.unused.inputs,
        unused_outputs=chip.unused.outputs,
        passes=tested.passes,
        layout=chip.layout.tolist(),
        device=chip.heaters_of.name,
        channels=chip.heater_channels.tolist(),
    )


def _copy_event(source: Run, run: Run, kind: str) -> None:
    """What a replayed run takes over from the one that was logged, and says so."""
    for event in source.events():
        if event["kind"] == kind:
            run.event(**{k: v for k, v in event.items() if k != "time"} | {"replayed": True})


def compare_products(trainer: Trainer, dataset: Dataset) -> dict[str, Any]:
    """How far what the chip multiplies by is from what it was asked (``missed.Missed``), on test samples: every layer's, and
    each of the chip's outputs in the first layer. Where noise is seen, it is read ``TRIPS`` times."""
    inputs = dataset.test.inputs[:MAPPED]
    trips: list[list[FloatArray]] = []  # trip, layer: what was missed
    sizes: list[list[FloatArray]] = []  # and what was wanted
    while len(trips) < TRIPS:
        if len(trips) == 2 and Missed.of([t[0] for t in trips], sizes[0][0]).quiet:
            break
        trace = trainer.read(inputs, keep="all")
        entering: FloatArray = inputs
        trip: list[FloatArray] = []
        size: list[FloatArray] = []
        for index, (weights, placement) in enumerate(
            zip(trainer.weights, trainer.runner.placements, strict=True)
        ):
            wanted = entering @ weights.T
            if placement.readout == "power":
                wanted = wanted**2
            trip.append(trace.before[index] - wanted)
            size.append(wanted)
            entering = trace.after[index]
        trips.append(trip)
        sizes.append(size)
    layers = [
        Missed.of([trip[k] for trip in trips], sizes[0][k]) for k in range(len(trainer.weights))
    ]
    first = trainer.runner.placements[0]
    port = np.arange(first.outputs) % first.tile[0]
    outputs = [
        Missed.of([trip[0][:, port == p] for trip in trips], sizes[0][0][:, port == p])
        for p in range(first.tile[0])
    ]
    return {
        "layers": [m.whole for m in layers],
        "lasting": [m.lasting for m in layers],
        "noise": [m.noise for m in layers],
        "outputs": [m.whole for m in outputs],
        "outputs_lasting": [m.lasting for m in outputs],
        "trips": len(trips),
    }


def _finish(run: Run, trainer: Trainer, bench: Bench, dataset: Dataset) -> dict[str, Any]:
    test = trainer.evaluate(dataset.test)
    run.append_array("test_predictions", test.predictions.astype(np.int64))
    run.event("mapping", **compare_products(trainer, dataset))
    chip = trainer.chip
    if isinstance(chip, HeaterChip):
        run.event(
            "chip_state",
            architecture=chip.architecture,
            ports=chip.ports,
            drives=[None if np.isnan(d) else round(float(d), 4) for d in chip.written],
            layout=chip.layout.tolist(),
        )
    elif isinstance(bench, ReplayBench):
        _copy_event(bench.run, run, "chip_state")
    if trainer.runner.log is not None:
        trainer.runner.log.flush()
    statistics = trainer.runner.statistics
    last = [e for e in run.events() if e["kind"] == "epoch"]
    result: dict[str, Any] = {
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "test_samples": test.samples,
        "validation_accuracy": last[-1].get("validation_accuracy") if last else None,
        "epochs": len(last),
        "weights_sha256": trainer.weights_sha256,
        "backend": bench.backend,
        "passes": statistics.passes,
        "retakes": statistics.retakes,
        "pair_retakes": statistics.pair_retakes,
        "phases_moved": statistics.moved,
        "chip_seconds": trainer.chip_seconds(),
        "wall_seconds": trainer.wall_seconds,
        "breakdown": statistics.spent(trainer.wall_seconds),
        "device_seconds": statistics.device_seconds,
        "confusion": test.confusion.tolist(),
        "run": str(run.folder),
    }
    run.finish(result)
    return result


def _folder(options: RunOptions) -> Path | None:
    return None if options.data is None else Path(options.data)


def images_of(run: Run) -> Dataset:
    """The data of ``run`` as a person looks at them, before centring; ConfigError where they are not
    to be had, or hold no samples as they were (principal components)."""
    experiment, options, _ = _reload(run)
    section = experiment.file.data
    if section.principal_components is not None:
        raise ConfigError("its samples are principal components")
    file = experiment.file.model_copy(update={"data": section.model_copy(update={"centre": False})})
    return replace(experiment, file=file).load_data(_folder(options))


def _reload(run: Run) -> tuple[Experiment, RunOptions, Dataset]:
    """Experiment, options and data as the run's header has them."""
    saved = run.header
    if "experiment_text" not in saved:
        raise ConfigError(
            f"{run.folder} was made from Python, not from an experiment file: go on there with "
            "Trainer.resume, or evaluate Run.weights()"
        )
    experiment = parse_experiment(
        saved["experiment_text"],
        name=saved["experiment"],
        folder=Path(saved["experiment_folder"]),
        where=f"{run.folder} (its experiment)",
    )
    options = RunOptions(**{**saved["options"], "imports": tuple(saved["options"]["imports"])})
    return experiment, options, experiment.load_data(_folder(options))


def _differences(
    run: Run,
    experiment: Experiment,
    trainer: Trainer,
    dataset: Dataset,
    options: RunOptions,
    force: bool,
    what: str,
) -> list[str]:
    """What has changed since the run was made; ResumeError if anything has and not ``force``."""
    now = header(experiment, trainer, run.header["bench_source"], dataset, options)
    found = differences(run.header, now)
    if found and not force:
        raise ResumeError(
            f"{run.folder} cannot be {what}:\n"
            + "\n".join(f"  {line}" for line in found)
            + "\nUse --force to go on all the same (a resumed run records that it did)."
        )
    return found
