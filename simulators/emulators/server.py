"""Puts an emulated box on a wire: loopback TCP, or a pseudo-terminal."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from hilonn.simulators.emulators.faults import Fault, WireFaults, garbled
from hilonn.simulators.emulators.instrument import Instrument, Reply
from hilonn.simulators.emulators.mishaps import Mishaps

_POLL = 0.05  # s between looks at whether to stop
_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER: close with a reset
SPREAD = 0.25
"""Standard deviation of the logarithm of a box's busy times."""


class Latency:
    """Busy times of one box as they come: log-normal about their mean, from a seed."""

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        self._rng = np.random.default_rng([seed, 30])
        self._scale = scale

    def draw(self, mean: float) -> float:
        """Seconds."""
        if mean <= 0.0 or self._scale <= 0.0:
            return 0.0
        return float(self._scale * mean * self._rng.lognormal(-(SPREAD**2) / 2, SPREAD))


class _Peer(Protocol):
    def read(self) -> bytes | None: ...

    def write(self, data: bytes) -> None: ...

    def half_close(self) -> None: ...

    def close(self) -> None: ...


class _Stream(_Peer, Protocol):
    def ready(self) -> bool:
        """Whether something has come that was not read yet."""
        ...


class Server(ABC):
    """Serves one box until it is closed. ``latency`` None: answers come as fast as they can.

    ``transactions`` and ``busy_seconds`` count what the box did.
    """

    outlives = False
    """Whether a client's way to the box outlives a reboot: a line does, a socket does not."""

    def __init__(self, instrument: Instrument, latency: Latency | None = None) -> None:
        self.instrument = instrument
        self.faults = WireFaults()
        self.mishaps = Mishaps()
        self.latency = latency
        self.transactions = 0
        self.busy_seconds = 0.0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._silent = False
        self._free = 0.0

    @abstractmethod
    def start(self) -> Self:
        """Listen, in threads of its own."""

    def ask_to_stop(self) -> None:
        """Let the threads end, without waiting for them."""
        self._stopping.set()

    def stop(self) -> None:
        """Close every connection and end every thread."""
        self.ask_to_stop()
        for _ in range(2):  # who accepts may have let one more client in while it ended
            for thread in list(self._threads):
                thread.join(timeout=5.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, work: threading.Thread) -> None:
        work.start()
        self._threads = [*(t for t in self._threads if t.is_alive()), work]

    def _serve(self, peer: _Stream) -> None:
        """One client, until it goes or the server stops."""
        session = self.instrument.session()
        worked = False
        try:
            while not self._stopping.is_set():
                came_before = (
                    worked and peer.ready()
                )  # while the box was at work: it goes on at once
                data = peer.read()
                if data is None:
                    return
                worked = bool(data) and not self._silent
                if not worked:
                    continue
                with self.instrument.rack.lock:
                    replies = session.feed(data)
                for reply in replies:
                    if self._stopping.is_set() or not self._answer(
                        peer, reply, at_once=came_before
                    ):
                        return
                    came_before = True
        except OSError:
            return  # the client is gone
        finally:
            with suppress(OSError):
                peer.close()

    def _answer(self, peer: _Peer, reply: Reply, at_once: bool = False) -> bool:
        """Send one reply, as fast and as whole as latency and faults allow; False ends the connection. ``at_once``: the
        box began with it when it was through with the last one, however late it is that we look."""
        if self.mishaps.waiting:
            with self.instrument.rack.lock:
                self.mishaps.follow(self.transactions)
        self.transactions += 1
        busy = reply.busy if self.latency is None else self.latency.draw(reply.busy)
        rack = self.instrument.rack
        if self.latency is not None:
            self.busy_seconds += busy + reply.wait
            if not rack.lockstep:
                # By the time at which it is through, so that sleeps which are too long do not add up.
                began = self._free if at_once else max(time.monotonic(), self._free)
                self._free = began + busy
                time.sleep(max(self._free - time.monotonic(), 0.0))
        with rack.lock:
            if self.latency is not None:
                rack.busy(busy)
                rack.account(self.instrument.name, busy + reply.wait)
            rack.busy(reply.wait)
        if reply.wait > 0.0 and not self.instrument.rack.lockstep:
            self._stopping.wait(reply.wait)
            self._free = max(self._free, time.monotonic())
        if not reply.data:
            return True
        fault = self.faults.next()
        if fault is None:
            peer.write(reply.data)
            return True
        return self._faulty(peer, reply.data, fault)

    def _faulty(self, peer: _Peer, data: bytes, fault: Fault) -> bool:
        if fault.kind == "drop":
            return True
        if fault.kind == "late":
            self._stopping.wait(fault.seconds)
            peer.write(data)
        elif fault.kind == "duplicate":
            peer.write(data + data)
        elif fault.kind == "fragment":
            for k in range(len(data)):
                peer.write(data[k : k + 1])
        elif fault.kind == "garble":
            peer.write(garbled(data))
        elif fault.kind == "unsolicited":
            peer.write(fault.data + data)
        elif fault.kind == "half_close":
            peer.half_close()
        elif fault.kind == "silence":
            self._silent = True
        elif fault.kind == "reboot":
            self.reboot()
            return self.outlives
        else:
            return False
        return True

    def reboot(self) -> None:
        """The box starts anew and every connection breaks."""
        with self.instrument.rack.lock:
            self.instrument.reboot()
        self._silent = False

    def hang(self) -> None:
        """Nothing is taken or answered any more, and every connection stays; ``reboot`` or ``wake`` ends it."""
        self._silent = True

    def wake(self) -> None:
        """What hung goes on: what came meanwhile is lost."""
        self._silent = False


class TcpServer(Server):
    """A box on 127.0.0.1; ``port`` 0 takes a free one. Several clients may be connected at once."""

    def __init__(
        self, instrument: Instrument, latency: Latency | None = None, port: int = 0
    ) -> None:
        super().__init__(instrument, latency)
        self._wanted = port
        self._listener: socket.socket | None = None
        self._peers: list[_Socket] = []
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._wanted))
        listener.settimeout(_POLL)
        self._listener, self.port = listener, listener.getsockname()[1]
        self._stopping.clear()
        self._spawn(threading.Thread(target=self._accept, args=(listener,), daemon=True))
        return self

    def stop(self) -> None:
        super().stop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def drop(self) -> None:
        """Break every connection, as a cable or a switch does: a reset, and the box goes on as it was."""
        peers, self._peers = self._peers, []
        for peer in peers:
            peer.reset()

    def switch_off(self) -> None:
        """Power goes: whatever the box drove is off, connections break, and nobody answers on its port."""
        self.drop()
        self.stop()
        self.reboot()

    def switch_on(self) -> None:
        """Power comes back, on the same port."""
        self._wanted = self.port
        self.reboot()
        self.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                opened, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(_POLL)
            peer = _Socket(opened)
            self._peers = [p for p in self._peers if not p.closed] + [peer]
            self._spawn(threading.Thread(target=self._serve, args=(peer,), daemon=True))


class _Socket:
    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def ready(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def reset(self) -> None:
        """The reader finds the end, and closes with a reset."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._socket.shutdown(socket.SHUT_RD)

    def read(self) -> bytes | None:
        try:
            return self._socket.recv(1 << 16) or None
        except TimeoutError:
            return b""

    def write(self, data: bytes) -> None:
        self._socket.settimeout(5.0)
        self._socket.sendall(data)
        self._socket.settimeout(_POLL)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


class PtyServer(Server):
    """A box on a pseudo-terminal, for serial lines; not on Windows. ``port`` is its path."""

    outlives = True

    def __init__(self, instrument: Instrument, latency: Latency | None = None) -> None:
        super().__init__(instrument, latency)
        self.port = ""
        self._ends: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        return self.port

    def start(self) -> Self:
        import pty
        import tty

        master, slave = pty.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._ends = (master, slave)  # the slave stays open, or reading fails when a client closes
        self._stopping.clear()
        self._spawn(threading.Thread(target=self._serve, args=(_Terminal(master),), daemon=True))
        return self

    def stop(self) -> None:
        super().stop()
        if self._ends is not None:
            for end in self._ends:
                with suppress(OSError):
                    os.close(end)
            self._ends = None

    def reboot(self) -> None:
        super().reboot()
        greeting = self.instrument.greeting()
        if greeting:
            self.say(greeting)

    def say(self, data: bytes) -> None:
        """Send ``data`` that nobody asked for."""
        assert self._ends is not None
        os.write(self._ends[0], data)


class _Terminal:
    def __init__(self, master: int) -> None:
        self._master = master

    def ready(self) -> bool:
        return bool(select.select([self._master], [], [], 0)[0])

    def read(self) -> bytes | None:
        if not select.select([self._master], [], [], _POLL)[0]:
            return b""
        return os.read(self._master, 1 << 16) or None

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._master, view) :]

    def half_close(self) -> None:
        return None  # a line has no sides to shut

    def close(self) -> None:
        return None  # the server closes both ends
