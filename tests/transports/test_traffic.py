"""Scripts, and logs of traffic that are played again."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout, StorageError
from hilonn.simulators.emulators import PtyServer, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.transports import ScriptWire, TrafficLog, Transport, read_traffic
from hilonn.transports.entries import ReplayOptions, TcpOptions, tcp, traffic
from hilonn.transports.script import ReplayWire
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.traffic import KEPT
from tests.transports.boxes import Bench


def converse(transport: Transport, faults: list[str] | None = None) -> list[object]:
    """A conversation in which things go wrong; what came of it."""
    found: list[object] = []
    for asked in ("ECHO? 1", "NOTHING?", "ECHO? 2", "BAD?", "ECHO? 3"):
        transport.write(f"KEEP {asked}")
        try:
            found.append(transport.query(asked))
        except (DeviceError, DeviceTimeout) as error:
            found.append(type(error))
        found.append(transport.query("KEPT?"))
    found.append(transport.query_block("BLOCK? 300"))
    return found


class Bad(Bench):
    def answer(self, line: str):  # type: ignore[no-untyped-def]
        return super().answer("ECHO? \xe4" if line == "BAD?" else line)


@pytest.mark.parametrize("kind", [TcpServer, PtyServer])
def test_what_was_logged_is_played_again(tmp_path: Path, kind: type[TcpServer]) -> None:
    path = tmp_path / "logs" / "box.jsonl"
    with kind(Bad()) as server:
        if kind is TcpServer:
            options = TcpOptions(host="127.0.0.1", port=server.port, timeout=0.15, log=path)
            transport = tcp.build("box", options)
        else:
            wire = SerialWire(str(server.port), 115200)
            transport = Transport("box", wire, timeout=0.15, log=TrafficLog(path))
        assert isinstance(transport, Transport)
        transport.open()
        found = converse(transport)
        server.faults.inject(Fault("late", seconds=0.2))
        with pytest.raises(DeviceTimeout):
            transport.query("ECHO? late")
        assert transport.query("ECHO? after") == "after"
        transport.close()
    assert found[2] is DeviceTimeout
    assert found[6] is DeviceError
    again = traffic.build("box", ReplayOptions(file=path))  # it can tell a line from a socket
    assert isinstance(again, Transport)
    again.open()
    assert converse(again) == found
    with pytest.raises(DeviceTimeout):
        again.query("ECHO? late")
    assert again.query("ECHO? after") == "after"
    with pytest.raises(ConnectionLost, match="the log ends before request"):
        again.query("ECHO? more")
    again.close()


def test_another_request_is_named(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path / "log")
    first = Transport("box", ScriptWire([(b"A?\n", b"1\n"), (b"B?\n", b"2\n")]), log=log)
    first.open()
    assert [first.query(q) for q in ("A?", "B?")] == ["1", "2"]
    first.close()
    again = Transport("box", ReplayWire(read_traffic(tmp_path / "log"), "log"))
    again.open()
    assert again.query("A?") == "1"
    with pytest.raises(ConnectionLost, match=r"request 2 is b'C\?\\n', in the log it was b'B\?"):
        again.query("C?")


def test_unasked_lines_and_losses_are_played_again(tmp_path: Path) -> None:
    with TcpServer(Bench()) as server:
        options = TcpOptions(host="127.0.0.1", port=server.port, timeout=2.0, log=tmp_path / "log")
        transport = tcp.build("box", options)
        assert isinstance(transport, Transport)
        transport.unsolicited = lambda data: b""
        transport.open()
        assert transport.query("ECHO? 1") == "1"
        server.faults.inject(Fault("duplicate"))
        assert transport.query("ECHO? 2") == "2"
        assert transport.query("ECHO? 3") == "3"
        server.faults.inject(Fault("reset"))
        with pytest.raises(ConnectionLost):
            transport.query("ECHO? 4")
        transport.reconnect(2.0)
        assert transport.query("ECHO? 5") == "5"
        transport.close()
    again = Transport("box", ReplayWire(read_traffic(tmp_path / "log"), "log"))
    again.unsolicited = lambda data: b""
    again.open()
    assert [again.query(f"ECHO? {k}") for k in (1, 2, 3)] == ["1", "2", "3"]
    with pytest.raises(ConnectionLost, match="in the log"):
        again.query("ECHO? 4")
    again.reconnect(2.0)
    assert again.query("ECHO? 5") == "5"


def test_a_log_keeps_the_last_events_in_memory() -> None:
    log = TrafficLog()
    for k in range(KEPT + 5):
        log.note(float(k), "sent", b"%d" % k)
    kept = list(log)
    assert len(kept) == KEPT
    assert kept[-1].data == b"%d" % (KEPT + 4)
    assert str(kept[-1]) == "204.000000 sent b'204'"


def test_a_log_that_cannot_be_written_or_is_none(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(StorageError, match="cannot write the traffic log"):
        TrafficLog(blocked / "log").open()
    for text in ("no json", "[]", '{"t": 1}', '{"t": 0, "what": "guess", "data": ""}'):
        blocked.write_text(text)
        with pytest.raises(StorageError, match="no traffic log"):
            read_traffic(blocked)


def test_every_byte_is_logged_and_read_again(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path / "log")
    log.open()
    log.note(0.125, "received", bytes(range(256)))
    log.close()
    log.close()
    (line,) = read_traffic(tmp_path / "log")
    assert (line.seconds, line.direction, line.data) == (0.125, "received", bytes(range(256)))


def test_scripts_show_what_is_wrong() -> None:
    wire = ScriptWire([(b"A?\n", b"1\n")])
    with pytest.raises(AssertionError, match=r"b'B\?\\n' was sent, b'A\?\\n' was expected"):
        wire.send(b"B?\n", 1.0)
    wire = ScriptWire([(b"A?\n", b"1\n")])
    with pytest.raises(AssertionError, match="1 exchanges were not made"):
        wire.done()
    wire.send(b"A", 1.0)  # requests may come in pieces
    wire.send(b"?\n", 1.0)
    assert wire.receive(1.0) == b"1\n"
    wire.done()
    with pytest.raises(AssertionError, match="nothing was expected any more"):
        wire.send(b"A?\n", 1.0)
