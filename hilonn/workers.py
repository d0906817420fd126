"""Daemon threads of our own, one a connection: what hangs on one wire holds up nothing on another.

They are started when a bench is opened and ended when it is closed: executors, and new threads, are refused when the
interpreter ends, which is when a bench that was not closed is made safe.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

LONGEST_END = 1.0
"""s that ending a worker waits for what it still does."""


class Task:
    """Something that a worker has to do."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._done = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, in whatever thread."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised to who waits
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is done, within ``seconds``. Raises what it raised."""
        done = self._done.wait(seconds)
        if self._error is not None:
            raise self._error
        return done


class Worker:
    """Does what it is given, one thing after another."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, work: Callable[[], None]) -> Task:
        """Have ``work`` done."""
        task = Task(work)
        self._tasks.put(task)
        return task

    def end(self) -> None:
        """Let the thread end when it is through."""
        self._tasks.put(None)
        self._thread.join(LONGEST_END)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
