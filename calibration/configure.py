"""A matrix on a chip without a record, from opening the bench to settings on disk: what ``hilonn configure`` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hilonn
from hilonn.atomic import write_json
from hilonn.bench import Bench
from hilonn.bench_file import read_source
from hilonn.calibration import engine, self_configuration
from hilonn.calibration.engine import Folder
from hilonn.calibration.nulls import prepared
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Interrupted, Rig, Setup, rig_of
from hilonn.calibration.routine import Progress
from hilonn.calibration.self_configuration import Configured, Options
from hilonn.errors import ConfigError, StorageError
from hilonn.records import Records, load_records
from hilonn.typing import FloatArray

BOXES = ("oscillator", "detectors", "modulators", "input_powers")
"""Routines that measure what stands at the chip's ends, not the chip."""


def configure(
    source: str | Path,
    matrix: Path,
    out: Path,
    *,
    method: str,
    record: Path | None = None,
    seed: int | None = None,
    chip_seed: int | None = None,
    chip: str | None = None,
    options: Options | None = None,
    imports: Sequence[str] = (),
    progress: Progress = lambda what, done, count: None,
    ahead: Callable[[int, float], None] = lambda passes, seconds: None,
) -> dict[str, Any]:
    """Bring a chip of the bench ``source`` to the ``matrix`` in a .npy file, by ``method``, into the folder ``out``, or go on with
    what is there; the result as a dict.

    ``record``: a record's file whose modulators and detectors are believed; they are measured where it is None. ``ahead`` is told
    passes and seconds before light goes on. Raises what devices raise, with the bench made safe; KeyboardInterrupt where
    somebody asked to stop: what was found is on disk, and the same call goes on from it.
    """
    wanted, own = read_matrix(matrix), options or Options()
    with (
        Bench.open(
            source, seed=seed, chip_seed=chip_seed, imports=imports, record="nominal"
        ) as bench,
        bench.interruptions() as asked,
        bench.gate.plans.made(),  # a safe state of whatever thread ends it
    ):
        rig = rig_of(bench, chip, asked)
        prepared(method, rig.setup, wanted)
        boxes = _boxes(rig.setup) if record is None else []
        _tell(rig.setup, method, boxes, own, ahead)
        bench.light_on()
        try:
            known = (
                load_records(record)
                if record is not None
                else engine.calibrate(
                    Folder(out / "boxes"),
                    rig,
                    bench.chip(chip).records,
                    boxes,
                    read_source(source).name,
                    progress,
                ).records
            )
            act = getattr(self_configuration, method)
            found: Configured = act(rig, known, wanted, Raw(out / "raw"), own, progress)
        except Interrupted:
            raise KeyboardInterrupt from None
        return save(out, rig, found, bench_name=read_source(source).name)


def read_matrix(path: Path) -> FloatArray:
    """The array of a .npy file. ConfigError where it cannot be read."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no matrix can be read from {path}: {error}") from None


def save(out: Path, rig: Rig, found: Configured, bench_name: str) -> dict[str, Any]:
    """Write ``settings.json`` (volts a heater, in the chip's order), ``wanted.npy``, ``achieved.npy`` and ``result.json``."""
    result = {
        "folder": str(out),
        "bench": bench_name,
        "chip": rig.setup.chip,
        "version": hilonn.__version__,
        "method": found.method,
        "fidelity": found.fidelity,
        "matrix_error": found.matrix_error,
        "known_but_for": (
            "one gain a row" if found.matrix is not None else "one sign and one gain a row"
        ),
        "history": list(found.history),
        "passes": found.passes,
        "seconds": found.seconds,
    }
    out.mkdir(parents=True, exist_ok=True)
    achieved = found.sizes if found.matrix is None else found.matrix
    try:
        np.save(out / "wanted.npy", found.wanted)
        np.save(out / "achieved.npy", achieved)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error}") from None
    write_json(
        out / "settings.json",
        {
            "chip": rig.setup.chip,
            "architecture": rig.setup.architecture,
            "ports": rig.setup.ports,
            "heater_volts": found.volts.tolist(),
        },
    )
    write_json(out / "result.json", result)
    return result


def load_settings(out: Path, setup: Setup) -> FloatArray:
    """Volts (heaters,) that ``configure`` left in ``out``, for ``Rig.program``. ConfigError where they are of another chip."""
    path = out / "settings.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"no settings can be read from {path}: {error}") from None
    for key in ("chip", "architecture", "ports"):
        if found.get(key) != getattr(setup, key):
            raise ConfigError(
                f"{path} are settings of another chip: their {key} is {found.get(key)!r}, this one's "
                f"{getattr(setup, key)!r}"
            )
    return np.array(found["heater_volts"], float)


def measured_boxes(folder: Path, rig: Rig, start: Records, bench: str = "") -> Records:
    """``start`` with modulators and detectors as measured into ``folder``; light is on."""
    return engine.calibrate(Folder(folder), rig, start, _boxes(rig.setup), bench).records


def _boxes(setup: Setup) -> list[engine.Plan]:
    return [plan for plan in engine.plans(setup) if plan.name in BOXES]


def _tell(
    setup: Setup,
    method: str,
    boxes: Sequence[engine.Plan],
    options: Options,
    ahead: Callable[[int, float], None],
) -> None:
    first = engine.effort(setup, boxes)
    passes = sum(self_configuration.passes(method, setup, options).values())
    each = (2 * setup.ports + 4) * options.averages * setup.sample_period
    ahead(
        first.passes + passes,
        first.seconds(setup) + passes * (2 * setup.settling_time + each),
    )
