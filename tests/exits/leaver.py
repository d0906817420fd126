"""A process that opens a bench, lights it, heats it, and then leaves in the way it is told to.

Run as ``python -m tests.exits.leaver WAY BENCH [...]``; prints READY when all is on.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from hilonn.bench import Bench
from tests.exits.small_bench import HEATERS, bench_file, heaters_of, plant_of

TRACED = ("bench.py", "interruptions.py")
DENSE, SPARSE = 24, 11
"""So many lines of closing are interrupted each; of those after them every eleventh."""


def switched_on(path: str) -> Bench:
    """A bench with light, and its heaters at 2 V."""
    bench = Bench.open(path)
    bench.light_on()
    bench.gate.ramp(heaters_of(bench), np.full(HEATERS, 2.0))
    return bench


def ready() -> None:
    sys.stdout.write("READY\n")
    sys.stdout.flush()


def wait() -> None:
    """Until a signal comes, or the parent closes its end."""
    sys.stdin.read()


def interrupt_while_ramping(bench: Bench, number: int) -> None:
    """Send ``number`` to this process in the middle of the ramp that closing makes."""
    plant = plant_of(bench)
    write, written = plant.write_heaters, 0

    def interrupted(drive: Any) -> None:
        nonlocal written
        written += 1
        if written in (5, 12):
            signal.raise_signal(number)
        write(drive)

    plant.write_heaters = interrupted  # type: ignore[method-assign]


def leave_by_return(path: str) -> None:
    with switched_on(path):
        ready()


def leave_by_exception(path: str) -> None:
    with switched_on(path):
        ready()
        raise RuntimeError("the experiment went wrong")


def leave_by_sys_exit(path: str) -> None:
    with switched_on(path):
        ready()
        sys.exit(7)


def leave_without_close(path: str) -> None:
    global kept
    kept = switched_on(path)
    ready()


def wait_inside(path: str) -> None:
    with switched_on(path):
        ready()
        wait()


def wait_without_with(path: str) -> None:
    global kept
    kept = switched_on(path)
    ready()
    wait()


def wait_then_interrupt_ramp(path: str) -> None:
    with switched_on(path) as bench:
        interrupt_while_ramping(bench, signal.SIGINT)
        ready()
        wait()


def wait_then_terminate_ramp(path: str) -> None:
    with switched_on(path) as bench:
        interrupt_while_ramping(bench, signal.SIGTERM)
        ready()
        wait()


def wait_in_soft_interrupt(path: str) -> None:
    """Two Ctrl-C: the first only asks, the second raises."""
    with switched_on(path) as bench, bench.interruptions() as asked:
        signal.raise_signal(signal.SIGINT)
        if not asked.requested:
            raise RuntimeError("the first Ctrl-C was not noted")
        ready()
        wait()


def wait_with_two(path: str, other: str) -> None:
    """The bench opened first is closed first; the other is still guarded."""
    first = Bench.open(other)
    with switched_on(path):
        first.close()
        ready()
        wait()


def interrupted_at(line: int, number: int, leave: Callable[[], None]) -> None:
    """``leave()``, with a signal when it reaches the given line, counted as executed."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if Path(frame.f_code.co_filename).name not in TRACED:
            return None
        if event == "line":
            count += 1
            if count == line + 1:
                sys.settrace(None)
                signal.raise_signal(number)
        return trace

    sys.settrace(trace)
    try:
        leave()
    finally:
        sys.settrace(None)
        if count <= line:
            os.write(1, b"PAST\n")


def close_in_child(path: Path, line: int, number: int) -> NoReturn:
    """Close a bench with a signal at ``line``, then do what the interpreter does at its end."""
    code = 1
    try:
        bench = switched_on(str(path))
        interrupted_at(line, number, lambda: bench.__exit__(None, None, None))
        code = 0
    except (KeyboardInterrupt, SystemExit):
        code = 0
    finally:
        try:
            atexit._run_exitfuncs()  # a whole interpreter's end takes 0.2 s
        finally:
            os._exit(code)


def interrupt_every_line(folder: str, name: str) -> None:
    """Children, each of which closes a bench and gets one signal at its own line of closing.

    Prints the lines.
    """
    number = getattr(signal, name)
    warm = Path(folder) / "warm"
    warm.mkdir()
    switched_on(str(bench_file(warm))).close()  # compiled code is loaded once, not in every child
    line, lines = 0, []
    while True:
        own = Path(folder) / f"{line:04d}"
        own.mkdir()
        path = bench_file(own, {"connections.plant": f"journal = '{own / 'journal.jsonl'}'"})
        past, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(past)
            os.dup2(write, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            close_in_child(path, line, number)
        os.close(write)
        with os.fdopen(past) as said:
            done = said.read()
        # Once the handlers are put back, with all safe, the signal ends the process by itself.
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) not in (0, -number):
            raise RuntimeError(f"the child interrupted at line {line} failed otherwise")
        if "PAST" in done:
            break
        lines.append(line)
        line += 1 if line < DENSE else SPARSE
    sys.stdout.write(f"{lines}\n")


WAYS: dict[str, Callable[..., None]] = {
    "return": leave_by_return,
    "exception": leave_by_exception,
    "sys.exit": leave_by_sys_exit,
    "no close": leave_without_close,
    "wait": wait_inside,
    "wait without with": wait_without_with,
    "wait, then interrupt the ramp": wait_then_interrupt_ramp,
    "wait, then terminate the ramp": wait_then_terminate_ramp,
    "wait, asked once": wait_in_soft_interrupt,
    "wait with two": wait_with_two,
    "every line": interrupt_every_line,
}
kept: Bench

if __name__ == "__main__":
    # A shell that runs the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    WAYS[sys.argv[1]](*sys.argv[2:])
