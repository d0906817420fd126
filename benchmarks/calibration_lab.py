"""The same chip calibrated on the simulated bench and through the wires of the emulated lab: ``python -m benchmarks.calibration_lab``.

``hilonn emulate lab-16 --no-latency --lockstep`` in one process and ``hilonn calibrate`` in another, beside ``hilonn calibrate simulated``
of the same chip with another noise; both opened by their datasheet. The two records are compared value by value: the difference
over what both together are unsure of has an rms of 1 where the uncertainties are right, 0.3 % of the values are beyond 3. A third
calibration, on the simulated bench with a noise of its own, shows what two of the same kind come to.

In lockstep both labs are a few seconds old. ``--wall`` lets the lab's time run with the clock on the wall: its chip has
drifted for minutes by then, and the modulators' biases (5 mrad a square root of an hour) say so. ``--small``: chips of four
ports behind the boxes of ``tests.lab.lab_4``, a quarter of a minute each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.commands import hilonn
from benchmarks.lab import emulated
from benchmarks.records_apart import apart, table
from hilonn.records import Records, load_records
from hilonn.simulators.presets import TYPICAL
from tests.calibration.benches import bench_file
from tests.lab import lab_4


def main() -> None:
    """A line a calibration, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--keep", type=Path, help="folder of the calibrations, used again; none by default"
    )
    options = parser.parse_args()
    lab, again = [], []
    for chip in range(options.first, options.first + options.chips):
        with tempfile.TemporaryDirectory() as name:
            folder, number = options.keep or Path(name), str(chip)
            folder.mkdir(parents=True, exist_ok=True)
            bench = str(bench_file(folder)) if options.small else "simulated"
            simulated, other = (
                calibrated(
                    f"chip {chip}, simulated, noise {noise}",
                    folder / f"chip-{chip}-simulated-{noise}",
                    *(bench, "--chip-seed", number, "--seed", noise),
                )
                for noise in ("1", "2")
            )
            kind = "wall" if options.wall else "lockstep"
            with running(options, chip, Path(name)) as path:
                out = folder / f"chip-{chip}-lab-{kind}"
                through = calibrated(f"chip {chip}, lab", out, str(path))
        lab.append(apart(simulated, through, TYPICAL.responsivity))
        again.append(apart(simulated, other))
    print(f"\nthe lab's and the simulated bench's:\n\n{table(lab)}")
    print(f"\ntwo of the simulated bench:\n\n{table(again)}")


@contextlib.contextmanager
def running(options: argparse.Namespace, chip: int, folder: Path) -> Iterator[Path]:
    """The lab of this chip: its bench file."""
    if options.small:
        with lab_4.build(lockstep=not options.wall, chip_seed=chip) as lab:
            lab.write_bench(folder / "lab.toml")
            yield folder / "lab.toml"
        return
    more = () if options.wall else ("--lockstep",)
    with emulated(folder, "--no-latency", "--chip-seed", str(chip), *more) as (path, _):
        yield path


def calibrated(title: str, out: Path, *arguments: str) -> Records:
    """A calibration in a process of its own, or the one that is there."""
    if (out / "result.json").exists():
        tell(title, json.loads((out / "result.json").read_text("utf-8")))
        return load_records(out / "record.json")
    started = time.perf_counter()
    done = subprocess.run(
        hilonn("calibrate", *arguments, "--out", str(out), "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{title}: {done.stderr}")
    tell(title, json.loads(done.stdout), time.perf_counter() - started)
    return load_records(out / "record.json")


def tell(title: str, found: dict[str, Any], seconds: float | None = None) -> None:
    """One line."""
    took = "there already" if seconds is None else f"{seconds:.0f} s"
    print(
        f"{title}: {found['passes']} passes, {took}; twin error {found['twin_error']:.2%} "
        f"(a repeated measurement {found['noise_floor']:.2%}), matrix error {found['matrix_error']:.2%}, "
        f"masked: {', '.join(found['failed_channels']) or 'none'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
