"""VISA, by pyvisa: ``TCPIP::192.168.1.7::5025::SOCKET``, ``...::hislip0::INSTR``, ``GPIB0::9::INSTR``, ``USB0::...``,
``ASRL4::INSTR``.

What pyvisa-py does that this must not let through (0.8.1, measured): Nagle's algorithm stays on for SOCKET resources, a
refused port opens without an error, reading a closed socket waits the whole timeout, ``clear()`` on it never returns,
writing to a peer that takes nothing never returns, and errors are of a dozen classes.
"""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, TypeVar

from hilonn.errors import ConfigError, ConnectionLost, DeviceTimeout
from hilonn.transports.places import visa_place
from hilonn.transports.serial_line import OpenLine
from hilonn.transports.sockets import OpenSocket

T = TypeVar("T")
_CHUNK = 1 << 13
CLOSING = 0.5
"""s that closing may take; a library that takes longer goes on without us."""
READING = 10.0
"""s for bytes that have come."""
END = b"\n"


class VisaWire:
    """One resource.

    ``library``: ``@py`` (pyvisa-py, which comes with hilonn), ``@ivi`` (the vendor's that is installed: NI-VISA, Keysight)
    or the path of one. ``clear``: an INSTR resource is sent a device clear when it is opened, which empties its
    output of an old answer and changes no setting. ``ended`` False: the instrument ends its messages by END (EOI)
    alone, and a line feed is put behind them. ``line``: pyvisa's attributes of a serial resource (``baud_rate`` ...).
    """

    def __init__(
        self,
        resource: str,
        library: str = "@py",
        *,
        clear: bool = True,
        ended: bool = True,
        line: dict[str, Any] | None = None,
    ) -> None:
        self.address = resource
        self._library = library
        self._clear, self._ended = clear, ended
        self._line = line or {}
        self.kind = _kind(resource, library)
        self.reopens = self.kind != "serial"
        self.slice = math.inf if self.kind == "messages" else 0.1
        self._resource: Any = None
        self._held: OpenSocket | OpenLine | None = None
        self._waits: int | None = None
        self._more = False
        self._quiet: Any = None
        self._busy = False

    def place(self) -> str:
        """See ``visa_place``."""
        return visa_place(self.address)

    def open(self, timeout: float) -> None:
        self.close()
        opened = within(timeout + CLOSING, lambda: self._opened(timeout), _close)
        if opened is None:
            raise ConnectionLost(
                f"{self.address} does not open within {timeout:g} s; is the box on and plugged in?"
            )
        try:
            self._take(opened, timeout)
        except BaseException:
            within(CLOSING, lambda: _close(opened))
            raise
        self._resource = opened

    def close(self) -> None:
        opened, self._resource = self._resource, None
        held, self._held = self._held, None
        if isinstance(held, OpenSocket):
            held.shut_down()
        if opened is not None:
            if self._busy and self._library == "@py":
                _cut(opened)
            within(CLOSING, lambda: _close(opened))

    def send(self, data: bytes, timeout: float) -> None:
        if self._held is not None:
            self._held.send(data, timeout)
            return
        with self._using() as opened:
            try:
                self._wait_at_most(opened, timeout)
                opened.visalib.write(opened.session, data)
            except Exception as error:  # pyvisa-py raises what its parts do
                if _timed_out(error):
                    raise DeviceTimeout(
                        f"{self.address} takes no more bytes after {timeout:g} s"
                    ) from error
                raise self._lost(error) from error

    def receive(self, timeout: float) -> bytes:
        if self._held is not None:
            return self._held.receive(timeout)
        with self._using() as opened:
            try:
                return (
                    self._message(opened, timeout)
                    if self.kind == "messages"
                    else self._bytes(opened, timeout)
                )
            except Exception as error:  # pyvisa-py raises what its parts do
                if _timed_out(error):
                    return b""
                raise self._lost(error) from error

    # -- kinds ------------------------------------------------------------------------------------

    def _opened(self, timeout: float) -> Any:
        import pyvisa

        try:
            manager = pyvisa.ResourceManager(self._library)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the VISA library {self._library!r} cannot be loaded: {error}; '@py' comes with hilonn"
            ) from error
        try:
            return manager.open_resource(self.address, open_timeout=ceil(1e3 * timeout))
        except Exception as error:  # pyvisa-py raises what its parts do
            raise ConnectionLost(
                f"{self.address} cannot be opened by {self._library}: {error}; is the box on and plugged in, and "
                "has no other program the resource?"
            ) from error

    def _take(self, opened: Any, timeout: float) -> None:
        """Make ``opened`` ready. What pyvisa-py holds behind sockets and serial lines is used as it is: its own reading of
        them loses what came before a timeout."""
        from pyvisa.constants import SerialTermination, StatusCode

        self._waits, self._more = None, False
        held: Any = (
            opened.visalib.sessions[opened.session].interface if self._library == "@py" else None
        )
        if self.kind == "socket":
            self._held = OpenSocket(held, self.address)
            return
        try:
            self._wait_at_most(opened, timeout)
            if self.kind == "messages":
                # that there is more to read is no news, and is told for as long as it is open
                self._quiet = opened.ignore_warning(StatusCode.success_max_count_read)
                self._quiet.__enter__()
                if self._clear:
                    opened.clear()
                return
            for key, value in self._line.items():
                setattr(opened, key, value)
            if held is not None:
                self._held = OpenLine(held, self.address, timeout)
                return
            opened.end_input = SerialTermination.none
        except Exception as error:  # pyvisa-py raises what its parts do
            hint = (
                ""
                if self.kind == "serial"
                else "; a box that knows no device clear needs clear = false"
            )
            raise ConnectionLost(f"{self.address} opens, but: {error}{hint}") from error

    def _message(self, opened: Any, timeout: float) -> bytes:
        """One message, to its END, or the first ``_CHUNK`` bytes of it. What is there now cannot be seen: asking for a
        message that does not come is an error on the instrument. Only what is left of a long one is looked for."""
        if timeout <= 0.0 and not self._more:
            return b""
        more, self._more = self._more, False
        self._wait_at_most(opened, timeout)
        data = bytes(opened.visalib.read(opened.session, _CHUNK)[0])
        self._more = len(data) == _CHUNK
        if self._ended or self._more or (more and not data):
            return data
        return data + END

    def _bytes(self, opened: Any, timeout: float) -> bytes:
        """What is there on a serial line of another library than pyvisa-py."""
        data = b""
        waiting = opened.bytes_in_buffer
        if not waiting and timeout > 0.0:
            self._wait_at_most(opened, timeout)
            data = opened.read_bytes(1)
            waiting = opened.bytes_in_buffer
        if waiting:
            self._wait_at_most(opened, READING)  # they are there: this is not waited out
            data += opened.read_bytes(waiting)
        return data

    def _wait_at_most(self, opened: Any, timeout: float) -> None:
        wanted = max(ceil(1e3 * timeout), 1)
        if wanted != self._waits:
            opened.timeout = self._waits = wanted

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """The open resource. It is in use before it is looked up: whoever closes meanwhile finds it in use, or leaves none."""
        self._busy = True
        try:
            opened = self._resource
            if opened is None:
                raise ConnectionLost(f"{self.address} is not open")
            yield opened
        finally:
            self._busy = False

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self.address} is gone: {error}")


def _kind(resource: str, library: str) -> str:
    """``socket``, ``serial`` or ``messages``. ConfigError for names that are none."""
    from pyvisa import rname

    try:
        name = rname.ResourceName.from_string(resource)
    except rname.InvalidResourceName as error:
        raise ConfigError(f"{resource!r} is no VISA resource: {error}") from error
    if name.resource_class == "SOCKET":
        if library != "@py":
            raise ConfigError(
                f"{resource}: a socket needs no VISA: give it transport = 'tcp' with its host and port, or library = '@py'"
            )
        return "socket"
    if name.resource_class != "INSTR":
        raise ConfigError(f"{resource}: only INSTR and SOCKET resources are instruments")
    return "serial" if name.interface_type == "ASRL" else "messages"


def _cut(opened: Any) -> None:
    """End pyvisa-py's connection for VXI-11 under another thread that waits for its answer: closing asks the box too, each of the two
    then takes the other's reply, and neither ends."""
    session = opened.visalib.sessions.get(opened.session)
    held = getattr(getattr(session, "interface", None), "sock", None)
    if isinstance(held, socket.socket):
        try:
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended
        held.close()


def _close(opened: Any) -> None:
    try:
        opened.close()
    except Exception:  # noqa: BLE001  the box is gone: there is nothing left to close
        pass


def _timed_out(error: Exception) -> bool:
    from pyvisa.constants import StatusCode
    from pyvisa.errors import VisaIOError

    if isinstance(error, VisaIOError):
        return bool(error.error_code == StatusCode.error_timeout)
    return isinstance(error, TimeoutError)


def within(
    seconds: float, work: Callable[[], T], too_late: Callable[[T], None] | None = None
) -> T | None:
    """What ``work`` returns or raises; None if it does not within ``seconds``: then it goes on in a thread of its own, and
    ``too_late`` is given what it returns."""
    lock = threading.Lock()
    outcome: list[T] = []
    failure: list[BaseException] = []
    given_up = False

    def run() -> None:
        try:
            made = work()
        except BaseException as error:  # noqa: BLE001  raised by who waits
            failure.append(error)
            return
        with lock:
            if not given_up:
                outcome.append(made)
                return
        if too_late is not None:
            too_late(made)

    thread = threading.Thread(target=run, name="visa", daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    except BaseException:  # an interruption: nobody takes what is made
        with lock:
            given_up = True
        if outcome and too_late is not None:
            too_late(outcome[0])
        raise
    with lock:
        if failure:
            raise failure[0]
        if outcome:
            return outcome[0]
        given_up = True
    return None
