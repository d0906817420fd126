"""An EXFO (Yenista) T100S-HP tunable laser, or a T100 module in an OSICS mainframe, as the rack's light source.

Source: T100S-HP programming guide p9, p13, p21. Serial: a command ends in CR; whatever is answered ends in CR, ``>`` and a
space. On GPIB only queries are answered.
"""

from __future__ import annotations

import math
import re

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack

BUSY = 20e-3
"""s a command takes, at 9600 baud."""
WAVELENGTHS = (1500.0, 1630.0)
"""nm."""
POWERS = (0.2, 20.0)
"""mW."""
UNKNOWN, REFUSED = "COMMAND ERROR", "VALUE ERROR"


class ExfoLaserBox(LineInstrument):
    """``channel``: of a module in a mainframe, whose commands begin with ``CHn:``. Light comes ``starting`` s after ``ENABLE``.
    ``bus``: it hangs on GPIB. An amplifier behind it multiplies its power by ``booster``."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        *,
        channel: int | None = None,
        bus: bool = False,
        starting: float = 1.0,
        booster: float = 1.0,
    ) -> None:
        super().__init__(name, rack)
        self._prefix = "" if channel is None else f"CH{channel}:"
        self._bus = bus
        self.terminators = (b"\n",) if bus else (b"\r",)
        self._starting, self._booster = starting, booster
        self.reboot()

    def reboot(self) -> None:
        self.on = False
        self.milliwatts = 1.0
        self.wavelength = 1550.0
        self.decibels = True
        self._light_at = 0.0
        self.rack.set_laser(emission=False, power=1e-3 * self._booster * self.milliwatts)

    def state(self) -> dict[str, str]:
        return {
            "light": "on" if self._shines() else "off",
            "power": f"{self.milliwatts:.3f} mW",
            "wavelength": f"{self.wavelength:.3f} nm",
        }

    def answer(self, line: str) -> list[Reply]:
        text = line.strip().upper()
        if not text:
            return [] if self._bus else [Reply(b"\r> ")]
        answered = self._done(text)
        if self._bus:
            data = f"{answered}\n".encode() if text.rstrip("MINAX ").endswith("?") else b""
            return [Reply(data, BUSY)]
        return [Reply(f"{answered}\r> ".encode(), BUSY)]

    def _done(self, text: str) -> str:
        if text == "*IDN?":
            return "EXFO,T100S-HP,0,6.06"
        if not text.startswith(self._prefix):
            return UNKNOWN
        command = text.removeprefix(self._prefix)
        if found := re.fullmatch(r"([A-Z]+)\?\s*(MIN|MAX)?", command):
            value = self._value(found.group(1), found.group(2))
            return UNKNOWN if value is None else self._prefix + value
        if found := re.fullmatch(r"([LP])=([+-]?\d+\.?\d*)", command):
            return self._set(found.group(1), float(found.group(2)))
        if command in ("ENABLE", "DISABLE"):
            self._set_light(command == "ENABLE")
        elif command in ("DBM", "MW"):
            self.decibels = command == "DBM"
        else:
            return UNKNOWN
        return "OK"

    def _value(self, what: str, limit: str | None) -> str | None:
        which = {"MIN": 0, "MAX": 1}.get(limit or "")
        if what == "L":
            return f"L={self.wavelength if which is None else WAVELENGTHS[which]:.3f}"
        if what == "P" and which is not None:
            return self._power(POWERS[which])
        if what == "P":
            left = self._light_at - self.rack.now()
            if self.on and left > 0.0 and self.rack.lockstep:
                self.rack.sleep(left)  # nothing else would move the lab's time
            return self._power(self.milliwatts) if self._shines() else "DISABLED"
        return None

    def _power(self, milliwatts: float) -> str:
        return f"P={10 * math.log10(milliwatts):+.2f}" if self.decibels else f"P={milliwatts:.2f}"

    def _set(self, what: str, value: float) -> str:
        if what == "L":
            if not WAVELENGTHS[0] <= value <= WAVELENGTHS[1]:
                return REFUSED
            self.wavelength = round(value, 3)
            return "OK"
        milliwatts = 10 ** (value / 10) if self.decibels else value
        if not 0.99 * POWERS[0] <= milliwatts <= 1.005 * POWERS[1]:
            return REFUSED
        self.milliwatts = milliwatts
        self.rack.set_laser(power=1e-3 * self._booster * milliwatts)
        return "OK"

    def _set_light(self, on: bool) -> None:
        if on and not self.on:
            self._light_at = self.rack.now() + self._starting
        self.on = on
        self.rack.set_laser(emission=on)

    def _shines(self) -> bool:
        """Some time after it was asked for; an interlock may have taken it."""
        if not self.on or self.rack.now() < self._light_at:
            return False
        return self.rack.plant is None or self.rack.emission()
