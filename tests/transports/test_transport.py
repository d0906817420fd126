"""The traps of real wires, on each kind of ours: none strikes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from hilonn.clock import VirtualClock
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.server import Server
from hilonn.transports import Dialect, ScriptWire, Transport, Wire
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.tcp import TcpWire
from hilonn.transports.visa import VisaWire
from tests.transports.boxes import Bench, until

TIMEOUT = 0.3
KINDS = ("tcp", "visa socket", "serial socket", "pty", "visa pty")
ON_SOCKETS = KINDS[:3]


def server_for(kind: str, box: Bench | None = None) -> Server:
    made = box or Bench()
    return PtyServer(made) if "pty" in kind else TcpServer(made)


def wire_for(kind: str, server: Server) -> Wire:
    if isinstance(server, PtyServer):
        if kind == "pty":
            return SerialWire(server.port, 115200)
        return VisaWire(f"ASRL{server.port}::INSTR", line={"baud_rate": 115200})
    assert isinstance(server, TcpServer)
    return wire_to(kind, server.port)


def wire_to(kind: str, port: int) -> Wire:
    if kind == "tcp":
        return TcpWire("127.0.0.1", port)
    if kind == "visa socket":
        return VisaWire(f"TCPIP::127.0.0.1::{port}::SOCKET")
    return SerialWire(f"socket://127.0.0.1:{port}", 115200)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[Server]:
    with server_for(kind) as started:
        yield started


@pytest.fixture
def transport(kind: str, server: Server) -> Iterator[Transport]:
    made = Transport("box", wire_for(kind, server), timeout=TIMEOUT)
    made.open()
    yield made
    made.close()


# -- trap 1: Nagle's algorithm ------------------------------------------------------------------------


def test_nagle_is_off_at_our_end() -> None:
    with TcpServer(Bench()) as server:
        tcp = TcpWire("127.0.0.1", server.port)
        serial = SerialWire(f"socket://127.0.0.1:{server.port}", 115200)
        for wire in (tcp, serial):
            wire.open(1.0)
        held = [tcp._opened._socket, serial._line._socket]  # type: ignore[union-attr]
        assert all(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in held)
        for wire in (tcp, serial):
            wire.close()


# -- traps 2, 3, 4: refused, dead and closed peers ------------------------------------------------------


@pytest.mark.parametrize("kind", ON_SOCKETS)
def test_a_refused_port_is_told_at_open(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    transport = Transport("box", wire_to(kind, port))
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1.*is the box on"):
        transport.open()
    with pytest.raises(ConnectionLost, match="is not open"):
        transport.query("*IDN?")


def test_a_serial_port_that_is_not_there_or_is_taken() -> None:
    with pytest.raises(ConnectionLost, match=r"cannot be opened.*no other program"):
        SerialWire("/dev/nowhere", 9600).open(1.0)
    with PtyServer(Bench()) as server:
        first = SerialWire(server.port, 115200)
        first.open(1.0)
        with pytest.raises(ConnectionLost, match="no other program"):
            SerialWire(server.port, 115200).open(1.0)
        first.close()


def test_a_dead_peer_is_a_timeout_that_says_what_was_asked(
    server: Server, transport: Transport
) -> None:
    server.faults.inject(Fault("silence"))
    started = time.monotonic()
    with pytest.raises(DeviceTimeout, match=r"box .* did not answer b'ECHO\? 1.*within 0.3 s"):
        transport.query("ECHO? 1")
    with pytest.raises((DeviceTimeout, ConnectionLost)):
        transport.query("ECHO? 2")
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize("kind", ON_SOCKETS)
def test_a_closed_peer_is_lost_at_once_and_until_reconnected(
    server: Server, transport: Transport
) -> None:
    for fault in ("half_close", "reset"):
        server.faults.inject(Fault(fault))
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            transport.query("ECHO? 1", timeout=5.0)
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="connected and checked again"):
                transport.query("ECHO? 2")
            with pytest.raises(ConnectionLost, match="connected and checked again"):
                transport.write("KEEP 2")
        assert time.monotonic() - started < 4.0
        assert transport.lost
        transport.reconnect(5.0)
        assert transport.query("ECHO? 3") == "3"


@pytest.mark.parametrize("kind", ON_SOCKETS)
def test_a_peer_that_closed_meanwhile_is_told_by_a_write(
    server: Server, transport: Transport
) -> None:
    assert transport.query("ECHO? 1") == "1"
    server.stop()
    with pytest.raises(ConnectionLost):
        transport.write("KEEP 1")


# -- trap 5: late answers -------------------------------------------------------------------------------


def test_a_late_answer_is_never_the_next_ones(server: Server, transport: Transport) -> None:
    for late in (1.2, 1.8):
        server.faults.inject(Fault("late", seconds=late * TIMEOUT))
        with pytest.raises(DeviceTimeout, match="ECHO"):
            transport.query("ECHO? first")
        for word in ("second", "third"):
            assert transport.query(f"ECHO? {word}", timeout=2.0) == word


def test_with_a_query_to_resynchronise_by_it_may_be_later() -> None:
    with PtyServer(Bench()) as server:
        transport = Transport("box", SerialWire(server.port, 115200), timeout=0.15)
        transport.speak(Dialect(resync=("*IDN?", "HILONN,.*")))
        transport.open()
        server.faults.inject(Fault("late", seconds=0.8))
        with pytest.raises(DeviceTimeout):
            transport.query("ECHO? first")
        transport.timeout = 2.0
        assert transport.query("ECHO? second") == "second"
        assert transport.query("ECHO? third") == "third"
        transport.close()


@pytest.mark.parametrize("fault", ["drop", "duplicate", "garble"])
def test_what_else_leaves_it_out_of_step(server: Server, transport: Transport, fault: str) -> None:
    for k in range(2):
        server.faults.inject(Fault(fault))  # type: ignore[arg-type]
        try:
            assert transport.query("ECHO? first") == "first"
        except (DeviceError, DeviceTimeout):
            assert fault != "duplicate"
        assert transport.query(f"ECHO? second {k}") == f"second {k}"
        assert transport.query("ECHO? third") == "third"


def test_an_interrupted_answer_is_dropped(server: Server, transport: Transport) -> None:
    class Stop(BaseException):
        pass

    def interrupted(reader: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        transport.ask("ECHO? first", interrupted)
    assert transport.query("ECHO? second") == "second"


# -- trap 6: threads ------------------------------------------------------------------------------------


def test_four_threads_on_one_instrument(transport: Transport) -> None:
    wrong: list[str] = []

    def work(n: int) -> None:
        for k in range(500):
            text = f"{n}.{k}"
            if transport.query(f"ECHO? {text}", timeout=10.0) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nobody_comes_in_between_an_atomic_pair(transport: Transport) -> None:
    wrong: list[str] = []

    def work(n: int) -> None:
        for k in range(50):
            with transport.atomic():
                transport.write(f"KEEP {n}.{k}")
                if transport.query("KEPT?", timeout=10.0) != f"{n}.{k}":
                    wrong.append(f"{n}.{k}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- traps 11, 12 and section 4: blocks -----------------------------------------------------------------


@pytest.mark.parametrize("fragments", [False, True])
@pytest.mark.parametrize("block_end", [b"\n", b"\r\n", b""])
def test_blocks_with_line_feeds_in_them(kind: str, block_end: bytes, fragments: bool) -> None:
    count = 40 if fragments else 4000
    wanted = bytes(k % 256 for k in range(count))
    ended = block_end != b""
    with server_for(kind, Bench(block_end=block_end)) as server:
        transport = Transport("box", wire_for(kind, server), timeout=5.0)
        transport.open()
        if fragments:
            server.faults.inject(Fault("fragment", count=2))
        started = time.monotonic()
        assert transport.query_block(f"BLOCK? {count}", ended=ended) == wanted
        assert transport.query_block(f"INDEFINITE? {count}", count, ended=ended) == wanted
        assert time.monotonic() - started < 4.0  # no timeout was waited out
        assert transport.query("ECHO? in step") == "in step"
        transport.close()


def test_an_indefinite_block_of_unknown_length_is_refused(transport: Transport) -> None:
    with pytest.raises(DeviceError, match="say how many bytes"):
        transport.query_block("INDEFINITE? 100")
    assert transport.query("ECHO? in step") == "in step"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"1.25\n", "a block begins with '#'"),
        (b"#x\n", "'#' and a digit"),
        (b"#2x4\n", "length is a number"),
        (b"#13abc\n", "of 4 bytes was asked for, one of 3"),
        (b"#14abcd!\n", "ends in"),
    ],
)
def test_blocks_that_are_none(answer: bytes, words: str) -> None:
    transport = Transport("box", ScriptWire([(b"B?\n", answer)]), timeout=0.1)
    transport.open()
    with pytest.raises(DeviceError, match=words):
        transport.query_block("B?", 4)


def test_lines_that_are_none() -> None:
    wire = ScriptWire([(b"A?\n", b"\xff\xfe\n"), (b"B?\n", b"no end"), (b"C?\n", b"")])
    transport = Transport("box", wire, timeout=0.05)
    transport.open()
    with pytest.raises(DeviceError, match="no text came"):
        transport.query("A?")
    with pytest.raises(DeviceTimeout, match="b'no end' came, no end of a line"):
        transport.query("B?")
    with pytest.raises(DeviceTimeout, match="nothing came"):
        transport.query("C?")
    with pytest.raises(ConfigError, match="nothing was sent"):
        transport.query("\u00b5?")


# -- a close that never hangs ---------------------------------------------------------------------------


def test_closes_while_somebody_waits(transport: Transport) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            transport.query("NOTHING?", timeout=60.0)
        except ConnectionLost as error:
            raised.append(error)

    reader = threading.Thread(target=wait)
    reader.start()
    until(lambda: any(line.direction == "sent" for line in transport.log))
    started = time.monotonic()
    transport.close()
    transport.close()
    assert time.monotonic() - started < 5.0
    reader.join(5.0)
    assert not reader.is_alive()
    assert "closed" in str(raised[0]) or "gone" in str(raised[0])
    with pytest.raises(ConnectionLost, match="not open"):
        transport.query("*IDN?")


def test_a_peer_that_takes_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for kind in ("tcp", "visa socket"):
            transport = Transport("box", wire_to(kind, mute.getsockname()[1]), timeout=0.2)
            transport.open()
            with pytest.raises(DeviceTimeout, match="takes no more bytes"):
                transport.write(bytes(1 << 25))
            transport.close()


# -- reconnecting, gaps, dialects -----------------------------------------------------------------------


class Dead:
    """A wire that opens at the ``after``-th try."""

    address = "dead"
    reopens = True

    def __init__(self, after: int) -> None:
        self.tries, self.after = 0, after

    def open(self, timeout: float) -> None:
        self.tries += 1
        if 1 < self.tries <= self.after:
            raise ConnectionLost("dead: nobody")

    def close(self) -> None:
        return None

    def send(self, data: bytes, timeout: float) -> None:
        return None

    def receive(self, timeout: float) -> bytes:
        return b"1\n" if timeout else b""


def test_reconnecting_backs_off() -> None:
    clock = VirtualClock()
    wire = Dead(after=8)
    transport = Transport("box", wire, clock=clock)
    transport.open()
    transport.reconnect(60.0)
    assert wire.tries == 9
    assert clock.now() == pytest.approx(0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2.0)
    assert transport.query("X?") == "1"


def test_reconnecting_gives_up_and_does_not_outlive_a_close() -> None:
    clock = VirtualClock()
    transport = Transport("box", Dead(after=10**6), clock=clock)
    transport.open()
    with pytest.raises(ConnectionLost, match="nobody"):
        transport.reconnect(1.0)
    assert transport.lost
    assert clock.now() <= 1.0
    transport.close()
    with pytest.raises(ConnectionLost, match="not open"):
        transport.reconnect(1.0)


def test_commands_keep_their_distance() -> None:
    clock = VirtualClock()
    sent: list[float] = []

    class Timed(Dead):
        def send(self, data: bytes, timeout: float) -> None:
            sent.append(clock.now())

    transport = Transport("box", Timed(after=0), clock=clock)
    transport.speak(Dialect(gap=0.02))
    transport.open()
    for _ in range(3):
        transport.write("A")
        transport.query("B?")
    gaps = [b - a for a, b in pairwise(sent)]
    assert gaps == pytest.approx(5 * [0.02])
    assert sent[0] == pytest.approx(0.02)  # after opening, too
    faster = Transport("box", Timed(after=0), clock=clock, gap=0.0)
    faster.speak(Dialect(gap=0.02))
    faster.open()
    before = clock.now()
    faster.write("A")
    faster.write("A")
    assert clock.now() == before


def test_two_dialects_on_one_wire_are_refused() -> None:
    transport = Transport("box", Dead(after=0))
    transport.speak(Dialect())
    transport.speak(Dialect())
    with pytest.raises(ConfigError, match="speak differently"):
        transport.speak(Dialect(write="\r"))


def test_a_box_that_does_not_stop_is_told() -> None:
    class Chatty(Dead):
        reopens = False

        def receive(self, timeout: float) -> bytes:
            clock.sleep(0.01)
            return b"x"

    clock = VirtualClock()
    transport = Transport("box", Chatty(after=0), clock=clock, timeout=1.0)
    transport.unsolicited = lambda data: b""
    transport.open()
    transport._dirty = "a test"
    with pytest.raises(DeviceTimeout, match="does not stop sending"):
        transport.write("A")
    with pytest.raises(DeviceTimeout, match="and no end"):
        transport._dirty = ""
        transport._take_in = lambda: None  # type: ignore[method-assign]
        transport.ask("A?", lambda reader: reader.until_quiet(0.1))


def test_a_line_that_cannot_be_waited_on_is_read() -> None:
    transport = Transport("box", SerialWire("loop://", 115200), timeout=TIMEOUT)
    transport.open()
    for k in range(3):
        assert transport.query(f"echo {k}") == f"echo {k}"
    with pytest.raises(DeviceTimeout):
        transport.ask("echo", lambda reader: reader.exactly(100))
    assert transport.query("echo") == "echo"
    transport.close()
