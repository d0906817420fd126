"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def hilonn(*arguments: str) -> list[str]:
    """The command line of a ``hilonn`` call in this environment."""
    return [sys.executable, "-m", "hilonn", *arguments]


def train(
    experiment: str,
    folder: Path,
    *,
    bench: str = "simulated",
    seed: int = 0,
    more: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Train; the result with ``process_seconds``, the wall time of the whole process."""
    started = time.perf_counter()
    done = subprocess.run(
        hilonn(
            "train",
            experiment,
            "--bench",
            bench,
            "--seed",
            str(seed),
            "--out",
            str(folder),
            "--json",
            *more,
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{experiment} on {bench}, seed {seed}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"process_seconds": time.perf_counter() - started}
