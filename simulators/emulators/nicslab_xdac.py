"""A Nicslab XDAC-40U-R4G8 on the chip's heaters, for a ZeroMQ socket. Source: ``psyphy3/xdac-smu``.

How the box words a refusal is not known; this one answers ``ERROR`` and why. A channel beyond its thresholds is switched
off, and stays at zero until it is zeroed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Rack
from hilonn.typing import FloatArray

RANGES = (5.0, 10.0, 20.0, 34.0)
CODES = 0xFFFF
REQUEST = 2e-3  # s, mean on a LAN


class NicslabXdacBox(LineInstrument):
    """Heaters ``first`` ... of the chip, or ``load`` (ohm). ``key`` unlocks it."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        channels: int = 40,
        first: int = 0,
        load: float = 1e3,
        key: str = "HILONN",
    ) -> None:
        super().__init__(name, rack)
        self.channels = channels
        self.outputs = Outputs(rack, channels, first, load)
        self.ranges = np.zeros(channels, dtype=int)
        self.most_volts: FloatArray = np.zeros(channels)
        self.most_current: FloatArray = np.zeros(channels)
        self.tripped = np.zeros(channels, dtype=bool)
        self._key = key
        self._conversion = 0.0
        self._verbs: dict[str, Callable[[int, float], str]] = {
            "SETV": self._set_volts,
            "SETR": self._set_range,
            "SETOVT": lambda k, v: self._threshold(self.most_volts, k, v),
            "SETOCT": lambda k, v: self._threshold(self.most_current, k, 1e-3 * v),
        }
        self.reboot()

    def reboot(self) -> None:
        self.locked = True
        self.ranges[:] = 3
        self.most_volts[:] = RANGES[-1]
        self.most_current[:] = 0.3
        self.tripped[:] = False
        self._conversion = 0.0
        self.outputs.off()
        self.outputs.on[:] = True

    def state(self) -> dict[str, str]:
        return {
            **self.outputs.state(),
            "locked": "yes" if self.locked else "no",
            "tripped": str(int(self.tripped.sum())),
        }

    def answer(self, line: str) -> list[Reply]:
        text = line.strip()
        busy = REQUEST + (self._conversion if text.upper().startswith("MEAS") else 0.0)
        return [Reply(f"{self._answered(text)}\n".encode(), busy)]

    def _answered(self, text: str) -> str:
        verb, *parts = text.split(":")
        verb = verb.upper()
        if verb == "GETINFO":
            if parts != [self._key]:
                return "ERROR key"
            self.locked = False
            return "XDAC-40U-R4G8 SN0123"
        if self.locked:
            return "ERROR locked"
        if verb in ("LOCK", "EXIT"):
            self.locked = True
            return "OK"
        try:
            values = [float(part) for part in parts]
        except ValueError:
            return "ERROR number"
        if not np.isfinite(values).all():
            return "ERROR number"
        if verb == "CONFIG" and len(values) == 3:
            self._conversion = 1e-6 * values[0] * values[1]
            return "OK"
        return self._of_channel(verb, values)

    def _of_channel(self, verb: str, values: list[float]) -> str:
        if not values or values[0] != int(values[0]) or not 1 <= values[0] <= self.channels:
            return "ERROR channel"
        k = int(values[0]) - 1
        if verb == "MEASV" and len(values) == 1:
            return f"{self.outputs.volts[k]:.4f}"
        if verb == "MEASC" and len(values) == 1:
            return f"{1e3 * self.outputs.currents[k]:.4f}"
        if verb == "ZERO" and len(values) == 1:
            self.tripped[k] = False
            self.outputs.levels[k] = 0.0
            self.outputs.apply()
            return "OK"
        if verb not in self._verbs or len(values) != 2:
            return "ERROR command"
        return self._verbs[verb](k, values[1])

    def _set_volts(self, k: int, volts: float) -> str:
        reach = RANGES[self.ranges[k]]
        if not 0 <= volts <= reach:
            return "ERROR range"
        if self.tripped[k]:
            return "OK"  # nothing says that it stays off
        self.outputs.levels[k] = np.rint(volts / reach * CODES) * reach / CODES
        self._watch()
        return "OK"

    def _set_range(self, k: int, code: float) -> str:
        if code not in (0, 1, 2, 3):
            return "ERROR range"
        self.ranges[k] = int(code)
        return "OK"

    def _threshold(self, held: FloatArray, k: int, value: float) -> str:
        if value < 0:
            return "ERROR threshold"
        held[k] = value
        self._watch()
        return "OK"

    def _watch(self) -> None:
        over = (self.outputs.volts > self.most_volts) | (self.outputs.currents > self.most_current)
        self.tripped |= over
        self.outputs.levels[over] = 0.0
        self.outputs.apply()
