"""A raw TCP socket."""

from __future__ import annotations

import socket

from hilonn.errors import ConnectionLost
from hilonn.transports.places import tcp_place
from hilonn.transports.sockets import OpenSocket, not_taken


class TcpWire:
    """A socket that is opened here."""

    reopens = True

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.address = f"{host}:{port}"
        self._opened: OpenSocket | None = None

    def place(self) -> str:
        """See ``tcp_place``."""
        return tcp_place(self.host, self.port)

    def open(self, timeout: float) -> None:
        self.close()
        try:
            made = socket.create_connection((self.host, self.port), timeout=timeout)
        except OSError as error:
            raise not_taken(self.address, error) from error
        try:
            self._opened = OpenSocket(made, self.address)
        except ConnectionLost:
            made.close()
            raise

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def send(self, data: bytes, timeout: float) -> None:
        self._open_socket().send(data, timeout)

    def receive(self, timeout: float) -> bytes:
        return self._open_socket().receive(timeout)

    def _open_socket(self) -> OpenSocket:
        if self._opened is None:
            raise ConnectionLost(f"{self.address} is not connected")
        return self._opened
