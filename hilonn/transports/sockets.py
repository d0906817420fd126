"""An open TCP socket as wires use it: never waited on longer than allowed, its end told at once."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from math import ceil

from hilonn.errors import ConnectionLost, DeviceTimeout

_CHUNK = 1 << 16


class OpenSocket:
    """Owner of ``opened``, connected to ``address``. Nagle's algorithm is off: with it on, a write followed by a query takes
    44 ms. Raises ConnectionLost where the connection was refused after all."""

    def __init__(self, opened: socket.socket, address: str) -> None:
        self._socket = opened
        self._address = address
        refused = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            if refused:
                raise OSError(refused, os.strerror(refused))
            opened.getpeername()
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            opened.setblocking(False)
        except OSError as error:
            raise not_taken(address, error) from error
        self._readable, self._writable = _waits(opened)

    def close(self) -> None:
        self._socket.close()

    def shut_down(self) -> None:
        """End the connection and leave the socket to its owner."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended

    def send(self, data: bytes, timeout: float) -> None:
        """All of ``data``. Raises ConnectionLost, DeviceTimeout."""
        try:
            sent = self._socket.send(data)
            if sent == len(data):
                return
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._lost(error) from error
        self._send_rest(memoryview(data)[sent:], timeout)

    def _send_rest(self, view: memoryview, timeout: float) -> None:
        whole = len(view)
        try:
            while view:
                if not self._writable(timeout):
                    raise DeviceTimeout(
                        f"{self._address} takes no more bytes: {len(view)} of {whole} are left after "
                        f"{timeout:g} s"
                    )
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    continue
        except OSError as error:
            raise self._lost(error) from error

    def receive(self, timeout: float) -> bytes:
        """What has come; b"" if nothing came within ``timeout`` s. Raises ConnectionLost where the peer has closed."""
        try:
            if not self._readable(timeout):
                return b""
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except (OSError, ValueError) as error:  # ValueError: closed under a wait
            raise self._lost(error) from error
        if not data:
            raise ConnectionLost(f"{self._address} closed the connection")
        return data

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self._address} is gone: {error}")


def not_taken(address: str, error: Exception) -> ConnectionLost:
    """What a person needs to know when nobody is there."""
    return ConnectionLost(
        f"{address} does not take a connection: {error}; is the box on, and is this its address and port?"
    )


def _waits(opened: socket.socket) -> tuple[Callable[[float], object], Callable[[float], object]]:
    """Waits of so many seconds until it can be read from, and written to; what they return is false where the time is
    over."""
    if not hasattr(select, "poll"):  # Windows
        return (
            lambda seconds: select.select([opened], [], [], seconds)[0],
            lambda seconds: select.select([], [opened], [], seconds)[1],
        )
    reading, writing = select.poll(), select.poll()
    reading.register(opened, select.POLLIN)
    writing.register(opened, select.POLLOUT)
    return (
        lambda seconds: reading.poll(ceil(1e3 * seconds)),
        lambda seconds: writing.poll(ceil(1e3 * seconds)),
    )
