"""What SCPI instruments have in common: identity, error queue, checked settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from hilonn.devices import Identity
from hilonn.drivers.texts import integer
from hilonn.errors import DeviceError, DeviceTimeout
from hilonn.transports import Reader, Transport

T = TypeVar("T")
LONGEST_QUEUE = 100
AFTERWARDS = 0.25
"""s: what the error queue of a box is waited for that has just let a query go unanswered."""
BY_CLIENTS = (
    range(-299, -249),
    range(-239, -99),
    range(-350, -349),
    range(-499, -399),
)
"""Numbers of errors that whoever sent something made: commands, their values, queries, too many errors. Source: SCPI-1999
vol. 2, 21.8. Others tell of the box itself, -240 to -249 (hardware) among them."""
LONGEST_MESSAGE = 240
"""Characters of one message: instruments with small input buffers take 256."""


def identity(transport: Transport, expected: str = "") -> Identity:
    """Who answers ``*IDN?``: vendor, model, serial, firmware. DeviceError where ``expected`` (part of it, in any
    case) is not in the answer."""
    text = transport.query("*IDN?").strip()
    parts = [part.strip() for part in text.split(",", 3)]
    if len(parts) != 4 or not all(parts[:3]):
        raise DeviceError(
            f"{transport.name}: *IDN? was answered {text!r}, not vendor,model,serial,firmware"
        )
    if expected.lower() not in text.lower():
        raise DeviceError(
            f"{transport.name} ({transport.address}): a {expected} was expected, {text!r} answers; is another box "
            "on this address?"
        )
    return Identity(*parts)


def raise_errors(
    transport: Transport,
    doing: str,
    query: str = "SYST:ERR?",
    harmless: frozenset[int] = frozenset(),
    patience: float | None = None,
) -> None:
    """Empty the instrument's error queue; DeviceError with all of it unless it was empty. ``harmless`` numbers are passed
    over. ``patience`` (s) for each answer; None: the transport's timeout."""
    found = errors(transport, query, harmless, patience)
    if found:
        raise DeviceError(f"{transport.name}: {doing}: the instrument says {'; '.join(found)}")


def errors(
    transport: Transport,
    query: str = "SYST:ERR?",
    harmless: frozenset[int] = frozenset(),
    patience: float | None = None,
) -> list[str]:
    """Empty the instrument's error queue, and give what it held.

    Only the number says whether there was an error: boxes word "No error" in several ways.
    """
    emptied, found = _emptied(transport, query, patience)
    told = [f"{code} {text}" for code, text in found if code not in harmless]
    if not emptied:
        told.append(f"and more: {LONGEST_QUEUE} errors did not empty the queue")
    return told


def drop_old_errors(transport: Transport, query: str = "SYST:ERR?") -> None:
    """At opening: empty the error queue of what an earlier client left (another program's wrong command, a question who
    the box is that it did not know), which says nothing of what is asked from now on. DeviceError with what the box says of
    itself, a failed self-test say."""
    emptied, found = _emptied(transport, query, None)
    told = [f"{c} {text}" for c, text in found if not any(c in made for made in BY_CLIENTS)]
    if not emptied:
        told.append(f"{LONGEST_QUEUE} errors did not empty the queue")
    if told:
        raise DeviceError(
            f"{transport.name}: before anything was asked: the instrument says {'; '.join(told)}"
        )


def _emptied(
    transport: Transport, query: str, patience: float | None
) -> tuple[bool, list[tuple[int, str]]]:
    """Whether the queue is empty now, and what it held."""
    found: list[tuple[int, str]] = []
    for _ in range(LONGEST_QUEUE):
        answer = transport.query(query, patience).strip()
        head, _, text = answer.partition(",")
        code = integer(head, f"{transport.name}: {query}")
        if code == 0:
            return True, found
        found.append((code, text.strip()))
    return False, found


def set_checked(transport: Transport, command: str, query: str = "SYST:ERR?") -> None:
    """Send ``command``; DeviceError with what the error queue then holds."""
    with transport.atomic():
        transport.write(command)
        raise_errors(transport, command, query)


class Chain:
    """Many commands in few messages: with ``;`` between them and every header whole (``:SENS1:POW:UNIT 1``), so that no
    command depends on the one before. Round trips are what such instruments are slow at.

    ``chained`` False: one message a command, for a box that does not take them together. ``harmless``: numbers of
    the error queue that are passed over.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        query: str = "SYST:ERR?",
        harmless: frozenset[int] = frozenset(),
        chained: bool = True,
    ) -> None:
        self._transport = transport
        self._query = query
        self._harmless = harmless
        self._most = LONGEST_MESSAGE if chained else 0

    def tell(self, commands: Sequence[str], doing: str) -> None:
        """Send ``commands`` at once; DeviceError with what the error queue then holds."""
        with self._transport.atomic():
            self.send(commands)
            self.raise_errors(doing)

    def send(self, commands: Sequence[str]) -> None:
        """Send ``commands`` at once; whether the box took them is for the caller to find out."""
        end = self._transport.dialect.write
        self._transport.write(end.join(";".join(part) for part in self._packed(commands)))

    def ask(self, queries: Sequence[str]) -> list[str]:
        """One answer each, of which none holds a ``;``."""
        answers: list[str] = []
        for part in self._packed(queries):
            answers += self._asked(part, partial(_lines, count=len(part)))
        return answers

    def blocks(self, queries: Sequence[str], size: int) -> list[bytes]:
        """The payloads of the blocks that answer ``queries``, each of ``size`` bytes."""
        answers: list[bytes] = []
        for part in self._packed(queries):
            answers += self._asked(part, partial(_blocks, count=len(part), size=size))
        return answers

    def raise_errors(self, doing: str, patience: float | None = None) -> None:
        """DeviceError with what the error queue holds."""
        raise_errors(self._transport, doing, self._query, self._harmless, patience)

    def _asked(self, queries: Sequence[str], read: Callable[[Reader], T]) -> T:
        """A query that the box refuses is answered by nothing, or too little: then its error queue says why."""
        text = ";".join(queries)
        with self._transport.atomic():
            try:
                return self._transport.ask(text, read)
            except DeviceError:
                self.raise_errors(text)
                raise
            except DeviceTimeout:
                # It refused the query, or it hangs: a box that hangs is not waited for twice as long.
                with suppress(DeviceTimeout):
                    self.raise_errors(text, min(self._transport.timeout, AFTERWARDS))
                raise

    def _packed(self, commands: Sequence[str]) -> list[list[str]]:
        parts: list[list[str]] = []
        length = 0
        for command in commands:
            length += len(command) + 1
            if not parts or length > self._most:
                parts.append([])
                length = len(command)
            parts[-1].append(command)
        return parts


def _lines(reader: Reader, count: int) -> list[str]:
    line = reader.line()
    parts = [part.strip() for part in line.split(";")]
    if len(parts) != count:
        raise DeviceError(f"{count} answers were asked for, {line[:80]!r} came")
    return parts


def _blocks(reader: Reader, count: int, size: int) -> list[bytes]:
    """Definite blocks with ``;`` between them; the last one ends the line."""
    found = []
    for _ in range(count - 1):
        start = reader.exactly(2)
        if start[:1] != b"#" or start[1:] not in (
            b"1",
            b"2",
            b"3",
            b"4",
            b"5",
            b"6",
            b"7",
            b"8",
            b"9",
        ):
            raise DeviceError(f"a block begins with '#' and a digit, {start!r} came")
        length = reader.exactly(int(start[1:]))
        if not length.isdigit() or int(length) != size:
            raise DeviceError(f"a block of {size} bytes was asked for, one of {length!r} came")
        found.append(reader.exactly(size))
        mark = reader.exactly(1)
        if mark != b";":
            raise DeviceError(f"';' and another block were to come, {mark!r} came")
    return [*found, reader.block(size)]
