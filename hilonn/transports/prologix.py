"""GPIB through a Prologix adapter (or one that speaks as it does), on a network or a serial port.

Source: Prologix GPIB-ETHERNET and GPIB-USB manuals, 6.107. A line that begins with ``++`` is for the adapter, any other
for the instrument that was addressed last. CR, LF, ESC and ``+`` of data are escaped by ESC, so that bytes reach the
instrument as they are; the adapter's own terminators are off.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from hilonn.errors import ConfigError, ConnectionLost
from hilonn.transports.places import place_of
from hilonn.transports.wire import Wire

LONGEST_READ = 3.0
"""s: ``++read_tmo_ms`` takes no more."""
PORT = 1234
_ESCAPED = re.compile(rb"[\r\n\x1b+]")
SETTINGS = (
    b"++savecfg 0",  # else every setting is burnt into memory that wears out
    b"++mode 1",
    b"++auto 0",  # or it reads after every command, which instruments log as an error
    b"++eoi 1",
    b"++eos 3",
    b"++eot_enable 0",
)
_adapters: WeakValueDictionary[str, Adapter] = WeakValueDictionary()
_guard = threading.Lock()


class Adapter:
    """One adapter and its connection, which every instrument behind it shares; ``lock`` is held for a command and its
    answer. ``times``: how often it was connected."""

    def __init__(self, wire: Wire, read_timeout: float) -> None:
        self.wire = wire
        self.read_timeout = read_timeout
        self.lock = threading.RLock()
        self.times = 0
        self.users = 0
        self.version = b""
        self._addressed = ""
        self._open = False
        self._pending = bytearray()

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._open

    def connect(self, timeout: float) -> None:
        """Connect, unless it is, and wait until all that it was told before is done: its version comes last."""
        if not self._open:
            self.wire.open(timeout)
            self._open = True
            self.times += 1
            self.version = b""
            self.command(b"\n".join(SETTINGS), timeout)
            self.command(f"++read_tmo_ms {round(1e3 * self.read_timeout)}".encode(), timeout)
        self._addressed = ""
        try:
            self._wait_for_version(timeout)
        except ConnectionLost:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Let go."""
        self._open = False
        self._pending.clear()
        self.wire.close()

    def command(self, line: bytes, timeout: float) -> None:
        """Tell the adapter something."""
        self.call(lambda: self.wire.send(line + b"\n", timeout))

    def address(self, instrument: str, timeout: float) -> None:
        """Speak to ``instrument`` from now on."""
        if instrument != self._addressed:
            self.command(f"++addr {instrument}".encode(), timeout)
            self._addressed = instrument

    def call(self, work: Callable[[], object]) -> object:
        """Do ``work`` on the wire; whoever finds it gone ends the connection for all."""
        try:
            return work()
        except ConnectionLost:
            self.disconnect()
            raise

    def _wait_for_version(self, timeout: float) -> None:
        """Drop what comes before the answer to ``++ver``."""
        longest = timeout + self.read_timeout  # it may be reading still
        deadline = time.monotonic() + longest
        self.command(b"++ver", timeout)
        self._pending.clear()
        while True:
            line = self._line(deadline)
            if line is None:
                raise ConnectionLost(
                    f"{self.wire.address} does not answer ++ver within {longest:g} s; is it a Prologix adapter, or one that "
                    "speaks as it does?"
                )
            if line == self.version or (not self.version and b"version" in line.lower()):
                self.version = line
                return

    def _line(self, deadline: float) -> bytes | None:
        while (found := self._pending.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            if left <= 0.0:
                return None
            data = self.call(lambda left=left: self.wire.receive(min(left, 0.1)))  # type: ignore[misc]
            assert isinstance(data, bytes)
            self._pending += data
        line = bytes(self._pending[:found]).strip()
        del self._pending[: found + 1]
        return line


class PrologixWire:
    """The instrument at GPIB address ``gpib`` (``9``, or ``9 96`` with a secondary address) behind the adapter at ``wire``.
    Wires on one address (``wire.address``) share its connection and its lock.

    ``read_timeout`` (s): how long the adapter waits for an instrument before it is asked again. ``clear``: an instrument
    is sent a device clear when it is opened, which empties its output and changes no setting.
    """

    reopens = True

    def __init__(
        self, wire: Wire, gpib: str, read_timeout: float = 1.0, *, clear: bool = True
    ) -> None:
        if not 0.001 <= read_timeout <= LONGEST_READ:
            raise ConfigError(
                f"read_timeout = {read_timeout:g} s: the adapter takes 0.001 to {LONGEST_READ:g} s"
            )
        _check(gpib)
        self.gpib = gpib
        self.address = f"{wire.address} GPIB {gpib}"
        self._clear = clear
        with _guard:
            self.adapter = _adapters.setdefault(wire.address, Adapter(wire, read_timeout))
        if self.adapter.read_timeout != read_timeout:
            raise ConfigError(
                f"{self.address}: read_timeout = {read_timeout:g} s, another connection on this adapter has "
                f"{self.adapter.read_timeout:g} s"
            )
        self.lock = self.adapter.lock
        self._times = 0
        self._open = False
        self._reads_until = float("-inf")

    def place(self) -> str:
        """The instrument: the adapter's place, and its address behind it."""
        return f"{self.way()} GPIB {self.gpib}"

    def way(self) -> str:
        """The adapter, which serves one program at a time."""
        return place_of(self.adapter.wire) or self.adapter.wire.address

    def open(self, timeout: float) -> None:
        self.close()
        with self.lock:
            self.adapter.users += 1
            self._open = True
            try:
                self.adapter.connect(timeout)
                if self._clear:
                    self.adapter.address(self.gpib, timeout)
                    self.adapter.command(b"++clr", timeout)
            except BaseException:
                self.close()
                raise
            self._times = self.adapter.times
            self._reads_until = float("-inf")

    def close(self) -> None:
        with _guard:
            was, self._open = self._open, False
            self.adapter.users -= was
            last = was and self.adapter.users == 0
        if last:
            self.adapter.disconnect()

    def send(self, data: bytes, timeout: float) -> None:
        self._connected()
        self.adapter.address(self.gpib, timeout)
        escaped = _ESCAPED.sub(lambda found: b"\x1b" + found.group(), data)
        self.adapter.call(lambda: self.adapter.wire.send(escaped + b"\n", timeout))
        self._reads_until = float("-inf")

    def receive(self, timeout: float) -> bytes:
        """What came. While an answer is waited for, the adapter is told to read, and again when it has given up."""
        self._connected()
        now = time.monotonic()
        if timeout > 0.0 and now > self._reads_until:
            self.adapter.command(b"++read eoi", timeout)
            # then it has given up, or has read to the END of one message and another one is wanted
            self._reads_until = now + 1.5 * self.adapter.read_timeout
        data = self.adapter.call(lambda: self.adapter.wire.receive(timeout))
        assert isinstance(data, bytes)
        if data:
            self._reads_until = time.monotonic() + 1.5 * self.adapter.read_timeout
        return data

    def _connected(self) -> None:
        if not self._open or not self.adapter.connected:
            raise ConnectionLost(f"{self.address}: the adapter is not connected")
        if self._times != self.adapter.times:
            raise ConnectionLost(f"{self.address}: the adapter was lost and connected again")


def _check(gpib: str) -> None:
    words = gpib.split()
    good = [w.isdigit() for w in words]
    if (
        not 1 <= len(words) <= 2
        or not all(good)
        or int(words[0]) > 30
        or (len(words) == 2 and not 96 <= int(words[1]) <= 126)
    ):
        raise ConfigError(
            f"gpib = {gpib!r}: a GPIB address is 0 to 30, and a secondary one behind it 96 to 126"
        )
