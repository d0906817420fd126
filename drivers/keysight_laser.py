"""Keysight 81600, 81940 and their like in an 8164 mainframe, and N7776C, N7778C, N7779C: tunable lasers.

Sources: 8163A/B, 8164A/B programming guide (SOURce and LOCK subsystems); N777xC programming guide. The laser of an 8164 and of an
N777x is slot 0. Wavelengths are set in nm and answered in m.
"""

from __future__ import annotations

import math

from pydantic import Field

from hilonn.clock import Clock, WallClock
from hilonn.devices import Identity, Laser
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, integer, number
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout, LimitError
from hilonn.transports import Dialect, Transport

DIALECT = Dialect(write="\n", read="\n")
PAGE = DriverPage(
    instruments="Keysight (Agilent) 81600, 81940, 81980 tunable lasers in an 8164; N7776C, N7778C, N7779C",
    wiring="LAN, USB or GPIB through VISA; N777x also a raw socket on port 5025. Lines end in LF.",
    connection='transport = "visa"\nresource = "TCPIP::192.168.1.10::INSTR"',
    device=(
        'driver = "keysight_laser"\nconnection = "laser"\npin = "1234"\nmax_power = 0.01\n'
        "wavelengths = [1.5e-6, 1.6e-6]"
    ),
    quirks=(
        (
            "The laser may be locked by a PIN, after power-on too; without `pin` it is not unlocked.",
            "8164 guide",
        ),
        ("`SOUR0:WAV?` answers in m although nm are set.", "pymeasure keysightN7776C"),
        ("Programs wait blindly for 1 s after switching on; here `*OPC?` is asked.", "LabExT"),
    ),
    unverified=(
        "`*OPC?` waits, or answers 0, until light and wavelength have settled; `settling` bounds the wait.",
        "`LOCK?` answers 1 while the laser is locked.",
        "A raw socket on port 5025 (N777x).",
        "The largest power at the present wavelength is `SOUR0:POW? MAX`; at another one it may be less.",
    ),
)
POLLS = (0.02, 0.2)
"""s between looks at what has not settled: the first two, and at most."""
SAME_WAVELENGTH = 5e-12
"""m: what was set and what is answered differ by less."""
SAME_POWER = 0.01


class KeysightLaserOptions(Options):
    """``max_power`` (W) and ``wavelengths`` (m) that may be asked for. ``slot`` of the laser. ``pin`` unlocks it. ``settling``
    (s): longest that light and wavelength may take to settle. ``amplifier``: an optical one behind the laser; powers
    are those behind it. ``harmless`` numbers of the error queue are passed over."""

    max_power: float = Field(default=1e-2, gt=0, allow_inf_nan=False)
    wavelengths: tuple[float, float] = (1.5e-6, 1.6e-6)
    slot: int = Field(default=0, ge=0, le=17)
    pin: str | None = Field(default=None, pattern=r"^[0-9]{4}$")
    settling: float = Field(default=10.0, gt=0, le=600)
    amplifier: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    harmless: tuple[int, ...] = ()


class KeysightLaser(Laser):
    """One laser of a box."""

    def __init__(self, name: str, transport: Transport, options: KeysightLaserOptions) -> None:
        if not 0 < options.wavelengths[0] <= options.wavelengths[1]:
            raise ConfigError(
                f"devices.{name}: wavelengths are shortest and longest, got {options.wavelengths}"
            )
        super().__init__(name, options.max_power, options.wavelengths)
        self.terminals = (f"slot {options.slot}",)
        self._transport = transport
        self._options = options
        self._clock: Clock = WallClock()
        self._source = f"SOUR{options.slot}"
        self._least = 0.0
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        return scpi.identity(self._transport)

    def _open(self) -> None:
        """Unlock, set the unit, read the limits; light stays as it is."""
        self.identity()
        self._transport.write("*CLS")
        if self._options.pin is not None:
            self._set(f"LOCK 0,{self._options.pin}", "; is `pin` right?")
        self._set(f"{self._source}:POW:UNIT 1")
        asked = self._options
        self._least = asked.amplifier * self._number(f"{self._source}:POW? MIN")
        most = asked.amplifier * self._number(f"{self._source}:POW? MAX")
        if asked.max_power > most * (1 + 1e-6):
            raise DeviceError(
                f"{self.name}: max_power = {asked.max_power:g} W is asked for, the laser gives {most:g} W"
            )
        low = self._number(f"{self._source}:WAV? MIN")
        high = self._number(f"{self._source}:WAV? MAX")
        if (
            asked.wavelengths[0] < low - SAME_WAVELENGTH
            or high + SAME_WAVELENGTH < asked.wavelengths[1]
        ):
            raise DeviceError(
                f"{self.name}: wavelengths {asked.wavelengths[0]:g} to {asked.wavelengths[1]:g} m are asked for, the "
                f"laser goes from {low:g} to {high:g} m"
            )

    def _close(self) -> None:
        return None

    def power(self) -> float:
        query = f"{self._source}:POW:UNIT?"
        if not flag(self._transport.query(query), f"{self.name}: {query}"):
            raise DeviceError(
                f"{self.name}: W was set, and the laser answers in dBm; was it switched off and on? Open it again"
            )
        return self._options.amplifier * self._number(f"{self._source}:POW?")

    def emission(self) -> bool:
        query = f"{self._source}:POW:STAT?"
        return flag(self._transport.query(query), f"{self.name}: {query}")

    def wavelength(self) -> float:
        return self._number(f"{self._source}:WAV?")

    def _set_power(self, power: float) -> None:
        if power < self._least:
            raise LimitError(
                f"{self.name}.set_power: {power:g} W is below the laser's {self._least:g} W; for less, switch it off. "
                "Nothing was written"
            )
        self._set(f"{self._source}:POW {1e3 * power / self._options.amplifier:.6f}MW")
        got = self.power()
        if not math.isclose(got, power, rel_tol=SAME_POWER):
            raise DeviceError(f"{self.name}: {power:g} W was set, the laser says {got:g} W")

    def _set_emission(self, on: float) -> None:
        wanted = bool(on)
        hint = "" if not wanted else "; is it locked (`pin`), or its interlock open?"
        self._set(f"{self._source}:POW:STAT {int(wanted)}", hint)
        if wanted:
            self._wait_until_settled()
        if self.emission() != wanted:
            what = "on and stays dark" if wanted else "off and still shines"
            raise DeviceError(f"{self.name}: was switched {what}{hint}")

    def _set_wavelength(self, wavelength: float) -> None:
        self._set(f"{self._source}:WAV {1e9 * wavelength:.5f}NM")
        self._wait_until_settled()
        got = self.wavelength()
        if abs(got - wavelength) > SAME_WAVELENGTH:
            raise DeviceError(
                f"{self.name}: {1e9 * wavelength:.4f} nm was set, the laser says {1e9 * got:.4f} nm"
            )

    def _safe_state(self) -> None:
        self._set_emission(0.0)

    # -- parts --------------------------------------------------------------------------------------

    def _wait_until_settled(self) -> None:
        """``*OPC?`` answers 1, at once or when it is so; 0 is asked again, less and less often."""
        deadline = self._clock.now() + self._options.settling
        pause = POLLS[0]
        while True:
            left = max(deadline - self._clock.now(), 0.0)
            answer = self._transport.query("*OPC?", self._transport.timeout + left)
            if integer(answer, f"{self.name}: *OPC?") == 1:
                return
            if self._clock.now() + pause > deadline:
                raise DeviceTimeout(
                    f"{self.name}: had not settled within {self._options.settling:g} s; raise `settling` if that is usual"
                )
            self._clock.sleep(pause)
            pause = min(2 * pause, POLLS[1])

    def _set(self, command: str, hint: str = "") -> None:
        with self._transport.atomic():
            self._transport.write(command)
            scpi.raise_errors(
                self._transport,
                _without_pin(command) + hint,
                harmless=frozenset(self._options.harmless),
            )

    def _number(self, query: str) -> float:
        return number(self._transport.query(query), f"{self.name}: {query}")


def _without_pin(command: str) -> str:
    """What may stand in an error's text."""
    return "LOCK 0,(pin)" if command.startswith("LOCK") else command


keysight_laser = on_a_wire(
    KeysightLaserOptions,
    KeysightLaser,
    answers_to=r"(?i)^(Agilent|Keysight|Hewlett|HP).*,\s*(8164|N777\d)",
)
