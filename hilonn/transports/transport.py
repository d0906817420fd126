"""One instrument's wire, kept in step: what is asked is answered by its own answer, or by an error."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from hilonn.clock import Clock, WallClock
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.transports.reader import Reader, no_answer
from hilonn.transports.traffic import TrafficLog
from hilonn.transports.wire import Wire

T = TypeVar("T")
BACK_OFF = (0.05, 2.0)
"""s: between the first two tries of ``reconnect``, and at most; each is twice the last."""
QUIET = 0.2
"""s: a line on which nothing has come for so long is taken to be drained."""
SLICE = 0.1
"""s: waits on a wire are cut into such pieces, so that it can be closed while somebody waits for an answer."""
GIVEN_UP = 8
"""Timeouts after which the answer to a resynchronising query is taken to be lost."""
LONGEST_CLOSE = 1.0
"""s: after which a wire is closed although somebody still uses it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an instrument ends lines, and how fast it can be spoken to. ``gap`` (s) is the least time between
    an answer or a command and the next command; some supplies lose commands that come faster. ``resync``: a harmless
    query and a regular expression of its answer, and of no other one: with it, an answer on a serial line may be late by
    up to eight timeouts and is still told apart; without it, by up to two."""

    write: str = "\n"
    read: str = "\n"
    gap: float = 0.0
    resync: tuple[str, str] | None = None


class Transport:
    """Owner of one wire. Drivers hold it and are not made of it.

    - A command and its answer are one: a lock is held from the first byte sent to the last one read, and for a
      whole ``atomic`` block.
    - After a timeout, an interruption, an answer that could not be read or one that was too long, nothing on the
      wire is believed: before the next command it is opened again, or drained where opening again would
      not help. An answer that comes late is never the answer to something else.
    - A peer that is gone is ``ConnectionLost``, at once and every time, until ``reconnect``; what the box holds is
      not known then, so nothing goes on by itself.

    Raises ConnectionLost, DeviceTimeout; DeviceError for an answer that is none.
    """

    def __init__(
        self,
        name: str,
        wire: Wire,
        *,
        timeout: float = 2.0,
        gap: float | None = None,
        log: TrafficLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.wire = wire
        self.timeout = timeout
        self.log = log or TrafficLog()
        self.dialect = Dialect()
        self.unsolicited: Callable[[bytes], bytes] | None = None
        """Given what came unasked, returns what of it is no message of its own (see ``heard``)."""
        self._spoken = False
        self._gap = gap
        self._clock = clock or WallClock()
        self._now = self._clock.now
        self._lock: threading.RLock = getattr(wire, "lock", None) or threading.RLock()
        self._slice: float = getattr(wire, "slice", SLICE)
        self._pending = bytearray()
        self._ready_at = float("-inf")
        self._open = False
        self._lost: str | None = None
        self._dirty = ""
        self._outstanding = False
        self._probed_at = float("-inf")
        self._asked: tuple[bytes, float, float] = (b"", 0.0, 0.0)
        self._speak()

    # -- the connection ---------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where the box is."""
        return self.wire.address

    @property
    def lost(self) -> bool:
        """Whether the peer is gone and ``reconnect`` has not brought it back."""
        return self._lost is not None

    def speak(self, dialect: Dialect) -> None:
        """What a driver says of its instrument when it is built. ConfigError where another driver on the
        same wire speaks otherwise."""
        if self._spoken and dialect != self.dialect:
            raise ConfigError(
                f"connections.{self.name}: two drivers on this wire speak differently, {self.dialect} and "
                f"{dialect}; give each its own connection"
            )
        self.dialect, self._spoken = dialect, True
        self._speak()

    def _speak(self) -> None:
        self._rests = self.dialect.gap if self._gap is None else self._gap
        self._reader = Reader(
            self._pending, self._pull, self._hush, self.dialect.read.encode("latin-1")
        )

    def open(self) -> None:
        """Connect. Raises ConnectionLost."""
        with self._lock:
            self.log.open()
            try:
                self._connect()
            except BaseException:
                self.log.close()
                raise
            self._open = True

    def close(self) -> None:
        """Let go; safe to call twice, and never waits long: who waits for an answer meanwhile gets ConnectionLost."""
        self._open = False
        held = self._lock.acquire(timeout=LONGEST_CLOSE)
        try:
            self._pending.clear()
            self.wire.close()
            self._note("close")
            self.log.close()
        finally:
            if held:
                self._lock.release()

    def reconnect(self, patience: float) -> None:
        """Try to connect again for ``patience`` seconds, less and less often. Raises ConnectionLost."""
        deadline = self._now() + patience
        pause = BACK_OFF[0]
        while True:
            with self._lock:
                if not self._open:
                    raise self._closed()
                try:
                    self._connect()
                    return
                except ConnectionLost:
                    if self._now() + pause > deadline:
                        raise
            self._clock.sleep(pause)
            pause = min(2 * pause, BACK_OFF[1])

    def _connect(self) -> None:
        self._pending.clear()
        self.wire.close()
        try:
            self.wire.open(self.timeout)
        except ConnectionLost as error:
            self._lose(error)
            raise
        # on a line that was lost, an answer may be under way still
        again = self._lost is not None and not self.wire.reopens
        self._lost, self._dirty, self._outstanding = None, "connected again" if again else "", again
        self._note("open", self.address.encode())
        self._rest()

    # -- verbs ------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Within: nobody else's command comes in between."""
        with self._lock:
            yield

    def write(self, command: str | bytes) -> None:
        """Send ``command`` and its terminator (bytes: as they are); no answer is waited for."""
        data = self._framed(command)
        with self._lock:
            self._ready()
            try:
                self._send(data)
            except BaseException as error:
                self._fall_out(error)
                raise
            finally:
                self._rest()

    def query(self, command: str, timeout: float | None = None) -> str:
        """The line that answers ``command``."""
        return self.ask(command, Reader.line, timeout)

    def query_block(
        self,
        command: str,
        count: int | None = None,
        timeout: float | None = None,
        *,
        ended: bool = True,
    ) -> bytes:
        """The payload of the IEEE 488.2 block that answers ``command``; ``count`` bytes where the instrument
        does not say how many; ``ended`` False where no terminator follows."""
        return self.ask(command, lambda reader: reader.block(count, ended=ended), timeout)

    def ask(
        self,
        command: str | bytes,
        read: Callable[[Reader], T],
        timeout: float | None = None,
    ) -> T:
        """Send ``command``, then take its answer off the wire with ``read``, within ``timeout`` seconds."""
        data = self._framed(command)
        patience = self.timeout if timeout is None else timeout
        with self._lock:
            self._ready()
            try:
                self._send(data)
                self._asked = (data, patience, self._now() + patience)
                answer = read(self._reader)
            except BaseException as error:
                self._fall_out(error)
                raise
            finally:
                self._rest()
            if self._pending and self.unsolicited is None:
                self._dirty = "more came than the answer"
            return answer

    def more(self, data: bytes) -> None:
        """Send more of a command while its answer is read, from within ``ask``'s ``read``: a window of commands that
        are under way stays full."""
        with self._lock:
            self._send(data)

    def heard(self) -> None:
        """Take in what came unasked, if the driver listens for it (``unsolicited``)."""
        with self._lock:
            self._ready()

    # -- keeping in step --------------------------------------------------------------------------

    def _ready(self) -> None:
        """Before a command: connected, in step, rested."""
        if not self._open:
            raise self._closed()
        if self._lost is not None:
            raise ConnectionLost(
                f"{self.name} ({self.address}) was lost ({self._lost}); it has to be connected and checked again"
            )
        try:
            if not self._dirty:
                self._take_in()
            if self._dirty:
                self._recover()
        except BaseException as error:
            self._fall_out(error)
            raise
        if self._rests:
            self._clock.wait_until(self._ready_at)

    def _take_in(self) -> None:
        """What came since the last answer: a message that nobody asked for, or a sign that all is out of step."""
        while data := self.wire.receive(0.0):
            self._note("unasked", data)
            self._pending += data
        if not self._pending:
            return
        if self.unsolicited is None:
            self._dirty = f"{bytes(self._pending[:60])!r} came unasked"
            return
        self._pending[:] = self.unsolicited(bytes(self._pending))

    def _recover(self) -> None:
        self._note("recover", self._dirty.encode())
        self._pending.clear()
        if self.wire.reopens:
            self.wire.close()
            self.wire.open(self.timeout)
            self._note("open", self.address.encode())
        else:
            self._drain()
            if self.dialect.resync is not None:
                self._resync(*self.dialect.resync)
        self._pending.clear()
        self._dirty, self._outstanding = "", False

    def _drain(self) -> None:
        """Let the line fall silent. An answer that is still to come is waited for once more."""
        longest = max(self.timeout, QUIET)
        waits_for_it = self._outstanding and self.dialect.resync is None
        quiet = longest if waits_for_it else QUIET
        deadline = self._now() + 2 * longest
        while data := self._wait(quiet):
            quiet = QUIET
            self._note("dropped", data)
            if self._now() > deadline:
                raise DeviceTimeout(
                    f"{self.name} ({self.address}) does not stop sending; the last of it: {data[-60:]!r}"
                )

    def _resync(self, query: str, pattern: str) -> None:
        """Ask what only one line answers, and drop all that comes before it. An earlier try's answer is waited for instead,
        until it is ``GIVEN_UP`` timeouts old: two of them could not be told apart."""
        data = self._framed(query)
        end = self.dialect.read.encode("latin-1")
        if self._now() > self._probed_at + GIVEN_UP * self.timeout:
            self._probed_at = self._now()
            self._send(data)
        self._asked = (data, self.timeout, self._now() + self.timeout)
        while True:
            line = self._reader.until(end).decode("latin-1").strip()
            if re.fullmatch(pattern, line) is not None:
                break
        self._probed_at = float("-inf")
        self._drain()  # an answer that came twice

    def _fall_out(self, error: BaseException) -> None:
        """Note that ``error`` left the wire out of step, or ended it."""
        if isinstance(error, ConnectionLost):
            self._lose(error)
            return
        self._dirty = self._dirty or type(error).__name__
        self._outstanding = self._outstanding or not isinstance(error, DeviceError)

    def _lose(self, error: ConnectionLost) -> None:
        self._lost = str(error)
        self._note("lost", self._lost.encode())

    def _closed(self) -> ConnectionLost:
        return ConnectionLost(f"{self.name} ({self.address}) is not open")

    # -- bytes ------------------------------------------------------------------------------------

    def _pull(self, wanted: str) -> bytes:
        """What comes next of an answer; DeviceTimeout after its deadline."""
        asked, patience, deadline = self._asked
        data = self._wait(max(deadline - self._now(), 0.0))
        if not data:
            self._note("timeout")
            address = f"{self.name} ({self.address})"
            raise no_answer(address, asked, patience, bytes(self._pending), wanted)
        self._note("received", data)
        return data

    def _hush(self, quiet: float) -> bytes:
        """What comes within ``quiet`` seconds, if anything does; DeviceTimeout where it goes on after the deadline."""
        asked, patience, deadline = self._asked
        if self._now() > deadline:
            self._note("timeout")
            address = f"{self.name} ({self.address})"
            raise no_answer(address, asked, patience, bytes(self._pending), "and no end")
        data = self._wait(quiet)
        if data:
            self._note("received", data)
        return data

    def _wait(self, seconds: float) -> bytes:
        """What comes next, within ``seconds``; ConnectionLost where the transport is closed meanwhile."""
        if seconds <= self._slice:
            return self.wire.receive(seconds)
        deadline = self._now() + seconds
        while True:
            data = self.wire.receive(min(self._slice, max(seconds, 0.0)))
            if data:
                return data
            seconds = deadline - self._now()
            if not self._open:
                raise ConnectionLost(
                    f"{self.name} ({self.address}) was closed while an answer was waited for"
                )
            if seconds <= 0.0:
                return b""

    def _framed(self, command: str | bytes) -> bytes:
        if isinstance(command, bytes):
            return command
        try:
            return (command + self.dialect.write).encode("ascii")
        except UnicodeEncodeError:
            raise ConfigError(f"{self.name}: {command!r} is not ASCII; nothing was sent") from None

    def _send(self, data: bytes) -> None:
        self._note("sent", data)
        self.wire.send(data, self.timeout)

    def _rest(self) -> None:
        if self._rests > 0.0:
            self._ready_at = self._now() + self._rests

    def _note(self, direction: str, data: bytes = b"") -> None:
        self.log.note(self._now(), direction, data)  # type: ignore[arg-type]


def transport_of(name: str, connection: object) -> Transport:
    """The wire of device ``name``. ConfigError where the bench file gives it none, or something else."""
    if not isinstance(connection, Transport):
        what = "none" if connection is None else type(connection).__name__
        raise ConfigError(
            f"devices.{name}: this driver needs a wire (a connection with transport = 'tcp', 'serial', 'visa' "
            f"...), got {what}"
        )
    return connection
