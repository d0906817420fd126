"""A serial line, by pyserial: ``COM4``, ``/dev/ttyUSB0``, and pyserial's own ``socket://`` and ``rfc2217://``."""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hilonn.errors import ConnectionLost, DeviceTimeout
from hilonn.transports.places import serial_place

if TYPE_CHECKING:
    import serial

_MOST = 1 << 16


class OpenLine:
    """A line that pyserial has opened, as wires use it: never waited on longer than allowed. Owner of ``line``'s timeouts."""

    def __init__(self, line: Any, address: str, timeout: float) -> None:
        self._line = line
        self._address = address
        self._waits = 0.0
        line.timeout, line.write_timeout = 0.0, timeout
        _without_nagle(line)
        self._comes = _waiting(line) or self._comes_by_reading

    def send(self, data: bytes, timeout: float) -> None:
        """All of ``data``. Raises ConnectionLost, DeviceTimeout."""
        import serial

        try:
            self._line.write(data)
        except serial.SerialTimeoutException as error:
            raise DeviceTimeout(
                f"{self._address} takes no more bytes after {timeout:g} s"
            ) from error
        except OSError as error:
            raise self._lost(error) from error

    def receive(self, timeout: float) -> bytes:
        """What has come; b"" if nothing came within ``timeout`` s."""
        line = self._line
        try:
            waiting = line.in_waiting
            data = b""
            if not waiting and timeout > 0.0:
                found = self._comes(timeout)
                data = found if isinstance(found, bytes) else b""
                waiting = line.in_waiting
                if found and not data and not waiting:
                    data = line.read(1)  # the end of the line, which reading tells
            while waiting and len(data) < _MOST:
                data += line.read(waiting)
                waiting = line.in_waiting
        except (OSError, TypeError, ValueError) as error:  # the latter two: closed under a read
            raise self._lost(error) from error
        return data

    def _comes_by_reading(self, seconds: float) -> bytes:
        """The first byte, where there is nothing that can be waited on: Windows' ports, ``rfc2217://``."""
        if seconds != self._waits:
            self._line.timeout = self._waits = seconds  # costs a reconfiguration of the port
        first: bytes = self._line.read(1)
        return first

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the line {self._address} is gone: {error}")


class SerialWire:
    """8 data bits, no flow control unless told. A line has no end: bytes of an old answer may come on it at
    any time, so that it is drained, not opened again, after an answer that did not come in time."""

    reopens = False

    def __init__(self, port: str, baud: int, settings: dict[str, Any] | None = None) -> None:
        self.port, self.baud = port, baud
        self.address = port
        self._settings = settings or {}
        self._line: serial.SerialBase | None = None
        self._opened: OpenLine | None = None

    def place(self) -> str:
        """See ``serial_place``."""
        return serial_place(self.port)

    def open(self, timeout: float) -> None:
        import serial

        self.close()
        settings = dict(self._settings)
        if "://" not in self.port:
            settings["exclusive"] = True  # two programs on one port would share its answers
        try:
            line = serial.serial_for_url(self.port, baudrate=self.baud, timeout=0, **settings)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise ConnectionLost(
                f"{self.port} cannot be opened: {error}; is the box on and plugged in, and has no other "
                "program the port?"
            ) from error
        self._line, self._opened = line, OpenLine(line, self.port, timeout)

    def close(self) -> None:
        line, self._line = self._line, None
        self._opened = None
        if line is not None:
            try:
                line.close()
            except OSError:
                pass  # it was unplugged: there is nothing left to close

    def send(self, data: bytes, timeout: float) -> None:
        self._open_line().send(data, timeout)

    def receive(self, timeout: float) -> bytes:
        return self._open_line().receive(timeout)

    def _open_line(self) -> OpenLine:
        if self._opened is None:
            raise ConnectionLost(f"{self.port} is not open")
        return self._opened


def _waiting(line: Any) -> Callable[[float], object] | None:
    """A wait of so many seconds for bytes of ``line``, where it is a file or a socket of this machine."""
    if not hasattr(select, "poll"):
        return None
    try:
        descriptor = line.fileno()
    except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
        return None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda seconds: poll.poll(math.ceil(1e3 * seconds))


def _without_nagle(line: Any) -> None:
    """pyserial's ``socket://`` leaves Nagle's algorithm on: 44 ms a command."""
    held = getattr(line, "_socket", None)
    if isinstance(held, socket.socket):
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
