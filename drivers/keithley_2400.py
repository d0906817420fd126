"""Keithley 2400 source meters: one channel as a phase shifter, or as the reader of a biased photodiode.

Source: Series 2400 user's manual 2400S-900-01; the answers' forms as pymeasure 0.16.0 reads them. SCPI over GPIB or a
serial line; on the latter numbers go as ASCII only. A reading is a list of the elements that were chosen, with a status
word among them, written as a float.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Identity,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, number, numbers
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Dialect, Reader, Transport
from hilonn.typing import FloatArray

PAGE = DriverPage(
    instruments="Keithley 2400, 2410, 2420, 2425, 2430, 2440: one channel",
    wiring=(
        "GPIB over VISA (address 24 as delivered), or RS-232: 9600 to 57600 baud, 8N1; set the terminator in the box's menu to LF, "
        "or say which it is (`terminator`). A message without LF or EOI hangs a GPIB bus. Photodiodes: cathode to HI, anode "
        "to LO, `bias` in V, `sign` so that light reads positive."
    ),
    connection='transport = "serial"\nport = "COM5"\nbaud = 57600',
    device=(
        'driver = "keithley_2400"\nconnection = "smu"\nhigh = 8.0\nmax_current = 0.02\n\n'
        '[devices.meter]\ndriver = "keithley_2400_detectors"\nconnection = "smu2"\nbias = 2.0'
    ),
    quirks=(
        ("Only the ASCII format is allowed over RS-232.", "2400S-900-01, p18-53"),
        (
            "`:MEAS:CURR?` reconfigures the box and turns its output on: `:READ?` is used.",
            "pymeasure PR#243",
        ),
        (
            "`:OUTP:ENAB:TRIP?` answers 0 where the interlock has tripped, 1 where it has not.",
            "2400S-900-01",
        ),
    ),
    unverified=(
        "Compliance is bit 3 of the status word, and overflow bit 0.",
        "+9.9E37 is an overflow (taken as saturated), +9.91E37 no number (raised).",
        "`:SOUR:VOLT? MAX` tells the largest voltage of the model.",
        "`:SENS:CURR:PROT:TRIP?` tells compliance without a reading before it.",
    ),
)
NAN, OVERFLOW = 9.905e37, 9.85e37
"""A: from where on a number is none, and an overflow."""
OVERFLOWED, COMPLIANCE = 1 << 0, 1 << 3
MOST = 2500
"""Readings of one trigger."""
ENDS = {"LF": "\n", "CR": "\r", "CRLF": "\r\n"}


class _Keithley2400Base(Options):
    terminator: Literal["LF", "CR", "CRLF"] = "LF"


class Keithley2400Options(_Keithley2400Base):
    """``high`` (V): the largest voltage. ``max_current`` (A): the compliance. ``resistance`` (ohm) of the heater, for
    the gate's power limits. ``settling_time`` (s) of the heater. ``terminator`` of lines, as set in the box."""

    high: float = Field(gt=0, le=1100)
    max_current: float = Field(gt=0, le=5)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)


class _Box:
    """What both kinds of devices do with the box."""

    def __init__(self, name: str, transport: Transport, options: _Keithley2400Base) -> None:
        self.name, self.transport = name, transport
        end = ENDS[options.terminator]
        self._end = end.encode()
        transport.speak(Dialect(write=end, read=end, resync=("*IDN?", "KEITHLEY.*MODEL 24.*")))

    def identity(self) -> Identity:
        return scpi.identity(self.transport, "MODEL 24")

    def open(self, volts: float) -> None:
        identity = self.identity()
        if "2450" in identity.model or "2460" in identity.model:
            raise DeviceError(f"{self.name}: a {identity.model} answers, which speaks otherwise")
        scpi.drop_old_errors(self.transport)
        reach = self.ask(":SOUR:VOLT? MAX")
        if volts > reach:
            raise DeviceError(
                f"{self.name}: {volts:g} V are asked for, the box reaches {reach:g} V"
            )

    def ask(self, query: str) -> float:
        return number(self.transport.query(query), f"{self.name}: {query}")

    def run(self, commands: str, doing: str) -> tuple[bool, bool]:
        """Send ``commands`` and ask, in a line of its own, for what came of them: (whether the output stands at its
        current limit, whether it is on). DeviceError with what the error queue holds."""
        query = ":SENS:CURR:PROT:TRIP?;:OUTP?;:SYST:ERR?"
        lines = commands.encode("ascii") + self._end + query.encode("ascii") + self._end
        with self.transport.atomic():
            answer = self.transport.ask(lines, Reader.line)
            words = answer.split(";", 2)
            if len(words) != 3:
                raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}")
            code = number(words[2].partition(",")[0], f"{self.name}: :SYST:ERR?")
            if code != 0:
                all_of_it = "; ".join([words[2], *scpi.errors(self.transport, ":SYST:ERR?")])
                raise DeviceError(f"{self.name}: {doing}: the instrument says {all_of_it}")
        return flag(words[0], f"{self.name}: :SENS:CURR:PROT:TRIP?"), flag(
            words[1], f"{self.name}: :OUTP?"
        )

    def check_on(self, on: bool) -> None:
        """DeviceError, with its reason, where the output did not go on."""
        if on:
            return
        tripped = not flag(
            self.transport.query(":OUTP:ENAB:TRIP?"), f"{self.name}: :OUTP:ENAB:TRIP?"
        )
        why = (
            "its interlock is open"
            if tripped
            else "its interlock is closed; look at its front panel"
        )
        raise DeviceError(f"{self.name}: the output does not go on; {why}")


class Keithley2400(PhaseShifters):
    """One heater, in V."""

    def __init__(self, name: str, transport: Transport, options: Keithley2400Options) -> None:
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=1e-5,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, 1, spec)
        self._box = _Box(name, transport, options)
        self._options = options
        self._set_up = False

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._box.open(self._options.high)
        self._set_up = False

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """The level, and whether the box holds it; DeviceError where it stands at its current limit."""
        volts, most = float(drive[0]), self._options.max_current
        known, self._set_up = self._set_up, False
        level = f":SOUR:VOLT {volts:.9g}"
        if not known:
            self._set_limit(most)
            level += ";:OUTP ON"
        limited, on = self._box.run(level, f"writing {volts:g} V")
        self._box.check_on(on)
        self._set_up = True
        if limited:
            raise DeviceError(
                f"{self.name}: the output stands at its current limit of {most:g} A and does not reach {volts:g} V; is the "
                "heater's resistance lower than thought, or is there a short?"
            )

    def _set_limit(self, most: float) -> None:
        """Function, range and current limit, before the output is on; DeviceError where the box does not hold it."""
        self._box.run(
            f":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:CURR:PROT {most:.9g};:SOUR:VOLT:RANG {self._options.high:.9g}",
            "setting its limits",
        )
        held = self._box.ask(":SENS:CURR:PROT?")
        if abs(held - most) > 1e-3 * most:
            raise DeviceError(
                f"{self.name}: a current limit of {most:g} A was set, the box holds {held:g} A"
            )

    def _read_back(self) -> FloatArray:
        """The level that the box holds; 0 where the output is off."""
        answer = self._box.transport.query(":SOUR:VOLT?;:OUTP?")
        level, on = numbers(answer, f"{self.name}: :SOUR:VOLT?;:OUTP?", 2, ";")
        return np.array([level if on else 0.0])

    def _safe_state(self) -> None:
        """Zero, and off."""
        self._set_up = False
        _, on = self._box.run(":SOUR:VOLT 0;:OUTP OFF", "switching off")
        if on:
            raise DeviceError(f"{self.name}: the output was switched off and is on")


class Keithley2400DetectorsOptions(_Keithley2400Base):
    """``bias`` (V) on the photodiode, as sourced; ``sign`` of the current that is light. ``ranges`` (A), smallest first.
    ``nplc``: mains cycles of one reading. One sample at a time is read, when it is fetched."""

    bias: float = Field(default=0.0, ge=-40, le=40)
    sign: Literal[1, -1] = 1
    ranges: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    nplc: float = Field(default=0.1, ge=0.01, le=10)
    mains: Literal[50, 60] = 50


class Keithley2400Detectors(Photodetectors):
    """One biased photodiode, in A."""

    def __init__(
        self, name: str, transport: Transport, options: Keithley2400DetectorsOptions
    ) -> None:
        top = options.ranges[-1] if options.ranges else 1.0
        super().__init__(name, 1, ChannelSpec(unit="A", low=-top, high=top), options.ranges, 1)
        self._box = _Box(name, transport, options)
        self._options = options
        self._set_up = False
        self._count = 1

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._box.open(abs(self._options.bias))
        self._set_up = False

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        self._box.run(f":SENS:CURR:RANG {self.ranges[index]:.9g}", "setting the range")

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        if averages > MOST:
            raise ConfigError(
                f"{self.name}.arm: {averages} averages asked, {MOST} readings are possible"
            )
        commands = f":TRIG:COUN {averages}"
        known, self._set_up = self._set_up, False
        if not known:
            commands = (
                f':SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:FUNC "CURR";:SENS:CURR:PROT {1.05 * self.ranges[-1]:.9g};'
                f":SENS:CURR:RANG {self.ranges[self.range]:.9g};:SENS:CURR:NPLC {self._options.nplc:.9g};"
                f":FORM:DATA ASC;:FORM:ELEM CURR,STAT;:SOUR:VOLT {self._options.bias:.9g};:OUTP ON;"
                + commands
            )
        _, on = self._box.run(commands, "arming")
        self._box.check_on(on)
        self._set_up = True
        self._count = averages

    def _fetch(self) -> DetectorReadings:
        """Current and status of every reading, as one list."""
        takes = self._count * (2 * self._options.nplc / self._options.mains + 0.02)
        text = self._box.transport.query(":READ?", self._box.transport.timeout + takes)
        values = np.array(numbers(text, f"{self.name}: :READ?", 2 * self._count)).reshape(-1, 2)
        amperes, full = values[:, 0], self.ranges[self.range]
        status = values[:, 1]
        if not ((status >= 0) & (status < 2**24) & (status == np.floor(status))).all():
            raise DeviceError(f"{self.name}: :READ? gave a status word {status} that is none")
        words = status.astype(int)
        if (np.abs(amperes) >= NAN).any():
            raise DeviceError(f"{self.name}: :READ? gave no number (9.91E37)")
        over = (words & (OVERFLOWED | COMPLIANCE) != 0) | (np.abs(amperes) >= full)
        held = np.where(np.abs(amperes) >= OVERFLOW, np.copysign(full, amperes), amperes)
        mean = self._options.sign * held.mean()
        return DetectorReadings(np.array([[mean]]), np.array([[bool(over.any())]]))

    def _safe_state(self) -> None:
        """No bias."""
        self._set_up = False
        _, on = self._box.run(":SOUR:VOLT 0;:OUTP OFF", "switching off")
        if on:
            raise DeviceError(f"{self.name}: the output was switched off and is on")


keithley_2400 = on_a_wire(
    Keithley2400Options, Keithley2400, answers_to=r"(?i)^Keithley.*,\s*MODEL 24\d\d"
)
keithley_2400_detectors = on_a_wire(
    Keithley2400DetectorsOptions,
    Keithley2400Detectors,
    answers_to=r"(?i)^Keithley.*,\s*MODEL 24\d\d",
)
