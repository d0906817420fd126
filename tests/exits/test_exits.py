"""Every way out of a process ends with the light off and the heaters at zero."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hilonn.bench import Bench
from hilonn.errors import ConfigError
from hilonn.simulators.journal import read_journal
from tests.exits.small_bench import bench_file, journalled

ROOT = Path(__file__).parents[2]
TIMEOUT = 60
INTERRUPTED = (130, -int(signal.SIGINT))
"""What a shell says, and what Python does with a KeyboardInterrupt that nobody catches."""
posix = pytest.mark.skipif(os.name != "posix", reason="this platform cannot send the signal")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Until ``process`` prints a line with ``word``."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"it ended before {word}: {process.communicate()[1]}")


def safe(journal: Path) -> bool:
    """Whether light and heat were on, and are off."""
    lines = read_journal(journal)
    was_on = any(line["emission"] and line["heaters"] > 1.9 for line in lines)
    assert was_on, "the bench was never on: nothing is shown"
    last = lines[-1]
    return not last["emission"] and last["heaters"] == 0.0 and last["switch"] == 0


@dataclass(frozen=True)
class Way:
    """How to leave, by which signal, and the exit codes that are right."""

    name: str
    codes: tuple[int, ...]
    signal_name: str | None = None
    told: str = ""

    def __str__(self) -> str:
        return self.name + (f", {self.signal_name}" if self.signal_name else "")


def _signalled(name: str, signal_name: str) -> Way:
    number = int(getattr(signal, signal_name, 0))
    codes = INTERRUPTED if signal_name == "SIGINT" else (128 + number,)
    return Way(name, codes, signal_name)


WAYS = [
    Way("return", (0,)),
    Way("exception", (1,), told="RuntimeError: the experiment went wrong"),
    Way("sys.exit", (7,)),
    Way("no close", (0,)),
    _signalled("wait", "SIGINT"),
    _signalled("wait", "SIGTERM"),
    _signalled("wait", "SIGHUP"),
    _signalled("wait without with", "SIGTERM"),
    _signalled("wait, then interrupt the ramp", "SIGINT"),
    _signalled("wait, then terminate the ramp", "SIGTERM"),
    _signalled("wait, asked once", "SIGINT"),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_way_out_is_safe(way: Way, tmp_path: Path) -> None:
    if way.signal_name is not None and (os.name != "posix" or not hasattr(signal, way.signal_name)):
        pytest.skip(f"no {way.signal_name} on this platform")
    bench, journal = journalled(tmp_path, {"devices.heaters": "limits.slew_rate = 100.0"})
    process = start("tests.exits.leaver", way.name, str(bench))
    wait_for(process, "READY")
    if way.signal_name is not None:
        # Only then does it wait; the others may have left by now.
        assert not safe(journal), "it is on when the signal comes"
        process.send_signal(getattr(signal, way.signal_name))
    stderr = process.communicate(timeout=TIMEOUT)[1]
    assert safe(journal)
    assert process.returncode in way.codes, stderr
    assert way.told in stderr
    if way.codes == (0,):
        assert stderr == ""


@posix
def test_the_second_of_two_benches_stays_guarded_when_the_first_closes(tmp_path: Path) -> None:
    bench, journal = journalled(tmp_path)
    process = start("tests.exits.leaver", "wait with two", str(bench), "ideal")
    wait_for(process, "READY")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT)
    assert safe(journal)
    assert process.returncode == 143


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to be quick")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_any_line_of_closing_leaves_all_safe(name: str, tmp_path: Path) -> None:
    process = start("tests.exits.leaver", "every line", str(tmp_path), name)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    lines = json.loads(stdout)
    assert len(lines) > 20
    unsafe = [line for line in lines if not safe(tmp_path / f"{line:04d}/journal.jsonl")]
    assert unsafe == [], "these lines of closing, counted as executed"


@posix
def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    with Bench.open(bench_file(tmp_path)) as bench:
        assert signal.getsignal(signal.SIGTERM) != before[1]
        with bench.interruptions():
            assert signal.getsignal(signal.SIGINT) != before[0]
        assert signal.getsignal(signal.SIGINT) == before[0]
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_bench_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    path, journal = journalled(tmp_path)
    process = start("tests.exits.leaver", "wait", str(path))
    wait_for(process, "READY")
    size = journal.stat().st_size
    with pytest.raises(ConfigError, match=r"lab\.toml is in use by another process.*lab\.lock"):
        Bench.open(path)
    assert journal.stat().st_size == size, "the other's plant was not touched"
    process.communicate("", timeout=TIMEOUT)
    assert process.returncode == 0
    Bench.open(path).close()


@posix
def test_training_interrupted_once_is_safe_saved_and_resumable(tmp_path: Path) -> None:
    bench, journal = journalled(tmp_path)
    run = tmp_path / "run"
    process = start("hilonn", "train", "xor", "--bench", str(bench), "--out", str(run), "--json")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1/"):
            break
    assert (run / "checkpoint").exists()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert f"hilonn resume {run}" in stderr
    assert "Traceback" not in stderr
    lines = read_journal(journal)
    assert any(line["emission"] for line in lines)
    assert not lines[-1]["emission"]
    assert lines[-1]["heaters"] == 0.0
    assert (run / "checkpoint").exists()
    assert not (run / "result.json").exists()

    process = start("hilonn", "resume", str(run), "--json")
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    result = json.loads(stdout)
    assert result["epochs"] == 30
    assert result["test_accuracy"] > 0.9
    last = read_journal(journal)[-1]
    assert not last["emission"]
    assert last["heaters"] == 0.0
