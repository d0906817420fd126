"""One instrument's wire, kept in step: what is asked is answered by its own answer, or by an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from hilonn.clock import Clock, WallClock
from hilonn.errors import ConfigError, ConnectionLost, DeviceTimeout
from hilonn.transports.reader import Reader, no_answer
from hilonn.transports.traffic import TrafficLog
from hilonn.transports.wire import Wire

T = TypeVar("T")
BACK_OFF = (0.05, 2.0)
"""s: between the first two tries of ``reconnect``, and at most; each is twice the last."""
QUIET = 0.2
"""s: a line on which nothing has come for so long is taken to be drained."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an instrument ends lines, and how fast it can be spoken to. ``gap`` (s) is the least time between
    an answer or a command and the next command; some supplies lose commands that come faster."""

    write: str = "\n"
    read: str = "\n"
    gap: float = 0.0


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
        self._lock = threading.RLock()
        self._pending = bytearray()
        self._ready_at = float("-inf")
        self._open = False
        self._lost: str | None = None
        self._dirty = False

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

    def open(self) -> None:
        """Connect. Raises ConnectionLost."""
        with self._lock:
            self.log.open()
            self._connect()
            self._open = True

    def close(self) -> None:
        """Let go; safe to call twice, and never waits."""
        with self._lock:
            self._open = False
            self._pending.clear()
            self.wire.close()
            self._note("close")
            self.log.close()

    def reconnect(self, patience: float) -> None:
        """Try to connect again for ``patience`` seconds, less and less often. Raises ConnectionLost."""
        with self._lock:
            deadline = self._clock.now() + patience
            pause = BACK_OFF[0]
            while True:
                try:
                    self._connect()
                    return
                except ConnectionLost:
                    if self._clock.now() + pause > deadline:
                        raise
                self._clock.sleep(pause)
                pause = min(2 * pause, BACK_OFF[1])

    def _connect(self) -> None:
        self._pending.clear()
        self.wire.close()
        try:
            self.wire.open(self.timeout)
        except ConnectionLost as error:
            self._lost = str(error)
            self._note("lost", self._lost.encode())
            raise
        self._lost, self._dirty = None, False
        self._note("open", self.address.encode())

    # -- verbs ------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Within: nobody else's command comes in between."""
        with self._lock:
            yield

    def write(self, command: str | bytes) -> None:
        """Send ``command`` and its terminator (bytes: as they are); no answer is waited for."""
        data = self._framed(command)
        with self._in_step():
            self._send(data)
            self._rest()

    def query(self, command: str, timeout: float | None = None) -> str:
        """The line that answers ``command``."""
        return self.ask(command, Reader.line, timeout)

    def query_block(
        self, command: str, count: int | None = None, timeout: float | None = None
    ) -> bytes:
        """The payload of the IEEE 488.2 block that answers ``command``; ``count`` bytes where the instrument
        does not say how many."""
        return self.ask(command, lambda reader: reader.block(count), timeout)

    def ask(
        self,
        command: str | bytes,
        read: Callable[[Reader], T],
        timeout: float | None = None,
    ) -> T:
        """Send ``command``, then take its answer off the wire with ``read``, within ``timeout`` seconds."""
        data = self._framed(command)
        patience = self.timeout if timeout is None else timeout
        with self._in_step():
            self._send(data)
            answer = read(self._reader(data, patience))
            self._rest()
        return answer

    def heard(self) -> None:
        """Take in what came unasked, if the driver listens for it (``unsolicited``)."""
        with self._in_step():
            pass

    # -- keeping in step --------------------------------------------------------------------------

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        with self._lock:
            self._ready()
            try:
                yield
            except ConnectionLost as error:
                self._lost = str(error)
                self._note("lost", self._lost.encode())
                raise
            except BaseException:
                self._dirty = True
                raise
            if self._pending and self.unsolicited is None:
                self._dirty = True  # more came than the answer

    def _ready(self) -> None:
        if not self._open:
            raise ConnectionLost(f"{self.name} ({self.address}) is not open")
        if self._lost is not None:
            raise ConnectionLost(
                f"{self.name} ({self.address}) was lost ({self._lost}); it has to be connected and checked again"
            )
        try:
            if not self._dirty:
                self._take_in()
            if self._dirty:
                self._recover()
        except ConnectionLost as error:
            self._lost = str(error)
            self._note("lost", self._lost.encode())
            raise
        self._clock.wait_until(self._ready_at)

    def _take_in(self) -> None:
        """What came since the last answer: a message that nobody asked for, or a sign that all is out of step."""
        while data := self.wire.receive(0.0):
            self._note("received", data)
            self._pending += data
        if not self._pending:
            return
        if self.unsolicited is None:
            self._dirty = True
            return
        rest = self.unsolicited(bytes(self._pending))
        self._pending[:] = rest

    def _recover(self) -> None:
        self._pending.clear()
        if self.wire.reopens:
            self.wire.close()
            self.wire.open(self.timeout)
            self._note("open", self.address.encode())
        else:
            deadline = self._clock.now() + max(self.timeout, QUIET)
            while data := self.wire.receive(QUIET):
                self._note("received", data)
                if self._clock.now() > deadline:
                    raise DeviceTimeout(
                        f"{self.name} ({self.address}) does not stop sending; the last of it: {data[-60:]!r}"
                    )
        self._dirty = False

    def _reader(self, asked: bytes, patience: float) -> Reader:
        deadline = self._clock.now() + patience

        def pull(so_far: str) -> bytes:
            data = self.wire.receive(max(deadline - self._clock.now(), 0.0))
            if not data:
                self._note("timeout")
                raise no_answer(f"{self.name} ({self.address})", asked, patience, so_far)
            self._note("received", data)
            return data

        def hush(quiet: float) -> bytes:
            data = self.wire.receive(min(quiet, max(deadline - self._clock.now(), 0.0)))
            if data:
                self._note("received", data)
            return data

        return Reader(self._pending, pull, hush, self.dialect.read.encode())

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
        gap = self.dialect.gap if self._gap is None else self._gap
        if gap > 0.0:
            self._ready_at = self._clock.now() + gap

    def _note(self, direction: str, data: bytes = b"") -> None:
        self.log.note(self._clock.now(), direction, data)  # type: ignore[arg-type]


def transport_of(name: str, connection: object) -> Transport:
    """The wire of device ``name``. ConfigError where the bench file gives it none, or something else."""
    if not isinstance(connection, Transport):
        what = "none" if connection is None else type(connection).__name__
        raise ConfigError(
            f"devices.{name}: this driver needs a wire (a connection with transport = 'tcp', 'serial', 'visa' "
            f"...), got {what}"
        )
    return connection
