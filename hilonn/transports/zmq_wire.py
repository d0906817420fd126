"""ZeroMQ, request and reply (extra ``zmq``): one message asks, one message answers.

Where a message ends is ZeroMQ's to say, so that the instrument sends no terminators. For drivers, which read
lines, a line feed is taken off what they send and put behind what comes: their dialect is the default one.
"""

from __future__ import annotations

import math
import time
from types import ModuleType
from typing import TYPE_CHECKING

from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.transports.places import zmq_place

if TYPE_CHECKING:
    import zmq

END = b"\n"


class ZmqWire:
    """A REQ socket at ``address`` (``tcp://192.168.1.7:5555``). A request without an answer ends its socket: the next one
    goes out on a fresh one, on which no late answer can arrive ("lazy pirate").

    Opening waits until the peer has shaken hands: ZeroMQ itself would be content with an address where nobody is. The
    connection is not made again behind our back: a box that was away has forgotten what was set.

    ``correlate`` numbers requests, which any REP socket sends back with its answer, so that an answer that comes twice
    is dropped; for a server that is made by hand and cannot, it is turned off.
    """

    reopens = True

    def __init__(self, address: str, correlate: bool = True) -> None:
        self.address = address
        self._correlate = correlate
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._poller: zmq.Poller | None = None
        self._waiting = False

    def place(self) -> str:
        """See ``zmq_place``."""
        return zmq_place(self.address)

    def open(self, timeout: float) -> None:
        zmq = _library()
        self.close()
        made = zmq.Context.instance().socket(zmq.REQ)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.RECONNECT_IVL, -1)
        made.setsockopt(zmq.REQ_CORRELATE, int(self._correlate))
        # allows requests without answers before it: only to be able to say clearly what is wrong
        made.setsockopt(zmq.REQ_RELAXED, 1)
        self._monitor = made.get_monitor_socket()
        self._socket = made
        self._poller = zmq.Poller()
        self._poller.register(made, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._waiting = False
        try:
            made.connect(self.address)
        except zmq.ZMQError as error:
            self.close()
            raise ConnectionLost(
                f"{self.address} is no address of ZeroMQ, like tcp://192.168.1.7:5555: {error}"
            ) from error
        try:
            self._shake_hands(timeout)
        except ConnectionLost:
            self.close()
            raise

    def close(self) -> None:
        opened, self._socket = self._socket, None
        monitor, self._monitor = self._monitor, None
        self._poller = None
        if opened is not None:
            opened.disable_monitor()
            opened.close(linger=0)
        if monitor is not None:
            monitor.close(linger=0)

    def send(self, data: bytes, timeout: float) -> None:
        zmq = _library()
        opened, _ = self._open_sockets()
        if self._waiting:
            raise DeviceError(
                f"{self.address}: {data[:60]!r} was to be sent before the last request was answered; over ZeroMQ every "
                "request has an answer, which the driver must read"
            )
        self._raise_if_gone()
        try:
            if not opened.poll(round(1e3 * timeout), zmq.POLLOUT):
                raise DeviceTimeout(f"{self.address} takes no request after {timeout:g} s")
            opened.send(data.removesuffix(END), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise ConnectionLost(f"the connection to {self.address} is gone: {error}") from error
        self._waiting = True

    def receive(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            message = self._message(left)
            if message is not None:
                self._waiting = False
                return message.removesuffix(END).removesuffix(b"\r") + END
            if left == 0.0:
                return b""

    def _message(self, timeout: float) -> bytes | None:
        """What came within ``timeout`` s. None also where it was no answer to what was asked last: ZeroMQ drops that."""
        zmq = _library()
        opened, poller = self._open_sockets()
        try:
            ready = dict(poller.poll(math.ceil(1e3 * timeout)))
            if opened in ready:
                return opened.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno == zmq.EFSM:
                return None  # nothing was asked
            raise ConnectionLost(f"the connection to {self.address} is gone: {error}") from error
        if ready:
            self._raise_if_gone()
        return None

    def _open_sockets(self) -> tuple[zmq.Socket[bytes], zmq.Poller]:
        if self._socket is None or self._poller is None:
            raise ConnectionLost(f"{self.address} is not connected")
        return self._socket, self._poller

    def _shake_hands(self, timeout: float) -> None:
        zmq = _library()
        while True:
            event = self._event(timeout)
            if event is None:
                raise ConnectionLost(
                    f"nobody at {self.address} answered as ZeroMQ does within {timeout:g} s; is the box on, and is "
                    "this its address and port?"
                )
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            if event in (
                zmq.EVENT_CLOSED,
                zmq.EVENT_DISCONNECTED,
                zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
                zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                zmq.EVENT_HANDSHAKE_FAILED_AUTH,
            ):
                raise ConnectionLost(
                    f"{self.address} does not take a connection; is the box on, and is this its address and port?"
                )

    def _raise_if_gone(self) -> None:
        zmq = _library()
        while (event := self._event(0.0)) is not None:
            if event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
                raise ConnectionLost(f"{self.address} closed the connection")

    def _event(self, timeout: float) -> int | None:
        """What happened to the connection; None: nothing within ``timeout`` s."""
        from zmq.utils.monitor import parse_monitor_message

        assert self._monitor is not None
        if not self._monitor.poll(round(1e3 * timeout)):
            return None
        return int(parse_monitor_message(self._monitor.recv_multipart())["event"])


def _library() -> ModuleType:
    try:
        import zmq
    except ImportError as error:
        raise ConfigError("ZeroMQ needs the package pyzmq: pip install 'hilonn[zmq]'") from error
    return zmq
