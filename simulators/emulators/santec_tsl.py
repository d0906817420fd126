"""A Santec TSL tunable laser, with the chip's light behind it.

Sources: TSL-570 manual, chapter 7; QMI tsl_570.py (alerts, taken one by one). Two command sets: the SCPI set answers in m with
exponents, the legacy set in nm with decimals, and asks for ranges by other words. TSL-550 and TSL-710 know the legacy set only.
"""

from __future__ import annotations

import math

from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    PARAMETER_NOT_ALLOWED,
    UNDEFINED_HEADER,
    ScpiError,
    ScpiInstrument,
    number,
    scientific,
    switch,
)

WAVELENGTHS = (1.48e-6, 1.64e-6)  # m
GRID = 1e-13  # m
POWERS = (4e-5, 20e-3)  # W
START_POWER, START_WAVELENGTH = 10e-3, 1.55e-6
DARK_DBM = -80.0
A_COMMAND, TUNING = 2e-3, 0.3  # s, means
LEGACY_ONLY = ("TSL-550", "TSL-710")
ALERTS = {"No07": "Inter lock detection", "No23": "Ongoing Warm up"}


class SantecTslBox(ScpiInstrument):
    """``booster``: an optical amplifier between the laser and the chip. ``warm_up``: s after power-on in which it alerts and gives
    no light. ``open_interlock`` takes the light."""

    terminators = (b"\r",)
    reply_terminator = b"\r"
    no_error = '0,"No error"'
    busy = A_COMMAND

    def __init__(
        self,
        name: str,
        rack: Rack,
        booster: float = 1.0,
        model: str = "TSL-570",
        warm_up: float = 0.0,
    ) -> None:
        super().__init__(name, rack)
        self.identity = f"SANTEC,{model},21020001,0026.0026.0011"
        self._booster = booster
        self._warm_up = warm_up
        self._legacy_only = model in LEGACY_ONLY
        self._interlock_open = False
        self._alerts: list[str] = []
        self._on = False
        self._closed = 0
        self._register()
        self.reboot()

    def _register(self) -> None:
        if not self._legacy_only:
            self.command("SYSTem:COMMunicate:CODe", self._choose_set)
            self.command("SYSTem:COMMunicate:CODe?", lambda: str(int(not self._legacy)))
        self.command("SYSTem:ALERt?", self._next_alert)
        self.command("POWer:STATe", self._switch)
        self.command("POWer:STATe?", lambda: str(int(self.lit())))
        self.command("POWer:UNIT", self._choose_unit)
        self.command("POWer:UNIT?", lambda: str(int(self._milliwatts)))
        self.command("POWer[:LEVel]", self._set_power)
        self.command("POWer[:LEVel]?", self._power)
        self.command("POWer:MINimum?", lambda: self._legacy_limit(self._shown(POWERS[0])))
        self.command("POWer:MAXimum?", lambda: self._legacy_limit(self._shown(POWERS[1])))
        self.command("POWer:ACTual[:LEVel]?", lambda: self._text(self._seen(), 2))
        self.command("POWer:SHUTter", self._set_shutter)
        self.command("POWer:SHUTter?", lambda: str(self._closed))
        self.command("WAVelength", self._set_wavelength, TUNING)
        self.command("WAVelength?", self._wavelength)
        self.command(
            "WAVelength:MINimum?", lambda: self._legacy_limit(self._length(WAVELENGTHS[0]))
        )
        self.command(
            "WAVelength:MAXimum?", lambda: self._legacy_limit(self._length(WAVELENGTHS[1]))
        )
        self.command("COHCtrl", self._set_coherence)
        self.command("COHCtrl?", lambda: str(int(self._coherence)))

    def reboot(self) -> None:
        super().reboot()
        self._legacy = True
        self._milliwatts = False
        self.power, self.wavelength = START_POWER, START_WAVELENGTH
        self._coherence = False
        self._alerts.clear()
        self._on, self._closed = False, 0
        self._warm_at = self.rack.now() + self._warm_up
        self._shine()

    def state(self) -> dict[str, str]:
        return {
            "light": "on" if self.lit() else "off",
            "power": f"{1e3 * self.power:.2f} mW",
            "wavelength": f"{1e9 * self.wavelength:.4f} nm",
            "interlock": "open" if self._interlock_open else "closed",
        }

    # -- what a person does at the box ----------------------------------------------------------------

    def open_interlock(self) -> None:
        """Somebody opens the lab's door: the light goes, and does not come back by itself."""
        with self.rack.lock:
            self._interlock_open = True
            self._trip()

    def close_interlock(self) -> None:
        """The door is closed again."""
        with self.rack.lock:
            self._interlock_open = False

    # -- light ----------------------------------------------------------------------------------------

    def lit(self) -> bool:
        """Whether the diode is on; a trip of the plant's laser is this box's interlock."""
        if (
            self._on
            and self.rack.plant is not None
            and not self._closed
            and not self.rack.emission()
        ):
            self._trip()
        return self._on

    def _trip(self) -> None:
        self._on = False
        self._alert("No07")
        self._shine()

    def _shine(self) -> None:
        out = self._on and not self._closed
        self.rack.set_laser(emission=out, power=self.power * self._booster)

    def _alert(self, mark: str) -> None:
        if mark not in self._alerts:
            self._alerts.append(mark)

    def _next_alert(self) -> str:
        self.lit()
        if not self._alerts:
            return "No alerts."
        mark = self._alerts.pop(0)
        return f"{mark}.,{ALERTS[mark]}"

    def _switch(self, text: str) -> None:
        wanted = switch(text)
        if wanted and self._interlock_open:
            self._trip()
            return
        if wanted and self.rack.now() < self._warm_at:
            self._alert("No23")
            return
        self._on = wanted
        self._shine()

    # -- power ----------------------------------------------------------------------------------------

    def _choose_unit(self, text: str) -> None:
        if text.strip().upper() not in ("0", "1", "DBM", "MW"):
            raise ScpiError(*ILLEGAL_VALUE)
        self._milliwatts = text.strip().upper() in ("1", "MW")

    def _set_power(self, text: str) -> None:
        low, high = self._shown(POWERS[0]), self._shown(POWERS[1])
        shown = round(number(text, low - 1e-9, high + 1e-9), 2)
        self.power = 1e-3 * (shown if self._milliwatts else 10 ** (shown / 10))
        self._shine()

    def _power(self, which: str = "") -> str:
        chosen = {"": self.power, "MIN": POWERS[0], "MAX": POWERS[1]}
        return self._text(self._shown(self._asked(chosen, which)), 2)

    def _seen(self) -> float:
        """The monitor, before the shutter, in the unit."""
        if self.lit():
            return self._shown(self.power)
        return 0.0 if self._milliwatts else DARK_DBM

    def _shown(self, watts: float) -> float:
        return 1e3 * watts if self._milliwatts else 10 * math.log10(1e3 * watts)

    def _set_shutter(self, text: str) -> None:
        """0 opens, 1 closes, as photonmover has it."""
        self._closed = int(switch(text))
        self._shine()

    # -- wavelength -----------------------------------------------------------------------------------

    def _choose_set(self, text: str) -> None:
        self._legacy = not switch(text)

    def _set_wavelength(self, text: str) -> None:
        low, high = (self._length(w) for w in WAVELENGTHS)
        value = number(text, low, high) * (1e-9 if self._legacy else 1.0)
        self.wavelength = round(value / GRID) * GRID

    def _wavelength(self, which: str = "") -> str:
        chosen = {"": self.wavelength, "MIN": WAVELENGTHS[0], "MAX": WAVELENGTHS[1]}
        return self._text(self._length(self._asked(chosen, which)), 4)

    def _length(self, metres: float) -> float:
        return 1e9 * metres if self._legacy else metres

    def _set_coherence(self, text: str) -> None:
        self._coherence = switch(text)

    # -- texts ----------------------------------------------------------------------------------------

    def _asked(self, chosen: dict[str, float], which: str) -> float:
        if which and self._legacy:
            raise ScpiError(*PARAMETER_NOT_ALLOWED)
        if which.strip().upper()[:3] not in chosen:
            raise ScpiError(*ILLEGAL_VALUE)
        return chosen[which.strip().upper()[:3]]

    def _legacy_limit(self, value: float) -> str:
        if not self._legacy:
            raise ScpiError(*UNDEFINED_HEADER)
        return self._text(value, 4)

    def _text(self, value: float, decimals: int) -> str:
        return f"{value:+.{decimals}f}" if self._legacy else scientific(value)
