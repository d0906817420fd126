"""Drivers on wires for the tests of this folder: scripted ones, and emulated boxes behind real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hilonn.simulators.emulators import PtyServer, TcpServer
from hilonn.simulators.emulators.server import Server
from hilonn.transports import ScriptWire, Transport
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.tcp import TcpWire

TIMEOUT = 0.25
"""s: long for loopback, short for a test that waits it out."""

PATIENT = 5.0
"""s: for tests in which every answer comes, however busy the machine is."""


@contextmanager
def scripted(exchanges: Sequence[tuple[bytes, bytes]]) -> Iterator[Transport]:
    """A wire on which exactly ``exchanges`` must happen."""
    wire = ScriptWire(exchanges)
    transport = Transport("box", wire, timeout=TIMEOUT, gap=0.0)
    transport.open()
    yield transport
    transport.close()
    wire.done()


@contextmanager
def wired(server: Server, timeout: float = TIMEOUT) -> Iterator[Transport]:
    """A started ``server``'s box at the other end of a real wire; no thread or socket is left behind."""
    before = set(threading.enumerate())
    with server:
        transport = Transport("box", wire_to(server), timeout=timeout)
        transport.open()
        try:
            yield transport
        finally:
            transport.close()
    left = [t for t in set(threading.enumerate()) - before if t.is_alive()]
    assert not left, f"threads are left behind: {left}"


def wire_to(server: Server) -> TcpWire | SerialWire:
    if isinstance(server, TcpServer):
        return TcpWire("127.0.0.1", server.port)
    assert isinstance(server, PtyServer)
    return SerialWire(server.port, 115200)
