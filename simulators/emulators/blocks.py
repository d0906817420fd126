"""Lines that may hold binary data, which may hold anything, also what ends a line."""

from __future__ import annotations

import re

from hilonn.simulators.emulators.instrument import LineInstrument, Reply

LONGEST_HEADER = 256
"""Bytes within which a line's data begin."""


class DataSession:
    """Cuts what comes into lines, and counts data instead of searching them. ``begins`` matches a line up to its data and
    has the group ``length``, or ``digits`` where that many digits of length follow (IEEE 488.2)."""

    def __init__(self, instrument: LineInstrument, begins: re.Pattern[bytes]) -> None:
        self._instrument = instrument
        self._begins = begins
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Reply]:
        self._pending += data
        replies: list[Reply] = []
        while (end := self._end()) is not None:
            line = bytes(self._pending[:end]).decode("latin-1")
            del self._pending[: end + 1]
            replies += self._instrument.answer(line)
        return replies

    def _end(self) -> int | None:
        """Where the first line's LF stands; None: not yet here."""
        head = bytes(self._pending[:LONGEST_HEADER])
        found = self._begins.match(head)
        if found is None:
            at = self._pending.find(b"\n")
            return None if at < 0 else at
        first, length = found.end(), found.group("length")
        if length is None:
            digits = int(found.group("digits"))
            length = bytes(self._pending[first : first + digits])
            if len(length) < digits or not length.isdigit():
                return None
            first += digits
        at = self._pending.find(b"\n", first + int(length))
        return None if at < 0 else at
