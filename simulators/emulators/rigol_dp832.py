"""A Rigol DP832 on the chip's heaters. Source: DP800 programming guide.

A command that comes too soon after the one before it is lost without a word. In lockstep none is: there the lab's time
does not move while a client waits.
"""

from __future__ import annotations

import numpy as np

from hilonn.simulators.emulators.instrument import Reply
from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    ScpiError,
    ScpiInstrument,
    number,
    switch,
)
from hilonn.typing import FloatArray

RATINGS = ((32.0, 3.2, "30V/3A"), (32.0, 3.2, "30V/3A"), (5.3, 3.2, "5V/3A"))
DEAF = 5e-3
"""s after a command in which the next one is lost."""
COMMAND = 5e-3  # s, mean


class RigolDp832Box(ScpiInstrument):
    """Heaters ``first`` ... of the chip, or ``load`` (ohm). ``rated``: whether answers to ``:APPL?`` name the rating, as
    boxes do, or not, as the manual shows it."""

    no_error = '0,"No error"'
    identity = "RIGOL TECHNOLOGIES,DP832,DP8C123456789,00.01.14"
    busy = COMMAND
    grain = 0.01

    def __init__(
        self,
        name: str,
        rack: Rack,
        first: int = 0,
        load: float = 1e3,
        deaf: float = DEAF,
        rated: bool = True,
    ) -> None:
        super().__init__(name, rack)
        self.outputs = Outputs(rack, 3, first, load)
        self.deaf = deaf
        self.lost = 0
        self._rated = rated
        self._ready_at = float("-inf")
        self.most = {"OVP": np.zeros(3), "OCP": np.zeros(3)}
        self.watched = {"OVP": np.zeros(3, dtype=bool), "OCP": np.zeros(3, dtype=bool)}
        self.tripped = {"OVP": np.zeros(3, dtype=bool), "OCP": np.zeros(3, dtype=bool)}
        say = self.command
        say("APPLy", self._apply)
        say("APPLy?", self._applied)
        say("OUTPut[:STATe]", self._switch)
        say("OUTPut[:STATe]?", lambda c: _word(self.outputs.on[_index(c)]))
        for kind in ("OVP", "OCP"):
            self._protection(kind)
        say("MEASure:ALL?", self._measure)
        self.reboot()

    def _protection(self, kind: str) -> None:
        most, watched, tripped = self.most[kind], self.watched[kind], self.tripped[kind]
        high = 33.0 if kind == "OVP" else 3.3

        def set_most(channel: str, text: str) -> None:
            most[_index(channel)] = number(text, 0.001, high)
            self.update()

        def watch(channel: str, text: str) -> None:
            watched[_index(channel)] = switch(text)
            self.update()

        def clear(channel: str) -> None:
            tripped[_index(channel)] = False

        say = self.command
        say(f"OUTPut:{kind}:VALue", set_most)
        say(f"OUTPut:{kind}:VALue?", lambda c: f"{most[_index(c)]:.4f}")
        say(f"OUTPut:{kind}[:STATe]", watch)
        say(f"OUTPut:{kind}[:STATe]?", lambda c: _word(watched[_index(c)]))
        say(f"OUTPut:{kind}:QUES?", lambda c: "YES" if tripped[_index(c)] else "NO")
        say(f"OUTPut:{kind}:CLEAR", clear)

    def reset(self) -> None:
        self.outputs.off()
        self.outputs.limits[:] = [r[1] for r in RATINGS]
        for kind, high in (("OVP", 33.0), ("OCP", 3.3)):
            self.most[kind][:] = high
            self.watched[kind][:] = False
            self.tripped[kind][:] = False

    def state(self) -> dict[str, str]:
        return {**self.outputs.state(), "lost commands": str(self.lost)}

    def answer(self, line: str) -> list[Reply]:
        if not self.rack.lockstep and self.rack.now() < self._ready_at:
            self.lost += 1
            return []
        replies = super().answer(line)
        self._ready_at = self.rack.now() + self.deaf
        return replies

    def update(self) -> None:
        """What stands at the outputs now; protections trip."""
        on: FloatArray = self.outputs.on
        high = on & self.watched["OVP"] & (self.outputs.volts > self.most["OVP"])
        strong = on & self.watched["OCP"] & (self.outputs.currents > self.most["OCP"])
        self.tripped["OVP"] |= high
        self.tripped["OCP"] |= strong
        self.outputs.on[high | strong] = False
        self.outputs.apply()

    def _apply(self, channel: str, volts: str, amperes: str) -> None:
        k = _index(channel)
        level = number(volts, 0, RATINGS[k][0], unit="V")
        self.outputs.limits[k] = number(amperes, 0, RATINGS[k][1], unit="A")
        self.outputs.levels[k] = self.grain * round(level / self.grain)
        self.update()

    def _applied(self, channel: str) -> str:
        k = _index(channel)
        name = f"CH{k + 1}:{RATINGS[k][2]}" if self._rated else f"CH{k + 1}"
        return f"{name},{self.outputs.levels[k]:.3f},{self.outputs.limits[k]:.4f}"

    def _switch(self, channel: str, text: str) -> None:
        k = _index(channel)
        on = switch(text)
        if on and (self.tripped["OVP"][k] or self.tripped["OCP"][k]):
            return
        self.outputs.on[k] = on
        self.update()

    def _measure(self, channel: str) -> str:
        k = _index(channel)
        volts, amperes = float(self.outputs.volts[k]), float(self.outputs.currents[k])
        return f"{volts:.4f},{amperes:.4f},{volts * amperes:.3f}"


def _index(channel: str) -> int:
    word = channel.strip().upper()
    if word not in ("CH1", "CH2", "CH3"):
        raise ScpiError(*ILLEGAL_VALUE)
    return int(word[2]) - 1


def _word(on: bool) -> str:
    return "ON" if on else "OFF"
