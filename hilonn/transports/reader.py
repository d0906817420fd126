"""Takes one answer off a wire: lines, counted bytes, blocks, all before one deadline."""

from __future__ import annotations

from collections.abc import Callable

from hilonn.errors import DeviceError, DeviceTimeout

LONGEST_LINE = 1 << 22
"""Bytes after which a line without an end is noise, not a line."""


class Reader:
    """What an answer is read with. ``pull(wanted)`` gives what comes next, at least one byte, or raises with what was
    ``wanted``; ``hush(seconds)`` what comes within that time, which may be nothing."""

    __slots__ = ("_hush", "_pending", "_pull", "_terminator")

    def __init__(
        self,
        pending: bytearray,
        pull: Callable[[str], bytes],
        hush: Callable[[float], bytes],
        terminator: bytes,
    ) -> None:
        self._pending = pending
        self._pull = pull
        self._hush = hush
        self._terminator = terminator

    def until(self, end: bytes) -> bytes:
        """Bytes up to ``end``, which is taken off and not returned."""
        pending = self._pending
        searched = 0
        while (found := pending.find(end, searched)) < 0:
            searched = max(len(pending) - len(end) + 1, 0)
            if len(pending) > LONGEST_LINE:
                raise DeviceError(f"{len(pending)} bytes came without an end {end!r}")
            pending += self._pull("no end of a line")
        data = bytes(pending[:found])
        del pending[: found + len(end)]
        return data

    def line(self) -> str:
        """One line of ASCII text without its terminator. DeviceError for other bytes."""
        data = self.until(self._terminator)
        try:
            return data.decode("ascii")
        except UnicodeDecodeError:
            raise DeviceError(f"no text came, but {data[:60]!r}") from None

    def exactly(self, count: int) -> bytes:
        """``count`` bytes, whatever they are."""
        while len(self._pending) < count:
            self._pending += self._pull(f"not {count} bytes")
        data = bytes(self._pending[:count])
        del self._pending[:count]
        return data

    def until_quiet(self, quiet: float) -> list[str]:
        """Lines until nothing has come for ``quiet`` seconds: for answers that do not say where they end."""
        self._pending += self._pull("nothing")
        while data := self._hush(quiet):
            self._pending += data
        lines = []
        while self._pending:
            lines.append(self.line())
        return lines

    def block(self, count: int | None = None, *, ended: bool = True) -> bytes:
        """The payload of an IEEE 488.2 block, ``#<digits><length>...`` or ``#0...``, and the terminator
        behind it (``ended`` False: the instrument sends none). An indefinite block does not say where it ends:
        ``count`` bytes are read, and None is refused.
        """
        start = self.exactly(1)
        if start != b"#":
            raise DeviceError(
                f"a block begins with '#', {(start + bytes(self._pending[:40]))!r} came"
            )
        digits = self.exactly(1)
        if not digits.isdigit():
            raise DeviceError(f"a block's header is '#' and a digit, #{digits!r} came")
        if digits == b"0":
            if count is None:
                raise DeviceError("a block of unknown length came (#0): say how many bytes it has")
            length = count
        else:
            text = self.exactly(int(digits))
            if not text.isdigit():
                raise DeviceError(f"a block's length is a number, {text!r} came")
            length = int(text)
            if count is not None and length != count:
                raise DeviceError(f"a block of {count} bytes was asked for, one of {length} came")
        data = self.exactly(length)
        if not ended:
            return data
        end = self.exactly(len(self._terminator))
        if end == b"\r\n"[: len(end)] and self._terminator == b"\n":
            end = self.exactly(1)  # CR LF behind a block where lines end in LF
        if end != self._terminator:
            raise DeviceError(
                f"a block of {length} bytes ends in {end!r}, not in {self._terminator!r}"
            )
        return data


def no_answer(
    address: str, asked: bytes, timeout: float, came: bytes, wanted: str
) -> DeviceTimeout:
    """What a person needs to know when an answer does not come."""
    so_far = f"{came[:60]!r} came, {wanted}" if came else "nothing came"
    return DeviceTimeout(f"{address} did not answer {asked[:60]!r} within {timeout:g} s: {so_far}")
