"""``emulate``: a whole lab on this machine's loopback, until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from hilonn import registry
from hilonn.errors import ConfigError
from hilonn.interruptions import TERMINATING, put_back

REDRAW = 0.5  # s
LISTEN = 0.1  # s: a sleep goes on after a signal
WIDE = 100  # columns of a terminal


def emulate_command(
    lab: str,
    out: Path | None,
    *,
    latency: bool,
    noise: bool,
    lockstep: bool,
    faults: tuple[str, ...],
    chip_seed: int,
    imports: tuple[str, ...],
) -> int:
    """Serve ``lab`` until Ctrl-C or SIGTERM; its addresses and bench file go to stdout, its boxes' state to a terminal.

    ConfigError, before anything listens, for an unknown lab or fault, and where another lab serves the same bench file.
    """
    for module in imports:
        registry.import_module(module)
    build = registry.load("hilonn.emulators", lab)
    path = Path(f"{lab}.toml") if out is None else out
    if path.suffix != ".toml":
        raise ConfigError(f"--out {path}: a bench file ends in .toml")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.absolute().parent}")
    options = {
        "latency": latency,
        "noise": noise,
        "lockstep": lockstep,
        "faults": faults,
        "chip_seed": chip_seed,
    }
    stop = _Stop()
    before: dict[int, Any] = {}
    for number in (signal.SIGINT, *TERMINATING):
        before[number] = signal.signal(number, stop)
    try:
        with _alone(path), build(**options) as running:
            if stop.asked:
                return 0
            for name, server in running.servers.items():
                sys.stdout.write(f"{name} {server.address}\n")
            sys.stdout.write(f"control {running.control.address}\n")
            running.write_bench(path)
            sys.stdout.write(f"bench {path}\n")
            sys.stdout.flush()
            _show(running, stop)
            done = sum(server.transactions for server in running.servers.values())
            sys.stderr.write(f"{running.name} stopped after {done:,} transactions\n")
    finally:
        put_back(before)
    return _leave(0)


def _leave(code: int) -> int:
    """End now with ``code``. All is closed and told; what an interpreter does at its end takes 0.4 s of processor time, which is seconds on
    a busy machine."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Stop:
    """Asked for by a signal. No lock is taken: a handler may come while the thread that it interrupts holds it."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def wait(self, seconds: float) -> bool:
        """Whether it was asked for, within ``seconds``."""
        end = time.monotonic() + seconds
        while not self.asked and (left := end - time.monotonic()) > 0.0:
            time.sleep(min(left, LISTEN))
        return self.asked


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within: no other lab writes the bench file ``path``. A client's own lock on it is another one."""
    lock = FileLock(path.with_name(f"{path.stem}.lab.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"--out {path}: another emulated lab is running with this bench file; stop it, or give another --out"
        ) from None
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error}") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _show(running: Any, stop: _Stop) -> None:
    """The boxes' state on a terminal; only waiting elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        while not stop.wait(REDRAW):
            pass
        return
    with Live(_table(running, console.width), console=console, auto_refresh=False) as live:
        while not stop.wait(REDRAW):
            live.update(_table(running, console.width), refresh=True)


def _table(running: Any, width: int) -> Table:
    """A line a box, so that a lab fits a small terminal."""
    title = f"{running.name}, {running.rack.now():.0f} s; Ctrl-C stops it"
    table = Table(title=title, expand=False, box=SIMPLE_HEAD)
    longest = max(len(name) for name in running.servers)
    columns = {"box": longest, "address": 21, "transactions": 12, "busy": 8}
    if width < WIDE:
        del columns["address"]  # they were printed
    for column, least in columns.items():
        table.add_column(column, no_wrap=True, min_width=least)
    rest = width - sum(columns.values()) - 3 * len(columns) - 3
    table.add_column("state", no_wrap=True, overflow="ellipsis", max_width=max(rest, 10))
    with running.rack.lock:
        states = {name: server.instrument.state() for name, server in running.servers.items()}
    for name, server in running.servers.items():
        shown = ", ".join(f"{key} {value}" for key, value in states[name].items())
        struck = ", ".join([*server.faults.struck, *server.mishaps.struck][-3:])
        table.add_row(
            name,
            *([server.address] if "address" in columns else []),
            f"{server.transactions:,}",
            f"{server.busy_seconds:.1f} s",
            escape((f"STRUCK: {struck}; " if struck else "") + shown),
        )
    return table
