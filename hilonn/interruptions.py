"""Signals: a first Ctrl-C that asks, a second that insists, and a safe state that none can cut."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGBREAK", "SIGHUP") if hasattr(signal, name)
)


class Interruptions:
    """``requested`` turns True at the first Ctrl-C."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def soft_interrupt() -> Iterator[Interruptions]:
    """Within: the first Ctrl-C sets ``requested``, the second raises KeyboardInterrupt."""
    state = Interruptions()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if state.requested:
            raise KeyboardInterrupt
        state.requested = True

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)


_guarded = 0
_before: dict[int, Any] = {}


def exit_on_termination() -> bool:
    """SIGTERM and its like unwind the main thread as SystemExit(128 + number), until as many calls
    of ``stop_exiting``: benches may close in any order.

    False outside the main thread, which alone may set handlers.
    """
    global _guarded
    if threading.current_thread() is not threading.main_thread():
        return False

    def handler(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if _guarded == 0:
        for number in TERMINATING:
            _before[number] = signal.getsignal(number)
            signal.signal(number, handler)
    _guarded += 1
    return True


def stop_exiting() -> None:
    """Undo one ``exit_on_termination``; from another thread the handlers stay, harmlessly."""
    global _guarded
    _guarded -= 1
    if _guarded == 0 and threading.current_thread() is threading.main_thread():
        put_back(_before)


def put_back(handlers: dict[int, Any]) -> None:
    """Set handlers as they were."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Within: Ctrl-C and termination wait until the end, so that a safe state is reached whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *TERMINATING)}
    try:
        for number in before:
            signal.signal(number, lambda n, frame: waiting.append(n))
        yield
    finally:
        put_back(before)
        if waiting:
            signal.raise_signal(waiting[0])
