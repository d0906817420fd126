"""A Keysight N6705B with four modules on the chip's heaters.

Source: N6705C guide. A protection that trips switches its output off and is latched until it is cleared and its
cause is gone.
"""

from __future__ import annotations

import re

import numpy as np

from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    DATA_TYPE,
    OUT_OF_RANGE,
    ScpiError,
    ScpiInstrument,
    number,
    scientific,
    switch,
)
from hilonn.typing import FloatArray

OVER_VOLTAGE, OVER_CURRENT, INHIBIT = 1, 2, 512
COMMAND = 1e-3  # s, mean


class KeysightN6700Box(ScpiInstrument):
    """Heaters ``first`` ... of the chip, or ``load`` (ohm). ``volts`` and ``amperes``: what every module reaches."""

    identity = "Agilent Technologies,N6705B,MY50001897,D.01.08"
    busy = COMMAND

    def __init__(
        self,
        name: str,
        rack: Rack,
        channels: int = 4,
        first: int = 0,
        load: float = 1e3,
        volts: float = 20.4,
        amperes: float = 5.1,
    ) -> None:
        super().__init__(name, rack)
        self.outputs = Outputs(rack, channels, first, load)
        self._volts, self._amperes = volts, amperes
        self.protection: FloatArray = np.zeros(channels)
        self.trips = np.zeros(channels, dtype=bool)
        self.on = np.zeros(channels, dtype=bool)
        self.latched = np.zeros(channels, dtype=int)
        self.inhibited = np.zeros(channels, dtype=bool)
        say = self.command
        say("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]", self._set_volts)
        say("[SOURce:]VOLTage[:LEVel][:IMMediate][:AMPLitude]?", self._say_volts)
        say("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]", self._set_current)
        say("[SOURce:]CURRent[:LEVel][:IMMediate][:AMPLitude]?", self._say_current)
        say("[SOURce:]VOLTage:PROTection[:LEVel]", self._set_protection)
        say("[SOURce:]VOLTage:PROTection[:LEVel]?", lambda c: self._list(self.protection, c))
        say("[SOURce:]CURRent:PROTection:STATe", self._set_trips)
        say("[SOURce:]CURRent:PROTection:STATe?", lambda c: self._flags(self.trips, c))
        say("OUTPut[:STATe]", self._switch)
        say("OUTPut[:STATe]?", lambda c: self._flags(self.on, c))
        say("OUTPut:PROTection:CLEar", self._clear)
        say("STATus:QUEStionable:CONDition?", self._condition)
        say("MEASure[:SCALar]:VOLTage[:DC]?", lambda c: self._list(self.outputs.volts, c))
        say("MEASure[:SCALar]:CURRent[:DC]?", lambda c: self._list(self.outputs.currents, c))
        self.reboot()

    def reset(self) -> None:
        self.protection[:] = 1.2 * self._volts
        self.trips[:] = False
        self.on[:] = False
        self.latched[:] = 0
        self.outputs.off()
        self.outputs.limits[:] = 0.1

    def state(self) -> dict[str, str]:
        return {**self.outputs.state(), "tripped": str(int((self.latched != 0).sum()))}

    def update(self) -> None:
        """What stands at the outputs now; protections trip."""
        self.outputs.on[:] = self.on & (self.latched == 0) & ~self.inhibited
        high = self.outputs.on & (self.outputs.levels > self.protection)
        strong = self.outputs.limited & self.trips
        self.latched[high] |= OVER_VOLTAGE
        self.latched[strong] |= OVER_CURRENT
        self.latched[self.inhibited] |= INHIBIT
        self.outputs.on[:] = self.on & (self.latched == 0)
        self.outputs.apply()

    def _set_volts(self, text: str, channels: str) -> None:
        self._put(self.outputs.levels, channels, number(text, 0, self._volts, unit="V"))

    def _set_current(self, text: str, channels: str) -> None:
        self._put(self.outputs.limits, channels, number(text, 0, self._amperes, unit="A"))

    def _set_protection(self, text: str, channels: str) -> None:
        self._put(self.protection, channels, number(text, 0, 1.2 * self._volts, unit="V"))

    def _set_trips(self, text: str, channels: str) -> None:
        self._put(self.trips, channels, switch(text))

    def _switch(self, text: str, channels: str) -> None:
        self._put(self.on, channels, switch(text))

    def _clear(self, channels: str) -> None:
        self._put(self.latched, channels, 0)

    def _put(self, held: np.ndarray, channels: str, value: float | bool) -> None:
        held[self._chosen(channels)] = value
        self.update()

    def _say_volts(self, first: str, second: str = "") -> str:
        return self._setting(self.outputs.levels, self._volts, first, second)

    def _say_current(self, first: str, second: str = "") -> str:
        return self._setting(self.outputs.limits, self._amperes, first, second)

    def _setting(self, held: FloatArray, most: float, first: str, second: str) -> str:
        if not second:
            return self._list(held, first)
        return self._list(np.full(len(held), number(first, 0, most)), second)

    def _condition(self, channels: str) -> str:
        self.update()
        return ",".join(f"{self.latched[k]:+d}" for k in self._chosen(channels))

    def _list(self, values: FloatArray, channels: str) -> str:
        return ",".join(
            scientific(float(values[k]), digits=6, exponent=2) for k in self._chosen(channels)
        )

    def _flags(self, values: np.ndarray, channels: str) -> str:
        return ",".join(str(int(values[k])) for k in self._chosen(channels))

    def _chosen(self, text: str) -> list[int]:
        """Indices of a channel list. ScpiError where it is none."""
        found = re.fullmatch(r"\(@\s*([\d:,\s]+)\)", text.strip())
        if found is None:
            raise ScpiError(*DATA_TYPE)
        chosen: list[int] = []
        for part in found.group(1).split(","):
            ends = part.strip().split(":")
            if len(ends) > 2 or not all(e.strip().isdecimal() and len(e) < 4 for e in ends):
                raise ScpiError(*DATA_TYPE)
            chosen += range(int(ends[0]), int(ends[-1]) + 1)
        if not chosen or not all(1 <= c <= len(self.on) for c in chosen):
            raise ScpiError(*OUT_OF_RANGE)
        return [c - 1 for c in chosen]
