"""Santec TSL-550, TSL-570, TSL-710: tunable lasers.

Source: TSL-570 manual, chapter 7 (remote commands); pymeasure 0.16 tsl500series.py; QMI tsl_570.py. SCPI with CR at
the end of every line, both ways. The box has two command sets, which differ in the unit of wavelengths: legacy (nm) and
SCPI (m); ``:SYST:COMM:COD`` chooses. Powers are in mW or dBm, as ``:POW:UNIT`` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from hilonn.clock import WallClock
from hilonn.devices import Identity, Laser
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.scpi import identity, raise_errors
from hilonn.drivers.texts import flag, integer, number
from hilonn.errors import DeviceError, LimitError
from hilonn.transports import Dialect, Transport

DIALECT = Dialect(write="\r", read="\r")
PAGE = DriverPage(
    instruments="Santec TSL-570 (command sets SCPI and legacy), TSL-550 and TSL-710 (legacy)",
    wiring="LAN: TCP, port 5000, lines end in CR both ways. GPIB: address 1, EOI. Keep one connection open for all of a day.",
    connection='transport = "tcp"\nhost = "192.168.1.100"\nport = 5000',
    device='driver = "santec_tsl"\nconnection = "santec"\namplifier = 10.0\nhigh = 0.1',
    quirks=(
        (
            "WARNING: the shutter's polarity is documented both ways, 0 = open and 1 = open. The driver leaves the shutter "
            "alone unless `shutter_open` says which; find out with a power meter behind the fibre, at low power.",
            "photonmover SantecTSL570.py against qcodes_contrib_drivers Santec_TSL.py",
        ),
        (
            "The power monitor (:POW:ACT?) sits before the shutter: it reads light that does not come out.",
            "a user's notes on a TSL-775",
        ),
        (
            "Both command sets know the same words and mean other units by them: the set is chosen and read back at opening.",
            "TSL-570 manual, :SYST:COMM:COD",
        ),
        (
            "A wavelength written with six digits lies on a grid of 10 pm; the driver writes all digits.",
            "pymeasure 0.16 writes %g",
        ),
        (
            "A setting that the laser is in no state to take may be ignored without an error: settings are read back.",
            "a user's notes on a TSL-775",
        ),
    ),
    unverified=(
        "TCP port 5000.",
        "`:POW? MIN` and `:POW? MAX` (SCPI), `:POW:MIN?` and `:POW:MAX?` (legacy) tell the range of powers, as their like do for "
        "wavelengths. If they do not answer: `ask_limits = false`, and give `laser_powers` and `wavelengths`.",
        "The power monitor reads (almost) nothing when the light is off. If it does not: `monitor = false`; then only "
        ":POW:STAT? is believed.",
        "An open interlock sets :POW:STAT to 0 and leaves the alert No07.",
        'TSL-550 and TSL-710 have no :SYST:COMM:COD; for them `command_set = "legacy only"`.',
    ),
)
ALERTS = {
    "No00": "power supply error 1",
    "No02": "power supply error 2",
    "No03": "power supply error 3",
    "No05": "wavelength error",
    "No06": "power setting error",
    "No07": "interlock detection: the interlock is open",
    "No20": "temperature control error 1",
    "No21": "temperature control error 2",
    "No22": "temperature control error 3",
    "No23": "warm-up is going on",
    "No25": "shutter error",
    "No26": "sensor error",
    "No27": "connection error",
    "No28": "exhaust fan error",
}
INTERLOCK, WARM_UP = "No07", "No23"
NO_ALERTS = "No alerts."
MOST_ALERTS = 20
FAINT = 0.1
"""Share of the set power below which the monitor says that there is no light."""
POLL = 0.02
"""s between looks at whether the laser has done what it was asked."""
SANE = (4e-7, 4e-6)
"""m: wavelengths outside were told in another unit than was thought."""


class SantecOptions(Options):
    """``amplifier``: power at the chip over the laser's power; ``high`` (W) the largest power at the chip that is allowed, None:
    all that the laser gives. ``command_set``: "legacy only" for boxes that have no other. ``unit`` in which powers
    are sent. ``shutter_open``: the value of :POW:SHUT with which the shutter is open; None leaves it alone.
    ``use_while_warming``: light may go on before the laser is warm. ``patience`` (s): how long light may take to come, and a
    wavelength to settle. ``monitor``, ``ask_limits``, ``laser_powers`` (W, at the laser), ``wavelengths`` (m): see the page.
    """

    amplifier: float = Field(default=1.0, gt=0)
    high: float | None = Field(default=None, gt=0)
    command_set: Literal["scpi", "legacy", "legacy only"] = "scpi"
    unit: Literal["mW", "dBm"] = "mW"
    shutter_open: Literal[0, 1] | None = None
    use_while_warming: bool = False
    patience: float = Field(default=5.0, gt=0)
    monitor: bool = True
    ask_limits: bool = True
    laser_powers: tuple[float, float] | None = None
    wavelengths: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _limits_are_known(self) -> Self:
        if not self.ask_limits and (self.laser_powers is None or self.wavelengths is None):
            raise ValueError("ask_limits = false needs `laser_powers` (W) and `wavelengths` (m)")
        return self


class SantecTsl(Laser):
    """Powers are those at the chip, in W: the laser's own times ``amplifier``."""

    def __init__(self, name: str, transport: Transport, options: SantecOptions) -> None:
        low, high = options.laser_powers or (0.0, math.inf)
        most = min(high * options.amplifier, options.high or math.inf)
        super().__init__(name, most if math.isfinite(most) else 0.0, options.wavelengths or SANE)
        self._transport = transport
        self._options = options
        self._least = low
        self._clock = WallClock()
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        """Vendor, model, serial number, firmware."""
        return identity(self._transport, "TSL")

    def power(self) -> float:
        """The power that is set, W at the chip."""
        return self._watts(self._transport.query(":POW?"), ":POW?") * self._options.amplifier

    def emission(self) -> bool:
        """Whether light comes out: switched on, the shutter open, and seen by the laser's own monitor."""
        if not self._flag(":POW:STAT?"):
            return False
        opened = self._options.shutter_open
        if opened is not None and self._flag(":POW:SHUT?") != bool(opened):
            return False
        if not self._options.monitor:
            return True
        seen = self._watts(self._transport.query(":POW:ACT?"), ":POW:ACT?")
        return seen * self._options.amplifier > FAINT * self.power()

    def wavelength(self) -> float:
        """The wavelength that is set, m."""
        return self._metres(":WAV?")

    def alerts(self) -> list[str]:
        """What the box has to tell, each as its number and words; empties its list."""
        found: list[str] = []
        for _ in range(MOST_ALERTS):
            answer = self._transport.query(":SYST:ALER?").strip()
            if answer == NO_ALERTS or answer in found:
                return found
            if not answer.startswith("No"):
                raise DeviceError(
                    f"{self.name}: :SYST:ALER? was answered {answer[:60]!r}, no alert"
                )
            found.append(answer)
        return found

    def _open(self) -> None:
        """Choose command set and unit, read the limits; light stays as it is."""
        self.identity()
        self._transport.write("*CLS")
        scpi = self._options.command_set == "scpi"
        if self._options.command_set != "legacy only":
            self._set(f":SYST:COMM:COD {int(scpi)}")
            self._same(":SYST:COMM:COD?", int(scpi))
        unit = int(self._options.unit == "mW")
        self._set(f":POW:UNIT {unit}")
        self._same(":POW:UNIT?", unit)
        low, high = self._laser_powers()
        self._least = low
        self.max_power = high * self._options.amplifier
        if self._options.high is not None:
            if self._options.high > self.max_power * (1 + 1e-6):
                raise DeviceError(
                    f"{self.name}: high = {self._options.high:g} W is asked for; the laser gives {high:g} W, that is "
                    f"{self.max_power:g} W behind the amplifier of {self._options.amplifier:g}"
                )
            self.max_power = self._options.high
        self.wavelengths = self._wavelengths()

    def _close(self) -> None:
        return None

    def _set_power(self, power: float) -> None:
        watts = power / self._options.amplifier
        if watts < self._least * (1 - 1e-6):
            raise LimitError(
                f"{self.name}.set_power: {power:g} W at the chip is {watts:g} W of the laser, which gives no less than "
                f"{self._least:g} W; switch the light off instead. Nothing was written"
            )
        self._same(
            ":POW:UNIT?", int(self._options.unit == "mW")
        )  # a box that was reset has another
        shown = 1e3 * watts if self._options.unit == "mW" else 10 * math.log10(1e3 * watts)
        self._set(f":POW {shown:.4f}")
        self._raise_alerts("set_power")
        held = self.power()
        if not abs(held - power) <= 0.01 * power + 2e-5 * self._options.amplifier:
            raise DeviceError(
                f"{self.name}: {power:g} W was set, the laser says {held:g} W; it did not take the command"
            )

    def _set_emission(self, on: float) -> None:
        if not on:
            self._dark()
            return
        before = self.alerts()  # of the past: what still holds comes again
        opened = self._options.shutter_open
        if opened is not None:
            self._set(f":POW:SHUT {opened}")
        self._set(":POW:STAT 1")
        self._raise_alerts("set_emission")
        if not self._comes(self.emission):
            told = before + self.alerts()
            words = "; ".join(described(alert) for alert in told) or "the box gives no reason"
            raise self._refusal(told, f"{self.name} was switched on and no light comes: {words}")

    def _set_wavelength(self, wavelength: float) -> None:
        scpi = self._options.command_set == "scpi"
        self._set(f":WAV {wavelength:.9e}" if scpi else f":WAV {1e9 * wavelength:.4f}")
        if not self._comes(lambda: self._flag("*OPC?")):
            raise DeviceError(
                f"{self.name}: the wavelength did not settle within {self._options.patience:g} s"
            )
        self._raise_alerts("set_wavelength")
        held = self.wavelength()
        if not abs(held - wavelength) <= 1e-13:
            raise DeviceError(
                f"{self.name}: {1e9 * wavelength:.4f} nm was set, the laser says {1e9 * held:.4f} nm; it did not "
                "take the command"
            )

    def _safe_state(self) -> None:
        self._dark()
        opened = self._options.shutter_open
        if opened is not None:
            self._set(f":POW:SHUT {1 - opened}")

    # -- lines ------------------------------------------------------------------------------------

    def _dark(self) -> None:
        self._set(":POW:STAT 0")
        if self._flag(":POW:STAT?"):
            raise DeviceError(f"{self.name}: :POW:STAT 0 left the light on; turn the laser's key")

    def _set(self, command: str) -> None:
        with self._transport.atomic():
            self._transport.write(command)
            raise_errors(self._transport, command, ":SYST:ERR?")

    def _flag(self, query: str) -> bool:
        return flag(self._transport.query(query), f"{self.name}: {query}")

    def _same(self, query: str, wanted: int) -> None:
        found = integer(self._transport.query(query), f"{self.name}: {query}")
        if found != wanted:
            raise DeviceError(f"{self.name}: {query} says {found} after {wanted} was set")

    def _comes(self, happened: Callable[[], bool]) -> bool:
        """Whether ``happened()`` is true within the patience."""
        deadline = self._clock.now() + self._options.patience
        while not happened():
            if self._clock.now() > deadline:
                return False
            self._clock.sleep(POLL)
        return True

    def _raise_alerts(self, verb: str) -> None:
        told = [a for a in self.alerts() if not (self._options.use_while_warming and WARM_UP in a)]
        if told:
            words = "; ".join(described(alert) for alert in told)
            raise self._refusal(told, f"{self.name}.{verb}: the laser alerts {words}")

    def _refusal(self, alerts: list[str], text: str) -> DeviceError | LimitError:
        """An interlock is a limit; anything else is the instrument's trouble."""
        if any(alert.startswith(INTERLOCK) for alert in alerts):
            return LimitError(f"{text}; close the interlock and turn the key, then switch on again")
        return DeviceError(text)

    def _watts(self, answer: str, asked: str) -> float:
        """W of the laser out of an answer in its unit."""
        value = number(answer, f"{self.name}: {asked}")
        if self._options.unit == "mW":
            return 1e-3 * value
        if value > 60.0:
            raise DeviceError(f"{self.name}: {asked} was answered {answer[:60]!r}: no laser has it")
        return 1e-3 * math.pow(10.0, value / 10)

    def _metres(self, query: str) -> float:
        scale = 1.0 if self._options.command_set == "scpi" else 1e-9
        value = scale * number(self._transport.query(query), f"{self.name}: {query}")
        if not SANE[0] <= value <= SANE[1]:
            raise DeviceError(
                f"{self.name}: {query} says {value:g} m; does the laser speak another command set than "
                f"{self._options.command_set!r}?"
            )
        return value

    def _laser_powers(self) -> tuple[float, float]:
        if self._options.laser_powers is not None and not self._options.ask_limits:
            return self._options.laser_powers
        low, high = (self._watts(self._transport.query(q), q) for q in self._range_of(":POW"))
        return low, high

    def _wavelengths(self) -> tuple[float, float]:
        own = self._options.wavelengths
        if own is not None and not self._options.ask_limits:
            return own
        low, high = (self._metres(query) for query in self._range_of(":WAV"))
        if own is None:
            return low, high
        if own[0] < low or own[1] > high:
            raise DeviceError(
                f"{self.name}: wavelengths = {own} m are asked for; the laser reaches {low:g} .. {high:g} m"
            )
        return own

    def _range_of(self, header: str) -> tuple[str, str]:
        if self._options.command_set == "scpi":
            return f"{header}? MIN", f"{header}? MAX"
        return f"{header}:MIN?", f"{header}:MAX?"


def described(alert: str) -> str:
    """An alert in words: its number and the manual's meaning, or what the box says."""
    head, _, text = alert.partition(",")
    mark = head.strip().rstrip(".")
    return f"{mark}, {ALERTS.get(mark, text.strip() or 'an alert that the manual does not list')}"


santec_tsl = on_a_wire(SantecOptions, SantecTsl, answers_to=r"(?i)^SANTEC,\s*TSL")
