"""The same chip calibrated on the simulated bench and through the wires of the emulated lab: ``python -m benchmarks.calibration_lab``.

``hilonn emulate lab-16 --no-latency --lockstep`` in one process and ``hilonn calibrate`` in another, beside ``hilonn calibrate simulated``
of the same chip with another noise; both opened by their datasheet. The two records are compared value by value: the difference
over what both together are unsure of has an rms of 1 where the uncertainties are right, 0.3 % of the values are beyond 3. A third
calibration, on the simulated bench with a noise of its own, shows what two of the same kind come to.

In lockstep both labs are a few seconds old. ``--wall`` lets the lab's time run with the clock on the wall: its chip has
drifted for minutes by then, and the modulators' biases (5 mrad a square root of an hour) say so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import hilonn
from benchmarks.lab import emulated
from benchmarks.records_apart import apart, table
from hilonn.records import Records, load_records
from hilonn.simulators.presets import TYPICAL


def main() -> None:
    """A line a calibration, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--wall", action="store_true")
    options = parser.parse_args()
    lab, again = [], []
    for chip in range(options.first, options.first + options.chips):
        with tempfile.TemporaryDirectory() as name:
            folder, number = Path(name), str(chip)
            simulated, other = (
                calibrated(
                    f"chip {chip}, simulated, noise {noise}",
                    folder / f"simulated-{noise}",
                    *("simulated", "--chip-seed", number, "--seed", noise),
                )
                for noise in ("1", "2")
            )
            more = () if options.wall else ("--lockstep",)
            with emulated(folder, "--no-latency", "--chip-seed", number, *more) as (path, _):
                through = calibrated(f"chip {chip}, lab", folder / "lab", str(path))
        lab.append(apart(simulated, through, TYPICAL.responsivity))
        again.append(apart(simulated, other))
    print(f"\nthe lab's and the simulated bench's:\n\n{table(lab)}")
    print(f"\ntwo of the simulated bench:\n\n{table(again)}")


def calibrated(title: str, out: Path, *arguments: str) -> Records:
    """A calibration in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run(
        hilonn("calibrate", *arguments, "--out", str(out), "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{title}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(
        f"{title}: {found['passes']} passes, {time.perf_counter() - started:.0f} s; twin error {found['twin_error']:.2%} "
        f"(a repeated measurement {found['noise_floor']:.2%}), matrix error {found['matrix_error']:.2%}, "
        f"masked: {', '.join(found['failed_channels']) or 'none'}",
        flush=True,
    )
    return load_records(out / "record.json")


if __name__ == "__main__":
    main()
