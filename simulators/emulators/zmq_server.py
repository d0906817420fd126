"""Puts an emulated box behind a ZeroMQ socket (extra ``zmq``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Self

import zmq

from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.instrument import Instrument, joined
from hilonn.simulators.emulators.server import _POLL, Latency, Server

END = b"\n"


class ZmqServer(Server):
    """A box at ``tcp://127.0.0.1:port``; ``port`` 0 takes a free one. One message is one command and is answered by
    one message; neither has a terminator. A command that the box does not answer is not answered.

    Faults are as on a socket, except that ZeroMQ knows neither fragments (none reach a client) nor halves of a connection
    (``half_close`` ends it).
    """

    def __init__(
        self, instrument: Instrument, latency: Latency | None = None, port: int = 0
    ) -> None:
        super().__init__(instrument, latency)
        self._wanted = port
        self.port = port

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> Self:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        listener = _listener(context, self._wanted)
        self.port = _port(listener)
        self._stopping.clear()
        self._spawn(threading.Thread(target=self._loop, args=(listener,), daemon=True))
        return self

    def _loop(self, listener: zmq.Socket[bytes]) -> None:
        """Answer until told to stop; where a fault ends the connection, every client loses it."""
        try:
            while not self._stopping.is_set():
                if not listener.poll(round(1e3 * _POLL)):
                    continue
                *envelope, message = listener.recv_multipart()
                if self._silent:
                    continue
                if not self._answered(_Client(listener, envelope), message):
                    listener.close(linger=0)
                    listener = _listener(zmq.Context.instance(), self.port)
        finally:
            listener.close(linger=0)

    def _answered(self, client: _Client, message: bytes) -> bool:
        with self.instrument.rack.lock:
            replies = self.instrument.session().feed(message.removesuffix(END) + END)
        whole = joined(replies)
        return self._answer(client, whole)

    def _faulty(self, peer: _Client, data: bytes, fault: Fault) -> bool:  # type: ignore[override]
        if fault.kind == "fragment":
            peer.write(data)
            return True
        if fault.kind == "duplicate":
            peer.write(data)
            peer.write(data)
            return True
        if fault.kind == "half_close":
            return False
        return super()._faulty(peer, data, fault)


class _Client:
    """Whoever sent the message that is being answered."""

    def __init__(self, listener: zmq.Socket[bytes], envelope: Sequence[bytes]) -> None:
        self._listener = listener
        self._envelope = envelope

    def read(self) -> bytes | None:
        return None

    def write(self, data: bytes) -> None:
        self._listener.send_multipart([*self._envelope, data.removesuffix(END)])

    def half_close(self) -> None:
        return None

    def close(self) -> None:
        return None


def _listener(context: zmq.Context[zmq.Socket[bytes]], port: int) -> zmq.Socket[bytes]:
    """A socket on ``port``, which the one before it may still be letting go of."""
    deadline = time.monotonic() + 5.0
    while True:
        made = context.socket(zmq.ROUTER)
        made.setsockopt(zmq.LINGER, 0)
        try:
            made.bind(f"tcp://127.0.0.1:{port or '*'}")
            return made
        except zmq.ZMQError as error:
            made.close(linger=0)
            if port == 0 or error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _port(listener: zmq.Socket[bytes]) -> int:
    endpoint = listener.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return int(endpoint.rpartition(b":")[2].strip(b"\x00"))
