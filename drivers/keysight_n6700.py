"""Keysight N6700 and N6705 modular supplies (and E36312A): up to four outputs as phase shifters.

Source: N6700C and N6705C guides. SCPI with channel lists, ``VOLT 5,(@1:4)``. A channel whose protection has tripped
(over-voltage, over-current and others) stays off until it is cleared: it is told with its cause.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, integer, numbers
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Dialect, Reader, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\n", read="\n")
PAGE = DriverPage(
    instruments="Keysight (Agilent) N6700A/B/C, N6701, N6702, N6705A/B/C, E36312A",
    wiring=(
        "LAN, raw socket 5025, lines end in LF; also VXI-11, USB and GPIB over VISA. Every heater between an output's + and -, "
        "sense lines local."
    ),
    connection='transport = "tcp"\nhost = "192.168.1.30"\nport = 5025',
    device='driver = "keysight_n6700"\nconnection = "supply"\nchannels = [1, 2, 3, 4]\nhigh = 8.0\nmax_current = 0.02',
    quirks=(
        (
            "A list written `@(1)` is not refused on the line; only the error queue knows, and a limit was never set. The queue "
            "is read after every write, and limits are read back.",
            "qcodes 0.58.0, Keysight_N6705B.py line 57",
        ),
        (
            "A tripped protection is latched: the output stays off until `OUTP:PROT:CLE` (`clear_faults`).",
            "N6705C guide",
        ),
    ),
    unverified=(
        "The bits of `STAT:QUES:COND?`: 1 OV, 2 OC, 4 PF, 8 CP+, 16 OT, 32 CP-, 64 OV-, 512 INH, 1024 UNR, 2048 PROT. Any bit is "
        "taken as a fault, whatever it is called.",
        "`VOLT? MAX` and `CURR? MAX` tell what a module can do.",
        "Over-current protection trips some ms after a write: it may be told by the write after it.",
    ),
)
FAULTS = {
    1: "over-voltage",
    2: "over-current",
    4: "power failure",
    8: "positive power limit",
    16: "over-temperature",
    32: "negative power limit",
    64: "negative over-voltage",
    512: "inhibit input",
    1024: "unregulated",
    2048: "coupled protection",
}
"""Bits of the questionable status."""


class KeysightN6700Options(Options):
    """``channels`` of the mainframe in their order. ``high`` (V): the largest voltage. ``max_current`` (A): a channel that
    would draw more is switched off by the box. ``over_voltage`` (V): its protection; None: a tenth, at least 0.5 V, above
    ``high``. ``resistance`` (ohm) of the heaters, for the gate's power limits. ``settling_time`` (s) of outputs and
    heaters."""

    channels: list[int] = Field(default_factory=lambda: [1, 2, 3, 4], min_length=1)
    high: float = Field(gt=0, le=150)
    max_current: float = Field(gt=0, le=50)
    over_voltage: float | None = Field(default=None, gt=0)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.02, ge=0)


class KeysightN6700(PhaseShifters):
    """The outputs of one mainframe, in V."""

    def __init__(self, name: str, transport: Transport, options: KeysightN6700Options) -> None:
        numbers_of = options.channels
        if len(set(numbers_of)) != len(numbers_of) or min(numbers_of) < 1:
            raise ConfigError(f"devices.{name}: channels = {numbers_of}: each once, counted from 1")
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=1e-3,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, len(numbers_of), spec)
        self.terminals = tuple(f"channel {c}" for c in numbers_of)
        transport.speak(DIALECT)
        self._transport = transport
        self._options = options
        self._list = channel_list(numbers_of)
        self._protection = options.over_voltage or options.high + max(0.1 * options.high, 0.5)
        self._set_up = False

    def identity(self) -> Identity:
        found = scpi.identity(self._transport)
        if not found.model.startswith(("N67", "E3631")):
            raise DeviceError(
                f"{self.name}: an N6700 or N6705 was expected at {self._transport.address}, {found} answers; is another "
                "box on this address?"
            )
        return found

    def _open(self) -> None:
        """Who it is, and whether its modules reach what is asked of them; outputs stay as they are."""
        self.identity()
        scpi.drop_old_errors(self._transport)
        for query, asked, unit in (
            ("VOLT", self._options.high, "V"),
            ("CURR", self._options.max_current, "A"),
        ):
            reach = self._numbers(f"{query}? MAX,{self._list}")
            short = np.flatnonzero(reach < asked)
            if short.size:
                raise DeviceError(
                    f"{self.name}: {asked:g} {unit} are asked for, output {self._options.channels[short[0]]} reaches "
                    f"{reach[short[0]]:g} {unit}"
                )
        self._set_up = False

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """All channels in one message, and what the box says of it in one answer. The first time limits are set
        and read back before."""
        alike: dict[str, list[int]] = {}
        for channel, volts in zip(self._options.channels, drive.tolist(), strict=True):
            alike.setdefault(f"{volts:.6g}", []).append(channel)
        levels = ";:".join(f"VOLT {v},{channel_list(c)}" for v, c in alike.items())
        known, self._set_up = self._set_up, False
        if not known:
            self._set_limits()
            levels = f"{levels};:OUTP ON,{self._list}"
        on = self._run(levels, f"writing {drive} V")
        if not all(on):
            raise DeviceError(
                f"{self.name}: output {self._options.channels[on.index(False)]} is off, though it was switched on"
            )
        self._set_up = True

    def _set_limits(self) -> None:
        """Current limits and protections, with the outputs off: what stands there might trip them. DeviceError where the
        box does not hold them."""
        self._run(
            f"OUTP OFF,{self._list};:CURR {self._options.max_current:.6g},{self._list};"
            f":VOLT:PROT {self._protection:.6g},{self._list};:CURR:PROT:STAT ON,{self._list}",
            "setting its limits",
        )
        for query, asked, unit in (
            ("CURR", self._options.max_current, "A"),
            ("VOLT:PROT", self._protection, "V"),
        ):
            held = self._numbers(f"{query}? {self._list}")
            if not np.allclose(held, asked, rtol=0.01, atol=1e-3):
                raise DeviceError(
                    f"{self.name}: a limit of {asked:g} {unit} was set ({query}), the box holds {held} {unit}"
                )

    def _read_back(self) -> FloatArray:
        """The voltages that the box holds; 0 where an output is off. DeviceError where a protection has tripped."""
        with self._transport.atomic():
            self._check_faults(self._transport.query(f"STAT:QUES:COND? {self._list}"))
            on = [float(x) for x in self._flags(self._transport.query(f"OUTP? {self._list}"))]
            return self._numbers(f"VOLT? {self._list}") * on

    def currents(self) -> FloatArray:
        """A that the channels measure, (channels,)."""
        return self._numbers(f"MEAS:CURR? {self._list}")

    def clear_faults(self) -> None:
        """Let channels whose protection has tripped go on again, at 0 V. For a person who has seen why. DeviceError where
        the cause is there still."""
        self._set_up = False
        self._run(f"VOLT 0,{self._list};:OUTP:PROT:CLE {self._list}", "clearing its protections")

    def _safe_state(self) -> None:
        """Zero, and off. A protection that has tripped is no obstacle."""
        self._set_up = False
        on = self._run(f"VOLT 0,{self._list};:OUTP OFF,{self._list}", "switching off", faults=False)
        if any(on):
            raise DeviceError(
                f"{self.name}: output {self._options.channels[on.index(True)]} is on, though it was switched off"
            )

    # -- lines ------------------------------------------------------------------------------------

    def _run(self, commands: str, doing: str, faults: bool = True) -> list[bool]:
        """Send ``commands`` and, as a line of its own, the question what came of them; which outputs are on.
        DeviceError with what the error queue holds, or a protection that has tripped."""
        query = f"OUTP? {self._list};:STAT:QUES:COND? {self._list};:SYST:ERR?"
        with self._transport.atomic():
            answer = self._transport.ask(f"{commands}\n{query}\n".encode("ascii"), Reader.line)
            words = answer.split(";", 2)
            if len(words) != 3:
                raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}")
            code = integer(words[2].partition(",")[0], f"{self.name}: SYST:ERR?")
            if code != 0:
                all_of_it = "; ".join([words[2], *scpi.errors(self._transport)])
                raise DeviceError(f"{self.name}: {doing}: the instrument says {all_of_it}")
        if faults:
            self._check_faults(words[1])
        return self._flags(words[0])

    def _check_faults(self, text: str) -> None:
        bits = numbers(text, f"{self.name}: STAT:QUES:COND?", self.channels)
        for channel, word in zip(self._options.channels, bits, strict=True):
            if word != 0:
                self._set_up = False
                raise DeviceError(
                    f"{self.name}: the protection of output {channel} has tripped: {fault(int(word))}; it is off. "
                    "Find out why, then clear_faults()"
                )

    def _flags(self, text: str) -> list[bool]:
        words = text.split(",")
        if len(words) != self.channels:
            raise DeviceError(
                f"{self.name}: OUTP? was answered {text[:60]!r}; {self.channels} were asked for"
            )
        return [flag(word, f"{self.name}: OUTP?") for word in words]

    def _numbers(self, query: str) -> FloatArray:
        text = self._transport.query(query)
        return np.array(numbers(text, f"{self.name}: {query}", self.channels))


def channel_list(channels: Sequence[int]) -> str:
    """``(@1,3)``, or ``(@1:4)`` where they follow one another."""
    first, last = channels[0], channels[-1]
    if len(channels) > 1 and list(channels) == list(range(first, last + 1)):
        return f"(@{first}:{last})"
    return f"(@{','.join(str(c) for c in channels)})"


def fault(bits: int) -> str:
    """The questionable status of a channel in words."""
    known = [text for bit, text in FAULTS.items() if bits & bit]
    rest = bits & ~sum(FAULTS)
    return ", ".join([*known, *([f"bits {rest}"] if rest else [])])


keysight_n6700 = on_a_wire(
    KeysightN6700Options, KeysightN6700, answers_to=r"(?i)^(Agilent|Keysight).*,\s*(N670\d|E3631\d)"
)
