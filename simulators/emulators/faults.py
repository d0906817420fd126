"""What goes wrong on a wire, on purpose."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, get_args

from hilonn.errors import ConfigError

Kind = Literal[
    "drop",
    "late",
    "duplicate",
    "fragment",
    "garble",
    "unsolicited",
    "half_close",
    "reset",
    "reboot",
    "silence",
]
"""``drop``: an answer is lost. ``late``: it comes after ``seconds``. ``duplicate``: twice. ``fragment``: byte by
byte. ``garble``: some bytes are others. ``unsolicited``: ``data`` comes before it. ``half_close``: the box shuts its
side. ``reset``: the connection breaks. ``reboot``: the box starts anew. ``silence``: nothing is taken or sent any
more, and the connection stays."""
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Fault:
    """Strikes ``count`` answers, after ``after`` good ones."""

    kind: Kind
    after: int = 0
    count: int = 1
    seconds: float = 0.5
    data: bytes = b""


class WireFaults:
    """The faults of one box, which tests and ``hilonn emulate --fault`` put in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[list[int | Fault]] = []
        self.struck: list[str] = []

    def inject(self, fault: Fault) -> None:
        """Let ``fault`` strike."""
        if fault.kind not in KINDS:
            raise ConfigError(f"no wire fault {fault.kind!r}; there are {', '.join(KINDS)}")
        with self._lock:
            self._waiting.append([fault.after, fault.count, fault])

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._waiting.clear()

    def next(self) -> Fault | None:
        """The fault that strikes the next answer, if any does."""
        with self._lock:
            for entry in self._waiting:
                after, count, fault = entry
                assert isinstance(fault, Fault)
                assert isinstance(after, int)
                assert isinstance(count, int)
                if after > 0:
                    entry[0] = after - 1
                    continue
                entry[1] = count - 1
                if count == 1:
                    self._waiting.remove(entry)
                self.struck.append(fault.kind)
                return fault
        return None


def garbled(data: bytes) -> bytes:
    """``data`` with what line noise makes of it: bytes that no protocol here uses; its end stays."""
    if len(data) < 2:
        return b"\xff" + data
    middle = len(data) // 2
    return b"\xf5\xa7" + data[2:middle] + b"\x80" + data[middle + 1 :]
