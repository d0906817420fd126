"""ZeroMQ: strict request and reply, lost answers, peers that are none."""

from __future__ import annotations

import socket
import threading
import time

import pytest

pytest.importorskip("zmq")

from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.zmq_server import ZmqServer
from hilonn.transports import Transport
from hilonn.transports.zmq_wire import ZmqWire

TIMEOUT = 0.25


class Echo(LineInstrument):
    """Answers ``ECHO word`` with the word, keeps what is ``SET`` and counts what it got."""

    def __init__(self) -> None:
        super().__init__("echo", Rack())
        self.got: list[str] = []

    def reboot(self) -> None:
        self.got.clear()

    def state(self) -> dict[str, str]:
        return {}

    def answer(self, line: str) -> list[Reply]:
        self.got.append(line)
        word, _, rest = line.partition(" ")
        return [Reply(f"{rest}\n".encode())] if word == "ECHO" else [Reply(b"")]


def transport(server: ZmqServer, timeout: float = TIMEOUT, correlate: bool = True) -> Transport:
    made = Transport("box", ZmqWire(server.address, correlate), timeout=timeout)
    made.open()
    return made


@pytest.mark.parametrize("correlate", [True, False])
def test_messages_have_no_terminators_and_drivers_do_not_notice(correlate: bool) -> None:
    with ZmqServer(box := Echo()) as server:
        wire = transport(server, correlate=correlate)
        for k in range(100):
            assert wire.query(f"ECHO {k}") == str(k)
        wire.close()
        wire.close()
    assert box.got[0] == "ECHO 0"


def test_nobody_there_is_told_at_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionLost, match="does not take a connection"):
        ZmqWire(f"tcp://127.0.0.1:{port}").open(2.0)
    with pytest.raises(ConnectionLost, match="no address of ZeroMQ"):
        ZmqWire("192.168.1.7").open(2.0)


def test_a_port_that_speaks_no_zeromq_is_told_at_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(ConnectionLost, match="as ZeroMQ does"),
    ):
        ZmqWire(f"tcp://127.0.0.1:{mute.getsockname()[1]}").open(0.2)


def test_a_late_answer_is_never_the_next_ones() -> None:
    with ZmqServer(Echo()) as server:
        wire = transport(server)
        server.faults.inject(Fault("late", seconds=1.2 * TIMEOUT))
        with pytest.raises(DeviceTimeout):
            wire.query("ECHO first")
        for word in ("second", "third", "fourth"):
            assert wire.query(f"ECHO {word}", timeout=2.0) == word
        wire.close()


def test_an_answer_that_comes_twice_is_taken_once() -> None:
    with ZmqServer(Echo()) as server:
        wire = transport(server)
        server.faults.inject(Fault("duplicate", count=200))
        for k in range(200):
            assert wire.query(f"ECHO {k}", timeout=2.0) == str(k)
        wire.close()


@pytest.mark.parametrize("kind", ["drop", "silence"])
def test_a_lost_answer_is_a_timeout_and_the_next_is_right(kind: str) -> None:
    with ZmqServer(Echo()) as server:
        wire = transport(server)
        server.faults.inject(Fault(kind))  # type: ignore[arg-type]
        with pytest.raises(DeviceTimeout):
            wire.query("ECHO 1")
        if kind == "silence":
            server.reboot()
        assert wire.query("ECHO 2") == "2"
        wire.close()


@pytest.mark.parametrize("kind", ["reset", "half_close", "reboot"])
def test_a_peer_that_goes_is_lost_until_reconnected(kind: str) -> None:
    with ZmqServer(Echo()) as server:
        wire = transport(server, timeout=2.0)
        server.faults.inject(Fault(kind))  # type: ignore[arg-type]
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            wire.query("ECHO 1")
        assert time.monotonic() - started < 1.5  # told, not timed out
        with pytest.raises(ConnectionLost, match="connected and checked again"):
            wire.query("ECHO 2")
        wire.reconnect(5.0)
        assert wire.query("ECHO 3") == "3"
        wire.close()


def test_a_request_whose_answer_nobody_read_is_told() -> None:
    with ZmqServer(Echo()) as server:
        wire = transport(server)
        wire.write("SET 1")
        with pytest.raises(DeviceError, match="every request has an answer"):
            wire.query("ECHO 1")
        assert wire.query("ECHO 2") == "2"
        wire.close()


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        with ZmqServer(Echo()) as server:
            wire = transport(server)
            assert wire.query("ECHO 1") == "1"
            wire.close()
    assert threading.active_count() == before
