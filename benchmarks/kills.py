"""Kills a run at random moments and resumes it: ``python -m benchmarks.kills [--count 20]``.

The moments are spread from the first instant that the run folder exists to the run's end; the
resumed run's weights must be the undisturbed run's, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.commands import hilonn, train


def main() -> None:
    """Print one line a kill, and the count of equal ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="digits")
    parser.add_argument("--bench", default="simulated")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--random", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.random)
    with tempfile.TemporaryDirectory() as folder:
        whole = train(arguments.experiment, Path(folder) / "whole", bench=arguments.bench)
        length = whole["wall_seconds"]
        equal = 0
        for index in range(arguments.count):
            out = Path(folder) / f"killed-{index}"
            # The first kill falls on the first instant that the folder exists.
            delay = 0.0 if index == 0 else moments.uniform(0.0, length)
            finished = killed_after(arguments.experiment, arguments.bench, out, delay)
            done = subprocess.run(
                hilonn("resume", str(out), "--json"), capture_output=True, text=True, check=False
            )
            same = done.returncode == 0 and (
                json.loads(done.stdout)["weights_sha256"] == whole["weights_sha256"]
            )
            equal += same
            note = " (it had finished)" if finished else ""
            print(
                f"killed {delay:6.2f} s after the folder appeared{note}: "
                + ("the same weights" if same else f"DIFFERENT {done.stderr}"),
                flush=True,
            )
        print(f"{equal} of {arguments.count} ended with {whole['weights_sha256'][:16]}")
    raise SystemExit(int(equal != arguments.count))


def killed_after(experiment: str, bench: str, out: Path, delay: float) -> bool:
    """Start a run and kill -9 it ``delay`` seconds after its folder appeared; True if it had ended."""
    process = subprocess.Popen(
        hilonn("train", experiment, "--bench", bench, "--out", str(out), "--json"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not out.exists():
        if process.poll() is not None:
            raise SystemExit("the run ended before its folder appeared")
        time.sleep(0.0005)
    try:
        process.wait(delay)
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False


if __name__ == "__main__":
    main()
