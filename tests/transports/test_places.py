"""Where boxes are, however it is written, and that one place has one user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hilonn.errors import ConfigError
from hilonn.transports.places import (
    Claims,
    place_of,
    serial_place,
    tcp_place,
    visa_place,
    way_of,
    zmq_place,
)
from hilonn.transports.prologix import PrologixWire
from hilonn.transports.script import ScriptWire
from hilonn.transports.tcp import TcpWire


def test_one_place_has_one_name() -> None:
    here = "tcp 127.0.0.1:5025"
    assert {tcp_place(h, 5025) for h in ("localhost", "LOCALHOST", " 127.0.0.1", "[::1]")} == {here}
    assert tcp_place("192.168.1.7", 5025) == "tcp 192.168.1.7:5025"
    assert {visa_place(f"{b}::127.0.0.1::5025::socket") for b in ("TCPIP", "TCPIP0", "tcpip0")} == {
        here
    }
    assert zmq_place("tcp://localhost:5025") == serial_place("socket://localhost:5025") == here
    assert TcpWire("localhost", 5025).place() == here
    lan = {visa_place(r) for r in ("TCPIP::192.168.1.7", "TCPIP0::192.168.1.7::inst0::INSTR")}
    assert len(lan) == 1
    assert visa_place("TCPIP::192.168.1.7::hislip0::INSTR") not in lan
    assert visa_place("GPIB::9::INSTR") == visa_place("gpib0::9") != visa_place("GPIB1::9::INSTR")
    assert (
        serial_place("com4")
        == serial_place(r"\\.\COM4")
        == visa_place("ASRLCOM4::INSTR")
        == "serial COM4"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="links to serial ports are a matter of Unix")
def test_links_lead_to_the_port(tmp_path: Path) -> None:
    port, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    port.touch()
    link.symlink_to(port)
    assert serial_place(str(link)) == serial_place(str(port)) == visa_place(f"ASRL{link}::INSTR")


def test_instruments_behind_one_adapter_are_apart_and_the_adapter_has_one_user() -> None:
    nine, ten = (PrologixWire(TcpWire("127.0.0.1", 1234), gpib) for gpib in ("9", "10"))
    assert place_of(nine) != place_of(ten)
    assert way_of(nine) == way_of(ten) == "tcp 127.0.0.1:1234"
    assert place_of(ScriptWire([])) is None
    assert way_of(ScriptWire([])) is None


HOLD = """
import sys
from pathlib import Path
from hilonn.transports.places import Claims
claims = Claims(Path(sys.argv[1]))
claims.take(["tcp 10.0.0.1:1", "tcp 10.0.0.2:1"], "/lab/one.toml")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_place_has_one_user_and_the_dead_let_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        mine = Claims(tmp_path)
        with pytest.raises(
            ConfigError, match=rf"10\.0\.0\.2:1 .* process {holder.pid} .*one\.toml"
        ):
            mine.take(["tcp 10.0.0.2:1", "tcp 10.0.0.0:1"], "two.toml")
        Claims(tmp_path).take(["tcp 10.0.0.0:1"], "three.toml")  # all or none: this one was let go
    finally:
        holder.kill()
        holder.communicate()
    mine.take(["tcp 10.0.0.2:1"], "two.toml")
    with pytest.raises(ConfigError, match=r"this process .*two\.toml"):
        Claims(tmp_path).take(["tcp 10.0.0.2:1"], "four.toml")
    mine.release()
    mine.release()
    Claims(tmp_path).take(["tcp 10.0.0.2:1"], "four.toml")
