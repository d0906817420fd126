"""A serial line, by pyserial: ``COM4``, ``/dev/ttyUSB0``, and pyserial's own ``socket://`` and ``rfc2217://``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hilonn.errors import ConnectionLost, DeviceTimeout

if TYPE_CHECKING:
    import serial


class SerialWire:
    """8 data bits, no flow control unless told. A line has no end: bytes of an old answer may come on it at
    any time, so that it is drained, not opened again, after an answer that did not come in time."""

    reopens = False

    def __init__(self, port: str, baud: int, settings: dict[str, Any] | None = None) -> None:
        self.port, self.baud = port, baud
        self.address = port
        self._settings = settings or {}
        self._line: serial.SerialBase | None = None

    def open(self, timeout: float) -> None:
        import serial

        self.close()
        try:
            line = serial.serial_for_url(
                self.port, baudrate=self.baud, timeout=0, write_timeout=timeout, **self._settings
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise ConnectionLost(
                f"{self.port} cannot be opened: {error}; is the box on and plugged in, and has no other "
                "program the port?"
            ) from error
        _without_nagle(line)
        self._line = line

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
            if not waiting:
                line.timeout = timeout
                first: bytes = line.read(1) if timeout > 0 else b""
                if not first:
                    return b""
                return first + bytes(line.read(line.in_waiting))
            return bytes(line.read(waiting))
        except (OSError, TypeError) as error:  # TypeError: pyserial, closed under a read
            raise self._lost(error) from error

    def _open_line(self) -> serial.SerialBase:
        if self._line is None:
            raise ConnectionLost(f"{self.port} is not open")
        return self._line

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the line {self.port} is gone: {error}")


def _without_nagle(line: Any) -> None:
    """pyserial's ``socket://`` leaves Nagle's algorithm on: 44 ms a command."""
    import socket

    held = getattr(line, "_socket", None)
    if isinstance(held, socket.socket):
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
