"""Puts an emulated box behind VXI-11, for VISA's ``TCPIP::127.0.0.1,PORT::inst0::INSTR``.

Source: VXI-11 (TCP/IP Instrument Protocol) and RFC 5531 (ONC RPC, record marking). The core channel alone, on a free port: the
port mapper's port 111 needs a privileged process, and pyvisa-py takes a port behind the address instead.
"""

from __future__ import annotations

import struct
import time

from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.instrument import Instrument, Session
from hilonn.simulators.emulators.server import Latency, TcpServer, _Socket

LAST = 0x80000000
CREATE_LINK, WRITE, READ, STATUS, CLEAR, DESTROY_LINK = 10, 11, 12, 13, 15, 23
TIMED_OUT = 15
END = 4


class Vxi11Server(TcpServer):
    """A box at ``TCPIP::127.0.0.1,PORT::inst0::INSTR``."""

    def __init__(
        self, instrument: Instrument, latency: Latency | None = None, port: int = 0
    ) -> None:
        super().__init__(instrument, latency, port)
        self.clears = 0

    @property
    def address(self) -> str:
        return f"TCPIP::127.0.0.1,{self.port}::inst0::INSTR"

    def _serve(self, peer: _Socket) -> None:  # type: ignore[override]
        link = _Link(self.instrument.session())
        pending = bytearray()
        try:
            while not self._stopping.is_set():
                data = peer.read()
                if data is None:
                    return
                pending += data
                while (record := _record(pending)) is not None:
                    if not self._call(peer, link, record):
                        return
        except OSError:
            return  # the client is gone
        finally:
            peer.close()

    def _call(self, peer: _Socket, link: _Link, record: bytes) -> bool:
        """Answer one call; False ends the connection."""
        xid, _, _, _, _, procedure, _, credentials = struct.unpack_from(">8I", record)
        at = 32 + credentials
        (verifier,) = struct.unpack_from(">I", record, at + 4)
        body = record[at + 8 + verifier :]
        if procedure == CREATE_LINK:
            _reply(peer, xid, struct.pack(">4I", 0, 1, 0, 1 << 20))
        elif procedure == WRITE:
            return self._write(peer, link, xid, body)
        elif procedure == READ:
            return self._read(peer, link, xid, body)
        elif procedure == STATUS:
            byte = getattr(self.instrument, "status_byte", lambda: 0)()
            _reply(peer, xid, struct.pack(">2I", 0, byte))
        else:
            if procedure == CLEAR:
                self.clears += 1
                link.output.clear()
                link.session = self.instrument.session()
            _reply(peer, xid, struct.pack(">I", 0))
        return True

    def _write(self, peer: _Socket, link: _Link, xid: int, body: bytes) -> bool:
        (size,) = struct.unpack_from(">I", body, 16)
        good = True
        if not self._silent:
            with self.instrument.rack.lock:
                replies = link.session.feed(body[20 : 20 + size])
            for reply in replies:
                good = good and self._answer(link, reply)
        if good:
            _reply(peer, xid, struct.pack(">2I", 0, size))
        return good

    def _read(self, peer: _Socket, link: _Link, xid: int, body: bytes) -> bool:
        _, wanted, patience = struct.unpack_from(">3I", body)
        late = max(link.ready_at - time.monotonic(), 0.0)
        if not link.output or late > patience / 1e3:
            self._stopping.wait(patience / 1e3)
            _reply(peer, xid, struct.pack(">3I", TIMED_OUT, 0, 0))
            return True
        self._stopping.wait(late)
        data = bytes(link.output[:wanted])
        del link.output[:wanted]
        padded = data + bytes(-len(data) % 4)
        reason = 0 if link.output else END
        _reply(peer, xid, struct.pack(">3I", 0, reason, len(data)) + padded)
        return True

    def _faulty(self, peer: _Link, data: bytes, fault: Fault) -> bool:  # type: ignore[override]
        if fault.kind == "late":
            peer.ready_at = time.monotonic() + fault.seconds
            peer.write(data)
            return True
        if fault.kind == "half_close":
            return False
        return super()._faulty(peer, data, fault)


class _Link:
    """What a box has to say to one client, until it is read."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.output = bytearray()
        self.ready_at = 0.0

    def read(self) -> bytes | None:
        return None

    def write(self, data: bytes) -> None:
        self.output += data

    def half_close(self) -> None:
        return None

    def close(self) -> None:
        return None


def _record(pending: bytearray) -> bytes | None:
    """The next whole record, of one fragment."""
    if len(pending) < 4:
        return None
    length = struct.unpack_from(">I", pending)[0] & ~LAST
    if len(pending) < 4 + length:
        return None
    record = bytes(pending[4 : 4 + length])
    del pending[: 4 + length]
    return record


def _reply(peer: _Socket, xid: int, results: bytes) -> None:
    body = struct.pack(">6I", xid, 1, 0, 0, 0, 0) + results
    peer.write(struct.pack(">I", LAST | len(body)) + body)
