"""Calibration over chips drawn at random: ``python -m benchmarks.calibration [BENCH] [--chips N]``.

One row a chip and their median and worst case. Errors are against what the plant hides; the command itself sees
readings only. Lines go to stdout as they come. ``--without EFFECT`` switches an effect of a built-in bench's preset off:

    python -m benchmarks.calibration simulated-harsh --without dead_heaters
    python -m benchmarks.calibration simulated-harsh
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import bench_text
from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.records import load_records
from tests.calibration.hidden_truth import errors

COLUMNS = (
    "phase_mrad",
    "phase_median_mrad",
    "model_error",
    "matrix_error",
    "unreached",
    "twin_error",
    "noise_floor",
    "crosstalk",
    "pair_gain",
    "v_pi",
    "couplers_mrad",
    "passes",
    "wall_seconds",
    "failed",
)


def one(bench: str, chip: int, folder: Path, routines: tuple[str, ...]) -> dict[str, Any]:
    """Calibrate one chip, and compare with its plant."""
    result = session.calibrate(bench, folder, seed=1000 + chip, chip_seed=chip, routines=routines)
    records = load_records(folder / "record.json")
    with Bench.open(bench, seed=1000 + chip, chip_seed=chip, record="nominal") as opened:
        plant = opened.connections["plant"].plant  # type: ignore[attr-defined]
        found = errors(records, plant)
    unreached = None
    if not routines:
        with Bench.open(bench, seed=1000 + chip, chip_seed=chip, record="nominal") as opened:
            unreached = _unreached(opened.rewire(None, records))
    row = {
        "phase_mrad": 1e3 * found.phase,
        "phase_median_mrad": 1e3 * found.phase_median,
        "model_error": found.matrix,
        "matrix_error": result.get("matrix_error"),
        "unreached": unreached,
        "twin_error": result.get("twin_error"),
        "noise_floor": result.get("noise_floor"),
        "crosstalk": found.crosstalk,
        "pair_gain": found.pair_gain,
        "v_pi": found.v_pi,
        "couplers_mrad": 1e3 * found.couplers,
        "passes": result["passes"],
        "wall_seconds": result["wall_seconds"],
        "failed": len(result["failed_channels"]),
    }
    dead = [int(d) for d in np.flatnonzero(plant.truth.dead)]
    return {
        "chip": chip,
        **row,
        "inside": found.inside,
        "dead": dead,
        "named": result["failed_channels"],
        "reasons": result["reasons"],
        "right": set(result["failed_channels"]) == {f"heater:{d}" for d in dead},
    }


def _unreached(chip: Any) -> float:
    """Relative error of random matrices that no phases of the record's model reach: what dead heaters cost, and splitters."""
    rng = np.random.default_rng(0)
    away = []
    for _ in range(20):
        wanted = rng.standard_normal((chip.outputs, chip.inputs))
        (settings,) = chip.compile_exactly(wanted[np.newaxis], [None])
        away.append(np.linalg.norm(settings.realised - wanted) / np.linalg.norm(wanted))
    return float(np.mean(away))


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("bench", nargs="?", default="simulated")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder of the calibrations; none by default.")
    parser.add_argument("--routines", default="", help="Only these, by commas; no score then.")
    parser.add_argument("--without", action="append", default=[], help="An effect switched off.")
    options = parser.parse_args()
    chosen = tuple(r for r in options.routines.split(",") if r)
    rows = []
    for chip in range(options.first, options.first + options.chips):
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.keep or Path(scratch)) / f"chip-{chip}"
            bench = options.bench
            if options.without:
                bench = str(Path(scratch) / f"{options.bench}.toml")
                off = {"effects": dict.fromkeys(options.without, False)}
                Path(bench).write_text(
                    bench_text({"bench": options.bench, "plant": off}), encoding="utf-8"
                )
            rows.append(one(bench, chip, folder, chosen))
        print(json.dumps(rows[-1]), flush=True)
    print("\n| figure | median | worst |\n|---|---|---|")
    for name in COLUMNS:
        values = np.array([r[name] for r in rows if r[name] is not None], float)
        if values.size:
            print(f"| {name} | {np.median(values):.4g} | {values.max():.4g} |")
    right = sum(r["right"] for r in rows)
    print(f"| chips whose dead heaters were named, and nothing else | {right} | of {len(rows)} |")
    kinds = rows[0]["inside"]
    inside = {k: np.array([r["inside"][k] for r in rows]).sum(axis=0) for k in kinds}
    for kind, (count, whole) in inside.items():
        print(f"| within 1 sd: {kind} | {count / whole:.1%} | of {whole} |")


if __name__ == "__main__":
    main()
