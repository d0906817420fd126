"""The fault list: whatever the wire does, a driver gives the right value or a named error in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.server import Server
from tests.drivers.wires import TIMEOUT

T = TypeVar("T")
NAMED = (ConnectionLost, DeviceError, DeviceTimeout)
FAULTS = {
    "drop": Fault("drop"),
    "late": Fault("late", seconds=1.5 * TIMEOUT),
    "duplicate": Fault("duplicate"),
    "fragment": Fault("fragment"),
    "garble": Fault("garble"),
    "unsolicited": Fault("unsolicited", data=b"!*unasked*!\n"),
    "half_close": Fault("half_close"),
    "reset": Fault("reset"),
    "silence": Fault("silence", count=10**6),
}
"""By name; a test of a driver runs every one of them at every answer of a verb."""


def survives(
    server: Server, fault: Fault, act: Callable[[], T], right: Callable[[T], bool], most: int = 12
) -> bool:
    """Whether ``act`` under ``fault`` gave what is ``right``, or a named error, and soon: an assertion otherwise."""
    server.faults.clear()
    server.faults.inject(fault)
    started = time.monotonic()
    try:
        value = act()
    except NAMED:
        good = False
    else:
        assert right(value), f"{fault.kind} gave a wrong value: {value!r}"
        good = True
    assert time.monotonic() - started < most * TIMEOUT + 2.0, f"{fault.kind} took too long"
    server.faults.clear()
    return good
