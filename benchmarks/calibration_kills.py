"""Interrupts a calibration at random moments, and goes on: ``python -m benchmarks.calibration_kills [--count 20]``.

The chip of four ports of ``tests.lab.lab_4`` behind its boxes' wires, the boxes in this process, ``hilonn calibrate`` in another.
The undisturbed calibration tells how long one takes; the moments are spread over that, from the first instant that the folder
exists. Ctrl-C, Ctrl-C twice,
SIGTERM and SIGKILL take turns. After the first three nothing may be on when the process has ended, looked at past
the wires: laser, heaters, modulators' outputs, shutter. A process that is killed outright makes nothing safe; there only its data are
asked for. Then the same command goes on to the end: what was on disk is still there, byte for byte, no more passes are taken than
one block of raw data again, nothing is on at the end, and the record is the undisturbed one's within what both
state of themselves (the chip drifts and its noise is another one: bit for bit it cannot be).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import hilonn
from benchmarks.records_apart import apart, table
from hilonn.records import load_records
from hilonn.typing import FloatArray
from tests.lab import lab_4
from tests.lab.truth import Truth

WAYS = {
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
    "SIGKILL": [signal.SIGKILL],
}
CLEAN = {"Ctrl-C": (130,), "Ctrl-C twice": (130, -signal.SIGINT), "SIGTERM": (143,)}
"""Exit codes of an interruption that was obeyed. The second Ctrl-C may find a process that is safe and about to leave:
a shell says 130 to that as well."""
INSISTING = 0.05
"""s between two."""
BLOCK = 80
"""Passes of the largest block, with those that look for a range."""


@dataclass
class Blow:
    """One interruption and what came of it."""

    way: str
    after: float
    code: int
    on: frozenset[str]
    kept: dict[str, str]
    seconds: float
    """Until the process had ended."""


def main() -> None:
    """One line an interruption."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--random", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    moments = random.Random(options.random)
    with tempfile.TemporaryDirectory() as name, lab_4.build() as lab:
        folder, truth = Path(name), Truth(lab)
        bench = folder / "lab.toml"
        lab.write_bench(bench)
        whole = calibrate(bench, folder / "whole")
        length = whole["process_seconds"] - whole["folder_seconds"]
        again = calibrate(bench, folder / "again")
        undisturbed = load_records(folder / "whole" / "record.json")
        print(
            f"undisturbed: {whole['passes']} passes, {length:.0f} s from when the folder is there; twin error "
            f"{whole['twin_error']:.2%}, {again['twin_error']:.2%} a second time",
            flush=True,
        )
        scaled, good = [], 0
        for index in range(options.count):
            out = folder / f"out-{index}"
            delay = 0.0 if index == 0 else moments.uniform(0.0, length)
            blow = interrupted(bench, out, delay, list(WAYS)[index % len(WAYS)], truth)
            after = calibrate(bench, out)
            wrong = faults(blow, out, after, whole, truth)
            scaled.append(apart(undisturbed, load_records(out / "record.json")))
            rms = _rms(scaled[-1])
            good += not wrong
            print(
                f"{index:2d} {blow.way}, {blow.after:.1f} s: exit {blow.code} after {blow.seconds:.1f} s, "
                f"{len(blow.kept)} blocks kept, on: {', '.join(sorted(blow.on)) or 'nothing'}; went on to "
                f"{after['passes']} passes, apart {rms:.2f} sd rms, twin error {after['twin_error']:.2%}; "
                f"{'; '.join(wrong) or 'as it should be'}",
                flush=True,
            )
        second = apart(undisturbed, load_records(folder / "again" / "record.json"))
        print(f"\n{good} of {options.count} as they should be")
        print(
            f"an undisturbed one and another: {_rms(second):.2f} sd rms; the undisturbed and each of these:\n"
        )
        print(table(scaled))
    raise SystemExit(int(good != options.count))


def calibrate(bench: Path, out: Path) -> dict[str, Any]:
    """To the end; the result, how long the process took, and how long until its folder was there."""
    started = time.perf_counter()
    process = start(bench, out)
    seen = wait_for(process, out)
    told, complained = process.communicate()
    if process.returncode:
        raise SystemExit(f"{out.name} did not go on: {complained}")
    result: dict[str, Any] = json.loads(told)
    took = time.perf_counter() - started
    return result | {"process_seconds": took, "folder_seconds": seen - started}


def start(bench: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        hilonn("calibrate", str(bench), "--out", str(out), "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], out: Path) -> float:
    """When its folder was there."""
    while not (out / "calibration.json").exists():
        if process.poll() is not None:
            raise SystemExit(f"it ended before its folder appeared: {process.communicate()[1]}")
        time.sleep(0.005)
    return time.perf_counter()


def interrupted(bench: Path, out: Path, delay: float, way: str, truth: Truth) -> Blow:
    """Start a calibration and interrupt it ``delay`` seconds after its folder appeared."""
    process = start(bench, out)
    wait_for(process, out)
    try:
        process.wait(delay)
        raise SystemExit(f"{out.name} had ended before {delay:.1f} s: {process.communicate()[1]}")
    except subprocess.TimeoutExpired:
        hit = time.perf_counter()
        for index, number in enumerate(WAYS[way]):
            time.sleep(INSISTING * bool(index))
            process.send_signal(number)
    process.communicate()
    seconds = time.perf_counter() - hit
    on = truth.on()
    return Blow(way, delay, process.returncode, on, blocks(out), seconds)


def blocks(out: Path) -> dict[str, str]:
    """Raw data on disk: hashes by name."""
    found = sorted((out / "raw").rglob("*.npz"))
    return {str(p.relative_to(out)): sha256(p.read_bytes()).hexdigest() for p in found}


def faults(
    blow: Blow, out: Path, after: dict[str, Any], whole: dict[str, Any], truth: Truth
) -> list[str]:
    """What is not as it should be."""
    wrong = []
    if blow.way in CLEAN and blow.on:
        wrong.append(f"NOT SAFE: {', '.join(sorted(blow.on))}")
    if blow.way in CLEAN and blow.code not in CLEAN[blow.way]:
        wrong.append(f"EXIT {blow.code}")
    if truth.on():
        wrong.append(f"ON AT THE END: {', '.join(sorted(truth.on()))}")
    now = blocks(out)
    if any(now.get(name) != digest for name, digest in blow.kept.items()):
        wrong.append("DATA CHANGED")
    if after["passes"] > whole["passes"] + BLOCK:
        wrong.append(f"{after['passes'] - whole['passes']} PASSES MORE")
    if after["failed_channels"] != whole["failed_channels"]:
        wrong.append(f"MASKED {after['failed_channels']}")
    if not after["twin_error"] < 1.3 * whole["twin_error"]:
        wrong.append("A WORSE TWIN")
    return wrong


def _rms(scaled: dict[str, FloatArray]) -> float:
    return float(np.sqrt((np.concatenate([*scaled.values()]) ** 2).mean()))


if __name__ == "__main__":
    main()
