"""VISA through the real pyvisa-py: sockets, HiSLIP, serial lines, and resources that are none."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.hislip import HislipServer
from hilonn.simulators.emulators.server import Server
from hilonn.simulators.emulators.vxi11 import Vxi11Server
from hilonn.transports import Transport
from hilonn.transports.visa import _CHUNK, VisaWire, within
from tests.transports.boxes import Bench, until

TIMEOUT = 0.3
LINE = {"baud_rate": 115200}
LEAKY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""pyvisa-py leaves the sockets open of a resource that does not open; nobody else can close them."""


def resource(server: Server) -> str:
    if isinstance(server, HislipServer | Vxi11Server):
        return server.address
    if isinstance(server, TcpServer):
        return f"TCPIP::127.0.0.1::{server.port}::SOCKET"
    assert isinstance(server, PtyServer)
    return f"ASRL{server.port}::INSTR"


@pytest.fixture(params=[TcpServer, HislipServer, Vxi11Server, PtyServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param(Bench()) as started:
        yield started


@pytest.fixture
def transport(server: Server) -> Iterator[Transport]:
    line = LINE if isinstance(server, PtyServer) else {}
    made = Transport("box", VisaWire(resource(server), line=line), timeout=TIMEOUT)
    made.open()
    yield made
    made.close()


def test_asks_and_is_answered(transport: Transport) -> None:
    transport.write("KEEP hello")
    assert transport.query("KEPT?") == "hello"
    assert transport.query("ECHO? " + 5000 * "x") == 5000 * "x"
    assert transport.query_block("BLOCK? 5000") == bytes(k % 256 for k in range(5000))
    assert transport.query_block("INDEFINITE? 300", 300) == bytes(k % 256 for k in range(300))
    assert transport.query("KEPT?") == "hello"


@pytest.mark.parametrize("length", [_CHUNK - 2, _CHUNK - 1, _CHUNK, 2 * _CHUNK - 1])
def test_messages_as_long_as_what_is_read_at_once(transport: Transport, length: int) -> None:
    for _ in range(2):
        assert transport.query("ECHO? " + length * "x", timeout=5.0) == length * "x"
        assert transport.query("ECHO? 1", timeout=5.0) == "1"


def test_the_rest_of_a_long_message_is_no_answer(transport: Transport) -> None:
    transport.ask("ECHO? " + 2 * _CHUNK * "x", lambda reader: reader.exactly(10), timeout=5.0)
    assert transport.query("ECHO? 1", timeout=5.0) == "1"


def test_a_late_answer_is_never_the_next_ones(server: Server, transport: Transport) -> None:
    server.faults.inject(Fault("late", seconds=1.5 * TIMEOUT))
    with pytest.raises(DeviceTimeout, match="ECHO"):
        transport.query("ECHO? first")
    for word in ("second", "third"):
        assert transport.query(f"ECHO? {word}", timeout=2.0) == word


def test_fragments(server: Server, transport: Transport) -> None:
    server.faults.inject(Fault("fragment", count=2))
    assert transport.query_block("BLOCK? 50", timeout=5.0) == bytes(range(50))
    assert transport.query("ECHO? whole", timeout=5.0) == "whole"


def test_a_lost_peer_is_told(server: Server, transport: Transport) -> None:
    if isinstance(server, PtyServer):
        pytest.skip("a line has no connection")
    server.faults.inject(Fault("reset"))
    started = time.monotonic()
    with pytest.raises(ConnectionLost):
        transport.query("ECHO? 1", timeout=5.0)
    assert time.monotonic() - started < 4.0
    with pytest.raises(ConnectionLost, match="connected and checked again"):
        transport.query("ECHO? 1")
    transport.reconnect(2.0)
    assert transport.query("ECHO? 2") == "2"


def test_closes_while_somebody_waits(server: Server, transport: Transport) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            transport.query("NOTHING?", timeout=1.5)
        except (ConnectionLost, DeviceTimeout) as error:
            raised.append(error)

    reader = threading.Thread(target=wait)
    reader.start()
    until(lambda: any(line.direction == "sent" for line in transport.log))
    started = time.monotonic()
    transport.close()
    assert time.monotonic() - started < 2.0
    reader.join(10.0)
    assert len(raised) == 1


@pytest.mark.parametrize("kind", [HislipServer, Vxi11Server])
def test_an_instr_resource_is_cleared_when_opened(kind: type[HislipServer]) -> None:
    with kind(Bench()) as server:
        for clear, count in ((True, 1), (False, 1)):
            wire = VisaWire(server.address, clear=clear)
            wire.open(TIMEOUT)
            assert server.clears == count
            wire.close()


def test_messages_without_line_feeds() -> None:
    box = Bench(end=b"")
    with HislipServer(box) as server:
        transport = Transport("box", VisaWire(server.address, ended=False), timeout=TIMEOUT)
        transport.open()
        assert transport.query("ECHO? 1") == "1"
        transport.close()


def test_nagle_is_off_on_sockets() -> None:
    with TcpServer(Bench()) as server:
        wire = VisaWire(resource(server))
        wire.open(TIMEOUT)
        held = wire._resource.visalib.sessions[wire._resource.session].interface
        assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        wire.close()


@LEAKY
@pytest.mark.parametrize(
    "name",
    [
        "TCPIP::127.0.0.1::{}::SOCKET",
        "TCPIP::127.0.0.1::hislip0,{}::INSTR",
        "TCPIP::127.0.0.1,{}::inst0::INSTR",
    ],
)
def test_a_refused_port_is_told_at_open(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionLost, match="is the box on"):
        VisaWire(name.format(port)).open(2.0)
    gc.collect()


@LEAKY
def test_a_port_that_speaks_no_hislip_is_told_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        wire = VisaWire(f"TCPIP::127.0.0.1::hislip0,{mute.getsockname()[1]}::INSTR")
        started = time.monotonic()
        with pytest.raises(ConnectionLost, match="does not open within"):
            wire.open(0.2)
        assert time.monotonic() - started < 3.0
    until(lambda: not any(t.name == "visa" for t in threading.enumerate()))
    gc.collect()


@pytest.mark.parametrize(
    ("name", "library", "words"),
    [
        ("nonsense", "@py", "no VISA resource"),
        ("GPIB0::INTFC", "@py", "only INSTR and SOCKET"),
        ("TCPIP::host::5025::SOCKET", "@ivi", "needs no VISA"),
    ],
)
def test_senseless_resources_are_refused(name: str, library: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        VisaWire(name, library)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConnectionLost, match=r"GPIB0::9::INSTR cannot be opened by @py: .*install"):
        VisaWire("GPIB0::9::INSTR").open(1.0)
    with pytest.raises(ConnectionLost, match="could not open port"):
        VisaWire("ASRL/dev/nowhere::INSTR").open(1.0)


def test_what_does_not_return_is_left_behind_and_cleaned_up() -> None:
    go, late = threading.Event(), threading.Event()
    assert within(0.01, lambda: go.wait(10.0), lambda made: late.set()) is None
    go.set()
    assert late.wait(10.0)
    with pytest.raises(DeviceError):
        within(1.0, lambda: (_ for _ in ()).throw(DeviceError("no")))


def test_a_serial_line_of_another_library_is_read_by_its_verbs() -> None:
    from pyvisa.constants import SerialTermination

    with PtyServer(Bench()) as server:
        wire = VisaWire(resource(server), line=LINE)
        wire.open(TIMEOUT)
        wire._held = None  # as with a library that shows none
        wire._resource.end_input = SerialTermination.none
        transport = Transport("box", wire, timeout=TIMEOUT)
        transport._open = True
        assert transport.query("ECHO? 1") == "1"
        assert transport.query_block("BLOCK? 300") == bytes(k % 256 for k in range(300))
        with pytest.raises(DeviceTimeout):
            transport.query("NOTHING?")
        assert transport.query("ECHO? 2") == "2"
        transport.close()
