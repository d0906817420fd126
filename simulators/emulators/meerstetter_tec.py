"""A Meerstetter TEC controller, speaking MeCom, with the chip's mount behind it.

Sources: pyMeCom (commit 12aac00), the protocol 5117 and the parameter list 5136. Frames whose CRC does not hold, or for another
address, are not answered.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack

A_FRAME = 8e-3  # s, mean: 40 bytes at 57600 baud, and the converter's timer at 1 ms
AMBIENT = 22.0  # degC, to which a mount goes that nobody regulates
IDENTITY = "8065-TEC-1091 G01   "
NOT_AVAILABLE, BUSY, FORMAT, NO_PARAMETER, READ_ONLY, RANGE, NO_INSTANCE = 1, 2, 4, 5, 6, 7, 8


@dataclass
class _Parameter:
    """``kind`` f or i. ``read`` gives its value; one with ``low`` and ``high`` can be written."""

    kind: str
    read: Callable[[], float]
    low: float = math.inf
    high: float = -math.inf
    written: Callable[[float], None] | None = None


class MeerstetterBox(LineInstrument):
    """One channel. Its output is on from the factory, as a lab stores it; ``disturb`` and ``fail`` are what goes wrong."""

    terminators = (b"\r",)

    def __init__(self, name: str, rack: Rack, address: int = 2) -> None:
        super().__init__(name, rack)
        self.address = address
        self.target = 25.0
        self._kept = {2030: 2.0, 2031: 8.0, 2032: 2.5, 2033: 10.0, 4010: 5.0, 4011: 60.0}
        self._busy = 0
        self._parameters = {
            100: _Parameter("i", lambda: 1091),
            102: _Parameter("i", lambda: 31415),
            103: _Parameter("i", lambda: 351),
            104: _Parameter("i", self._status),
            105: _Parameter("i", lambda: self.error),
            1000: _Parameter("f", self.rack.temperature),
            1001: _Parameter("f", lambda: AMBIENT),
            1010: _Parameter("f", lambda: self.target),
            1020: _Parameter("f", lambda: self._current()),
            1021: _Parameter("f", lambda: 2.0 * self._current()),
            1200: _Parameter("i", self._stable),
            2010: _Parameter("i", lambda: int(self.on), 0, 1, self._switch),
            2051: _Parameter("i", lambda: self.address),
            3000: _Parameter("f", lambda: self.target, -50.0, 200.0, self._aim),
        }
        for number in self._kept:
            self._parameters[number] = self._keeper(number)
        self.reboot()

    def reboot(self) -> None:
        self.on = True
        self.error = 0
        self._apply()

    def state(self) -> dict[str, str]:
        return {
            "output": f"error {self.error}" if self.error else "on" if self.on else "off",
            "target": f"{self.target:.3f} degC",
            "temperature": f"{self.rack.temperature():.3f} degC",
        }

    # -- what goes wrong ------------------------------------------------------------------------------

    def disturb(self, step: float) -> None:
        """A sudden step (K) of the mount, which the controller then removes."""
        with self.rack.lock:
            self.rack.temperature()  # up to now
            plant = self.rack.plant
            assert plant is not None, "a rack without a plant has no mount to disturb"
            plant.temperature.disturb(step, plant.clock.now())

    def fail(self, number: int) -> None:
        """The box finds error ``number`` and gives up."""
        with self.rack.lock:
            self.error = number
            self._apply()

    def be_busy(self, times: int) -> None:
        """The next requests, so many, are answered "busy"."""
        self._busy = times

    # -- regulation -----------------------------------------------------------------------------------

    def _status(self) -> int:
        return 3 if self.error else 2 if self.on else 1

    def _stable(self) -> int:
        if self._status() != 2:
            return 0
        return 2 if self.rack.temperature_stable() else 1

    def _current(self) -> float:
        return 0.05 * (self.rack.temperature() - AMBIENT) if self._status() == 2 else 0.0

    def _switch(self, value: float) -> None:
        self.on = bool(value)
        self._apply()

    def _aim(self, value: float) -> None:
        self.target = value
        self._apply()

    def _keeper(self, number: int) -> _Parameter:
        """A limit that is kept and does nothing else."""

        def write(value: float) -> None:
            self._kept[number] = value

        return _Parameter("f", lambda: self._kept[number], -1e3, 1e3, write)

    def _apply(self) -> None:
        self.rack.set_temperature(self.target if self._status() == 2 else AMBIENT)

    # -- frames ---------------------------------------------------------------------------------------

    def answer(self, line: str) -> list[Reply]:
        at = line.rfind("#")
        text = line[at:] if at >= 0 else ""
        if len(text) < 11 or text[-4:] != f"{_crc(text[:-4]):04X}":
            return []
        head, payload = text[1:7], text[7:-4]
        if head[:2] != f"{self.address:02X}":
            return []
        answered = self._answered(payload)
        body = f"!{head}{answered}"
        check = text[-4:] if answered == "" else f"{_crc(body):04X}"
        return [Reply(f"{body}{check}\r".encode("ascii"), A_FRAME)]

    def _answered(self, payload: str) -> str:
        if self._busy:
            self._busy -= 1
            return f"+{BUSY:02X}"
        if payload == "?IF":
            return IDENTITY
        if payload == "RS":
            self.reboot()
            return ""
        if payload == "SP":
            return ""
        verb = payload[:3] if payload.startswith("?VR") else payload[:2]
        rest = payload[len(verb) :]
        if verb not in ("?VR", "VS"):
            return f"+{NOT_AVAILABLE:02X}"
        try:
            number, instance, digits = int(rest[:4], 16), int(rest[4:6], 16), rest[6:]
            raw = bytes.fromhex(digits)
        except ValueError:
            return f"+{FORMAT:02X}"
        if len(raw) != (0 if verb == "?VR" else 4):
            return f"+{FORMAT:02X}"
        parameter = self._parameters.get(number)
        if parameter is None:
            return f"+{NO_PARAMETER:02X}"
        if instance != 1:
            return f"+{NO_INSTANCE:02X}"
        if verb == "?VR":
            value = parameter.read()
            whole = int(value) if parameter.kind == "i" else value
            return struct.pack(">" + parameter.kind, whole).hex().upper()
        return self._write(parameter, raw)

    def _write(self, parameter: _Parameter, raw: bytes) -> str:
        if parameter.written is None:
            return f"+{READ_ONLY:02X}"
        value: float = struct.unpack(">" + parameter.kind, raw)[0]
        if not parameter.low <= value <= parameter.high:
            return f"+{RANGE:02X}"
        parameter.written(value)
        return ""


def _crc(text: str) -> int:
    """CRC-CCITT, start 0, by halves of bytes."""
    value = 0
    for byte in text.encode("latin-1"):
        value = ((value << 8) | (value >> 8)) & 0xFFFF
        value ^= byte
        value ^= (value & 0xFF) >> 4
        value ^= (value << 12) & 0xFFFF
        value ^= ((value & 0xFF) << 5) & 0xFFFF
    return value
