"""Qontrol Q8iv, Q8b, Q8bi, Q8a: chained modules of eight voltage sources, as phase shifters.

Source: the vendor's Python package 1.1.20 and its manual. Serial, 115200 baud, lines end in LF. Channels are
counted from 0 over the whole chain. A set is answered ``OK`` or an error line ``E01:02`` (code, channel); such lines may
also come unasked, at any time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Reader, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\n", read="\n", resync=("id?", r"Q8[A-Za-z]*-[0-9A-Fa-f*]+"))
PAGE = DriverPage(
    instruments="Qontrol Q8iv, Q8b, Q8bi, Q8a: modules of eight channels on backplanes, chained",
    wiring=(
        "USB; the backplane's converter is a serial port. 115200 baud, 8N1, no flow control, lines end in LF. Set the "
        "converter's latency timer to 1 ms: at its default of 16 ms every command takes so long."
    ),
    connection='transport = "serial"\nport = "COM4"',
    device='driver = "qontrol"\nconnection = "q"\nchannels = 16\nhigh = 8.0\nmax_current = 0.02\nlimits = { high = 8.0 }',
    quirks=(
        (
            "Errors come as lines of their own, also unasked; the vendor's package logs them and goes on.",
            "qontrol 1.1.20, measured",
        ),
        ("`nupall?` and `vall?` do not say where they end.", "qontrol 1.1.20"),
    ),
    unverified=(
        "Voltages are read back with three decimals (1 mV), as `vfull?` prints them.",
        "A set that is refused is answered by its error line alone, without OK.",
        "Sixteen vector commands fit the modules' buffers; where error 14 comes, make `pipeline` smaller.",
    ),
)
A_MODULE = 8
FULL_SCALES = {
    "Q8iv": (12.0, 0.024),
    "Q8a": (12.0, 0.1),
    "Q8b": (12.0, 0.08333),
    "Q8bi": (12.0, 0.1),
}
"""V and A of a channel, by type (package, CMD_CODES and device tables)."""
GRAIN = 1e-3
"""V: voltages are read back with three decimals; they are set with 16 bits of 12 V, 0.18 mV."""
QUIET = 0.1
"""s: the end of an answer that does not say where it ends."""
SLOWEST = 0.02
"""s that a vector command takes: its bytes, and a converter whose latency timer stands at its default."""
REFUSALS = frozenset({10, 11, 12, 13})
"""Errors that only a command can have; any other may come by itself."""
ERRORS = {
    0: "unknown",
    1: "over-voltage",
    2: "over-current",
    3: "power",
    4: "calibration",
    5: "output",
    10: "unrecognised command",
    11: "bad parameter",
    12: "bad channel",
    13: "forbidden",
    14: "serial buffer overflow",
    15: "serial communication",
    16: "command timed out",
    17: "SPI",
    18: "ADC",
    19: "I2C",
    30: "errors suppressed",
    31: "firmware trap",
    90: "powered up",
}
_ERROR = re.compile(r"([A-Za-z]{1,3})(\d+):(\d+)")
_MODULE = re.compile(r"(Q8[A-Za-z]*)-([0-9A-Fa-f*]+)(?::(\d+))?")
_VALUE = re.compile(r"([+-]?)\s*(\d+\.?\d*)\s*(V|mA)")


class QontrolOptions(Options):
    """``channels``: of the chain, from the first; None: all. ``high`` (V): the largest voltage of the channels.
    ``max_current`` (A): set in the instrument when it is opened. ``resistance`` (ohm) of the heaters, for the gate's
    power limits. ``settling_time`` (s) of the heaters. ``pipeline``: vector commands under way at once, which the
    modules' buffers must hold."""

    channels: int | None = Field(default=None, ge=1)
    high: float = Field(default=12.0, gt=0, le=12.0)
    max_current: float | None = Field(default=None, gt=0)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)
    pipeline: int = Field(default=16, ge=1, le=128)


class Qontrol(PhaseShifters):
    """A chain of modules as one bank, in V."""

    def __init__(self, name: str, transport: Transport, options: QontrolOptions) -> None:
        if options.channels is None:
            raise ConfigError(f"devices.{name}: say how many `channels` of the chain there are")
        high = options.high
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=high,
            resolution=GRAIN,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, options.channels, spec)
        self._transport = transport
        self._options = options
        transport.speak(DIALECT)
        transport.unsolicited = self._overheard
        self._identity: Identity | None = None
        self._unasked: list[str] = []
        self._held: FloatArray | None = None
        self._full_voltage = 12.0
        self._modules = 0

    def identity(self) -> Identity:
        """The first module's type and serial number; the chain's length stands for a firmware."""
        found = _MODULE.fullmatch(self._ask("id?"))
        if found is None:
            raise DeviceError(f"{self.name}: id? was not answered by a Q8 module")
        return Identity("Qontrol", found.group(1), found.group(2), f"{self.channels} channels")

    def _open(self) -> None:
        """Count the chain, read its full scale, set its current limit; outputs stay as they are. What the box said
        before, its power-up for one, is of no interest."""
        self._transport.heard()
        self._unasked.clear()
        kind = self.identity().model
        if kind not in FULL_SCALES:
            raise DeviceError(
                f"{self.name}: {kind} is not known; known are {', '.join(FULL_SCALES)}"
            )
        self._set("nup=0")
        modules = self._chain()
        if A_MODULE * modules < self.channels:
            raise DeviceError(
                f"{self.name}: {self.channels} channels are asked for; the chain has {modules} modules of "
                f"{A_MODULE}. Is a backplane's ribbon loose?"
            )
        self._full_voltage = self._value("vfull?", "V")
        if self._options.high > self._full_voltage:
            raise DeviceError(
                f"{self.name}: high = {self._options.high:g} V is asked for, the modules reach "
                f"{self._full_voltage:g} V"
            )
        if self._options.max_current is not None:
            for channel in range(self.channels):
                self._set(f"imax{channel}={1e3 * self._options.max_current:.4f}")
        self._held = None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """One vector command a module whose voltages change, several under way at once."""
        self._raise_unasked()
        held, self._held = self._held, None
        modules = [
            first
            for first in range(0, self.channels, A_MODULE)
            if held is None
            or not np.array_equal(drive[first : first + A_MODULE], held[first : first + A_MODULE])
        ]
        if modules:
            self._send_vectors(modules, drive)
        self._held = drive.copy()

    def _read_back(self) -> FloatArray:
        """What the channels measure at their outputs."""
        return self._all("vall?", "V")

    def currents(self) -> FloatArray:
        """A that the channels measure, (channels,): a heater that is torn off draws none. Raises DeviceError."""
        return 1e-3 * self._all("iall?", "mA")

    def _safe_state(self) -> None:
        """Every module to zero, whatever one of them answers; what came unasked is left to the next command."""
        self._held = None
        failed: DeviceError | DeviceTimeout | None = None
        every = range(0, self.channels, A_MODULE)
        most = self._options.pipeline
        for begin in range(0, len(every), most):
            try:
                self._send_vectors(every[begin : begin + most], np.zeros(self.channels))
            except (DeviceError, DeviceTimeout) as error:
                failed = failed or error
        if failed is not None:
            raise failed

    # -- lines ------------------------------------------------------------------------------------

    def _send_vectors(self, modules: Sequence[int], drive: FloatArray) -> None:
        """The vectors of modules that begin at these channels; ``pipeline`` of them are under way at once, and when half of
        these are answered, as many follow. Zeros are short: at 87 us a byte a whole chain is off three times sooner."""
        values = [f"{v:.5f}" if v else "0" for v in drive.tolist()]
        lines = [
            f"VVEC{first}={','.join(values[first : first + A_MODULE])}\n".encode()
            for first in modules
        ]
        most = self._options.pipeline
        half = max(most // 2, 1)

        def read(reader: Reader) -> None:
            for k in range(0, len(lines), half):
                self._oks(reader, len(lines[k : k + half]))
                if following := b"".join(lines[most + k : most + k + half]):
                    self._transport.more(following)

        patience = self._transport.timeout + SLOWEST * len(lines)
        self._transport.ask(b"".join(lines[:most]), read, patience)

    def _set(self, command: str) -> None:
        self._raise_unasked()
        self._transport.ask(command, lambda reader: self._oks(reader, 1))

    def _ask(self, command: str) -> str:
        return self._get(command, 1)[0]

    def _all(self, command: str, unit: str) -> FloatArray:
        lines = self._get(command, self._modules * A_MODULE)
        found = [self._parsed(line, unit, command) for line in lines]
        return np.array(found[: self.channels])

    def _get(self, command: str, count: int) -> list[str]:
        self._raise_unasked()
        lines = self._transport.ask(command, lambda reader: self._lines(reader, count))
        self._raise_unasked()
        return lines

    def _oks(self, reader: Reader, count: int) -> None:
        for _ in range(count):
            line = self._line(reader)
            if line.strip() != "OK":
                raise DeviceError(f"{self.name}: a set was answered {line[:60]!r}, not OK")

    def _line(self, reader: Reader) -> str:
        """The next line that is no error; an error is raised, for a set may have been refused by it."""
        line = reader.line().strip()
        if _ERROR.fullmatch(line):
            self._held = None
            raise DeviceError(f"{self.name}: {described(line)}")
        return line

    def _lines(self, reader: Reader, count: int) -> list[str]:
        """``count`` lines that answer a get. An error that came in between, by itself, is raised once all of them are
        off the wire; one that only a command can have is the answer."""
        lines: list[str] = []
        while len(lines) < count:
            line = reader.line().strip()
            error = _ERROR.fullmatch(line)
            if error is None:
                lines.append(line)
            elif int(error.group(2)) in REFUSALS:
                raise DeviceError(f"{self.name}: {described(line)}")
            else:
                self._unasked.append(line)
        return lines

    def _chain(self) -> int:
        """Modules of the chain: nupall? gives one line each, and no end."""
        self._raise_unasked()
        lines = self._transport.ask("nupall?", lambda reader: reader.until_quiet(QUIET))
        for index, line in enumerate(lines):
            found = _MODULE.fullmatch(line.strip())
            if found is None or found.group(3) is None or int(found.group(3)) != index:
                raise DeviceError(
                    f"{self.name}: nupall? was answered {line[:60]!r} where module {index} was to come"
                )
        self._modules = len(lines)
        return self._modules

    def _value(self, command: str, unit: str) -> float:
        return self._parsed(self._ask(command), unit, command)

    def _parsed(self, line: str, unit: str, asked: str) -> float:
        found = _VALUE.fullmatch(line.strip())
        if found is None or found.group(3) != unit:
            raise DeviceError(
                f"{self.name}: {asked} was answered {line[:60]!r}, not a number of {unit}"
            )
        return float(found.group(1) + found.group(2))

    def _overheard(self, data: bytes) -> bytes:
        """Whole lines that came unasked are kept; errors among them are raised by the next command."""
        *lines, rest = data.split(b"\n")
        self._unasked += [text for line in lines if (text := line.decode("latin-1").strip())]
        return rest

    def _raise_unasked(self) -> None:
        self._transport.heard()
        heard, self._unasked = self._unasked, []
        errors = [described(line) for line in heard if _ERROR.fullmatch(line)]
        if errors:
            self._held = None
            raise DeviceError(f"{self.name}: reported by itself: {'; '.join(errors)}")
        if heard:
            raise DeviceError(f"{self.name}: {heard[0][:60]!r} came, which nobody asked for")


def described(line: str) -> str:
    """An error line in words."""
    found = _ERROR.fullmatch(line)
    assert found is not None
    code, channel = int(found.group(2)), int(found.group(3))
    return (
        f"{line}: {ERRORS.get(code, 'an error that the manual does not list')}, channel {channel}"
    )


qontrol = on_a_wire(QontrolOptions, Qontrol, answers_to=r"^Q8[A-Za-z]*-[0-9A-Fa-f*]+")
