"""A Keysight tunable laser: N7776C and its like, or an 81600 in an 8164, as the rack's light source.

Sources: 8163A/B, 8164A/B programming guide (SOURce and LOCK subsystems); N777xC programming guide. The laser is slot 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    SETTINGS_CONFLICT,
    Answer,
    Handler,
    ScpiError,
    ScpiInstrument,
    arguments_of,
    asked,
    check_count,
    number,
    scientific,
    switch,
)

WAVELENGTHS = (1.49e-6, 1.64e-6)
POWERS = (1e-4, 2e-2)
"""W."""
EMPTY_SLOT = (-303, "Module slot empty or slot / channel invalid")


class KeysightLaserBox(ScpiInstrument):
    """Light settles for ``settling`` s after it is switched on, and ``tuning`` s after a change of wavelength: ``*OPC?``
    waits for both. ``locked`` until ``LOCK 0,pin``. An amplifier behind it multiplies its power by ``booster``."""

    busy = 2e-3

    def __init__(
        self,
        name: str,
        rack: Rack,
        *,
        model: str = "N7776C",
        pin: str = "1234",
        locked: bool = False,
        settling: float = 1.0,
        tuning: float = 0.3,
        booster: float = 1.0,
    ) -> None:
        super().__init__(name, rack)
        self.identity = f"Keysight Technologies,{model},MY59700220,V2.022"
        self._pin, self._starts_locked = pin, locked
        self._settling, self._tuning, self._booster = settling, tuning, booster
        self._register()
        self.reboot()

    def reset(self) -> None:
        self.on = False
        self.locked = self._starts_locked
        self.wavelength = 1.55e-6
        self.power = 1e-3
        self.unit = 0
        self._ready_at = 0.0
        self.rack.set_laser(emission=False, power=self._booster * self.power)

    def state(self) -> dict[str, str]:
        return {
            "light": "on" if self._shines() else "locked" if self.locked else "off",
            "power": f"{1e3 * self.power:.3f} mW",
            "wavelength": f"{1e9 * self.wavelength:.4f} nm",
        }

    def pending(self) -> float:
        return max(self._ready_at - self.rack.now(), 0.0)

    # -- commands ---------------------------------------------------------------------------------

    def _register(self) -> None:
        source, power = "SOURce#[:CHANnel#]:", "SOURce#[:CHANnel#]:POWer"
        self.command("LOCK", self._lock)
        self.command("LOCK?", lambda: f"{self.locked:+d}")
        self._on_laser(power + "[:LEVel][:IMMediate][:AMPLitude]", self._set_power)
        self._on_laser(power + "[:LEVel][:IMMediate][:AMPLitude]?", self._power_of)
        self._on_laser(power + ":UNIT", self._set_unit)
        self._on_laser(power + ":UNIT?", lambda: f"{self.unit:+d}")
        self._on_laser(power + ":STATe", self._set_state)
        self._on_laser(power + ":STATe?", lambda: f"{self._shines():+d}")
        wavelength = source + "WAVelength[:CW][:FIXed]"
        self._on_laser(wavelength, self._set_wavelength)
        self._on_laser(
            wavelength + "?",
            lambda text=None: scientific(asked(self.wavelength, text, *WAVELENGTHS, 1.55e-6)),
        )
        self._on_laser(source + "WAVelength:SWEep[:STATe]?", lambda: "+0")
        self._on_laser(source + "WAVelength:SWEep:CHECkparams?", lambda: "0,OK")

    def _on_laser(self, pattern: str, handler: Handler) -> None:
        few, many = arguments_of(handler)
        run: Callable[..., Answer] = handler

        def checked(slot: int, channel: int, *texts: str) -> Answer:
            if slot != 0 or channel != 1:
                raise ScpiError(*EMPTY_SLOT)
            check_count(len(texts), few, many)
            return run(*texts)

        self.command(pattern, checked)

    def _lock(self, wanted: str, pin: str) -> None:
        if pin.strip() != self._pin:
            raise ScpiError(*ILLEGAL_VALUE)
        self.locked = switch(wanted)
        if self.locked:
            self._set_light(False)

    def _set_power(self, text: str) -> None:
        word = text.strip().upper()
        decibels = word.endswith("DBM") or (self.unit == 0 and not word.endswith("W"))
        if decibels and word[:3] not in ("MIN", "MAX", "DEF"):
            watts = 1e-3 * 10 ** (number(text, -200.0, 200.0, unit="DBM") / 10)
            self.power = number(repr(watts), *POWERS)
        else:
            self.power = number(text, *POWERS, unit="W", default=1e-3)
        self.rack.set_laser(power=self._booster * self.power)

    def _power_of(self, text: str | None = None) -> str:
        watts = asked(self.power, text, *POWERS, 1e-3)
        return scientific(watts if self.unit == 1 else decibels_of(watts))

    def _set_unit(self, text: str) -> None:
        word = text.strip().upper()
        if word not in ("0", "1", "DBM", "W", "WATT"):
            raise ScpiError(*ILLEGAL_VALUE)
        self.unit = 0 if word in ("0", "DBM") else 1

    def _set_state(self, text: str) -> None:
        on = switch(text)
        if on and self.locked:
            raise ScpiError(*SETTINGS_CONFLICT)
        self._set_light(on)

    def _set_light(self, on: bool) -> None:
        if on and not self.on:
            self._ready_at = self.rack.now() + self._settling
        self.on = on
        self.rack.set_laser(emission=on)

    def _set_wavelength(self, text: str) -> None:
        self.wavelength = number(text, *WAVELENGTHS, unit="M", default=1.55e-6)
        self._ready_at = max(self._ready_at, self.rack.now() + self._tuning)

    def _shines(self) -> bool:
        """An interlock may have taken the light."""
        return self.on and (self.rack.plant is None or self.rack.emission())


def decibels_of(watts: float) -> float:
    """dBm."""
    return 10 * math.log10(watts / 1e-3)
