"""A Nicslab XPOW-40AX on the chip's heaters. Source: the class XPOW of the kernel-nulling bench ``kbench``.

How the box words an error is not known; this one answers ``ERROR`` and the line.
"""

from __future__ import annotations

import re

import numpy as np

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Rack
from hilonn.typing import FloatArray

CODES = 0xFFFF
VOLTS, AMPERES = 40.0, 0.3
COMMAND = 10e-3  # s, mean
_SET = re.compile(r"CH:(\d+)(?:-(\d+))?:(CUR|VOLT):(\d+)", re.IGNORECASE)
_GET = re.compile(r"CH:(\d+):VAL\?", re.IGNORECASE)


class NicslabXpowBox(LineInstrument):
    """Heaters ``first`` ... of the chip, or ``load`` (ohm). ``slopes``: true volts per nominal volt. ``echo``: whether a set is
    answered by a line."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        channels: int = 40,
        first: int = 0,
        load: float = 1e3,
        slopes: FloatArray | None = None,
        echo: bool = True,
    ) -> None:
        super().__init__(name, rack)
        self.channels = channels
        self.outputs = Outputs(rack, channels, first, load)
        self._slopes = np.ones(channels) if slopes is None else slopes
        self._echo = echo
        self.reboot()

    def reboot(self) -> None:
        self.outputs.off()
        self.outputs.limits[:] = 0.0
        self.outputs.on[:] = True
        self.outputs.apply()

    def state(self) -> dict[str, str]:
        return self.outputs.state()

    def answer(self, line: str) -> list[Reply]:
        text = line.strip()
        if text.upper() == "*IDN?":
            return [Reply(b"NICSLAB,XPOW-40AX,X40-0123,1.2\r\n", COMMAND)]
        asked, setting = _GET.fullmatch(text), _SET.fullmatch(text)
        if asked is not None and 1 <= int(asked.group(1)) <= self.channels:
            k = int(asked.group(1)) - 1
            volts, amperes = self.outputs.volts[k], 1e3 * self.outputs.currents[k]
            return [Reply(f"CH {k + 1} = {volts:.2f}V, {amperes:.2f}mA\r\n".encode(), COMMAND)]
        if setting is not None and self._set(*setting.groups()):
            return [Reply(f"{text}\r\n".encode() if self._echo else b"", COMMAND)]
        return [Reply(f"ERROR {text[:40]}\r\n".encode("ascii", "replace"), COMMAND)] if text else []

    def _set(self, begin: str, end: str | None, what: str, text: str) -> bool:
        first, last, code = int(begin), int(end or begin), int(text)
        if not 1 <= first <= last <= self.channels or code > CODES:
            return False
        chosen = slice(first - 1, last)
        if what.upper() == "VOLT":
            self.outputs.levels[chosen] = code * VOLTS / CODES * self._slopes[chosen]
        else:
            self.outputs.limits[chosen] = code * AMPERES / CODES
        self.outputs.apply()
        return True
