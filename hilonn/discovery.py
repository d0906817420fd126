"""Who is out there: serial ports, VISA resources and sockets are asked who they are, and drivers are found for them.

Questions are harmless ones: none sets anything. An instrument that does not know one may note it in its error queue; the
question that most know comes first, who has answered is asked no more, and a box that was asked what it does not know has
its queue emptied afterwards.
"""

from __future__ import annotations

import fnmatch
import math
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import tomli_w

from hilonn import registry
from hilonn.errors import ConfigError, ConnectionLost, DeviceTimeout
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.tcp import TcpWire
from hilonn.transports.visa import VisaWire, within
from hilonn.transports.wire import Wire

Outcome = Literal["known", "unknown", "strange", "silent", "closed"]
"""``known``: a driver is for it. ``unknown``: it says who it is, and no driver is for it. ``strange``: it answers, but not who
it is. ``silent``: it does not answer. ``closed``: it could not be opened."""
OPENING = 2.0
"""s that opening may take at least."""
QUIET = 0.1
"""s: after which an answer is taken to be whole."""
LISTING = 10.0
"""s: the longest that VISA may take to list its resources; pyvisa-py takes 2 s."""
AT_ONCE = 16
BAUDS = (115200, 57600, 9600)


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent, at which of ``BAUDS`` on a serial line, and a regular expression of an answer that names somebody."""

    name: str
    data: bytes
    names: str
    bauds: tuple[int, ...] = BAUDS


def _mecom(address: int, sequence: int) -> bytes:
    """MeCom's ``?IF`` to ``address``. Source: Meerstetter's MeCom protocol specification 5136: CRC of polynomial 0x1021."""
    body = f"#{address:02X}{sequence:04X}?IF".encode()
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return body + f"{crc:04X}\r".encode()


CLEAR = b"*CLS"
"""Empties an error queue, and is not answered. Source: IEEE 488.2, 10.3: whoever knows ``*IDN?`` knows it."""
SCPI = r"^[^,]+,[^,]+,[^,]*"
QUESTIONS = (
    Question("*IDN?", b"*IDN?\n", SCPI, (115200, 9600)),
    # before all that SCPI does not know: a box whose lines end in CR LF takes what went before for one line
    Question("*IDN? with CR LF", b"\r\n*IDN?\r\n", SCPI, (115200,)),
    Question("id?", b"id?\n", r"^Q8", (115200,)),
    # any device answers at address 0; 2 is what they leave the factory with
    Question(
        "?IF (MeCom)", _mecom(0, 1) + _mecom(2, 2), r"^![0-9A-F]{6}.{20}[0-9A-F]{4}$", (57600,)
    ),
    # the first CR ends what was asked before and had no end for it
    Question("*IDN? with CR", b"\r*IDN?\r", SCPI, (115200, 9600)),
    Question("ID? with CR", b"\rID?\r", r"^[^,]+,[^,]+", (115200, 9600)),
    Question("++ver", b"\n++ver\n", r"(?i)prologix|gpib.*version|AR488", (115200,)),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to ask. ``lines``: its connection in a bench file. ``wire(baud)`` makes a way to it; ``bauds``: (0,) where
    there is none to choose."""

    address: str
    lines: dict[str, Any]
    wire: Callable[[int], Wire]
    bauds: tuple[int, ...] = (0,)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of asking at ``address``. ``asked``: what was answered by ``answer``."""

    address: str
    outcome: Outcome
    asked: str = ""
    answer: str = ""
    drivers: tuple[str, ...] = ()
    note: str = ""
    lines: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        where = f"{self.address} ({self.note})" if self.note and self.answer else self.address
        if self.outcome == "known":
            return f"{where}: {self.answer}, for driver {' or '.join(self.drivers)}"
        if self.outcome == "unknown":
            return f"{where}: {self.answer}, for which there is no driver"
        if self.outcome == "strange":
            return f"{where}: {self.asked} was answered {self.answer}, which names nobody"
        if self.outcome == "silent":
            return (
                f"{where}: opens, and does not answer; is its baud rate or terminator another one?"
            )
        return f"{where}: {self.note}"


# -- places ---------------------------------------------------------------------------------------------


def serial_places(wanted: Sequence[str]) -> list[Place]:
    """Serial ports that match ``wanted`` (``*`` and ``?`` stand for anything); one without either is taken as it is."""
    from serial.tools.list_ports import comports

    listed = {port.device: str(port.description or "") for port in comports()}
    return [
        Place(
            name,
            {"transport": "serial", "port": name},
            lambda baud, name=name: SerialWire(name, baud),  # type: ignore[misc]
            BAUDS,
            "" if listed.get(name, "n/a") == "n/a" else listed[name],
        )
        for name in _chosen(listed, wanted)
    ]


def visa_places(wanted: Sequence[str], library: str, notes: list[str]) -> list[Place]:
    """VISA resources that match ``wanted``, as above. What went wrong with listing them goes to ``notes``."""
    listed: tuple[str, ...] = ()
    if any(_is_pattern(name) for name in wanted):
        listed = _visa_resources(library, notes)
    places = []
    for name in _chosen(listed, wanted):
        try:
            VisaWire(name, library)
        except ConfigError as error:
            notes.append(str(error))
            continue
        lines = {"transport": "visa", "resource": name}
        if library != "@py":
            lines["library"] = library
        serial = name.upper().startswith("ASRL")
        places.append(
            Place(
                name,
                lines,
                lambda baud, name=name: VisaWire(  # type: ignore[misc]
                    name, library, clear=False, line={"baud_rate": baud} if baud else {}
                ),
                BAUDS if serial else (0,),
            )
        )
    return places


def tcp_places(wanted: Iterable[str]) -> list[Place]:
    """``HOST:PORT`` each. ConfigError for what is none."""
    places = []
    for text in wanted:
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ConfigError(f"--tcp {text}: give HOST:PORT, like 192.168.1.7:5025")
        places.append(
            Place(
                text,
                {"transport": "tcp", "host": host, "port": int(port)},
                lambda baud, host=host, port=int(port): TcpWire(host, port),  # type: ignore[misc]
            )
        )
    return places


def _visa_resources(library: str, notes: list[str]) -> tuple[str, ...]:
    import pyvisa

    def listed() -> tuple[str, ...]:
        names = pyvisa.ResourceManager(library).list_resources("?*")
        return tuple(name for name in names if name.endswith(("::INSTR", "::SOCKET")))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = within(LISTING, listed)
        except Exception as error:  # noqa: BLE001  a VISA library raises what its parts do
            notes.append(f"VISA ({library}) lists nothing: {error}")
            return ()
    notes += sorted(
        {f"VISA ({library}): {w.message}" for w in caught if issubclass(w.category, UserWarning)}
    )
    if found is None:
        notes.append(f"VISA ({library}) did not list its resources within {LISTING:g} s")
        return ()
    return found


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _chosen(listed: Iterable[str], wanted: Sequence[str]) -> list[str]:
    names = list(listed)
    chosen = [n for n in names if any(fnmatch.fnmatchcase(n, w) for w in wanted)]
    return chosen + [w for w in wanted if not _is_pattern(w) and w not in chosen]


# -- asking ---------------------------------------------------------------------------------------------


def drivers_by_answer(notes: list[str]) -> dict[str, str]:
    """What each driver ``answers_to``. Drivers that cannot be imported go to ``notes``."""
    patterns = {}
    for name in registry.names("hilonn.devices"):
        try:
            driver = registry.load("hilonn.devices", name)
        except ConfigError as error:
            notes.append(str(error))
            continue
        if driver.answers_to is not None:
            patterns[name] = driver.answers_to
    return patterns


def ask_all(places: Sequence[Place], drivers: dict[str, str], timeout: float) -> list[Found]:
    """Ask everywhere at once; each question may be thought about for ``timeout`` s."""
    if not places:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(places)), "discover") as pool:
        return list(pool.map(lambda place: ask(place, drivers, timeout), places))


def ask(place: Place, drivers: dict[str, str], timeout: float) -> Found:
    """Ask at one place until somebody has said who he is."""
    strange: Found | None = None
    for baud in place.bauds:
        lines = {**place.lines, "baud": baud} if baud else place.lines
        wire = place.wire(baud)
        is_open = False
        asked = 0
        try:
            for question in QUESTIONS:
                if baud and baud not in question.bauds:
                    continue
                asked += 1
                try:
                    if not is_open:
                        wire.open(max(timeout, OPENING))
                    is_open = True
                    data = _answer(wire, question, timeout)
                except DeviceTimeout:
                    continue
                except ConnectionLost as error:
                    if not is_open:
                        return strange or Found(
                            place.address, "closed", note=str(error), lines=lines
                        )
                    is_open = False  # it does not like the question; it may like the next one
                    continue
                found = _judged(place, lines, question, data, drivers)
                if found is not None and found.outcome != "strange":
                    if asked > 1:
                        _clear(wire, question, timeout)
                    return found
                strange = strange or found
                if _is_in_messages(wire):
                    break  # such a resource frames its messages itself: no terminator is to be guessed
        finally:
            wire.close()
    return strange or Found(place.address, "silent", note=place.note, lines=place.lines)


def _answer(wire: Wire, question: Question, timeout: float) -> bytes:
    """All that comes in answer to ``question``."""
    wire.send(question.data, timeout)
    answer = wire.receive(timeout)
    if _is_in_messages(wire):
        return answer
    deadline = time.monotonic() + timeout
    while answer and time.monotonic() < deadline:
        more = wire.receive(QUIET)
        if not more:
            break
        answer += more
    return answer


def _clear(wire: Wire, question: Question, timeout: float) -> None:
    """Empty the error queue of who answered ``question``: earlier ones may stand in it, and the next driver, or a run that
    is under way, would take them for its own. What cannot be told by ``*IDN?`` has no such queue."""
    if b"*IDN?" not in question.data:
        return
    with suppress(DeviceTimeout, ConnectionLost):  # who it is is known; that counts
        wire.send(question.data.lstrip().replace(b"*IDN?", CLEAR), timeout)
        wire.receive(QUIET)  # closed at once, a line could be lost on its way


def _is_in_messages(wire: Wire) -> bool:
    return getattr(wire, "slice", 0.0) == math.inf


def _judged(
    place: Place, lines: dict[str, Any], question: Question, data: bytes, drivers: dict[str, str]
) -> Found | None:
    """Who ``data`` is from; None if there is none."""
    words = [line.strip() for line in re.split(r"[\r\n]+", data.decode("latin-1"))]
    words = [line for line in words if line]
    if not words:
        return None
    for line in words:
        matching = tuple(sorted(d for d, pattern in drivers.items() if re.search(pattern, line)))
        if matching:
            return Found(place.address, "known", question.name, line, matching, place.note, lines)
    for line in words:
        if line.isascii() and line.isprintable() and re.search(question.names, line):
            return Found(place.address, "unknown", question.name, line, (), place.note, lines)
    return Found(
        place.address, "strange", question.name, repr(data[:60])[1:], (), place.note, lines
    )


# -- a bench file ---------------------------------------------------------------------------------------


def bench_lines(found: Sequence[Found]) -> str:
    """Lines of a bench file for who was found; who has no driver is named in a comment."""
    parts = []
    counts = Counter(f.drivers[0] for f in found if f.outcome == "known")
    used: Counter[str] = Counter()
    for one in found:
        if one.outcome != "known":
            if one.outcome == "unknown":
                parts.append(f"# {one}\n")
            continue
        driver = one.drivers[0]
        name = driver if counts[driver] == 1 else f"{driver}{used[driver]}"
        used[driver] += 1
        others = f"  # or {', '.join(one.drivers[1:])}" if len(one.drivers) > 1 else ""
        lines = tomli_w.dumps(one.lines)
        parts.append(
            f"# {one.answer}\n[connections.{name}]\n{lines}\n"
            f'[devices.{name}]\ndriver = "{driver}"{others}\nconnection = "{name}"\n'
        )
    return "\n".join(parts)
