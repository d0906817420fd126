"""EXFO (Yenista) T100S-HP tunable lasers, and T100 modules in an OSICS mainframe.

Source: T100S-HP programming guide p9, p13, p21. ``MNEMONIC=VALUE`` sets, ``MNEMONIC?`` asks. Serial, 9600 baud: a command ends
in CR; ``OK``, a value or an error answers it, and CR, ``>`` and a space end the answer. On GPIB lines end in LF and
only queries are answered. A module of an OSICS is spoken to as ``CHn:``.
"""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field

from hilonn.clock import Clock, WallClock
from hilonn.devices import Identity, Laser
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import number
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout, LimitError
from hilonn.transports import Dialect, Transport

SERIAL = Dialect(
    write="\r", read="\r> ", resync=("*IDN?", r"[^,=]+,.*")
)  # no other answer has commas
BUS = Dialect(write="\n", read="\n")
DIALECT = SERIAL
PAGE = DriverPage(
    instruments="EXFO (Yenista, Photonetics Tunics) T100S-HP; T100 modules in an OSICS mainframe",
    wiring=(
        'RS-232, 9600 baud, 8N1: commands end in CR, answers in CR, `>` and a space. Or GPIB (`interface = "gpib"`): lines end '
        "in LF, commands are not answered; the driver then asks for what it set."
    ),
    connection='transport = "serial"\nport = "COM6"\nbaud = 9600',
    device='driver = "exfo_laser"\nconnection = "laser"\nmax_power = 0.01\nwavelengths = [1.5e-6, 1.63e-6]',
    quirks=(
        (
            "`P?` answers DISABLED while there is no light: the power is then the one that was set last.",
            "T100S-HP guide p21",
        ),
        ("Powers have two decimals of a dBm, wavelengths three of a nm.", "T100S-HP guide p13"),
    ),
    unverified=(
        "`*IDN?` answers vendor, model, serial number, firmware; what is missing is left empty.",
        "`L? MIN`, `L? MAX` answer the limits (lantz' driver); `read_limits = false` does not ask.",
        "Answers to queries repeat the mnemonic (`L=1550.000`), behind the channel in a mainframe; a bare value is taken too.",
        "The words of errors: whatever is not OK is one.",
        "A power can be set while there is no light.",
    ),
)
POLLS = (0.05, 0.5)
"""s between looks whether light has come: the first ones, and at most."""
SAME_WAVELENGTH = 2e-12
"""m."""
SAME_POWER = 0.2
"""dB: what is set and what is answered differ by less."""


class ExfoLaserOptions(Options):
    """``max_power`` (W) and ``wavelengths`` (m) that may be asked for. ``channel`` of a module in an OSICS. ``interface``: the
    wire's end. ``settling`` (s): longest that light may take to come. ``amplifier``: an optical one behind the laser;
    powers are those behind it."""

    max_power: float = Field(default=1e-2, gt=0, allow_inf_nan=False)
    wavelengths: tuple[float, float] = (1.5e-6, 1.63e-6)
    channel: int | None = Field(default=None, ge=1, le=8)
    interface: Literal["serial", "gpib"] = "serial"
    read_limits: bool = True
    settling: float = Field(default=10.0, gt=0, le=600)
    amplifier: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class ExfoLaser(Laser):
    """One laser."""

    def __init__(self, name: str, transport: Transport, options: ExfoLaserOptions) -> None:
        if not 0 < options.wavelengths[0] <= options.wavelengths[1]:
            raise ConfigError(
                f"devices.{name}: wavelengths are shortest and longest, got {options.wavelengths}"
            )
        super().__init__(name, options.max_power, options.wavelengths)
        if options.channel is not None:
            self.terminals = (f"module {options.channel}",)
        self._transport = transport
        self._options = options
        self._clock: Clock = WallClock()
        self._prefix = "" if options.channel is None else f"CH{options.channel}:"
        self._decibels: float | None = None
        transport.speak(SERIAL if options.interface == "serial" else BUS)

    def identity(self) -> Identity:
        text = self._transport.query("*IDN?").strip()
        parts = [part.strip() for part in text.split(",", 3)]
        if len(parts) < 2 or not all(parts[:2]):
            raise DeviceError(
                f"{self.name}: *IDN? was answered {text[:60]!r}, not vendor, model, serial number, firmware"
            )
        parts += [""] * (4 - len(parts))
        return Identity(parts[0], parts[1], parts[2] or "unknown", parts[3])

    def _open(self) -> None:
        """Know the laser and its limits, set the unit; light stays as it is."""
        self._decibels = None
        self.identity()
        self._tell("DBM")
        if self._options.read_limits:
            low, high = (1e-9 * self._number("L", limit) for limit in (" MIN", " MAX"))
            asked = self._options.wavelengths
            if asked[0] < low - SAME_WAVELENGTH or high + SAME_WAVELENGTH < asked[1]:
                raise DeviceError(
                    f"{self.name}: wavelengths {asked[0]:g} to {asked[1]:g} m are asked for, the laser goes from {low:g} "
                    f"to {high:g} m"
                )

    def _close(self) -> None:
        return None

    def power(self) -> float:
        """What the laser says, or what was set last while it says DISABLED. DeviceError where nothing was set yet."""
        decibels = self._power()
        if decibels is None:
            decibels = self._decibels
        if decibels is None:
            raise DeviceError(
                f"{self.name}: does not tell its power without light: state `power` in the bench file, or call set_power first"
            )
        return self._options.amplifier * watts(decibels)

    def emission(self) -> bool:
        return self._power() is not None

    def wavelength(self) -> float:
        return 1e-9 * self._number("L")

    def _set_power(self, power: float) -> None:
        if power <= 0.0:
            raise LimitError(
                f"{self.name}.set_power: a laser that is on gives more than {power:g} W; switch it off. Nothing was written"
            )
        exact = 10 * math.log10(power / self._options.amplifier / 1e-3)
        decibels = math.floor(100 * exact + 1e-6) / 100  # never more than was asked for
        self._decibels = None
        self._tell("DBM")  # again: a laser that was switched off and on has forgotten it
        self._tell(f"P={decibels:.2f}")
        self._decibels = decibels
        self._check_power(self._power())

    def _set_emission(self, on: float) -> None:
        if not on:
            self._tell("DISABLE")
            if self.emission():
                raise DeviceError(f"{self.name}: was switched off and still shines")
            return
        self._tell("ENABLE")
        deadline = self._clock.now() + self._options.settling
        pause = POLLS[0]
        while (decibels := self._power()) is None:
            if self._clock.now() + pause > deadline:
                raise DeviceTimeout(
                    f"{self.name}: no light came within {self._options.settling:g} s of ENABLE; is the key turned, and the "
                    "interlock closed?"
                )
            self._clock.sleep(pause)
            pause = min(2 * pause, POLLS[1])
        try:
            self._check_power(decibels)
        except DeviceError:
            self._tell("DISABLE")  # light of another power than was set
            raise

    def _set_wavelength(self, wavelength: float) -> None:
        self._tell(f"L={1e9 * wavelength:.3f}")
        got = self.wavelength()
        if abs(got - wavelength) > SAME_WAVELENGTH:
            raise DeviceError(
                f"{self.name}: {1e9 * wavelength:.3f} nm was set, the laser says {1e9 * got:.3f} nm"
            )

    def _safe_state(self) -> None:
        self._set_emission(0.0)

    # -- lines ------------------------------------------------------------------------------------

    def _tell(self, command: str) -> None:
        text = self._prefix + command
        if self._options.interface == "gpib":
            self._transport.write(text)
            return
        answer = self._transport.query(text).strip()
        if answer.upper() != "OK":
            raise DeviceError(f"{self.name}: {text} was answered {answer[:60]!r}, not OK")

    def _ask(self, mnemonic: str, limit: str = "") -> str:
        """What stands behind the channel and the mnemonic in the answer."""
        query = f"{self._prefix}{mnemonic}?{limit}"
        answer = self._transport.query(query).strip().upper()
        found = re.fullmatch(rf"(?:CH\d:)?(?:{mnemonic}\s*=\s*)?(\S+)", answer)
        if found is None:
            raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}")
        return found.group(1)

    def _number(self, mnemonic: str, limit: str = "") -> float:
        return number(self._ask(mnemonic, limit), f"{self.name}: {mnemonic}?{limit}")

    def _power(self) -> float | None:
        """dBm; None without light."""
        word = self._ask("P")
        if word == "DISABLED":
            return None
        decibels = number(word, f"{self.name}: P?")
        if not -60.0 <= decibels <= 40.0:
            raise DeviceError(
                f"{self.name}: P? was answered {word}, which is no laser's power in dBm"
            )
        return decibels

    def _check_power(self, decibels: float | None) -> None:
        """What is answered, where there is light, is what was set."""
        if None not in (decibels, self._decibels) and abs(decibels - self._decibels) > SAME_POWER:  # type: ignore[operator]
            raise DeviceError(
                f"{self.name}: {self._decibels:.2f} dBm was set, the laser says {decibels:.2f} dBm"
            )


def watts(decibels: float) -> float:
    """W of dBm."""
    return float(1e-3 * 10 ** (decibels / 10))


exfo_laser = on_a_wire(ExfoLaserOptions, ExfoLaser, answers_to=r"(?i)T100|OSICS|TUNICS")
