"""What a command costs, ours beside others': ``python -m benchmarks.wires_speed [--rounds 40]``.

One server in a process of its own answers at once over loopback; Nagle's algorithm is off everywhere, also in QCoDeS and
PyMeasure, which leave it on. Every way takes turns in one process; medians over all calls, and ratios to the raw socket's and
to pyvisa's own. A last column has Nagle's algorithm as each package leaves it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.hislip import HislipServer
from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire
from hilonn.transports.visa import VisaWire

Way = dict[str, Callable[[], object]]
VECTOR = np.linspace(0.0, 5.0, 64)
BLOCK = VECTOR.astype("<f4").tobytes()


class OneNumber(LineInstrument):
    """Answers ``1.25`` to everything."""

    def reboot(self) -> None:
        return None

    def state(self) -> dict[str, str]:
        return {}

    def answer(self, line: str) -> list[Reply]:
        return [Reply(b"1.25\n")]


def serve(out: Connection) -> None:
    """Answers lines that hold a ``?``: a number, ``1`` for ``*OPC?``, 64 numbers as text or as a block."""
    hislip = HislipServer(OneNumber("box", Rack())).start()
    text = ",".join(f"{v:.6f}" for v in VECTOR).encode() + b"\n"
    answers = {b"*OPC?": b"1\n", b"ALL?": text, b"BLOCK?": b"#3256" + BLOCK + b"\n"}
    listener = socket.create_server(("127.0.0.1", 0))
    out.send((listener.getsockname()[1], hislip.address))

    def one(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = b""
        while data := client.recv(1 << 16):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                for command in line.split(b";"):
                    if b"?" in command:
                        client.sendall(answers.get(command, b"1.25\n"))

    while True:
        client, _ = listener.accept()
        threading.Thread(target=one, args=(client,), daemon=True).start()


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str]]:
    """Its port, and a HiSLIP resource."""
    inward, outward = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(outward,), daemon=True
    )
    process.start()
    try:
        yield inward.recv()
    finally:
        process.kill()
        process.join()


def raw(port: int) -> Way:
    """A socket, and nothing around it."""
    opened = socket.create_connection(("127.0.0.1", port))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def line(command: bytes) -> bytes:
        opened.sendall(command)
        data = opened.recv(1 << 16)
        while not data.endswith(b"\n"):
            data += opened.recv(1 << 16)
        return data

    def confirmed() -> None:
        opened.sendall(b"VOLT 1.25\n")
        line(b"*OPC?\n")

    def block() -> bytes:
        opened.sendall(b"BLOCK?\n")
        data = b""
        while len(data) < len(BLOCK) + 6:
            data += opened.recv(1 << 16)
        return data

    return {
        "get": lambda: float(line(b"VOLT?\n")),
        "set": lambda: opened.sendall(b"VOLT 1.25\n"),
        "set + confirm": confirmed,
        "64 as text": lambda: np.array(line(b"ALL?\n").split(b","), dtype=float),
        "64 as block": lambda: np.frombuffer(block()[5:-1], "<f4"),
    }


def ours(transport: Transport) -> Way:
    """Our transport, over any wire."""
    transport.open()

    def confirmed() -> None:
        with transport.atomic():
            transport.write("VOLT 1.25")
            transport.query("*OPC?")

    return {
        "get": lambda: float(transport.query("VOLT?")),
        "set": lambda: transport.write("VOLT 1.25"),
        "set + confirm": confirmed,
        "64 as text": lambda: np.array(transport.query("ALL?").split(","), dtype=float),
        "64 as block": lambda: np.frombuffer(transport.query_block("BLOCK?"), "<f4"),
    }


def without_nagle(resource: Any) -> None:
    """On the socket that pyvisa-py holds; its attribute cannot be set."""
    held = resource.visalib.sessions[resource.session].interface
    held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pyvisas(port: int, nagle: bool) -> Way:
    """pyvisa itself, over pyvisa-py."""
    import pyvisa

    resource: Any = pyvisa.ResourceManager("@py").open_resource(
        f"TCPIP::127.0.0.1::{port}::SOCKET", read_termination="\n", write_termination="\n"
    )
    if not nagle:
        without_nagle(resource)

    def confirmed() -> None:
        resource.write("VOLT 1.25")
        resource.query("*OPC?")

    return {
        "get": lambda: float(resource.query("VOLT?")),
        "set": lambda: resource.write("VOLT 1.25"),
        "set + confirm": confirmed,
        "64 as text": lambda: np.array(resource.query("ALL?").split(","), dtype=float),
        "64 as block": lambda: resource.query_binary_values("BLOCK?", container=np.array),
    }


def qcodes_(port: int, nagle: bool) -> Way:
    """An instrument and its parameter."""
    from qcodes.instrument import VisaInstrument
    from qcodes.parameters import ArrayParameter  # noqa: F401  shows that the package is whole

    box: Any = VisaInstrument(
        f"box{nagle}", f"TCPIP::127.0.0.1::{port}::SOCKET", visalib="@py", terminator="\n"
    )
    box.add_parameter("volt", get_cmd="VOLT?", set_cmd="VOLT {}", get_parser=float)
    if not nagle:
        without_nagle(box.visa_handle)

    def confirmed() -> None:
        box.volt(1.25)
        box.ask("*OPC?")

    return {
        "get": lambda: box.volt(),
        "set": lambda: box.volt(1.25),
        "set + confirm": confirmed,
        "64 as text": lambda: np.array(box.ask("ALL?").split(","), dtype=float),
        "64 as block": lambda: box.visa_handle.query_binary_values("BLOCK?", container=np.array),
    }


def pymeasures(port: int, nagle: bool) -> Way:
    """An instrument and its property."""
    from pymeasure.instruments import Instrument

    class Box(Instrument):
        volt = Instrument.control("VOLT?", "VOLT %g", "")

    box: Any = Box(
        f"TCPIP::127.0.0.1::{port}::SOCKET",
        "box",
        includeSCPI=False,
        visa_library="@py",
        read_termination="\n",
        write_termination="\n",
    )
    if not nagle:
        without_nagle(box.adapter.connection)

    def confirmed() -> None:
        box.volt = 1.25
        box.ask("*OPC?")

    return {
        "get": lambda: box.volt,
        "set": lambda: setattr(box, "volt", 1.25),
        "set + confirm": confirmed,
        "64 as text": lambda: np.array(box.values("ALL?")),
        "64 as block": lambda: box.adapter.connection.query_binary_values(
            "BLOCK?", container=np.array
        ),
    }


def hislips(resource: str) -> dict[str, Way]:
    """A query over HiSLIP, ours and pyvisa's."""
    import pyvisa

    transport = Transport("box", VisaWire(resource))
    transport.open()
    box: Any = pyvisa.ResourceManager("@py").open_resource(
        resource, read_termination="\n", write_termination="\n"
    )
    return {
        "ours": {"get": lambda: float(transport.query("VOLT?"))},
        "pyvisa": {"get": lambda: float(box.query("VOLT?"))},
    }


OTHERS = {"pyvisa": pyvisas, "QCoDeS": qcodes_, "PyMeasure": pymeasures}


def medians(ways: dict[str, Way], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """us by way and verb; the ways take turns."""
    taken: dict[str, dict[str, list[float]]] = {w: {v: [] for v in ways[w]} for w in ways}
    for turn in range(rounds + 1):
        for verb in next(iter(ways.values())):
            for name, way in ways.items():
                act = way[verb]
                for _ in range(calls):
                    started = time.perf_counter()
                    act()
                    if turn:
                        taken[name][verb].append(time.perf_counter() - started)
                if verb == "set":
                    way["get"]()  # the server has taken them all
    return {
        w: {v: 1e6 * statistics.median(times) for v, times in verbs.items()}
        for w, verbs in taken.items()
    }


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    with server() as (port, hislip):
        ways: dict[str, Way] = {
            "raw socket": raw(port),
            "hilonn tcp": ours(Transport("box", TcpWire("127.0.0.1", port))),
            "hilonn visa": ours(Transport("box", VisaWire(f"TCPIP::127.0.0.1::{port}::SOCKET"))),
        }
        left: dict[str, Way] = {}
        for name, make in OTHERS.items():
            try:
                ways[name], left[name] = make(port, False), make(port, True)
            except ImportError as error:
                print(f"{name} is not installed ({error}): left out")
        found = medians(ways, arguments.rounds, calls=50)
        as_left = {
            name: medians({name: {"set + confirm": way["set + confirm"]}}, 2, 5)
            for name, way in left.items()
        }
        framed = medians(hislips(hislip), arguments.rounds, 50)
    verbs = list(found["raw socket"])
    print(
        f"{'us, median':14}"
        + "".join(f"{v:>24}" for v in verbs)
        + f"{'set + confirm as it comes':>28}"
    )
    for name, times in found.items():
        cells = "".join(
            f"{times[v]:9.1f} ({times[v] / found['raw socket'][v]:4.2f}, "
            f"{times[v] / found['pyvisa'][v]:4.2f})"
            for v in verbs
        )
        last = as_left.get(name, {}).get(name, {}).get("set + confirm")
        print(f"{name:14}{cells}" + ("" if last is None else f"{last:28.0f}"))
    mine, theirs = framed["ours"]["get"], framed["pyvisa"]["get"]
    print(f"HiSLIP, get: ours {mine:.1f}, pyvisa {theirs:.1f}, ratio {mine / theirs:.2f}")
    print("in brackets: the ratio to the raw socket, and to pyvisa with Nagle's algorithm off")


if __name__ == "__main__":
    main()
