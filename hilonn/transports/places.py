"""Where a box is, written in one way whoever wrote it how; and who has it.

A place is locked on this machine while a bench is open: a copy of a bench file, or another one with the same box in it,
cannot drive it beside the first.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hilonn.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1")


def tcp_place(host: str, port: int | str) -> str:
    """``tcp 192.168.1.7:5025``, whatever name of the host was written. A name that nobody knows stands for itself."""
    name = host.strip().strip("[]").rstrip(".").lower()
    try:
        found = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None)})
    except (OSError, UnicodeError):
        found = [name]  # opening it will say what is wrong
    near = any(address in LOOPBACK for address in found)
    return f"tcp {LOOPBACK[0] if near else found[0]}:{port}"


def serial_place(port: str) -> str:
    """``serial COM4``, ``serial /dev/ttyUSB0`` for whatever links to it; of ``socket://`` and its like, where they lead."""
    text = port.strip()
    rest = text.partition("://")[2]
    if rest:
        host, _, number = rest.split("?")[0].split("/")[0].rpartition(":")
        return tcp_place(host, number) if host else text.lower()
    if text.startswith("/"):
        return f"serial {os.path.realpath(text)}"
    return "serial " + text.removeprefix("\\\\.\\").upper()


_SOCKET = re.compile(r"TCPIP\d*::(?P<host>.+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
_LAN = re.compile(
    r"(?P<board>TCPIP\d*)::(?P<host>[^:]+)(::(?P<name>[^:]+))?(::INSTR)?", re.IGNORECASE
)
_SERIAL = re.compile(r"ASRL(?P<port>.+?)(::INSTR)?", re.IGNORECASE)
_OTHER = re.compile(
    r"(?P<kind>GPIB|USB|VXI|PXI)(?P<board>\d*)::(?P<rest>.+?)(::INSTR)?", re.IGNORECASE
)


def visa_place(resource: str) -> str:
    """Of a VISA resource: that of the socket or the serial line that it names, or its full name."""
    text = resource.strip()
    if found := _SOCKET.fullmatch(text):
        return tcp_place(found["host"], int(found["port"]))
    if found := _LAN.fullmatch(text):
        host = tcp_place(found["host"], "").rstrip(":")
        return f"{host} {(found['name'] or 'inst0').lower()}"
    if found := _SERIAL.fullmatch(text):
        port = found["port"]
        if port.isdigit():
            return f"serial {'COM' if sys.platform == 'win32' else 'ASRL'}{port}"
        return serial_place(port)
    if found := _OTHER.fullmatch(text):
        return f"visa {found['kind'].upper()}{found['board'] or 0}::{found['rest'].upper()}"
    return f"visa {text.upper()}"


def zmq_place(address: str) -> str:
    """Of a ZeroMQ address."""
    scheme, _, rest = address.strip().partition("://")
    host, _, port = rest.rpartition(":")
    return tcp_place(host, port) if scheme.lower() == "tcp" and host else address.strip()


def place_of(wire: object) -> str | None:
    """Where the box at the end of ``wire`` is; None where that is nowhere: a script, a log."""
    place = getattr(wire, "place", None)
    return None if place is None else str(place())


def way_of(wire: object) -> str | None:
    """What one program has to have for itself on the way there: the box's place, or that of the adapter before it."""
    way = getattr(wire, "way", None)
    return place_of(wire) if way is None else str(way())


class Claims:
    """Places that this bench has for itself, by files in ``folder`` that the operating system locks: a process that dies
    lets go of them."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / "hilonn-places"
        self._locks: list[tuple[FileLock, Path]] = []

    def take(self, places: Iterable[str], who: str) -> None:
        """All of ``places``, or none: ConfigError names the first that somebody else has, and them. ``who``: the bench."""
        try:
            for place in sorted(set(places)):
                self._take(place, who)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of all; safe to call twice."""
        locks, self._locks = self._locks, []
        for lock, note in locks:
            with suppress(OSError):  # a courtesy: whoever reads it asks for the lock first
                note.unlink(missing_ok=True)
            lock.release()

    def _take(self, place: str, who: str) -> None:
        slug = re.sub(r"[^A-Za-z0-9.]+", "_", place)[:60]
        name = f"{slug}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        path, note = self.folder / f"{name}.lock", self.folder / f"{name}.who"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(PermissionError):  # another user's folder, which is open to all already
                self.folder.chmod(0o777)
            lock = FileLock(path, mode=0o666)
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{place} is in use by {_holder(note)}: a box obeys one program at a time. Close that one first"
            ) from None
        except OSError as error:
            raise ConfigError(f"cannot lock {place} by {path}: {error}") from None
        self._locks.append((lock, note))
        about = {"pid": os.getpid(), "user": _user(), "bench": who, "since": time.strftime("%F %T")}
        with suppress(OSError):  # a courtesy, for the message of whoever is refused
            note.write_text(json.dumps(about), "utf-8")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def _holder(note: Path) -> str:
    """Whoever wrote ``note``, in words."""
    try:
        about: dict[str, Any] = json.loads(note.read_text("utf-8"))
        which = "this process" if about["pid"] == os.getpid() else f"process {about['pid']}"
        return f"{which} of {about['user']} (bench {about['bench']}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
