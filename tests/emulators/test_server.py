"""Emulated boxes on real wires: faults, latency, several clients, a clean end."""

from __future__ import annotations

import socket
import threading

import pytest

from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.faults import KINDS, Fault, WireFaults
from hilonn.simulators.emulators.lab import parse_fault
from hilonn.simulators.emulators.server import Latency
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire
from tests.drivers.wires import wired
from tests.emulators.test_scpi import Supply


def test_two_clients_see_one_box() -> None:
    with TcpServer(Supply()) as server:
        first, second = (
            Transport(name, TcpWire("127.0.0.1", server.port), timeout=1.0) for name in "ab"
        )
        for transport in (first, second):
            transport.open()
        first.write("SOUR1:VOLT 3")
        assert first.query("*OPC?") == "1"
        assert second.query("SOUR1:VOLT?") == "3"
        first.close()
        second.close()


@pytest.mark.parametrize("kind", [TcpServer, PtyServer])
def test_nothing_is_left_behind(kind: type[TcpServer]) -> None:
    before = threading.active_count()
    with wired(kind(Supply())) as transport:
        assert transport.query("*IDN?") == "HILONN,SUPPLY,1,0"
    assert threading.active_count() == before


def test_a_closed_server_refuses() -> None:
    with TcpServer(Supply()) as server:
        port = server.port
    with pytest.raises(ConnectionLost, match="does not take a connection"):
        TcpWire("127.0.0.1", port).open(1.0)


def test_a_reboot_forgets_and_breaks_the_connection() -> None:
    server = TcpServer(Supply())
    with wired(server) as transport:
        transport.write("SOUR1:VOLT 3")
        server.faults.inject(Fault("reboot"))
        with pytest.raises(ConnectionLost):
            transport.query("SOUR1:VOLT?")
        with pytest.raises(ConnectionLost, match="connected and checked again"):
            transport.query("SOUR1:VOLT?")
        transport.reconnect(1.0)
        assert transport.query("SOUR1:VOLT?") == "0"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("drop"), DeviceTimeout),
        (Fault("garble"), DeviceError),
        (Fault("half_close"), ConnectionLost),
        (Fault("reset"), ConnectionLost),
    ],
)
def test_what_a_client_sees_of_a_fault(fault: Fault, error: type[Exception]) -> None:
    server = TcpServer(Supply())
    with wired(server) as transport:
        server.faults.inject(fault)
        with pytest.raises(error):
            transport.query("*IDN?")


def test_after_a_lost_answer_the_next_one_is_its_own() -> None:
    server = TcpServer(Supply())
    with wired(server) as transport:
        server.faults.inject(Fault("late", seconds=0.35))
        with pytest.raises(DeviceTimeout, match="SOUR1:VOLT"):
            transport.query("SOUR1:VOLT?")
        assert transport.query("*IDN?") == "HILONN,SUPPLY,1,0"
        assert transport.query("SOUR1:CURR:LIM?") == "0.1"


def test_fragments_and_repeats_are_seen_through() -> None:
    server = TcpServer(Supply())
    with wired(server) as transport:
        for kind in ("fragment", "duplicate"):
            server.faults.inject(Fault(kind, count=2))  # type: ignore[arg-type]
            for _ in range(3):
                assert transport.query("*IDN?") == "HILONN,SUPPLY,1,0"
                assert transport.query("SOUR2:CURR:LIM?") == "0.1"


def test_faults_strike_when_they_should() -> None:
    faults = WireFaults()
    faults.inject(Fault("drop", after=2, count=2))
    struck = [f.kind if (f := faults.next()) else "" for _ in range(6)]
    assert struck == ["", "", "drop", "drop", "", ""]
    with pytest.raises(ConfigError, match="no wire fault"):
        faults.inject(Fault("gremlins"))  # type: ignore[arg-type]


def test_latencies_come_from_a_seed_and_have_their_mean() -> None:
    first, again, other = (Latency(seed) for seed in (1, 1, 2))
    drawn = [first.draw(1e-3) for _ in range(4000)]
    assert drawn[:5] == [again.draw(1e-3) for _ in range(5)]
    assert drawn[0] != other.draw(1e-3)
    assert sum(drawn) / len(drawn) == pytest.approx(1e-3, rel=0.03)
    assert first.draw(0.0) == 0.0


def test_busy_boxes_move_a_lab_in_lockstep() -> None:
    box = Supply()
    box.rack = Rack(lockstep=True)
    box.command("SLOW?", lambda: "1", busy=2.0)
    server = TcpServer(box, Latency(0))
    with wired(server) as transport:
        assert transport.query("SLOW?") == "1"  # two seconds that nobody waits for
    assert box.rack.now() == pytest.approx(server.busy_seconds, abs=2e-9)
    assert server.busy_seconds > 0.5


def test_faults_by_name() -> None:
    assert parse_fault("q:drop@10x3") == ("q", Fault("drop", 10, 3))
    assert parse_fault("q:reboot") == ("q", Fault("reboot"))
    for bad in ("q", "q:gremlins", ":drop", "q:drop@x", "q:dropxy"):
        with pytest.raises(ConfigError, match="BOX:KIND"):
            parse_fault(bad)
    assert "silence" in KINDS


def test_clients_that_go_away_rudely_do_no_harm() -> None:
    with TcpServer(Supply()) as server:
        for _ in range(20):
            rude = socket.create_connection(("127.0.0.1", server.port))
            rude.sendall(b"*IDN?\n*IDN?\n")
            rude.close()
        transport = Transport("box", TcpWire("127.0.0.1", server.port), timeout=1.0)
        transport.open()
        assert transport.query("*IDN?") == "HILONN,SUPPLY,1,0"
        transport.close()
