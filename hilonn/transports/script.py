"""A wire of which every byte is known beforehand: golden frames of a driver's unit tests."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from hilonn.errors import ConnectionLost
from hilonn.transports.traffic import Line

_REPLAYED = ("sent", "received", "unasked", "dropped", "timeout", "lost")
Exchange = tuple[bytes, bytes]
"""What must be sent, and what comes back (b"": nothing)."""


class ScriptWire:
    """Gives each answer when its request has been sent, byte for byte; anything else is an AssertionError, which
    shows both."""

    reopens = True
    slice = math.inf  # what has not come when it is asked for does not come

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.address = "script"
        self._left = deque(exchanges)
        self._coming = bytearray()
        self._sent = bytearray()

    def open(self, timeout: float) -> None:
        self._coming.clear()

    def close(self) -> None:
        return None

    def send(self, data: bytes, timeout: float) -> None:
        self._sent += data
        while self._sent:
            if not self._left:
                raise AssertionError(
                    f"{bytes(self._sent)!r} was sent, and nothing was expected any more"
                )
            wanted, answer = self._left[0]
            if not wanted.startswith(self._sent[: len(wanted)]):
                raise AssertionError(f"{bytes(self._sent)!r} was sent, {wanted!r} was expected")
            if len(self._sent) < len(wanted):
                return
            del self._sent[: len(wanted)]
            self._left.popleft()
            self._coming += answer

    def receive(self, timeout: float) -> bytes:
        data = bytes(self._coming)
        self._coming.clear()
        return data

    def done(self) -> None:
        """AssertionError unless everything was asked."""
        if self._left or self._sent:
            raise AssertionError(
                f"{len(self._left)} exchanges were not made, the next is {list(self._left)[:1]!r}; "
                f"{bytes(self._sent)!r} is an unfinished request"
            )


class ReplayWire:
    """A wire whose traffic was logged: the same requests get the same answers, timeouts, unasked lines and losses of
    the connection, in the same order. Another request is ConnectionLost, and named."""

    slice = math.inf

    def __init__(self, lines: Sequence[Line], address: str) -> None:
        self.address = address
        # A serial line was drained where a socket was opened again, and asked who is there.
        self.reopens = not any(
            a.direction == "recover" and b.direction not in ("open", "lost")
            for a, b in pairwise(lines)
        )
        self._lines = deque(line for line in lines if line.direction in _REPLAYED)
        self._asked = 0

    def open(self, timeout: float) -> None:
        self._break_if_lost()

    def close(self) -> None:
        return None

    def send(self, data: bytes, timeout: float) -> None:
        self._asked += 1
        while self._lines and self._lines[0].direction in ("received", "unasked", "dropped"):
            self._lines.popleft()  # nobody read it this time
        if not self._lines:
            raise ConnectionLost(
                f"{self.address}: the log ends before request {self._asked}, {data!r}"
            )
        self._break_if_lost()
        wanted = self._lines.popleft()
        if wanted.direction != "sent" or data != wanted.data:
            shown = "a timeout" if wanted.direction == "timeout" else repr(wanted.data)
            raise ConnectionLost(
                f"{self.address}: request {self._asked} is {data!r}, in the log it was {shown}"
            )

    def receive(self, timeout: float) -> bytes:
        self._break_if_lost()
        come = ("received", "dropped") if timeout > 0 else ("unasked",)
        if self._lines and self._lines[0].direction in come:
            return self._lines.popleft().data
        if timeout > 0 and self._lines and self._lines[0].direction == "timeout":
            self._lines.popleft()
        return b""

    def _break_if_lost(self) -> None:
        if self._lines and self._lines[0].direction == "lost":
            raise ConnectionLost(
                f"{self.address}: {self._lines.popleft().data.decode('latin-1')} (in the log)"
            )
