"""Puts an emulated box behind HiSLIP, for VISA's ``TCPIP::127.0.0.1::hislip0,PORT::INSTR``.

Source: IVI-6.1, the messages that a client needs to open, ask, clear and read a status byte. A client has two connections,
for messages and for what must not wait behind them.
"""

from __future__ import annotations

import struct

from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.instrument import Instrument, Session, joined
from hilonn.simulators.emulators.server import Latency, TcpServer, _Socket

HEADER = struct.Struct(">2sBBIQ")
"""``HS``, type, control code, parameter, length of the payload."""
(
    INITIALIZE,
    INITIALIZE_RESPONSE,
    DATA,
    DATA_END,
    CLEAR_COMPLETE,
    CLEAR_ACKNOWLEDGE,
) = 0, 1, 6, 7, 8, 9
ASYNC = {4: 5, 15: 16, 17: 18, 19: 23, 21: 22}
"""Messages of the second connection, and what answers them: lock, largest message, beginning, device clear, status."""
LARGEST = 1 << 20
VERSION = 0x0100


class HislipServer(TcpServer):
    """A box at ``TCPIP::127.0.0.1::hislip0,PORT::INSTR``. Its messages end by END; what it answers ends in its own terminator
    besides."""

    def __init__(
        self, instrument: Instrument, latency: Latency | None = None, port: int = 0
    ) -> None:
        super().__init__(instrument, latency, port)
        self.clears = 0
        self._clients = 0

    @property
    def address(self) -> str:
        return f"TCPIP::127.0.0.1::hislip0,{self.port}::INSTR"

    def _serve(self, peer: _Socket) -> None:  # type: ignore[override]
        frames = _Frames(peer)
        session = self.instrument.session()
        try:
            while not self._stopping.is_set():
                for kind, parameter, payload in frames.read():
                    if not self._one(peer, session, kind, parameter, payload):
                        return
                if frames.ended:
                    return
        except OSError:
            return  # the client is gone
        finally:
            peer.close()

    def _one(
        self, peer: _Socket, session: Session, kind: int, parameter: int, payload: bytes
    ) -> bool:
        """Answer one message; False ends the connection."""
        if kind == INITIALIZE:
            self._clients += 1
            peer.write(frame(INITIALIZE_RESPONSE, (VERSION << 16) + self._clients))
        elif kind in ASYNC:
            self._aside(peer, kind)
        elif kind == CLEAR_COMPLETE:
            peer.write(frame(CLEAR_ACKNOWLEDGE, 0))
        elif kind in (DATA, DATA_END) and not self._silent:
            with self.instrument.rack.lock:
                replies = session.feed(payload)
            whole = joined(replies)
            return self._answer(_Channel(peer, parameter), whole)
        return True

    def _aside(self, peer: _Socket, kind: int) -> None:
        control = 1 if kind == 4 else 0
        if kind == 21:
            control = getattr(self.instrument, "status_byte", lambda: 0)()
        self.clears += kind == 19
        payload = struct.pack(">Q", LARGEST) if kind == 15 else b""
        peer.write(frame(ASYNC[kind], 0, payload, control))

    def _faulty(self, peer: _Channel, data: bytes, fault: Fault) -> bool:  # type: ignore[override]
        if fault.kind == "fragment":
            peer.write(data, whole=False)
            return True
        return super()._faulty(peer, data, fault)


class _Channel:
    """Answers to one message of a client."""

    def __init__(self, peer: _Socket, message: int) -> None:
        self._peer, self._message = peer, message

    def read(self) -> bytes | None:
        return None

    def write(self, data: bytes, whole: bool = True) -> None:
        sent = frame(DATA_END, self._message, data)
        for piece in [sent] if whole else [sent[k : k + 1] for k in range(len(sent))]:
            self._peer.write(piece)

    def half_close(self) -> None:
        self._peer.half_close()

    def close(self) -> None:
        self._peer.close()


class _Frames:
    """Cuts what comes into messages."""

    def __init__(self, peer: _Socket) -> None:
        self._peer = peer
        self._pending = bytearray()
        self.ended = False

    def read(self) -> list[tuple[int, int, bytes]]:
        """Type, parameter and payload of the messages that have come."""
        data = self._peer.read()
        self.ended = data is None
        self._pending += data or b""
        found = []
        while len(self._pending) >= HEADER.size:
            mark, kind, _, parameter, length = HEADER.unpack_from(self._pending)
            if mark != b"HS":
                self.ended = True
                break
            if len(self._pending) < HEADER.size + length:
                break
            payload = bytes(self._pending[HEADER.size : HEADER.size + length])
            del self._pending[: HEADER.size + length]
            found.append((kind, parameter, payload))
        return found


def frame(kind: int, parameter: int, payload: bytes = b"", control: int = 0) -> bytes:
    """One message."""
    return HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload
