"""A Qontrol backplane with a chain of modules; its channels are the chip's heaters, in order.

Sources: the vendor's package 1.1.20 and manual. Replies to a set are ``OK`` or an error line; a get is answered by
its lines alone. Over-voltage and over-current are refused, and told with code and channel.
"""

from __future__ import annotations

import re

import numpy as np

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack
from hilonn.typing import FloatArray

A_MODULE = 8
CODES = 0xFFFF
SET, GET, VECTOR = 2e-3, 2e-3, 6e-3  # s, means with the converter's latency timer at 1 ms
POWER_UP = b"E90:00\n"
_LINE = re.compile(r"([A-Za-z]+)(\d*)([=?]?)(.*)")


class QontrolBox(LineInstrument):
    """``modules`` of one type; ``kind`` Q8iv: 12 V and 24 mA a channel. ``load`` (ohm) hangs on every channel where
    no chip does."""

    def __init__(
        self, name: str, rack: Rack, modules: int = 67, kind: str = "Q8iv", load: float = 1e3
    ) -> None:
        super().__init__(name, rack)
        self.kind = kind
        self.modules = modules
        self.channels = A_MODULE * modules
        self.full_voltage = 12.0
        self.full_current = {"Q8iv": 0.024, "Q8b": 0.08333}.get(kind, 0.1)
        self._load = np.full(self.channels, load)
        if rack.plant is not None:
            known = rack.plant.truth.resistance[: self.channels]
            self._load[: len(known)] = known
        self.reboot()

    def reboot(self) -> None:
        self.volts: FloatArray = np.zeros(self.channels)
        self._most_volts = np.full(self.channels, self.full_voltage)
        self._most_current = np.full(self.channels, self.full_current)
        self.rack.write_heaters(0, self.volts)

    def greeting(self) -> bytes:
        return POWER_UP

    def state(self) -> dict[str, str]:
        power = float((self.volts**2 / self._load).sum())
        return {
            "channels": str(self.channels),
            "largest": f"{self.volts.max():.2f} V",
            "power": f"{power:.2f} W",
        }

    def answer(self, line: str) -> list[Reply]:
        text = line.strip()
        found = _LINE.fullmatch(text)
        if not text:
            return []
        if found is None:
            return [Reply(b"E10:00\n", SET)]
        word, digits, operator, rest = found.groups()
        channel = int(digits) if digits else None
        verb = word.lower()
        if operator == "=":
            busy = VECTOR if verb.endswith("vec") else SET
            return [Reply(f"{self._set(verb, channel, rest)}\n".encode(), busy)]
        lines = self._get(verb, channel)
        if lines is None:
            return [Reply(b"E10:00\n", GET)]
        return [Reply("".join(f"{line}\n" for line in lines).encode(), GET)]

    def _set(self, verb: str, channel: int | None, text: str) -> str:
        if verb == "nup":
            return "OK"
        try:
            values = np.array([float(v) for v in text.split(",")])
        except ValueError:
            return f"E11:{channel or 0:02d}"
        if not np.isfinite(values).all():
            return f"E11:{channel or 0:02d}"
        if channel is None or channel + len(values) > self.channels:
            return f"E12:{channel or 0:02d}"
        chosen = slice(channel, channel + len(values))
        if verb in ("v", "vvec"):
            return self._drive(chosen, values)
        if verb == "vmax":
            self._most_volts[chosen] = values
        elif verb == "imax":
            self._most_current[chosen] = values / 1e3
        else:
            return "E10:00"
        return "OK"

    def _drive(self, chosen: slice, volts: FloatArray) -> str:
        first = int(chosen.start)
        high = (volts < 0) | (volts > self._most_volts[chosen]) | (volts > self.full_voltage)
        if high.any():
            return f"E01:{first + int(high.argmax()):02d}"
        strong = volts / self._load[chosen] > self._most_current[chosen]
        if strong.any():
            return f"E02:{first + int(strong.argmax()):02d}"
        codes = np.floor(volts / self.full_voltage * CODES + 0.5)
        self.volts[chosen] = codes * self.full_voltage / CODES
        self.rack.write_heaters(first, self.volts[chosen])
        return "OK"

    def _get(self, verb: str, channel: int | None) -> list[str] | None:
        if verb == "id":
            return [self._module(0)]
        if verb == "nupall":
            return [f"{self._module(k)}:{k}" for k in range(self.modules)]
        if verb == "nchan":
            return [str(self.channels)]
        if verb == "firmware":
            return ["hilonn emulator"]
        if verb == "vfull":
            return [f"{self.full_voltage:+.3f} V"]
        if verb == "ifull":
            return [f"{1e3 * self.full_current:+.3f} mA"]
        volts = {"vall": self.volts, "iall": 1e3 * self.volts / self._load}.get(verb)
        if volts is not None:
            unit = "V" if verb == "vall" else "mA"
            return [f"{v:+.3f} {unit}" for v in volts]
        one = {
            "v": (self.volts, "V"),
            "i": (1e3 * self.volts / self._load, "mA"),
            "vmax": (self._most_volts, "V"),
            "imax": (1e3 * self._most_current, "mA"),
        }.get(verb)
        if one is None:
            return None
        if channel is None or channel >= self.channels:
            return [f"E12:{channel or 0:02d}"]
        return [f"{one[0][channel]:+.3f} {one[1]}"]

    def _module(self, index: int) -> str:
        return f"{self.kind}-{0x0101 + index:04X}"
