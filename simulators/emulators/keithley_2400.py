"""A Keithley 2400 source meter on a heater, on a photodiode, or on a load of its own.

Source: Series 2400 user's manual 2400S-900-01. Readings are lists of the chosen elements; what is not measured is
+9.91E37, an overflow +9.9E37; the status word is a float.
"""

from __future__ import annotations

import numpy as np

from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    ScpiError,
    ScpiInstrument,
    number,
    scientific,
    switch,
)

NAN, OVERFLOW = 9.91e37, 9.9e37
MAINS = 50.0
MOST = 2500
ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT")
BLOCKED = (802, "Output blocked by interlock")
COMMAND = 10e-3  # s, mean
KEPT = {
    "SENSe:CURRent[:DC]:RANGe:AUTO": "1",
    "SENSe:AVERage[:STATe]": "0",
    "SENSe:AVERage:COUNt": "10",
    "SENSe:AVERage:TCONtrol": "REP",
    "SOURce:VOLTage:RANGe:AUTO": "1",
    "SOURce:CLEar:AUTO": "0",
    "SOURce:DELay:AUTO": "1",
    "SYSTem:AZERo[:STATe]": "1",
    "OUTPut:SMODe": "NORM",
}
RANGES = tuple(10.0**k for k in range(-6, 1))


class Keithley2400Box(ScpiInstrument):
    """``heater``: the chip's heater that it drives; ``detector``: the detector that it reads; neither: ``load`` (ohm).
    ``serial``: on RS-232, where only ASCII is allowed. ``interlock`` False: it is open, and the output stays off."""

    no_error = '0,"No error"'
    identity = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"
    busy = COMMAND
    most_volts = 210.0

    def __init__(
        self,
        name: str,
        rack: Rack,
        heater: int | None = None,
        detector: int | None = None,
        load: float = 1e3,
        serial: bool = False,
        terminator: bytes = b"\n",
    ) -> None:
        super().__init__(name, rack)
        self.terminators = (terminator,)
        self.reply_terminator = terminator
        self.outputs = Outputs(rack, 1, 1 << 30 if heater is None else heater, load)
        self.interlock = True
        self._detector = detector
        self._serial = serial
        self._kept: dict[str, str] = {}
        self._answers()
        self.reboot()

    def _answers(self) -> None:
        say = self.command
        say("SOURce:FUNCtion[:MODE]", self._set_function)
        say("SOURce:FUNCtion[:MODE]?", lambda: self._function)
        say("SOURce:VOLTage:MODE", lambda mode: _one_of(mode, "FIX", "FIXED"))
        say("SOURce:VOLTage:RANGe", lambda v: _done(number(v, -210, 210, unit="V")))
        say("SOURce:VOLTage[:LEVel][:IMMediate][:AMPLitude]", self._set_level)
        say("SOURce:VOLTage[:LEVel][:IMMediate][:AMPLitude]?", self._level)
        say("SOURce:DELay", lambda s: _done(number(s, 0, 9999, unit="S")))
        say("SENSe:FUNCtion[:ON]", lambda *f: None)
        say("SENSe:CURRent[:DC]:PROTection[:LEVel]", self._set_limit)
        say("SENSe:CURRent[:DC]:PROTection[:LEVel]?", lambda: _text(self.outputs.limits[0]))
        say(
            "SENSe:CURRent[:DC]:PROTection:TRIPped?",
            lambda: str(int(bool(self.outputs.limited[0]))),
        )
        say("SENSe:CURRent[:DC]:RANGe[:UPPer]", self._set_range)
        say("SENSe:CURRent[:DC]:NPLCycles", self._set_nplc)
        say("FORMat[:DATA]", self._set_format)
        say("FORMat:ELEMents", self._set_elements)
        say("TRIGger:COUNt", self._set_count)
        say("OUTPut[:STATe]", self._switch)
        say("OUTPut[:STATe]?", lambda: str(int(bool(self.outputs.on[0]))))
        say("OUTPut:ENABle[:STATe]", lambda on: _done(float(switch(on))))
        say("OUTPut:ENABle:TRIPped?", lambda: "1" if self.interlock else "0")
        say("READ?", self._read)
        say("MEASure:CURRent[:DC]?", self._measure)
        for pattern, at_first in KEPT.items():
            self._keep(pattern, at_first)

    def _keep(self, pattern: str, at_first: str) -> None:
        """A setting without effect here, which is said again when it is asked."""
        self._kept[pattern] = at_first
        self.command(pattern, lambda text: self._kept.update({pattern: text}))
        self.command(pattern + "?", lambda: self._kept[pattern])

    def reset(self) -> None:
        self._kept |= KEPT
        self.outputs.off()
        self.outputs.limits[0] = 1.05e-4
        self._function = "VOLT"
        self._range = 1.05e-4
        self._nplc = 1.0
        self._elements = list(ELEMENTS)
        self._count = 1

    def state(self) -> dict[str, str]:
        return self.outputs.state()

    def _set_function(self, function: str) -> None:
        word = function.strip().upper()
        if word not in ("VOLT", "VOLTAGE", "CURR", "CURRENT"):
            raise ScpiError(*ILLEGAL_VALUE)
        self._function = word[:4]

    def _set_level(self, text: str) -> None:
        self.outputs.levels[0] = number(text, -self.most_volts, self.most_volts, unit="V")
        self.outputs.apply()

    def _level(self, which: str = "") -> str:
        if which:
            return _text(number(which, -self.most_volts, self.most_volts))
        return _text(self.outputs.levels[0])

    def _set_limit(self, text: str) -> None:
        self.outputs.limits[0] = number(text, 1e-9, 1.05, unit="A")
        self.outputs.apply()

    def _set_range(self, text: str) -> None:
        asked = number(text, 0, 1.05, unit="A")
        self._range = 1.05 * next(r for r in RANGES if 1.05 * r >= asked)

    def _set_nplc(self, text: str) -> None:
        self._nplc = number(text, 0.01, 10)

    def _set_format(self, kind: str, bits: str = "") -> None:
        if kind.upper() not in ("ASC", "ASCII", "REAL", "SREAL", "SRE"):
            raise ScpiError(*ILLEGAL_VALUE)
        if kind.upper()[:3] != "ASC" and self._serial:
            raise ScpiError(*ILLEGAL_VALUE)

    def _set_elements(self, *elements: str) -> None:
        words = {e.strip().upper()[:4] for e in elements}
        if words - {e[:4] for e in ELEMENTS}:
            raise ScpiError(*ILLEGAL_VALUE)
        self._elements = [e for e in ELEMENTS if e in words]

    def _set_count(self, text: str) -> None:
        self._count = int(number(text, 1, MOST))

    def _switch(self, text: str) -> None:
        on = switch(text)
        if on and not self.interlock:
            raise ScpiError(*BLOCKED)
        self.outputs.on[0] = on
        self.outputs.apply()

    def _read(self) -> str:
        if not self.outputs.on[0]:
            raise ScpiError(803, "Not permitted with OUTPUT off")
        return ",".join(_text(v) for _ in range(self._count) for v in self._reading())

    def _measure(self) -> str:
        """Not ``READ?``: the box configures itself anew, and its output goes on."""
        self._range = 1.05
        self._count = 1
        self._switch("ON")
        return self._read()

    def _reading(self) -> list[float]:
        amperes, period = float(self.outputs.currents[0]), self._nplc / MAINS
        if self._detector is not None:
            scale = np.array([1.1 * self._range / self.rack.responsivity])
            signal, _ = self.rack.sample([self._detector], scale, period)
            amperes = float(signal[0]) * self.rack.responsivity
        limited = bool(self.outputs.limited[0]) or abs(amperes) > self.outputs.limits[0]
        amperes = float(np.clip(amperes, -self.outputs.limits[0], self.outputs.limits[0]))
        over = abs(amperes) > self._range
        held = {
            "VOLT": float(self.outputs.volts[0]),
            "CURR": OVERFLOW if over else amperes,
            "RES": NAN,
            "TIME": self.rack.now(),
            "STAT": float(0b1011_1100_0000_0100 & ~8 | (8 if limited else 0) | (1 if over else 0)),
        }
        return [held[name] for name in self._elements]


def _text(value: float) -> str:
    return scientific(float(value), digits=6, exponent=2)


def _done(value: float) -> None:
    return None


def _one_of(text: str, *words: str) -> None:
    if text.strip().upper() not in words:
        raise ScpiError(*ILLEGAL_VALUE)
