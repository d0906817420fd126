"""`hilonn emulate` as a person starts it: a process of its own, real signals, a bench file that holds."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hilonn.bench import Bench
from hilonn.cli.emulate import _table
from hilonn.cli.main import app
from hilonn.errors import ConfigError, ConnectionLost
from hilonn.simulators.emulators.fault_texts import chip_faults, read
from hilonn.simulators.emulators.lab_16 import build
from hilonn.simulators.emulators.mishaps import Mishap, Mishaps

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
STOPS = 10.0
"""s: a stop takes two at most; what takes longer hangs."""


class Started:
    """A lab in a process of its own, once its bench file is there."""

    def __init__(self, process: subprocess.Popen[str], said: list[str]) -> None:
        self.process = process
        self.said = said

    def stop(self, number: int) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=STOPS)
        return self.process.returncode, err


@contextmanager
def lab(out: Path, *more: str) -> Iterator[Started]:
    command = [sys.executable, "-m", "hilonn", "emulate", "lab-16", "--out", str(out), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said: list[str] = []
        assert process.stdout is not None
        while not said or not said[-1].startswith("bench "):
            line = process.stdout.readline()
            assert line, process.communicate()
            said.append(line.rstrip())
        yield Started(process, said)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "lab.toml"
    with lab(out, "--no-latency") as started:
        file = tomllib.loads(out.read_text())
        assert (
            len(started.said) == len(file["connections"]) + 2
        )  # each box, the control port, the file
        held = []
        for connection in file["connections"].values():  # every one listens by now
            address = (connection["host"], connection["port"])
            assert any(f"{address[0]}:{address[1]}" in line for line in started.said)
            held.append(socket.create_connection(address, timeout=5.0))
        code, err = started.stop(number)  # with clients that hang on
        assert code == 0
        assert "lab-16 stopped after 0 transactions" in err
        assert held[0].recv(1) == b""
        for client in held:
            client.close()
    assert not list(tmp_path.glob("*.lab.lock"))


@posix
def test_a_bench_opens_on_it_and_a_second_lab_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "lab.toml"
    with lab(out, "--no-latency", "--fault", "chip:dead_detector:3") as started:
        before = out.read_bytes()
        second = CliRunner().invoke(app, ["emulate", "lab-16", "--out", str(out)])
        assert second.exit_code == 2
        assert "another emulated lab is running with this bench file" in second.stderr
        assert out.read_bytes() == before
        with Bench.open(out) as bench:
            assert bench.backend == "emulated"
            assert bench.check().step("detectors of meter").values["dead"] == [3]
        assert started.stop(signal.SIGINT)[0] == 0
    with pytest.raises(ConnectionLost):
        Bench.open(out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lab-17"], "There are: lab-16"),
        (["lab-16", "--out", "bench.json"], "a bench file ends in .toml"),
        (["lab-16", "--out", "nowhere/bench.toml"], "there is no folder"),
        (["lab-16", "--fault", "q"], "give BOX:KIND"),
        (["lab-16", "--fault", "laser:drop"], "no box 'laser'; there are chip, q, rp0"),
        (["lab-16", "--fault", "santec:gremlin"], "the box itself interlock"),
        (["lab-16", "--fault", "santec:interlock=3"], "takes no value"),
        (["lab-16", "--fault", "chip:gremlin"], "unknown kind 'gremlin'"),
        (["lab-16", "--fault", "chip:dead_heater:5000"], "channels are 0 to 528"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["emulate", *arguments])
    assert result.exit_code == 2
    assert told in result.stderr
    assert not list(tmp_path.glob("*.toml"))
    assert not list(tmp_path.glob("*.lock"))


def test_faults_are_read() -> None:
    asked = read("tec:disturb=-1.5@100x50")
    assert (asked.box, asked.kind, asked.value, asked.after, asked.count) == (
        "tec",
        "disturb",
        -1.5,
        100,
        50,
    )
    assert chip_faults(["q:drop", "chip:dead_heater:37", "chip:drift_step=0.3@5s"]) == [
        "dead_heater:37",
        "drift_step=0.3@5s",
    ]
    with pytest.raises(ConfigError, match="no number"):
        read("tec:disturb=1-2")


def test_a_mishap_strikes_once_and_is_mended() -> None:
    happened: list[str] = []
    mishaps = Mishaps()
    mishap = Mishap(lambda value: happened.append(f"{value:g}"), lambda: happened.append("mended"))
    mishaps.schedule("door", mishap, 2.0, 3, 2)
    for transactions in range(3):
        mishaps.follow(transactions)
    assert not happened
    mishaps.follow(3)
    mishaps.follow(4)
    assert happened == ["2"]
    mishaps.follow(5)
    assert happened == ["2", "mended"]
    assert not mishaps.waiting
    assert mishaps.struck == ["door", "door mended"]


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_has_a_line_a_box_and_says_what_struck(width: int, tmp_path: Path) -> None:
    with build(latency=False, faults=("santec:interlock@2",)) as running:
        running.write_bench(tmp_path / "lab.toml")
        with Bench.open(tmp_path / "lab.toml"):
            pass
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(_table(running, width))
        lines = console.export_text().splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= width
    for name in running.servers:
        assert sum(line.split()[:1] == [name] for line in lines) == 1
    assert "STRUCK: interlock" in next(line for line in lines if " santec" in line)


def played(started: Started) -> float:
    """Seconds that the lab says its triggers needed at least: more than zero once something was played."""
    address = started.said[-2].removeprefix("control ").rsplit(":", 1)
    with socket.create_connection((address[0], int(address[1])), timeout=STOPS) as opened:
        opened.sendall(b"FLOOR?\n")
        return float(opened.makefile().readline())


@posix
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("more", [("--latency",), ("--no-latency",)], ids=lambda more: more[0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_soon_while_a_client_trains_and_the_machine_is_busy(
    number: signal.Signals, more: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "lab.toml"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    hilonn = [sys.executable, "-m", "hilonn"]
    with lab(out, *more) as started, ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
            stack.callback(process.kill)
            return process  # type: ignore[no-any-return]

        train = start(
            *hilonn, "train", "digits16", "--bench", str(out), "--out", str(tmp_path / "run")
        )
        deadline = time.monotonic() + 120.0
        while played(started) == 0.0:
            assert train.poll() is None, "training ended before anything was played"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(os.cpu_count() or 1):
            start(sys.executable, "-c", "while True: pass")
        asked = time.monotonic()
        code, err = started.stop(number)
        print(f"{number.name} {more[0]}: stopped after {time.monotonic() - asked:.2f} s")
        assert code == 0
        assert "lab-16 stopped after" in err
    assert not list(tmp_path.glob("*.lab.lock"))
