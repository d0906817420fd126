"""Numbers for requests on one wire: whoever asks, no two that are under way have the same."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from hilonn.transports.transport import Transport

_LAST: WeakKeyDictionary[Transport, int] = WeakKeyDictionary()
_LOCK = threading.Lock()


def next_number(transport: Transport, most: int = 0xFFFF) -> int:
    """1, 2, ... ``most``, then 1 again, for all devices on ``transport`` together. Call it within ``atomic``."""
    with _LOCK:
        number = _LAST.get(transport, 0) % most + 1
        _LAST[transport] = number
    return number
