"""A serial line, by pyserial: ``COM4``, ``/dev/ttyUSB0``, and pyserial's own ``socket://`` and ``rfc2217://``."""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hilonn.errors import ConnectionLost, DeviceTimeout

if TYPE_CHECKING:
    import serial

_MOST = 1 << 16


class SerialWire:
    """8 data bits, no flow control unless told. A line has no end: bytes of an old answer may come on it at
    any time, so that it is drained, not opened again, after an answer that did not come in time."""

    reopens = False

    def __init__(self, port: str, baud: int, settings: dict[str, Any] | None = None) -> None:
        self.port, self.baud = port, baud
        self.address = port
        self._settings = settings or {}
        self._line: serial.SerialBase | None = None
        self._comes: Callable[[float], object] = bool
        self._waits = 0.0

    def open(self, timeout: float) -> None:
        import serial

        self.close()
        settings = dict(self._settings)
        if "://" not in self.port:
            settings["exclusive"] = True  # two programs on one port would share its answers
        try:
            line = serial.serial_for_url(
                self.port, baudrate=self.baud, timeout=0, write_timeout=timeout, **settings
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise ConnectionLost(
                f"{self.port} cannot be opened: {error}; is the box on and plugged in, and has no other "
                "program the port?"
            ) from error
        _without_nagle(line)
        self._line, self._waits = line, 0.0
        self._comes = _waiting(line) or self._comes_by_reading

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            try:
                line.close()
            except OSError:
                pass  # it was unplugged: there is nothing left to close

    def send(self, data: bytes, timeout: float) -> None:
        import serial

        line = self._open_line()
        try:
            line.write(data)
        except serial.SerialTimeoutException as error:
            raise DeviceTimeout(f"{self.port} takes no more bytes after {timeout:g} s") from error
        except OSError as error:
            raise self._lost(error) from error

    def receive(self, timeout: float) -> bytes:
        line = self._open_line()
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
        line = self._open_line()
        if seconds != self._waits:
            line.timeout = self._waits = seconds  # costs a reconfiguration of the port
        first: bytes = line.read(1)
        return first

    def _open_line(self) -> serial.SerialBase:
        if self._line is None:
            raise ConnectionLost(f"{self.port} is not open")
        return self._line

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the line {self.port} is gone: {error}")


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
