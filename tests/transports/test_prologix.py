"""GPIB behind a ``++`` adapter: addresses, escapes, slow answers, several instruments on one bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hilonn.errors import ConfigError, ConnectionLost, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.instrument import Instrument, Reply
from hilonn.simulators.emulators.prologix import PrologixBox
from hilonn.simulators.emulators.server import Latency, Server
from hilonn.transports import ScriptWire, Transport
from hilonn.transports.prologix import PrologixWire
from tests.drivers.wires import wire_to
from tests.transports.boxes import Bench

TIMEOUT = 0.5
READ = 0.1


class Raw(Instrument):
    """Keeps the bytes of each message as they come."""

    def __init__(self) -> None:
        super().__init__("raw", Rack())
        self.got = bytearray()

    def reboot(self) -> None:
        self.got.clear()

    def state(self) -> dict[str, str]:
        return {}

    def session(self) -> Raw:
        return self

    def feed(self, data: bytes) -> list[Reply]:
        self.got += data
        return []


class Slow(Bench):
    """Is ``SLOW?`` for a while before it answers."""

    def answer(self, line: str) -> list[Reply]:
        if line == "SLOW?":
            return [Reply(b"at last\n", busy=0.3)]
        return super().answer(line)


@pytest.fixture(params=[TcpServer, PtyServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    box = PrologixBox("gpib", Rack(), {9: Bench(), 12: Slow(), 20: Raw()})
    with request.param(box, Latency(0, scale=0.0)) as started:
        yield started


def opened(server: Server, gpib: int, timeout: float = TIMEOUT) -> Transport:
    made = Transport(f"gpib{gpib}", PrologixWire(wire_to(server), str(gpib), READ), timeout=timeout)
    made.open()
    return made


def box_of(server: Server) -> PrologixBox:
    assert isinstance(server.instrument, PrologixBox)
    return server.instrument


def test_two_instruments_share_an_adapter(server: Server) -> None:
    first, second = opened(server, 9), opened(server, 12)
    assert first.wire.adapter is second.wire.adapter  # type: ignore[attr-defined]
    for k in range(20):
        first.write(f"KEEP {k}")
        assert second.query(f"ECHO? {k + 100}") == str(k + 100)
        assert first.query("KEPT?") == str(k)
    assert first.query_block("BLOCK? 300") == bytes(k % 256 for k in range(300))
    first.close()
    assert second.query("ECHO? still here") == "still here"
    second.close()
    assert not second.wire.adapter.connected  # type: ignore[attr-defined]
    assert box_of(server).errors == []


def test_bytes_reach_the_instrument_as_they_are(server: Server) -> None:
    transport = opened(server, 20)
    data = bytes(range(256)) + b"++addr 9\n\x1b\x1b+"
    transport.write(data)
    transport.write(b"++" + data)
    other = opened(server, 9)
    assert other.query("ECHO? 1") == "1"  # all of it has arrived
    raw = box_of(server).boxes[20]
    assert isinstance(raw, Raw)
    assert bytes(raw.got) == data + b"++" + data
    transport.close()
    other.close()


def test_settings_and_no_read_after_a_command(server: Server) -> None:
    transport = opened(server, 9)
    transport.write("KEEP 1")
    assert transport.query("KEPT?") == "1"
    box = box_of(server)
    assert box.settings["auto"] == 0
    assert box.settings["savecfg"] == 0
    assert box.settings["read_tmo_ms"] == round(1e3 * READ)
    assert box.errors == []
    transport.close()


def test_an_answer_that_takes_longer_than_the_adapter_waits() -> None:
    box = PrologixBox("gpib", Rack(), {12: Slow()})
    with TcpServer(box, Latency(0)) as server:
        transport = opened(server, 12, timeout=5.0)
        assert transport.query("SLOW?") == "at last"
        assert transport.query("ECHO? next") == "next"
        transport.close()


def test_a_late_answer_is_never_the_next_ones(server: Server) -> None:
    transport = opened(server, 9)
    server.faults.inject(Fault("late", seconds=1.2 * TIMEOUT))
    with pytest.raises(DeviceTimeout):
        transport.query("ECHO? first")
    for word in ("second", "third"):
        assert transport.query(f"ECHO? {word}") == word
    transport.close()


def test_a_lost_adapter_is_lost_for_all() -> None:
    box = PrologixBox("gpib", Rack(), {9: Bench(), 12: Bench()})
    with TcpServer(box) as server:
        first, second = opened(server, 9), opened(server, 12)
        server.faults.inject(Fault("reset"))
        with pytest.raises(ConnectionLost):
            first.query("ECHO? 1")
        first.reconnect(2.0)
        assert first.query("ECHO? 2") == "2"
        with pytest.raises(ConnectionLost, match="lost and connected again"):
            second.query("ECHO? 3")
        second.reconnect(2.0)
        assert second.query("ECHO? 4") == "4"
        first.close()
        second.close()


def test_four_threads_on_two_instruments() -> None:
    box = PrologixBox("gpib", Rack(), {9: Bench(), 12: Bench()})
    wrong: list[str] = []
    with TcpServer(box) as server:
        transports = [opened(server, 9, 5.0), opened(server, 12, 5.0)]

        def work(n: int) -> None:
            for k in range(100):
                text = f"{n}.{k}"
                if transports[n % 2].query(f"ECHO? {text}") != text:
                    wrong.append(text)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for transport in transports:
            transport.close()
    assert not wrong


def test_what_is_no_adapter_is_told_at_open() -> None:
    with TcpServer(Bench()) as server, pytest.raises(ConnectionLost, match=r"\+\+ver"):
        opened(server, 9, timeout=0.2)


@pytest.mark.parametrize("gpib", ["31", "-1", "9 95", "9 96 97", "", "nine"])
def test_addresses(gpib: str) -> None:
    with pytest.raises(ConfigError, match="GPIB address"):
        PrologixWire(ScriptWire([]), gpib)


def test_the_adapter_waits_three_seconds_at_most() -> None:
    with pytest.raises(ConfigError, match=r"0\.001 to 3 s"):
        PrologixWire(ScriptWire([]), "9", 3.5)


def test_one_adapter_has_one_read_timeout() -> None:
    first = PrologixWire(ScriptWire([]), "9", 1.0)
    with pytest.raises(ConfigError, match="another connection on this adapter has 1 s"):
        PrologixWire(ScriptWire([]), "12", 2.0)
    assert first.lock is PrologixWire(ScriptWire([]), "12", 1.0).lock
