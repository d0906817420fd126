"""Bytes in and out of one box, and no more: what differs between kinds of wires."""

from __future__ import annotations

from typing import Protocol


class Wire(Protocol):
    """An unopened or open way to one box. Raises ConnectionLost, with address and reason, for anything that is
    wrong with the way itself; never waits longer than it is told.

    A wire may also have ``slice`` (s), the longest wait that it wants to be asked for at once (without it 0.1 s, so that a
    transport can be closed while somebody waits for an answer; inf where a wait cannot be cut into pieces), and ``lock``, an
    RLock that several wires on one adapter share. ``place()`` says where the box is, in one way whoever wrote it how
    (see ``places``), and ``way()`` what lies on the way there and serves one program at a time, where that is not the box.
    """

    address: str
    """What a person would recognise: ``192.168.1.7:5025``, ``COM4``."""
    reopens: bool
    """Whether opening again gives a fresh way on which no old answer can arrive (a socket)."""

    def open(self, timeout: float) -> None:
        """Connect, in ``timeout`` seconds at most. Raises ConnectionLost."""
        ...

    def close(self) -> None:
        """Let go, at once; safe to call twice and on a dead peer."""
        ...

    def send(self, data: bytes, timeout: float) -> None:
        """Hand over all of ``data``. Raises ConnectionLost, DeviceTimeout."""
        ...

    def receive(self, timeout: float) -> bytes:
        """What has come, at least one byte; b"" if nothing came within ``timeout`` seconds (0: what is there
        now). Raises ConnectionLost where the peer has closed."""
        ...
