"""Nicslab XPOW-40AX and XPOW-8AX: many sources with a current limit each, as phase shifters.

Source: the class XPOW of the kernel-nulling bench ``kbench``. USB, lines end in LF. Voltages and currents are set as raw codes
of 16 bits, a range of channels at once where they are alike; a channel's true voltage is the nominal one times its slope,
which a calibration tells. The box reports no errors that anybody has written down, so that what was set is measured.
"""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import number
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Reader, Transport
from hilonn.typing import FloatArray, IntArray

DIALECT = Dialect(write="\n", read="\n", gap=0.01, resync=("*IDN?", ".*XPOW.*"))
PAGE = DriverPage(
    instruments="Nicslab XPOW-40AX, XPOW-8AX",
    wiring=(
        "USB; the box is a serial port (2341:8036). 115200 baud, 8N1, lines end in LF. Slow: 10 ms a command; 40 channels with 40 "
        "voltages take 0.4 s, and as long again to be measured (`check`)."
    ),
    connection='transport = "serial"\nport = "/dev/ttyACM0"',
    device='driver = "nicslab_xpow"\nconnection = "xpow"\nchannels = 40\nhigh = 8.0\nmax_current = 0.02',
    quirks=(
        (
            "A set may or may not be answered by a line: lines that answer no question are passed over, those that speak of an "
            "error are raised.",
            "kbench, class XPOW",
        ),
        ("10 ms between commands.", "kbench, class XPOW"),
        (
            "Codes are raw: each channel needs its slope from a calibration (`slopes`).",
            "kbench, class XPOW",
        ),
        ("Channels are counted from 1 on the wire.", "kbench, class XPOW"),
    ),
    unverified=(
        "`CUR` is the limit of a channel's current and `VOLT` its voltage: `volts_full_scale`, `current_full_scale` at code 65535.",
        "Nobody knows how an error is worded: a line with ERR or INVALID in it is taken for one, and written channels are measured "
        "(`check`, in V).",
        "Whether `VAL?` measures or repeats what was set.",
    ),
)
CODES = 0xFFFF
_VALUE = re.compile(
    r"CH\s*:?\s*(\d+)\s*=\s*([+-]?\d+\.?\d*)\s*V\s*,\s*([+-]?\d+\.?\d*)\s*mA", re.IGNORECASE
)
_MODEL = re.compile(r"XPOW[\w-]*", re.IGNORECASE)
_ERROR = re.compile(r"ERR|INVALID", re.IGNORECASE)


class NicslabXpowOptions(Options):
    """``channels``: of the box, from the first. ``high`` (V): the largest voltage. ``max_current`` (A): of every channel.
    ``slopes``: true volts per nominal volt, one a channel; None: 1. ``check`` (V): channels that were written are measured
    and must be as near as this; None: they are not. ``resistance`` (ohm) of the heaters, for the gate's power limits.
    ``settling_time`` (s) of the heaters."""

    channels: int = Field(default=40, ge=1, le=40)
    high: float = Field(gt=0, le=40)
    max_current: float = Field(gt=0, le=0.3)
    volts_full_scale: float = Field(default=40.0, gt=0)
    current_full_scale: float = Field(default=0.3, gt=0)
    slopes: list[float] | None = None
    check: float | None = Field(default=0.1, gt=0)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)


class NicslabXpow(PhaseShifters):
    """The channels of one box, in V."""

    def __init__(self, name: str, transport: Transport, options: NicslabXpowOptions) -> None:
        slopes = np.ones(options.channels) if options.slopes is None else np.array(options.slopes)
        if slopes.shape != (options.channels,) or not (slopes > 0).all():
            raise ConfigError(
                f"devices.{name}: slopes: one above 0 for each of {options.channels} channels, got {options.slopes}"
            )
        self._slopes = slopes * options.volts_full_scale / CODES
        short = np.flatnonzero(self._slopes * CODES < options.high)
        if short.size:
            raise ConfigError(
                f"devices.{name}: high = {options.high:g} V: channel {short[0]} reaches "
                f"{self._slopes[short[0]] * CODES:g} V with its slope"
            )
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=0.01,  # measured with two decimals
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, options.channels, spec)
        transport.speak(DIALECT)
        transport.unsolicited = self._overheard
        self._transport = transport
        self._options = options
        self._held: IntArray | None = None
        self._errors: list[str] = []

    def identity(self) -> Identity:
        text = self._asked("*IDN?", _MODEL).string.strip()
        found = _MODEL.search(text)
        assert found is not None
        parts = [p.strip() for p in text.split(",")]
        return Identity("Nicslab", found.group(), parts[2] if len(parts) > 2 and parts[2] else text)

    def _open(self) -> None:
        """Who it is; outputs stay as they are. What the box said before is of no interest."""
        self._transport.heard()
        self._errors.clear()
        self.identity()
        self._held = None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """Channels that change, alike neighbours together; then they are measured. The first time the current limits are set,
        once the voltages are known ones."""
        codes = np.rint(drive / self._slopes).astype(int)
        held, self._held = self._held, None
        changed = np.flatnonzero(codes != held) if held is not None else np.arange(self.channels)
        with self._transport.atomic():
            self._set("VOLT", codes, changed)
            if held is None:
                most = int(CODES * self._options.max_current / self._options.current_full_scale)
                self._set("CUR", np.full(self.channels, most), np.arange(self.channels))
            if self._options.check is not None:
                for k in changed:
                    self._measured(int(k), float(drive[k]), self._options.check)
            self._transport.heard()
            self._raise_errors()
        self._held = codes

    def _set(self, what: str, codes: IntArray, chosen: IntArray) -> None:
        """One command for each run of neighbours with the same code."""
        ends = np.flatnonzero((np.diff(chosen) != 1) | (np.diff(codes[chosen]) != 0)) + 1
        for run in np.split(chosen, ends):
            if run.size:
                first, last = int(run[0]) + 1, int(run[-1]) + 1
                where = f"{first}" if first == last else f"{first}-{last}"
                self._transport.write(f"CH:{where}:{what}:{int(codes[run[0]])}")

    def _measured(self, channel: int, wanted: float, near: float) -> None:
        volts, amperes = self._values(channel)
        if abs(volts - wanted) > near:
            raise DeviceError(
                f"{self.name}: channel {channel} ({channel + 1} on the box) was set to {wanted:.3f} V and measures {volts:g} V at {amperes:g} A (limit "
                f"{self._options.max_current:g} A); is its heater's resistance too low, its slope wrong, or did it need longer?"
            )

    def _values(self, channel: int) -> tuple[float, float]:
        """V and A of a channel, counted from 0."""
        query = f"CH:{channel + 1}:VAL?"
        found = self._asked(query, _VALUE)
        if int(found.group(1)) != channel + 1:
            raise DeviceError(
                f"{self.name}: {query} was answered {found.string[:60]!r}, of another channel"
            )
        asked = f"{self.name}: {query}"
        return number(found.group(2), asked), 1e-3 * number(found.group(3), asked)

    def _read_back(self) -> FloatArray:
        """What the channels measure."""
        return np.array([self._values(k)[0] for k in range(self.channels)])

    def currents(self) -> FloatArray:
        """A that the channels measure, (channels,)."""
        return np.array([self._values(k)[1] for k in range(self.channels)])

    def _safe_state(self) -> None:
        """No current, then no voltage, on all channels at once."""
        self._held = None
        for what in ("CUR", "VOLT"):
            self._set(what, np.zeros(self.channels, dtype=int), np.arange(self.channels))
        try:
            left = self._values(0)[0]  # an answer: the box has taken what came before it
        except DeviceTimeout as error:
            raise DeviceTimeout(f"{self.name}: whether it is off is not known: {error}") from error
        if abs(left) > max(self._options.check or 0.1, 0.1):
            raise DeviceError(f"{self.name}: was switched off, and channel 0 measures {left:g} V")

    # -- lines ------------------------------------------------------------------------------------

    def _asked(self, query: str, pattern: re.Pattern[str]) -> re.Match[str]:
        """The line that answers ``query``; lines before it answer sets."""
        self._raise_errors()

        def read(reader: Reader) -> re.Match[str]:
            while True:
                line = reader.line().strip()
                found = pattern.search(line) if pattern is _MODEL else pattern.fullmatch(line)
                if found is not None:
                    return found
                self._note(line)
                self._raise_errors()

        return self._transport.ask(query, read)

    def _overheard(self, data: bytes) -> bytes:
        """Lines that came after sets: of interest only where they speak of an error."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._note(line.decode("latin-1").strip())
        return rest

    def _note(self, line: str) -> None:
        if _ERROR.search(line):
            self._errors.append(line)

    def _raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            self._held = None
            raise DeviceError(f"{self.name}: the box says {'; '.join(e[:60] for e in errors)}")


nicslab_xpow = on_a_wire(NicslabXpowOptions, NicslabXpow, answers_to=r"(?i)XPOW")
