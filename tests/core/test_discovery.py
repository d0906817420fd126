"""Who is out there: emulated boxes on loopback and pseudo-terminals are asked, and told apart."""

from __future__ import annotations

import json
import re
import socket
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hilonn import discovery, registry
from hilonn.cli.main import app
from hilonn.discovery import Found, ask_all, bench_lines, tcp_places
from hilonn.errors import ConfigError
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.hislip import HislipServer
from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.prologix import PrologixBox
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.transports.serial_line import SerialWire
from tests.transports.boxes import Bench

TIMEOUT = 0.15
DRIVERS = {"qontrol": r"^Q8", "ours": "HILONN,BENCH", "mecom": "^!0200.*TEC", "cr": "ACME,CR"}


class Canned(LineInstrument):
    """Answers what it is asked by ``answers``, and everything else by ``other``."""

    def __init__(
        self, answers: dict[str, bytes], other: bytes = b"", terminator: bytes = b"\n"
    ) -> None:
        super().__init__("canned", Rack())
        self.terminators = (terminator,)
        self.answers, self.other = answers, other
        self.got: list[str] = []

    def reboot(self) -> None:
        return None

    def state(self) -> dict[str, str]:
        return {}

    def answer(self, line: str) -> list[Reply]:
        self.got.append(line)
        return [Reply(self.answers.get(line.strip(), self.other))]


MECOM = Canned({}, terminator=b"\r")
BOXES: dict[str, tuple[LineInstrument | QontrolBox, str, tuple[str, ...], str]] = {
    "scpi": (Bench(), "known", ("ours",), "HILONN,BENCH,1,0"),
    "qontrol": (QontrolBox("q", Rack(), modules=1), "known", ("qontrol",), "Q8iv-0101"),
    "carriage return": (
        Canned({"*IDN?": b"ACME,CR,7,1\r"}, b"ERR\r", terminator=b"\r"),
        "known",
        ("cr",),
        "ACME,CR,7,1",
    ),
    "stranger": (Canned({"*IDN?": b"ACME,X,1,2\n"}), "unknown", (), "ACME,X,1,2"),
    "garbage": (Canned({}, b"\xff\xfe\x80\n"), "strange", (), r"'\xff\xfe\x80\n'"),
    "echo": (Canned({}, b"?\n"), "strange", (), r"'?\n'"),
    "silent": (Canned({}), "silent", (), ""),
}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("kind", [TcpServer, PtyServer])
def test_boxes_are_told_apart(name: str, kind: type[TcpServer]) -> None:
    box, outcome, drivers, answer = BOXES[name]
    with kind(box) as server:
        if kind is TcpServer:
            places = tcp_places([server.address])
        else:
            places = discovery.serial_places([server.address])
        (found,) = ask_all(places, DRIVERS, TIMEOUT)
    assert (found.outcome, found.drivers, found.answer) == (outcome, drivers, answer)
    assert found.address == server.address
    assert server.address in str(found)


def test_mecom_is_asked_by_a_frame_with_its_checksum() -> None:
    assert discovery._mecom(2, 6) == b"#020006?IFB2E7\r"
    asked = discovery._mecom(2, 2).decode().strip()
    MECOM.answers = {asked: b"!020002TEC-1091 EMULATOR   ABCD\r"}
    with TcpServer(MECOM) as server:
        (found,) = ask_all(tcp_places([server.address]), DRIVERS, TIMEOUT)
    assert (found.outcome, found.drivers) == ("known", ("mecom",))


def test_who_has_answered_is_asked_no_more() -> None:
    box = Canned({"*IDN?": b"ACME,X,1,2\n"})
    with TcpServer(box) as server:
        ask_all(tcp_places([server.address]), DRIVERS, TIMEOUT)
    assert box.got == ["*IDN?"]


def test_a_gpib_adapter_is_recognised() -> None:
    with TcpServer(PrologixBox("gpib", Rack(), {})) as server:
        (found,) = ask_all(tcp_places([server.address]), DRIVERS, TIMEOUT)
    assert found.outcome == "unknown"
    assert "Prologix" in found.answer


def test_a_port_that_refuses_and_one_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with PtyServer(Bench()) as server:
        holder = SerialWire(server.port, 115200)
        holder.open(1.0)
        places = [*tcp_places([address]), *discovery.serial_places([server.port])]
        refused, taken = ask_all(places, DRIVERS, TIMEOUT)
        holder.close()
    assert refused.outcome == taken.outcome == "closed"
    assert "does not take a connection" in str(refused)
    assert "no other program" in str(taken)


def test_a_box_that_hangs_up_on_a_question_is_asked_the_next() -> None:
    from hilonn.simulators.emulators.faults import Fault

    with TcpServer(QontrolBox("q", Rack(), modules=1)) as server:
        server.faults.inject(Fault("reset"))
        (found,) = ask_all(tcp_places([server.address]), DRIVERS, TIMEOUT)
    assert found.drivers == ("qontrol",)


def test_visa_resources_are_asked_once() -> None:
    notes: list[str] = []
    with HislipServer(Bench()) as server:
        places = discovery.visa_places([server.address, "GPIB0::INTFC"], "@py", notes)
        (found,) = ask_all(places, DRIVERS, 1.0)
        assert server.clears == 0
    assert found.drivers == ("ours",)
    assert "only INSTR and SOCKET" in notes[0]


def test_many_are_asked_at_once() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(TcpServer(Bench())) for _ in range(12)]
        found = ask_all(tcp_places(s.address for s in servers), DRIVERS, TIMEOUT)
    assert [f.address for f in found] == [s.address for s in servers]
    assert all(f.drivers == ("ours",) for f in found)
    lines = tomllib.loads(bench_lines(found))
    assert len(lines["devices"]) == 12
    assert lines["devices"]["ours3"] == {"driver": "ours", "connection": "ours3"}
    assert lines["connections"]["ours3"]["port"] == servers[3].port


def test_lines_of_a_bench_file() -> None:
    found = [
        Found(
            "COM4",
            "known",
            "id?",
            "Q8iv-1",
            ("a", "b"),
            lines={"transport": "serial", "port": "COM4"},
        ),
        Found("x", "unknown", "*IDN?", "ACME,X,1,2"),
        Found("y", "silent"),
        Found("z", "strange", "*IDN?", "'?'"),
    ]
    text = bench_lines(found)
    assert tomllib.loads(text)["connections"] == {"a": {"transport": "serial", "port": "COM4"}}
    assert "# or b" in text
    assert "# x: ACME,X,1,2, for which there is no driver" in text


@pytest.mark.parametrize("text", ["host", "host:0", ":5025", "host:port", "host:70000"])
def test_senseless_sockets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        tcp_places([text])


def test_drivers_declare_what_they_answer_to() -> None:
    notes: list[str] = []
    patterns = discovery.drivers_by_answer(notes)
    assert patterns["qontrol"]
    for name, pattern in patterns.items():
        assert re.compile(pattern), name


@pytest.fixture
def lab() -> Iterator[tuple[str, str]]:
    with TcpServer(QontrolBox("q", Rack(), modules=1)) as tcp, PtyServer(Bench()) as pty:
        yield tcp.address, pty.address


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["discover", "--timeout", str(TIMEOUT), *words])


def test_the_command(lab: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "found.toml"
    result = run("--tcp", lab[0], "--serial", lab[1], "--out", str(out))
    assert result.exit_code == 0, result.output
    assert f"wrote {out}: the lines above" in result.stderr
    assert f"{lab[0]}: Q8iv-0101, for driver qontrol" in result.output
    assert f"{lab[1]}: HILONN,BENCH,1,0, for which there is no driver" in result.output
    assert tomllib.loads(out.read_text())["devices"]["qontrol"]["driver"] == "qontrol"
    assert run("--tcp", lab[0], "--out", str(out)).exit_code == 2  # it is not overwritten


def test_a_named_place_that_does_not_open_is_a_failure(lab: tuple[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        shut = f"127.0.0.1:{free.getsockname()[1]}"
    result = run("--tcp", lab[0], "--tcp", shut)
    assert result.exit_code == 1
    assert f"{lab[0]}: Q8iv-0101" in result.stdout
    assert f"could not be opened: {shut}\n" in result.stderr


def test_the_command_in_json(lab: tuple[str, str]) -> None:
    result = run("--tcp", lab[0], "--json")
    answer = json.loads(result.stdout)
    assert answer["found"][0]["drivers"] == ["qontrol"]
    assert tomllib.loads(answer["bench"])["connections"]["qontrol"]["transport"] == "tcp"


def test_the_command_only_lists(lab: tuple[str, str]) -> None:
    result = run("--serial", lab[1], "--no-ask")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"{lab[1]}: not asked"
    assert registry.names("hilonn.devices")
