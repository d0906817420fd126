"""A Prologix GPIB adapter with other boxes on its bus.

Source: Prologix GPIB-ETHERNET manual 6.107. Lines that begin with ``++`` are the adapter's; of others, unescaped CR and LF
end them, ESC takes the next byte as it is, and the bus terminator is put behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hilonn.simulators.emulators.instrument import Instrument, Reply, Session, joined
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import INTERRUPTED, UNTERMINATED, ScpiInstrument

VERSION = b"Prologix GPIB-ETHERNET Controller version 01.06.06.00\r\n"
UNRECOGNIZED = b"Unrecognized command\r\n"
ESCAPE = 0x1B
EOS = (b"\r\n", b"\r", b"\n", b"")
NUMBERS = {
    "mode": (0, 1),
    "auto": (0, 1),
    "eoi": (0, 1),
    "eos": (0, 3),
    "eot_enable": (0, 1),
    "eot_char": (0, 255),
    "read_tmo_ms": (1, 3000),
    "savecfg": (0, 1),
}

POWER_ON = {"mode": 1, "auto": 1, "eoi": 1, "read_tmo_ms": 500, "savecfg": 1}


class PrologixBox(Instrument):
    """``boxes`` by GPIB address. A box's ``clear`` method, where it has one, is what a device clear calls."""

    def __init__(self, name: str, rack: Rack, boxes: Mapping[int, Instrument]) -> None:
        super().__init__(name, rack)
        self.boxes = dict(boxes)
        self.errors: list[str] = []
        """What boxes would have logged: -420 for a read with nothing to say, -410 for a command on an unread answer."""
        self.reboot()

    def reboot(self) -> None:
        self.settings = dict.fromkeys(NUMBERS, 0) | POWER_ON
        self.address = 0
        self.sessions: dict[int, Session] = {at: box.session() for at, box in self.boxes.items()}
        self.outputs: dict[int, list[Reply]] = {at: [] for at in self.boxes}

    def state(self) -> dict[str, str]:
        return {"address": str(self.address), "boxes": ", ".join(map(str, self.boxes))}

    def session(self) -> Session:
        return _Lines(self)

    def line(self, data: bytes, escaped: bool) -> list[Reply]:
        """What it makes of one line. ``escaped``: its first byte was, so that it is data."""
        if data.startswith(b"++") and not escaped:
            return self._command(data[2:].decode("latin-1").split())
        if not data or self.address not in self.boxes:
            return []
        output = self.outputs[self.address]
        if output:
            self._told(INTERRUPTED)
            output.clear()
        whole = data + EOS[self.settings["eos"]]
        output += [r for r in self.sessions[self.address].feed(whole) if r != Reply(b"")]
        if not any(r.data for r in output):
            done = [joined(output)]
            output.clear()
        else:
            done = []
        return [*done, *self._read()] if self.settings["auto"] else done

    def _command(self, words: list[str]) -> list[Reply]:
        name, *rest = words or [""]
        if name == "ver":
            return [Reply(VERSION)]
        if name == "addr":
            return self._addressed(rest)
        if name == "read":
            return self._read()
        if name == "clr":
            self._clear()
            return []
        if name == "spoll":
            return [Reply(f"{self._status_byte()}\r\n".encode())]
        if name in ("ifc", "loc", "llo", "trg"):
            return []
        if name not in NUMBERS:
            return [Reply(UNRECOGNIZED)]
        if not rest:
            return [Reply(f"{self.settings[name]}\r\n".encode())]
        low, high = NUMBERS[name]
        if len(rest) != 1 or not rest[0].isdigit() or not low <= int(rest[0]) <= high:
            return [Reply(UNRECOGNIZED)]
        self.settings[name] = int(rest[0])
        return []

    def _addressed(self, rest: list[str]) -> list[Reply]:
        if not rest:
            return [Reply(f"{self.address}\r\n".encode())]
        if not rest[0].isdigit() or int(rest[0]) > 30:
            return [Reply(UNRECOGNIZED)]
        self.address = int(rest[0])
        return []

    def _read(self) -> list[Reply]:
        """One message of the box that is addressed; a box with nothing to say is waited for in vain."""
        output = self.outputs.get(self.address)
        if not output:
            if output is not None:
                self._told(UNTERMINATED)
            return [Reply(b"", self.settings["read_tmo_ms"] / 1e3)]
        whole = joined(output)
        output.clear()
        end = bytes([self.settings["eot_char"]]) if self.settings["eot_enable"] else b""
        return [replace(whole, data=whole.data + end)]

    def _told(self, error: tuple[int, str]) -> None:
        """A message that did not take turns: the box has it in its error queue, if it has one."""
        self.errors.append(str(error[0]))
        box = self.boxes[self.address]
        if isinstance(box, ScpiInstrument):
            box.fail(*error)

    def _status_byte(self) -> int:
        """What a serial poll gets: bit 4 where the box has something to say."""
        box = self.boxes.get(self.address)
        status = box.status_byte() if isinstance(box, ScpiInstrument) else 0
        return status | (16 if self.outputs.get(self.address) else 0)

    def _clear(self) -> None:
        if self.address in self.boxes:
            self.outputs[self.address].clear()
            self.sessions[self.address] = self.boxes[self.address].session()
            getattr(self.boxes[self.address], "clear", lambda: None)()


class _Lines:
    """Cuts what comes into lines, and takes off the escapes."""

    def __init__(self, box: PrologixBox) -> None:
        self._box = box
        self._line = bytearray()
        self._escape = False
        self._first_escaped = False

    def feed(self, data: bytes) -> list[Reply]:
        replies: list[Reply] = []
        for byte in data:
            if self._escape:
                self._escape = False
                self._first_escaped |= not self._line
                self._line.append(byte)
            elif byte == ESCAPE:
                self._escape = True
            elif byte in b"\r\n":
                line, first = bytes(self._line), self._first_escaped
                self._line.clear()
                self._first_escaped = False
                replies += self._box.line(line, first)
            else:
                self._line.append(byte)
        return replies
