"""The engine: routines in order, raw data first, resumable, refitted offline, with history and a report."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import hilonn
from hilonn import registry
from hilonn.atomic import write_json
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup, Tally
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.chips.nominal import Nominal
from hilonn.config_errors import describe_validation_error
from hilonn.errors import CalibrationError, ConfigError, ResumeError
from hilonn.records import Records, load_records

ORDER = (
    "oscillator",
    "detectors",
    "modulators",
    "attenuators",
    "phases",
    "crosstalk",
    "input_powers",
    "weights",
    "paths",
    "outer_phases",
    "global",
)
"""Routines run in this order; others that are plugged in come before "global", by name."""
FORMAT = 1
VALID = timedelta(days=30)
"""How long a record is good for, unless asked otherwise."""


@dataclass(frozen=True)
class Plan:
    """One routine with its parameters."""

    routine: Routine
    parameters: Parameters

    @property
    def name(self) -> str:
        return self.routine.name


@dataclass
class Outcome:
    """What a calibration has come to: ``records``, ``failures`` by routine, ``figures`` by routine, fits that were
    made in this call, and what it took in all."""

    records: Records
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    wall_seconds: float = 0.0

    @property
    def failed_channels(self) -> list[str]:
        return [f"{f.kind}:{f.channel}" for found in self.failures.values() for f in found]


def plans(setup: Setup, text: str | None = None, only: Sequence[str] = ()) -> list[Plan]:
    """The routines that apply to a chip, in order, with parameters from ``text`` (TOML: a table a routine).

    ``only``: names of those wanted. ConfigError for an unknown routine, key or value, or one that does not apply.
    """
    names = registry.names("hilonn.calibrations")
    rank = {name: i for i, name in enumerate(ORDER)}
    names.sort(key=lambda name: (rank.get(name, len(ORDER) - 1.5), name))
    try:
        given = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"calibration parameters: not valid TOML: {error}") from None
    for name in (*given, *only):
        if name not in names:
            raise ConfigError(f"no routine {name!r}: there are {', '.join(names)}")
    found = []
    for name in names:
        if only and name not in only:
            continue
        routine: Routine = registry.load("hilonn.calibrations", name)()
        if not routine.applies(setup):
            if name in only or name in given:
                raise ConfigError(
                    f"the routine {name} does not apply to a {setup.architecture} "
                    f"{'with' if setup.oscillator else 'without'} a local oscillator"
                )
            continue
        try:
            own = routine.parameters.model_validate(given.get(name, {}))
        except ValidationError as error:
            where = "calibration parameters"
            raise ConfigError(
                describe_validation_error(error, where, routine.parameters, name)
            ) from None
        found.append(Plan(routine, own))
    return found


def effort(setup: Setup, chosen: Sequence[Plan]) -> Effort:
    """What all routines will take, raw data that are there already not counted off."""
    parts = [plan.routine.effort(setup, plan.parameters) for plan in chosen]
    return Effort(sum(p.passes for p in parts), sum(p.samples for p in parts))


@dataclass
class Folder:
    """A calibration's folder: ``calibration.json``, ``raw/ROUTINE/``, ``fits/ROUTINE.json`` and ``.npz``,
    ``records/`` (one after each routine), ``record.json``, ``events.jsonl``, ``report.html``."""

    path: Path

    def raw(self, name: str) -> Raw:
        return Raw(self.path / "raw" / name)

    @property
    def head(self) -> dict[str, Any]:
        """What ``start`` wrote; CalibrationError where it is no calibration's folder."""
        try:
            found: dict[str, Any] = json.loads((self.path / "calibration.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CalibrationError(f"{self.path} is no folder of a calibration: {error}") from None
        return found

    def start(self, setup: Setup, start: Records, chosen: Sequence[Plan], bench: str) -> None:
        """Write what is being calibrated, or check that a folder that is there is of the same chip and parameters.

        Raises ResumeError, naming the difference.
        """
        now = {
            "format": FORMAT,
            "chip": setup.chip,
            "setup": _packed(setup),
        }
        parameters = {p.name: p.parameters.model_dump(mode="json") for p in chosen}
        if (self.path / "calibration.json").exists():
            before = self.head
            for key in ("format", "chip", "setup"):
                if before.get(key) != now[key]:
                    raise ResumeError(
                        f"{self.path} holds another calibration: its {key} is {_short(before.get(key))}, this one's "
                        f"{_short(now[key])}; give another --out"
                    )
            for name, wanted in parameters.items():
                had = before["parameters"].get(name, wanted)
                if had != wanted and self.raw(name).finished is not None:
                    raise ResumeError(
                        f"{self.path}: {name} was measured with {had}, not {wanted}; give another --out"
                    )
            parameters = before["parameters"] | parameters
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(
            self.path / "calibration.json",
            now
            | {
                "parameters": parameters,
                "bench": bench,
                "version": hilonn.__version__,
                "started": _now(),
            },
        )
        if not (self.path / "records").exists():
            (self.path / "records").mkdir()
            start.save(self.path / "records" / "0-start.json")

    def result(self, values: dict[str, Any]) -> None:
        """Keep what the whole came to, beside what was kept before."""
        write_json(self.path / "result.json", self.found | values)

    @property
    def found(self) -> dict[str, Any]:
        """What ``result`` kept; empty before."""
        path = self.path / "result.json"
        if not path.exists():
            return {}
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return values

    @property
    def setup(self) -> Setup:
        return _unpacked(self.head["setup"])

    @property
    def started_from(self) -> Records:
        return load_records(self.path / "records" / "0-start.json")

    def event(self, name: str, **facts: Any) -> None:
        """Append to ``events.jsonl``."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": name, "at": _now(), **facts}) + "\n")

    def passes(self, name: str) -> int:
        """That a routine has taken in all, in as many calls as it was."""
        lines = (self.path / "events.jsonl").read_text("utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        return sum(e.get("passes", 0) for e in events if e.get("routine") == name)

    def keep(self, plan: Plan, fit: Fit, failures: Sequence[Failure], records: Records) -> None:
        """What a routine came to: figures, reasons, arrays for the report, the record after it."""
        (self.path / "fits").mkdir(exist_ok=True)
        write_json(
            self.path / "fits" / f"{plan.name}.json",
            {
                "figures": {k: float(v) for k, v in fit.figures.items()},
                "failures": [asdict(f) for f in failures],
            },
        )
        np.savez(self.path / "fits" / f"{plan.name}.npz", allow_pickle=False, **fit.arrays)
        records.save(self.path / "records" / f"after-{plan.name}.json")


def acquire(folder: Folder, rig: Rig, plan: Plan, known: Records, progress: Progress) -> None:
    """The first step of one routine: whatever its raw data lack yet."""
    raw = folder.raw(plan.name)
    if raw.finished is not None:
        return
    before = Tally(**vars(rig.tally))
    started = time.monotonic()
    try:
        plan.routine.acquire(rig, known, plan.parameters, raw, progress)
    finally:
        taken = rig.tally.passes - before.passes
        folder.event("acquired", routine=plan.name, passes=taken, whole=False)
    raw.finish(
        passes=folder.passes(plan.name),
        samples=rig.tally.samples - before.samples,
        retakes=rig.tally.retakes - before.retakes,
        wall_seconds=time.monotonic() - started,
    )
    folder.event("acquired", routine=plan.name, whole=True)


def evaluate(folder: Folder, setup: Setup, plan: Plan, known: Records, outcome: Outcome) -> Records:
    """The other three steps of one routine: fit, accept, update. CalibrationError where nothing can be used."""
    raw = folder.raw(plan.name)
    fit = plan.routine.fit(setup, known, plan.parameters, raw)
    failures = plan.routine.accept(setup, known, plan.parameters, fit)
    records = plan.routine.update(known, fit, failures)
    folder.keep(plan, fit, failures, records)
    folder.event("fitted", routine=plan.name, failures=[str(f) for f in failures])
    outcome.records, outcome.fits[plan.name] = records, fit
    outcome.failures[plan.name] = list(failures)
    outcome.figures[plan.name] = {k: float(v) for k, v in fit.figures.items()}
    facts = raw.finished or {}
    for name in ("passes", "samples", "retakes"):
        setattr(outcome.tally, name, getattr(outcome.tally, name) + int(facts.get(name, 0)))
    return records


def calibrate(
    folder: Folder,
    rig: Rig,
    known: Records,
    chosen: Sequence[Plan],
    bench: str = "",
    progress: Progress = lambda what, done, count: None,
    told: Callable[[str, list[Failure]], None] = lambda name, failures: None,
    valid: timedelta = VALID,
) -> Outcome:
    """Run ``chosen`` in order on a chip whose light is on; ``known`` is what is known of it before.

    What the folder's raw data hold already is not measured again. Raises Interrupted where somebody asked to stop,
    and what devices raise: what was acquired is on disk, and a later call goes on from it.
    """
    started = time.monotonic()
    known = named(known, rig.setup)
    folder.start(rig.setup, known, chosen, bench)
    outcome = Outcome(known)
    for plan in chosen:
        acquire(folder, rig, plan, known, progress)
        known = evaluate(folder, rig.setup, plan, known, outcome)
        told(plan.name, outcome.failures[plan.name])
    return _finished(folder, outcome, started, valid)


def refit(
    folder: Folder,
    chosen: Sequence[Plan] | None = None,
    told: Callable[[str, list[Failure]], None] = lambda name, failures: None,
    valid: timedelta = VALID,
    into: Folder | None = None,
) -> Outcome:
    """Fit a folder's raw data again, without a bench; results go to ``into``, the same folder by default."""
    started = time.monotonic()
    setup, known = folder.setup, folder.started_from
    if chosen is None:
        text = folder.head["parameters"]
        chosen = [
            Plan(p.routine, p.routine.parameters.model_validate(text.get(p.name, {})))
            for p in plans(setup)
        ]
    chosen = [p for p in chosen if folder.raw(p.name).finished is not None]
    if not chosen:
        raise CalibrationError(
            f"{folder.path}: no routine's raw data are complete; calibrate first"
        )
    target = into or folder
    if target is not folder:
        target.start(setup, known, chosen, f"refit of {folder.path}")
    outcome = Outcome(known)
    for plan in chosen:
        raw = folder.raw(plan.name)
        fit = plan.routine.fit(setup, known, plan.parameters, raw)
        failures = plan.routine.accept(setup, known, plan.parameters, fit)
        known = plan.routine.update(known, fit, failures)
        target.keep(plan, fit, failures, known)
        target.event("refitted", routine=plan.name, failures=[str(f) for f in failures])
        outcome.records, outcome.fits[plan.name] = known, fit
        outcome.failures[plan.name] = list(failures)
        outcome.figures[plan.name] = {k: float(v) for k, v in fit.figures.items()}
        facts = raw.finished or {}
        outcome.tally.passes += int(facts.get("passes", 0))
        outcome.tally.samples += int(facts.get("samples", 0))
        told(plan.name, outcome.failures[plan.name])
    return _finished(target, outcome, started, valid)


def named(known: Records, setup: Setup) -> Records:
    """``known`` under the chip's name and its boxes' serial numbers."""
    return Records(
        replace(known.chip, chip=setup.chip),
        replace(known.modulators, serial=setup.modulators_serial),
        replace(known.photodetectors, serial=setup.photodetectors_serial),
    )


def _finished(folder: Folder, outcome: Outcome, started: float, valid: timedelta) -> Outcome:
    expires = (datetime.now(UTC) + valid).isoformat(timespec="seconds")
    records = outcome.records
    outcome.records = Records(
        replace(records.chip, expires=expires),
        replace(records.modulators, expires=expires),
        replace(records.photodetectors, expires=expires),
    )
    outcome.records.save(folder.path / "record.json")
    outcome.wall_seconds = time.monotonic() - started
    folder.event("finished", wall_seconds=outcome.wall_seconds, failed=outcome.failed_channels)
    return outcome


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."


def _packed(setup: Setup) -> dict[str, Any]:
    """``setup`` as JSON: arrays as lists."""
    found: dict[str, Any] = {}
    for name in setup.__dataclass_fields__:
        value = getattr(setup, name)
        if isinstance(value, np.ndarray):
            found[name] = value.tolist()
        elif isinstance(value, Nominal):
            found[name] = value.model_dump(mode="json")
        else:
            found[name] = value
    return found


def _unpacked(packed: dict[str, Any]) -> Setup:
    values: dict[str, Any] = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in packed.items()
    }
    values["nominal"] = Nominal.model_validate(packed["nominal"])
    return Setup(**values)
