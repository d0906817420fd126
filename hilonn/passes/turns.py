"""Short turns at the interpreter while passes are driven.

The thread that drives a chip leaves the interpreter for arithmetic many times a pass, and each time may wait for what else
runs, phases that are worked out beside it, to end its turn: 5 ms by Python's default, as long as a whole pass takes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TURN = 2e-4
"""s."""
_lock = threading.Lock()
_inside = 0
_before = 0.0


@contextmanager
def short_turns() -> Iterator[None]:
    """Within, in whatever thread: no thread keeps the interpreter longer than ``TURN`` if another waits. The last to leave
    puts back what was set."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(TURN, _before))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                sys.setswitchinterval(_before)
