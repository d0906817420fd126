"""What an emulated box is: bytes in, bytes out, and how long it takes. No sockets here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hilonn.simulators.emulators.rack import Rack


@dataclass(frozen=True, slots=True)
class Reply:
    """``data`` to send (b"": nothing), after the box was busy for ``busy`` seconds on average, and no sooner than in ``wait``
    seconds of the lab's time, which pass whatever the boxes' latency is: what settles does not settle faster on a
    fast wire."""

    data: bytes
    busy: float = 0.0
    wait: float = 0.0


def joined(replies: Sequence[Reply]) -> Reply:
    """One reply that says all of ``replies``, where a message has one answer."""
    return Reply(
        b"".join(r.data for r in replies),
        sum(r.busy for r in replies),
        max((r.wait for r in replies), default=0.0),
    )


class Session(Protocol):
    """One client's connection to a box: keeps what is unfinished of a message."""

    def feed(self, data: bytes) -> list[Reply]:
        """Take ``data`` as it comes, in any pieces; give what is answered to whole messages."""
        ...


class Instrument(ABC):
    """One box. Its state is its own; light, heat and time are the rack's. Called under the rack's lock."""

    def __init__(self, name: str, rack: Rack) -> None:
        self.name = name
        self.rack = rack

    @abstractmethod
    def session(self) -> Session:
        """For a client that has just connected."""

    @abstractmethod
    def reboot(self) -> None:
        """Power-on state; whatever it drove is off."""

    @abstractmethod
    def state(self) -> dict[str, str]:
        """What its front panel would show, for people."""

    def greeting(self) -> bytes:
        """What it sends by itself after power-on."""
        return b""


class LineInstrument(Instrument):
    """A box that answers lines of text. ``terminators`` end a command, any of them."""

    terminators: tuple[bytes, ...] = (b"\n",)

    @abstractmethod
    def answer(self, line: str) -> list[Reply]:
        """What it makes of one ``line``, without its terminator."""

    def session(self) -> Session:
        return LineSession(self)


class LineSession:
    """Cuts what comes into lines."""

    def __init__(self, instrument: LineInstrument) -> None:
        self._instrument = instrument
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Reply]:
        self._pending += data
        replies: list[Reply] = []
        while True:
            ends = [
                (at, end)
                for end in self._instrument.terminators
                if (at := self._pending.find(end)) >= 0
            ]
            if not ends:
                return replies
            at, end = min(ends)
            line = bytes(self._pending[:at]).decode("latin-1")
            del self._pending[: at + len(end)]
            replies += self._instrument.answer(line)
