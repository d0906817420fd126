"""Thorlabs PM100D, PM100A, PM100USB, PM400, PM16, PM101: one sensor each, as a photodetector in W.

Sources: PM100D manual p47-51, PM400 manual p44-46, PM100USB manual p19-22. SCPI; lines end in LF. Not buffered: a sample is
one ``READ?`` after the modulators show it. Wavelengths are in nm on the wire.
"""

from __future__ import annotations

import math
import re

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, DetectorReadings, Identity, Photodetectors, Timing
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, integer, number
from hilonn.errors import DeviceError
from hilonn.transports import Dialect, Transport

DIALECT = Dialect(write="\n", read="\n", resync=("*IDN?", r"(?i)thorlabs,.*"))
PAGE = DriverPage(
    instruments="Thorlabs PM100D, PM100A, PM100USB, PM400, PM16, PM101 with a photodiode or thermal power sensor",
    wiring="USB through VISA (USBTMC); PM100D also RS-232. Lines end in LF.",
    connection='transport = "visa"\nresource = "USB0::0x1313::0x8078::P0012345::INSTR"',
    device='driver = "thorlabs_pm100"\nconnection = "pm"\nwavelength = 1.55e-6\nranges = [1e-6, 1e-5, 1e-4, 1e-3]',
    quirks=(
        ("Wavelengths are in nm.", "PM100D manual p50"),
        (
            "A second query before the first one's answer was read mixes their data; the transport never sends one.",
            "PM100D manual",
        ),
        (
            "The averaging count is read back: a widely used driver never sets it.",
            "qcodes_contrib_drivers PM100D",
        ),
        (
            "MEAS:POW? configures and reads, and is slower than READ?, which is used.",
            "PM100D manual p51",
        ),
        (
            "The meter takes the smallest range that holds what is asked for; it may read somewhat beyond `ranges`.",
            "PM100D manual p51",
        ),
    ),
    unverified=(
        "A reading above the range is 9.9E37, no reading is 9.91E37 (SCPI's infinity and NaN).",
        "A sample takes 3 ms, as many times as it is averaged: `sample_time`. It sets only how long an answer may take.",
        "`low_pass = false` opens the photodiode's filter for fast light (INP:PDI:FILT:LPAS:STAT 0).",
    ),
)
MODEL = re.compile(r"PM(10[0-9]|16|400|160|60)", re.I)
NO_NUMBER = 9.905e37
"""Above this, SCPI's 9.91E37: no number."""
OVER_RANGE = 1e30
"""Above this, SCPI's 9.9E37: more than the range."""
BEYOND = 100.0
"""Full scales: a reading further out, and no over-range, is no reading; the meter's own range may be larger than what
was asked for."""
POWER, WAVELENGTH_SETTABLE = 1, 32
"""Flags of a sensor."""


class ThorlabsPm100Options(Options):
    """``wavelength`` (m). ``ranges`` (W), smallest first. ``averaging``: samples of the meter a reading, times the
    averages that are asked for. ``sample_time`` (s) of one. ``low_pass``: of a photodiode; None: as it is."""

    wavelength: float = Field(default=1.55e-6, gt=1e-7, lt=3e-5)
    ranges: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    averaging: int = Field(default=1, ge=1)
    sample_time: float = Field(default=3e-3, gt=0, le=1.0)
    low_pass: bool | None = None


class ThorlabsPm100(Photodetectors):
    """One sensor: one channel, one sample at a time."""

    def __init__(self, name: str, transport: Transport, options: ThorlabsPm100Options) -> None:
        spec = ChannelSpec(unit="W", low=0.0, high=max(options.ranges, default=0.0))
        super().__init__(name, 1, spec, options.ranges, 1)
        self._transport = transport
        self._options = options
        self._count: int | None = None
        self._sure = False  # what the meter holds is what it was told
        self._settable = False
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        return scpi.identity(self._transport)

    def _open(self) -> None:
        """Know meter and sensor; W, the wavelength, a fixed range."""
        self._sure = False
        model = self.identity().model
        if MODEL.match(model) is None:
            raise DeviceError(f"{self.name}: {model} answers, no PM100, PM400, PM16 or their like")
        self._transport.write("*CLS")
        self._settable = bool(self._know_sensor() & WAVELENGTH_SETTABLE)
        largest = self._number("SENS:POW:RANG? MAX")
        if self.ranges[-1] > largest:
            raise DeviceError(
                f"{self.name}: a range of {self.ranges[-1]:g} W is asked for, this sensor reaches {largest:g} W"
            )
        self._configure()
        self._sure = True

    def _configure(self) -> None:
        """All settings but the averages, which are forgotten."""
        self._count = None
        self._set("CONF:POW")
        self._set("SENS:POW:UNIT W")
        if self._settable:
            self._set_wavelength(1e9 * self._options.wavelength)
        if self._options.low_pass is not None:
            self._set(f"INP:PDI:FILT:LPAS:STAT {int(self._options.low_pass)}")
        self._set_range(self.range)

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        sure, self._sure = self._sure, False
        wanted = self.ranges[index]
        self._set("SENS:POW:RANG:AUTO 0")
        self._set(f"SENS:POW:RANG {wanted:.6E}")
        got = self._number("SENS:POW:RANG?")
        automatic = flag(self._ask("SENS:POW:RANG:AUTO?"), f"{self.name}: SENS:POW:RANG:AUTO?")
        if automatic or got < wanted * (1 - 1e-3):
            what = "ranges by itself" if automatic else f"is at {got:g} W"
            raise DeviceError(f"{self.name}: range {wanted:g} W was set, the meter {what}")
        self._sure = sure

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        sure, self._sure = self._sure, False
        if not sure:
            self._configure()
        count = self._options.averaging * averages
        if count != self._count:
            self._set(f"SENS:AVER:COUN {count}")
            got = integer(self._ask("SENS:AVER:COUN?"), f"{self.name}: SENS:AVER:COUN?")
            if got != count:
                raise DeviceError(
                    f"{self.name}: {count} averages were set, the meter takes {got}; average less"
                )
        self._count = count
        self._sure = True

    def _fetch(self) -> DetectorReadings:
        assert self._count is not None
        self._sure = False
        patience = self._transport.timeout + 2 * self._options.sample_time * self._count
        value = number(self._ask("READ?", patience), f"{self.name}: READ?")
        full_scale = self.ranges[self.range]
        over = OVER_RANGE < value < NO_NUMBER
        if not over and not abs(value) <= BEYOND * full_scale:
            raise DeviceError(f"{self.name}: READ? gave {value:g} W at a range of {full_scale:g} W")
        self._sure = True
        return DetectorReadings(np.array([[full_scale if over else value]]), np.array([[over]]))

    def _safe_state(self) -> None:
        return None

    # -- parts --------------------------------------------------------------------------------------

    def _know_sensor(self) -> int:
        """The sensor's flags. DeviceError unless it measures power."""
        text = self._ask("SYST:SENS:IDN?")
        parts = [part.strip().strip('"') for part in text.split(",")]
        if parts[0].lower() == "no sensor":
            raise DeviceError(f"{self.name}: no sensor is plugged into the meter")
        if len(parts) != 6:
            raise DeviceError(
                f"{self.name}: SYST:SENS:IDN? was answered {text[:80]!r}, not name, serial number, calibration, type, "
                "subtype and flags"
            )
        flags = integer(parts[5], f"{self.name}: SYST:SENS:IDN? (flags)")
        if not flags & POWER:
            raise DeviceError(f"{self.name}: sensor {parts[0]} measures no power")
        return flags

    def _set_wavelength(self, nanometres: float) -> None:
        low = self._number("SENS:CORR:WAV? MIN")
        high = self._number("SENS:CORR:WAV? MAX")
        if not low <= nanometres <= high:
            raise DeviceError(
                f"{self.name}: a wavelength of {nanometres:g} nm is asked for, the sensor is calibrated from {low:g} to "
                f"{high:g} nm"
            )
        self._set(f"SENS:CORR:WAV {nanometres:.3f}")
        got = self._number("SENS:CORR:WAV?")
        if not math.isclose(got, nanometres, abs_tol=0.5):
            raise DeviceError(f"{self.name}: {nanometres:g} nm was set, the meter says {got:g} nm")

    def _set(self, command: str) -> None:
        scpi.set_checked(self._transport, command)

    def _ask(self, query: str, timeout: float | None = None) -> str:
        return self._transport.query(query, timeout).strip()

    def _number(self, query: str) -> float:
        return number(self._ask(query), f"{self.name}: {query}")


thorlabs_pm100 = on_a_wire(
    ThorlabsPm100Options, ThorlabsPm100, answers_to=r"(?i)^Thorlabs,\s*PM(10\d|16|400|160|60)"
)
