"""A Thorlabs optical power meter (PM100D, PM400, PM100USB, PM16) with a photodiode sensor, on one of the rack's detectors.

Sources: PM100D manual p47-51, PM400 manual p44-46, PM100USB manual p19-22. Wavelengths are in nm here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    SETTINGS_CONFLICT,
    ScpiError,
    ScpiInstrument,
    Timed,
    asked,
    number,
    scientific,
    switch,
)

SAMPLE, BUSY = 3e-3, 2e-3
"""s: one sample, and what a measurement takes besides."""
WAVELENGTHS = (800.0, 1700.0)
"""nm."""
RANGES = tuple(1.2 * 10.0**k for k in range(-8, -1))
"""W: upper ends, from 12 nW to 12 mW. The meter takes the smallest that holds what is asked for."""
MOST_AVERAGES = 3000
OVER_RANGE = 9.9e37
POWER, WAVELENGTH_SETTABLE, TEMPERATURE = 1, 32, 256
READY = 512
"""Bit of the operation register: a measurement is ready."""
TRIGGER_IGNORED = (-211, "Trigger ignored")
STALE = (-230, "Data corrupt or stale")


@dataclass
class _Register:
    """A SCPI status register: events are changes of the condition that the filters let through."""

    condition: int = 0
    event: int = 0
    enable: int = 0
    rising: int = 0x7FFF
    falling: int = 0

    def put(self, condition: int) -> None:
        changed = condition ^ self.condition
        self.event |= changed & condition & self.rising
        self.event |= changed & ~condition & self.falling
        self.condition = condition

    def take(self) -> str:
        event, self.event = self.event, 0
        return str(event)


class ThorlabsPm100Box(ScpiInstrument):
    """``column``: the plant's detector at its sensor; None: no sensor is plugged in."""

    busy = BUSY / 10

    def __init__(self, name: str, rack: Rack, column: int | None, model: str = "PM100D") -> None:
        super().__init__(name, rack)
        self.identity = f"Thorlabs,{model},P00{12345 + (column or 0)},2.4.0"
        self.column = column
        self._register()
        self.reboot()

    def reset(self) -> None:
        self.wavelength = 1550.0
        self.range = RANGES[-1]
        self.auto = True
        self.unit = "W"
        self.averages = 1
        self.zero = 0.0
        self.low_pass = True
        self.measures = "POW"
        self._reading: float | None = None
        self._registers = {
            word: _Register() for word in ("OPERation", "QUEStionable", "MEASurement", "AUXillary")
        }

    def state(self) -> dict[str, str]:
        return {
            "sensor": "none" if self.column is None else "photodiode",
            "range": "auto" if self.auto else f"{self.range:.1e} W",
            "averages": str(self.averages),
        }

    def _register(self) -> None:
        self.command("SYSTem:SENSor:IDN?", self._sensor)
        self.command("SYSTem:VERSion?", lambda: "1999.0")
        correction = "[SENSe:]CORRection:"
        self.command(correction + "WAVelength", self._set_wavelength)
        self.command(
            correction + "WAVelength?",
            lambda text=None: plain(asked(self.wavelength, text, *WAVELENGTHS)),
        )
        self.command(correction + "COLLect:ZERO[:INITiate]", self._collect_zero)
        self.command(correction + "COLLect:ZERO:STATe?", lambda: "0")
        self.command(correction + "COLLect:ZERO:MAGNitude?", lambda: plain(self.zero))
        self.command(correction + "COLLect:ZERO:ABORt", lambda: None)
        power = "[SENSe:]POWer[:DC]:"
        self.command(power + "UNIT", self._set_unit)
        self.command(power + "UNIT?", lambda: self.unit)
        self.command(power + "RANGe[:UPPer]", self._set_range)
        self.command(
            power + "RANGe[:UPPer]?",
            lambda text=None: plain(asked(self.range, text, RANGES[0], RANGES[-1])),
        )
        self.command(power + "RANGe:AUTO", lambda text: setattr(self, "auto", switch(text)))
        self.command(power + "RANGe:AUTO?", lambda: str(int(self.auto)))
        self.command("[SENSe:]AVERage[:COUNt]", self._set_averages)
        self.command(
            "[SENSe:]AVERage[:COUNt]?",
            lambda text=None: f"{asked(self.averages, text, 1, MOST_AVERAGES):g}",
        )
        low_pass = "INPut[:PDIode]:FILTer[:LPASs][:STATe]"
        self.command(low_pass, lambda text: setattr(self, "low_pass", switch(text)))
        self.command(low_pass + "?", lambda: str(int(self.low_pass)))
        self.command("CONFigure[:SCALar][:POWer]", self._configure)
        self.command("CONFigure?", lambda: self.measures)
        self.command("INITiate[:IMMediate]", lambda: Timed(None, BUSY, self._measure()))
        self.command("ABORt", lambda: None)
        self.command("FETCh?", self._shown)
        self.command("READ?", self._read)
        self.command("MEASure[:SCALar][:POWer]?", self._configure_and_read)
        self.command("MEASure[:SCALar]:TEMPerature?", lambda: plain(25.0))
        for word in ("OPERation", "QUEStionable", "MEASurement", "AUXillary"):
            self._register_status(word)
        self.command("STATus:PRESet", self._preset)

    def _register_status(self, word: str) -> None:
        path = f"STATus:{word}"
        self.command(path + "[:EVENt]?", lambda: self._registers[word].take())
        self.command(path + ":CONDition?", lambda: str(self._registers[word].condition))
        for name, what in (
            ("ENABle", "enable"),
            ("PTRansition", "rising"),
            ("NTRansition", "falling"),
        ):
            self.command(f"{path}:{name}", partial(self._set_register, word, what))
            self.command(f"{path}:{name}?", partial(self._register_value, word, what))

    # -- settings ---------------------------------------------------------------------------------

    def _sensor(self) -> str:
        if self.column is None:
            return "no sensor,,,0,0,0"
        flags = POWER | WAVELENGTH_SETTABLE | TEMPERATURE
        return f"S155C,{1204000 + self.column},12-Mar-2024,1,18,{flags}"

    def _set_wavelength(self, text: str) -> None:
        self.wavelength = number(text, *WAVELENGTHS)

    def _set_unit(self, text: str) -> None:
        word = text.strip().upper()
        if word not in ("W", "DBM"):
            raise ScpiError(*ILLEGAL_VALUE)
        self.unit = word

    def _set_range(self, text: str) -> None:
        wanted = number(text, 0.0, RANGES[-1], unit="W")
        self.range, self.auto = next(r for r in RANGES if r >= wanted), False

    def _set_averages(self, text: str) -> None:
        wanted = number(text, 1, MOST_AVERAGES, default=1)
        if wanted != int(wanted):
            raise ScpiError(*OUT_OF_RANGE)
        self.averages = int(wanted)

    def _configure(self) -> None:
        self.measures = "POW"

    def _set_register(self, word: str, what: str, text: str) -> None:
        setattr(self._registers[word], what, int(number(text, 0, 65535)))

    def _register_value(self, word: str, what: str) -> str:
        return str(getattr(self._registers[word], what))

    def _preset(self) -> None:
        for register in self._registers.values():
            register.enable, register.rising, register.falling = 0, 0x7FFF, 0

    # -- readings ---------------------------------------------------------------------------------

    def _measure(self) -> float:
        """Take a reading; the seconds that it takes."""
        if self.column is None:
            raise ScpiError(*SETTINGS_CONFLICT)
        self._registers["OPERation"].put(0)
        seconds = self.averages * SAMPLE
        full_scale = RANGES[-1] if self.auto else self.range
        signal, over = self.rack.sample([self.column], np.array([full_scale]), seconds)
        self._reading = OVER_RANGE if over[0] else float(signal[0]) - self.zero
        self._registers["OPERation"].put(READY)
        return 0.0 if self.rack.lockstep else seconds

    def _shown(self) -> str:
        if self._reading is None:
            raise ScpiError(*STALE)
        if self.unit == "W" or self._reading == OVER_RANGE:
            return plain(self._reading)
        watts = max(self._reading, 1e-15)
        return plain(10 * float(np.log10(watts / 1e-3)))

    def _read(self) -> Timed:
        wait = self._measure()
        return Timed(self._shown(), BUSY, wait)

    def _configure_and_read(self) -> Timed:
        self._configure()
        wait = self._measure()
        return Timed(self._shown(), 2 * BUSY, wait)

    def _collect_zero(self) -> Timed:
        self.zero = 0.0
        wait = self._measure()
        assert self._reading is not None
        if self._reading == OVER_RANGE:
            raise ScpiError(*TRIGGER_IGNORED)
        self.zero = self._reading
        return Timed(None, BUSY, wait)


def plain(value: float) -> str:
    """``1.23456789E-003``: no plus sign, a three-digit exponent."""
    return scientific(value).removeprefix("+")
