"""Thorlabs TED4015, ITC4000 and LDC4000: temperature controller and laser diode driver, in one box or two.

Source: Series 4000 SCPI programmer's guide, pages 8, 11, 29, 70, 82. USBTMC, lines end in LF. The Peltier side is source and output 2 of
an ITC and 1 of a TED; the laser diode is 1. Conditions are bits of ``STAT:MEAS:COND?``.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from hilonn.devices import Identity, Laser, TemperatureController
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.scpi import identity, set_checked
from hilonn.drivers.texts import flag, integer, number
from hilonn.errors import DeviceError, LimitError
from hilonn.transports import Dialect, Transport

DIALECT = Dialect(write="\n", read="\n")
PAGE = DriverPage(
    instruments="Thorlabs TED4015 (temperature), LDC4005 to LDC4040 (laser diode), ITC4001 to ITC4020 (both)",
    wiring="USB (USBTMC), by VISA; lines end in LF.",
    connection='transport = "visa"\nresource = "USB0::0x1313::0x804A::M00443953::INSTR"',
    device=(
        'driver = "thorlabs_itc4000"            # the Peltier side\nconnection = "itc"\nlow = 20.0\nhigh = 35.0\n\n'
        '[devices.diode]\ndriver = "thorlabs_itc4000_laser"      # the diode, on the same wire\nconnection = "itc"\n'
        "slope = 0.25\nthreshold = 0.012\nwavelength = 1.55e-6\nhigh = 0.02"
    ),
    quirks=(
        (
            "On a TED4015 the Peltier side is SOUR1 and OUTP1, on an ITC4000 it is SOUR2 and OUTP2; the driver goes by the model.",
            "programs of several labs",
        ),
        (
            "*RST switches the outputs off; the driver does not send it.",
            "programmer's guide, page 8",
        ),
        (
            "The diode's power is reckoned from its current, slope * (current - threshold): give the figures of the diode's data "
            "sheet at its own temperature.",
            "the box knows currents",
        ),
        (
            'The safe state holds the temperature and switches the diode off; `safe = "off"` disables the Peltier\'s output too.',
            "a chip or diode that nobody cools is minutes from being of use",
        ),
    ),
    unverified=(
        "The limits of the setpoint are SOUR2:TEMP:LIM:LOW? and :HIGH?; on some boxes of the family the second is :UPP? "
        '(`upper_word = "UPP"`).',
        "Bit 512 of the conditions is set while the temperature is outside its window; with `window` (K) the driver compares "
        "temperature and setpoint itself.",
        "UNIT:TEMP C makes all temperatures degC; it is set and read back.",
    ),
)
KEYLOCK, COMPLIANCE, INTERLOCK, CURRENT_LIMIT, INHIBIT, POWER_LIMIT = 1, 2, 4, 8, 16, 32
PROTECTION, WINDOW, SENSOR, TEC_COMPLIANCE, TEC_OPEN, OVER_TEMPERATURE = (
    256,
    512,
    1024,
    2048,
    4096,
    16384,
)
CONDITIONS = {
    KEYLOCK: "the key is turned off",
    COMPLIANCE: "the diode's voltage is at its compliance",
    INTERLOCK: "the interlock is open",
    CURRENT_LIMIT: "the diode's current is at its limit",
    INHIBIT: "the output is inhibited from outside",
    POWER_LIMIT: "the diode's power is at its limit",
    PROTECTION: "the temperature protection is on",
    WINDOW: "the temperature is outside its window",
    SENSOR: "the temperature sensor fails",
    TEC_COMPLIANCE: "the Peltier's voltage is at its compliance",
    TEC_OPEN: "the Peltier's circuit is open",
    OVER_TEMPERATURE: "the box itself is too hot",
}
LOCKS = KEYLOCK | INTERLOCK | INHIBIT
DARK = LOCKS | PROTECTION | OVER_TEMPERATURE
"""Conditions in which no light comes, whatever the output says."""
BROKEN = SENSOR | TEC_OPEN | OVER_TEMPERATURE
"""Conditions in which no temperature is held."""


class _Box:
    """What both sides of a box do on the wire."""

    def __init__(self, name: str, transport: Transport, models: tuple[str, ...]) -> None:
        self._name, self._transport, self._models = name, transport, models
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        found = identity(self._transport, "THORLABS")
        if not found.model.startswith(self._models):
            raise DeviceError(
                f"{self._name}: {found} answers; this driver is for {', '.join(self._models)}"
            )
        return found

    def number(self, query: str) -> float:
        return number(self._transport.query(query), f"{self._name}: {query}")

    def flag(self, query: str) -> bool:
        return flag(self._transport.query(query), f"{self._name}: {query}")

    def text(self, query: str) -> str:
        return self._transport.query(query).strip()

    def set(self, command: str) -> None:
        set_checked(self._transport, command)

    def conditions(self) -> int:
        found = integer(self._transport.query("STAT:MEAS:COND?"), f"{self._name}: STAT:MEAS:COND?")
        if not 0 <= found < 1 << 16:
            raise DeviceError(f"{self._name}: STAT:MEAS:COND? is {found}, which is no register")
        return found


def words(conditions: int, among: int = 0xFFFF) -> str:
    """The conditions of ``among`` that are set, in words."""
    found = [text for bit, text in CONDITIONS.items() if conditions & among & bit]
    return "; ".join(found) or "the box gives no reason"


class TemperatureOptions(Options):
    """``low`` and ``high`` (degC) of the setpoint; None: the box's own limits. ``safe``: what the safe state does.
    ``window`` (K), ``upper_word``: see the page."""

    low: float | None = None
    high: float | None = None
    safe: Literal["hold", "off"] = "hold"
    window: float | None = Field(default=None, gt=0)
    upper_word: Literal["HIGH", "UPP"] = "HIGH"


class ThorlabsTemperature(TemperatureController):
    """The Peltier side of a TED4015 or ITC4000."""

    def __init__(self, name: str, transport: Transport, options: TemperatureOptions) -> None:
        low = 0.0 if options.low is None else options.low
        super().__init__(name, low, low if options.high is None else options.high)
        self._options = options
        self._box = _Box(name, transport, ("TED4", "ITC4"))
        self._side = 2

    def identity(self) -> Identity:
        """Vendor, model, serial number, firmware."""
        return self._box.identity()

    def setpoint(self) -> float:
        """The temperature wanted, degC."""
        return self._box.number(f"SOUR{self._side}:TEMP?")

    def temperature(self) -> float:
        """Measured temperature, degC. DeviceError where the sensor fails."""
        found = self._box.number("MEAS:TEMP?")
        if not -100.0 < found < 200.0:
            raise DeviceError(
                f"{self.name}: {found:g} degC is no temperature of a mount; is the sensor off, or does the box speak kelvin?"
            )
        return found

    def stable(self) -> bool:
        """Whether the temperature stands within its window. DeviceError where none is held."""
        conditions = self._box.conditions()
        if conditions & BROKEN:
            raise DeviceError(f"{self.name} holds no temperature: {words(conditions, BROKEN)}")
        if not self.output():
            raise DeviceError(f"{self.name}: its output is off; set_setpoint switches it on")
        if self._options.window is None:
            return not conditions & (WINDOW | TEC_COMPLIANCE)
        return abs(self.temperature() - self.setpoint()) <= self._options.window

    def output(self) -> bool:
        """Whether the box regulates."""
        return self._box.flag(f"OUTP{self._side}?")

    def _open(self) -> None:
        """Who is there, degC, and the box's limits; the output stays as it is."""
        self._side = 1 if self.identity().model.startswith("TED") else 2
        self._box.set("*CLS")
        self._box.set("UNIT:TEMP C")
        unit = self._box.text("UNIT:TEMP?").upper()
        if not unit.startswith("C"):
            raise DeviceError(f"{self.name}: UNIT:TEMP? says {unit!r} after C was set")
        limit = f"SOUR{self._side}:TEMP:LIM"
        least = self._box.number(f"{limit}:LOW?")
        most = self._box.number(f"{limit}:{self._options.upper_word}?")
        low = least if self._options.low is None else self._options.low
        high = most if self._options.high is None else self._options.high
        if not least <= low < high <= most:
            raise DeviceError(
                f"{self.name}: setpoints of {low:g} .. {high:g} degC are asked for, the box allows {least:g} .. {most:g} degC"
            )
        self.low, self.high = low, high

    def _close(self) -> None:
        return None

    def _set_setpoint(self, temperature: float) -> None:
        """Write the setpoint, read it back, and regulate."""
        self._box.set(f"SOUR{self._side}:TEMP {temperature:.4f}C")
        held = self.setpoint()
        if not abs(held - temperature) <= 2e-3:
            raise DeviceError(
                f"{self.name}: {temperature:g} degC was set, the box holds {held:g} degC; it did not take it"
            )
        self._switch(True)

    def _safe_state(self) -> None:
        if self._options.safe == "off":
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self._box.set(f"OUTP{self._side} {int(on)}")
        if self.output() != on:
            raise DeviceError(
                f"{self.name}: the output did not go {'on' if on else 'off'}: {words(self._box.conditions())}"
            )


class LaserOptions(Options):
    """``slope`` (W/A) and ``threshold`` (A) of the diode, ``wavelength`` (m) of its light. ``amplifier``: power at the chip over the
    diode's. ``high`` (W): the largest power at the chip; None: what the box's current limit allows."""

    slope: float = Field(gt=0)
    threshold: float = Field(default=0.0, ge=0)
    wavelength: float = Field(gt=1e-7, lt=1e-4)
    amplifier: float = Field(default=1.0, gt=0)
    high: float | None = Field(default=None, gt=0)


class ThorlabsDiode(Laser):
    """The diode side of an ITC4000 or LDC4000; powers in W at the chip, reckoned from the current."""

    def __init__(self, name: str, transport: Transport, options: LaserOptions) -> None:
        super().__init__(name, options.high or 0.0, (options.wavelength, options.wavelength))
        self._options = options
        self._box = _Box(name, transport, ("ITC4", "LDC4"))

    def identity(self) -> Identity:
        """Vendor, model, serial number, firmware."""
        return self._box.identity()

    def power(self) -> float:
        """The power that the set current gives, W at the chip."""
        return self._watts(self._box.number("SOUR:CURR?"))

    def emission(self) -> bool:
        """Whether the output is on and no lock or protection takes the light."""
        return self._box.flag("OUTP?") and not self._box.conditions() & DARK

    def wavelength(self) -> float:
        """The diode's, m, as the bench file has it."""
        return self._options.wavelength

    def _open(self) -> None:
        """Who is there, and the current that the box allows; the output stays as it is."""
        self.identity()
        self._box.set("*CLS")
        limit = self._box.number("SOUR:CURR:LIM?")
        most = self._watts(limit)
        high = most if self._options.high is None else self._options.high
        if high > most * (1 + 1e-6) or most <= 0:
            raise DeviceError(
                f"{self.name}: high = {high:g} W is asked for; the box's limit of {limit:g} A (SOUR:CURR:LIM) gives {most:g} W"
            )
        self.max_power = high

    def _close(self) -> None:
        return None

    def _set_power(self, power: float) -> None:
        current = 0.0
        if power > 0:
            watts = power / self._options.amplifier
            current = self._options.threshold + watts / self._options.slope
        self._box.set(f"SOUR:CURR {current:.7f}")
        held = self._box.number("SOUR:CURR?")
        if not abs(held - current) <= 1e-3 * current + 1e-5:
            raise DeviceError(
                f"{self.name}: {current:g} A was set, the box holds {held:g} A; it did not take it"
            )

    def _set_emission(self, on: float) -> None:
        self._box.set(f"OUTP {int(on)}")
        lit, conditions = self._box.flag("OUTP?"), self._box.conditions()
        if on and (not lit or conditions & DARK):
            text = f"{self.name} was switched on and no light comes: {words(conditions)}"
            if conditions & LOCKS:
                raise LimitError(text)
            raise DeviceError(text)
        if lit and not on:
            raise DeviceError(f"{self.name}: OUTP 0 left the light on; turn the box's key")

    def _set_wavelength(self, wavelength: float) -> None:
        return None  # its limits admit only the one it has

    def _safe_state(self) -> None:
        self._set_emission(0.0)

    def _watts(self, current: float) -> float:
        above = max(current - self._options.threshold, 0.0)
        watts = above * self._options.slope * self._options.amplifier
        if not math.isfinite(watts):
            raise DeviceError(f"{self.name}: a current of {current:g} A is none")
        return watts


thorlabs_itc4000 = on_a_wire(
    TemperatureOptions, ThorlabsTemperature, answers_to=r"(?i)^THORLABS,\s*(TED|ITC)4"
)
thorlabs_itc4000_laser = on_a_wire(
    LaserOptions, ThorlabsDiode, answers_to=r"(?i)^THORLABS,\s*(LDC|ITC)4"
)
