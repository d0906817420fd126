"""DiCon optical switches: modules on a serial line, and the MXS-9100 with its SCPI subset.

Sources: photonmover's Dicon.py (modules: 115200 baud; ``I1 n`` selects channel n, ``I1?`` asks, ``CF?`` ends in the
number of channels; a newline comes before every reply); MXS-9100 manual p17, p25 (``ROUT6:SCAN 2``; lines end in CR
both ways). The box's channels count from 1, hilonn's positions from 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hilonn.clock import WallClock
from hilonn.devices import Identity, Switch
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import integer
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Dialect, Reader, Transport

MODULE = Dialect(
    write="\r", read="\r", resync=("ID?", r"(?!I\d|ID\?|CF\?).*[A-Za-z].*")
)  # other answers are numbers, or an echo
MXS9100 = Dialect(write="\r", read="\r", resync=("*IDN?", r"(?i)DiCon,.*"))
DIALECT = MODULE
PAGE = DriverPage(
    instruments='DiCon switch modules with a serial line (dialect = "module"); MXS-9100 (dialect = "mxs9100")',
    wiring=(
        "RS-232, 115200 baud, 8N1, no flow control; lines end in CR. Position 0 is the box's channel 1. As the local "
        "oscillator's shutter: position 0 leads nowhere, position 1 lets the light through."
    ),
    connection='transport = "serial"\nport = "COM5"',
    device='driver = "dicon_switch"\nconnection = "shutter"\npositions = 2',
    quirks=(
        ("A module's replies begin with a newline.", "photonmover"),
        (
            "The MXS-9100 can save its state at every change; its memory wears out. The driver never switches that on.",
            "MXS-9100 manual",
        ),
    ),
    unverified=(
        "A module answers nothing to `I1 n`; the driver asks `I1?` until the switch is there. An echo is passed over.",
        "What `ID?` prints: it is taken as the model, with a serial number where there are commas.",
    ),
)
POLL = 2e-3
"""s between two questions whether the switch is there; it takes 10 to 25 ms."""


class DiconSwitchOptions(Options):
    """``positions``: that are used, from the first. ``dialect``: of the box. ``module``: which of an MXS-9100's
    switches, or the n of ``In``. ``safe_position``: where the safe state puts it; 0 is a closed shutter.
    ``switching_time`` (s): longest that a change may take."""

    positions: int = Field(default=2, ge=2)
    dialect: Literal["module", "mxs9100"] = "module"
    module: int = Field(default=1, ge=1)
    safe_position: int = Field(default=0, ge=0)
    switching_time: float = Field(default=0.5, gt=0)


class DiconSwitch(Switch):
    """One switch. A change returns when the box says that it is there."""

    def __init__(self, name: str, transport: Transport, options: DiconSwitchOptions) -> None:
        super().__init__(name, options.positions)
        self.terminals = (f"module {options.module}",)
        if options.safe_position >= options.positions:
            raise ConfigError(
                f"devices.{name}: safe_position {options.safe_position} is none of the switch"
            )
        self._transport = transport
        self._options = options
        self._clock = WallClock()
        scan = options.dialect == "mxs9100"
        self._verb = f"ROUT{options.module}:SCAN" if scan else f"I{options.module}"
        transport.speak(MXS9100 if scan else MODULE)

    def identity(self) -> Identity:
        if self._options.dialect == "mxs9100":
            return scpi.identity(self._transport)
        text = self._ask("ID?")
        parts = [p.strip() for p in text.split(",") if p.strip()]
        if not parts:
            raise DeviceError(f"{self.name}: ID? was answered {text!r}")
        model = parts[1] if len(parts) > 2 else parts[0]
        return Identity("DiCon", model, parts[2] if len(parts) > 2 else parts[-1], text)

    def position(self) -> int:
        query = f"{self._verb}?"
        channel = integer(self._ask(query), f"{self.name}: {query}")
        if not 1 <= channel <= self.positions:
            raise DeviceError(
                f"{self.name}: {query} was answered {channel}: the switch is parked or beyond its {self.positions} "
                "positions; select one"
            )
        return channel - 1

    def _open(self) -> None:
        self.identity()
        if self._options.dialect == "module":
            text = self._ask("CF?")
            channels = integer(text.rpartition(",")[2], f"{self.name}: CF?")
            if channels < self.positions:
                raise DeviceError(
                    f"{self.name}: positions = {self.positions} are asked for, the switch has {channels}"
                )

    def _close(self) -> None:
        return None

    def _select(self, position: float) -> None:
        wanted = int(position) + 1
        query = f"{self._verb}?"
        deadline = self._clock.now() + self._options.switching_time
        with self._transport.atomic():
            self._transport.write(f"{self._verb} {wanted}")
            while True:
                channel = integer(self._ask(query), f"{self.name}: {query}")
                if channel == wanted:
                    return
                if self._clock.now() > deadline:
                    raise DeviceError(
                        f"{self.name}: channel {wanted} was selected, the switch still says {channel} after "
                        f"{self._options.switching_time:g} s"
                    )
                self._clock.sleep(POLL)

    def _safe_state(self) -> None:
        self._select(self._options.safe_position)

    def _ask(self, query: str) -> str:
        """The answer without the newline before it; lines that only echo what was sent are passed over."""

        def line(reader: Reader) -> str:
            while True:
                text = reader.line().strip()
                if text and text != query and not text.startswith(f"{self._verb} "):
                    return text

        return self._transport.ask(query, line)


dicon_switch = on_a_wire(DiconSwitchOptions, DiconSwitch, answers_to=r"(?i)^DiCon")
