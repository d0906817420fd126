"""A whole calibration of a bench, from opening it to a score: what ``hilonn calibrate`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hilonn.bench import Bench
from hilonn.bench_file import read_source
from hilonn.calibration import engine, held_out
from hilonn.calibration.differences import Difference, differences
from hilonn.calibration.engine import VALID, Folder, Outcome, Plan
from hilonn.calibration.report import write_report
from hilonn.calibration.rig import Interrupted, Setup, rig_of
from hilonn.calibration.routine import Failure, Progress
from hilonn.errors import (
    ConnectionLost,
    DeviceTimeout,
    HilonnError,
    InterlockError,
    SafeStateTaken,
)
from hilonn.records import load_records

HELD_OUT = 200
MATRICES = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is ahead: routines by name and title, ``passes``, ``seconds`` on the bench's clock without its wires."""

    routines: tuple[tuple[str, str], ...]
    passes: int
    seconds: float


@dataclass
class Watcher:
    """Who is told what happens. ``progress`` (what, done, of), ``estimate`` before light goes on, ``finished`` after
    each routine with the reasons of what it masked."""

    progress: Progress = lambda what, done, count: None
    estimate: Callable[[Estimate], None] = lambda ahead: None
    finished: Callable[[str, list[str]], None] = lambda name, reasons: None


def calibrate(
    source: str | Path,
    out: Path,
    *,
    seed: int | None = None,
    chip_seed: int | None = None,
    chip: str | None = None,
    routines: Sequence[str] = (),
    parameters: str | None = None,
    start: str = "nominal",
    valid: timedelta = VALID,
    imports: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Calibrate the bench ``source`` into the folder ``out``, or go on with what is there; the result as a dict.

    ``start``: the record to start from, "nominal" by default, or that of the last routine finished in ``out`` where
    ``routines`` (names) leave some out. Raises what devices raise, with the bench made safe; KeyboardInterrupt where
    somebody asked to stop: what was acquired is on disk, and the same call goes on from it.
    """
    watch = watcher or Watcher()
    found = read_source(source)
    with (
        Bench.open(
            source,
            seed=seed,
            chip_seed=chip_seed,
            imports=imports,
            record=_start(out, start, routines),
        ) as bench,
        bench.interruptions() as asked,
        bench.gate.plans.made(),  # a safe state of whatever thread ends it: dark data are not kept
    ):
        rig = rig_of(bench, chip, asked)
        chosen = engine.plans(rig.setup, parameters, routines)
        watch.estimate(estimate(rig.setup, chosen))
        bench.light_on()
        known = bench.chip(chip).records
        folder = Folder(out)

        def told(name: str, failures: list[Failure]) -> None:
            watch.finished(name, [str(f) for f in failures])

        try:
            outcome = engine.calibrate(
                folder, rig, known, chosen, found.name, watch.progress, told, valid
            )
            result = _result(folder, outcome)
            if not routines:
                result |= _scored(bench, rig, folder, outcome, watch.progress)
        except Interrupted:
            raise KeyboardInterrupt from None
        result["passes"] = outcome.tally.passes
        result["wall_seconds"] = outcome.wall_seconds
        folder.result(result)
        write_report(folder)
        return result


def estimate(setup: Setup, chosen: Sequence[Plan]) -> Estimate:
    """What ``chosen`` will take."""
    whole = engine.effort(setup, chosen)
    names = tuple((p.name, p.routine.title) for p in chosen)
    return Estimate(names, whole.passes, whole.seconds(setup))


def refit(
    folder: Path,
    out: Path | None = None,
    *,
    parameters: str | None = None,
    routines: Sequence[str] = (),
    valid: timedelta = VALID,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Fit the raw data of ``folder`` again; no bench is opened. Results go to ``out``, or to the folder itself."""
    watch = watcher or Watcher()
    source = Folder(folder)
    chosen = engine.plans(source.setup, parameters, routines) if parameters or routines else None

    def told(name: str, failures: list[Failure]) -> None:
        watch.finished(name, [str(f) for f in failures])

    into = None if out is None or out == folder else Folder(out)
    outcome = engine.refit(source, chosen, told, valid, into)
    target = into or source
    result = _result(target, outcome) | {"refit": str(folder)}
    raw = source.raw("held-out")
    if raw.finished is not None:
        scored = held_out.score(source.setup, outcome.records, raw, outcome.records)
        result |= {"twin_error": scored.twin_error, "noise_floor": scored.noise_floor}
    target.result(result)
    write_report(target)
    return result


def diff(first: Path, second: Path) -> list[Difference]:
    """What two records, or two calibrations' folders, say differently."""
    return differences(_records_at(first), _records_at(second))


def _records_at(path: Path) -> Any:
    return load_records(path / "record.json" if path.is_dir() else path)


def _start(out: Path, start: str, routines: Sequence[str]) -> str:
    """A routine alone goes on from the last record that the folder has."""
    if start == "nominal" and routines and (out / "record.json").exists():
        return str(out / "record.json")
    return start


def _result(folder: Folder, outcome: Outcome) -> dict[str, Any]:
    return {
        "folder": str(folder.path),
        "record": str(folder.path / "record.json"),
        "chip": outcome.records.chip.chip,
        "failed_channels": outcome.failed_channels,
        "reasons": [str(f) for found in outcome.failures.values() for f in found],
        "passes": outcome.tally.passes,
        "wall_seconds": outcome.wall_seconds,
        "figures": outcome.figures,
    }


def _scored(
    bench: Bench, rig: Any, folder: Folder, outcome: Outcome, progress: Progress
) -> dict[str, Any]:
    """Held-out settings and random matrices, measured with the new record."""
    found: dict[str, Any] = {"twin_error": None, "noise_floor": None, "matrix_error": None}
    if rig.setup.oscillator:
        raw = folder.raw("held-out")
        held_out.acquire(rig, outcome.records, raw, HELD_OUT, 0.5, progress)
        scored = held_out.score(rig.setup, outcome.records, raw, outcome.records)
        found |= {"twin_error": scored.twin_error, "noise_floor": scored.noise_floor}
    progress("random matrices", 0, MATRICES)
    try:
        chip = bench.rewire(None, outcome.records)
        found["matrix_error"] = held_out.matrix_error(chip, MATRICES)
    except (InterlockError, SafeStateTaken, ConnectionLost, DeviceTimeout):
        raise  # that is no word on the matrices
    except HilonnError as error:
        found["matrix_error_reason"] = str(error)
    progress("random matrices", MATRICES, MATRICES)
    return found
