"""The lab's process is killed while another process trains on it: all boxes are lost at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import lab_4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name != "posix", reason="kills and interrupts by signal"),
]
WAITS = "made safe what answers, and waiting"


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def heard(stream: Any, words: str) -> str:
    """The first line of ``stream`` with ``words``."""
    lines = []
    for line in stream:
        if words in line:
            return str(line)
        lines.append(line)
    raise AssertionError(f"it ended before {words!r}: {''.join(lines)}")


@contextmanager
def lab(folder: Path, ports: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A lab in its own process, and the ports that it has."""
    process = start("tests.lab.lab_4", str(folder), *ports.split())
    try:
        yield process, heard(process.stdout, "READY").removeprefix("READY").strip()
    finally:
        process.kill()
        process.communicate()


def training(folder: Path) -> subprocess.Popen[str]:
    experiment = folder / "xor.toml"
    experiment.write_text(lab_4.XOR.format(epochs=8))
    bench, run = str(folder / "bench.toml"), str(folder / "run")
    return start("hilonn", "train", str(experiment), "--bench", bench, "--out", run, "--json")


def test_a_lab_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    with lab(tmp_path) as (first, ports):
        train = training(tmp_path)
        heard(train.stderr, "epoch 2/")
        first.kill()
        heard(train.stderr, WAITS)
        with lab(tmp_path, ports):
            told, errors = train.communicate(timeout=120)
    assert train.returncode == 0, errors
    assert json.loads(told)["test_accuracy"] >= 0.95


def test_waiting_ends_with_ctrl_c_and_the_run_goes_on_later(tmp_path: Path) -> None:
    with lab(tmp_path) as (first, ports):
        train = training(tmp_path)
        heard(train.stderr, "epoch 2/")
        first.kill()
        heard(train.stderr, WAITS)
        train.send_signal(signal.SIGINT)
        _, errors = train.communicate(timeout=60)
        assert train.returncode == 130, errors
        assert "may not be safe" in errors, "what could not be switched off is told"
        assert "Go on with: hilonn resume" in errors
        with lab(tmp_path, ports):
            again = start("hilonn", "resume", str(tmp_path / "run"), "--json")
            told, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert json.loads(told)["test_accuracy"] >= 0.95
