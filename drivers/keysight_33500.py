"""Keysight 33500 and 33600 waveform generators, one or two channels, as modulators.

Source: 33500/33600 Operating and Service Guide, "SCPI Programming Reference" (SOURce:DATA, :FUNCtion:ARBitrary,
BURSt, TRIGger, OUTPut); pymeasure's agilent33500.py. LAN (TCP port 5025), USB or GPIB; lines end in LF. A pattern is
a binary block of int16.
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, Modulators, Timing
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.settings import Settings
from hilonn.drivers.texts import number
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\n", read="\n")
PAGE = DriverPage(
    instruments="Keysight 33500 and 33600 (33511B, 33522B, 33622A ...)",
    wiring=(
        "LAN, TCP port 5025, or VISA. Set the output load at the box as it is wired, and say the same in the bench "
        'file. The box that starts the others has trigger = "internal" and trigger_out = true; its Ext Trig goes '
        "to theirs."
    ),
    connection='transport = "tcp"\nhost = "192.168.1.30"\nport = 5025',
    device='driver = "keysight_33500"\nconnection = "awg"\nchannels = 2\nload = "50"\namplifier = 1.0',
    quirks=(
        (
            "All voltages are said for the load that the box believes in (OUTP:LOAD): 50 set and nothing connected "
            "doubles them. The driver refuses to open where box and bench file differ.",
            "manual, OUTPut:LOAD",
        ),
        (
            "The amplitude belongs to what a waveform spans of the converter: every pattern is stretched to all of "
            "it, and amplitude and offset are set to what it spans in V.",
            "manual, SOURce:VOLTage",
        ),
        (
            "An arbitrary waveform has at least 8 points: samples of a shorter pattern are repeated.",
            "manual",
        ),
        (
            "After a burst the output stands at the first sample, not at the last.",
            "manual, BURSt:PHASe",
        ),
        ("A waveform of a name that exists is refused (786): memory is cleared before.", "manual"),
    ),
    unverified=(
        "The smallest amplitude is 1 mV peak to peak at 50 ohm; a channel whose samples are all equal swings by it.",
        "`OUTP:TRIG 1` pulses Ext Trig at *TRG.",
        "VOLT? MAX follows load and offset, so that half of it and the offset together are the largest voltage.",
    ),
)
LOADS = {"50": 50.0, "INF": 9.9e37}
"""What OUTP:LOAD? answers, ohm."""
LEAST = {"50": 1e-3, "INF": 2e-3}
"""V peak to peak at the load: the smallest amplitude."""
LARGEST = {"50": 5.0, "INF": 10.0}
"""V at the load."""
SPAN = 32767
"""Codes from the middle to either end."""
FEWEST = 8
MOST = 1_000_000
FASTEST = 250e6
"""Points a second that every model has."""


class Keysight33500Options(Options):
    """``channels``: 1 or 2. ``load``: "50" ohm or "INF", as set at the box. ``amplifier``: V at the modulator per
    V at the output; drives and ``high`` (V, None: all that the box gives) are at the modulator. ``trigger``:
    "internal" (*TRG) or "external" edge. ``trigger_out``: pulse Ext Trig at the start. ``filter`` of the output:
    OFF and STEP do not ring at a step as NORM does."""

    channels: Literal[1, 2] = 2
    load: Literal["50", "INF"] = "50"
    amplifier: float = Field(default=1.0, gt=0)
    high: float | None = Field(default=None, gt=0)
    trigger: Literal["internal", "external"] = "internal"
    trigger_out: bool = False
    filter: Literal["OFF", "STEP", "NORM"] = "STEP"


class Keysight33500(Modulators):
    """Outputs that play bursts of a pattern, in V at the modulators."""

    def __init__(self, name: str, transport: Transport, options: Keysight33500Options) -> None:
        most = options.amplifier * LARGEST[options.load]
        high = most if options.high is None else options.high
        if high > most:
            raise ConfigError(
                f"devices.{name}: high = {high:g} V is asked for; with load {options.load} and an amplifier of "
                f"{options.amplifier:g} the box reaches {most:g} V"
            )
        spec = ChannelSpec(
            unit="V", low=-high, high=high, resolution=options.amplifier * LEAST[options.load]
        )
        super().__init__(name, options.channels, spec, MOST)
        self._transport = transport
        self._options = options
        self._box = Settings(transport)
        self._pattern: dict[str, bytes] = {}
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        found = scpi.identity(self._transport)
        if not found.model.startswith(("335", "336")):
            raise DeviceError(f"{self.name}: a 33500 or 33600 was expected, {found} answers")
        return found

    def _open(self) -> None:
        """Compare load and largest voltage with the box's; outputs stay as they are."""
        self._box.forget()
        self._pattern = {}
        self.identity()
        scpi.drop_old_errors(self._transport)
        for k in range(1, self.channels + 1):
            load = self._number(f"OUTP{k}:LOAD?")
            if not np.isclose(load, LOADS[self._options.load], rtol=1e-3):
                raise DeviceError(
                    f"{self.name}: channel {k} is set for a load of {load:g} ohm, the bench file says "
                    f"{self._options.load}: every voltage would be wrong. Set one like the other"
                )
            most = self._number(f"SOUR{k}:VOLT? MAX") / 2 + abs(self._number(f"SOUR{k}:VOLT:OFFS?"))
            wanted = float(self._high[k - 1]) / self._options.amplifier
            if wanted > most * (1 + 1e-6):
                raise DeviceError(
                    f"{self.name}: {wanted:g} V are to come from channel {k}, which says that it reaches {most:g} V; "
                    "lower `high`"
                )

    def _close(self) -> None:
        return None

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        """Patterns that differ are sent; then the outputs are on and armed."""
        period = timing.sample_period * timing.samples_per_reading
        points = -(-FEWEST // len(drive))  # a sample
        rate = points / period
        if rate > FASTEST:
            raise ConfigError(
                f"{self.name}: a sample of {period:g} s is asked for, the box plays {FASTEST:g} points a second"
            )
        settings: dict[str, bytes] = {}
        if self._options.trigger_out and self._options.trigger == "internal":
            settings["trigger out"] = b"OUTP:TRIG 1"
        for k in range(1, self.channels + 1):
            volts = np.repeat(drive[:, k - 1] / self._options.amplifier, points)
            settings |= self._channel(k, volts, rate, timing)
        self._box.set(settings | self._outputs(1), f"{self.name}: loading {len(drive)} samples")
        self._pattern = settings

    def _channel(self, k: int, volts: FloatArray, rate: float, timing: Timing) -> dict[str, bytes]:
        """A channel's pattern, stretched to all codes, and its set-up. One that hardly changes swings by the least
        amplitude around its voltage."""
        low, high = float(volts.min()), float(volts.max())
        least = LEAST[self._options.load]
        most = LARGEST[self._options.load]
        span = max(high - low, least)
        middle = float(np.clip((high + low) / 2, span / 2 - most, most - span / 2))
        codes = np.rint((volts - middle) / span * 2 * SPAN)
        if high - low < least:
            codes = np.where(np.arange(len(volts)) % 2, SPAN, -SPAN)
        data = codes.astype(">i2").tobytes()
        waveform = f"H{zlib.crc32(data):08X}"
        length = str(len(data))
        upload = f"FORM:BORD NORM\nSOUR{k}:DATA:VOL:CLE\nSOUR{k}:DATA:ARB:DAC {waveform},#{len(length)}{length}"
        source = "BUS" if self._options.trigger == "internal" else "EXT"
        slope = "POS" if timing.edge == "rising" else "NEG"
        lines = [
            f"SOUR{k}:VOLT:UNIT VPP",
            f"SOUR{k}:VOLT MIN",  # amplitude and offset are limited together
            f"SOUR{k}:FUNC:ARB {waveform}",
            f"SOUR{k}:FUNC:ARB:FILT {self._options.filter}",
            f"SOUR{k}:FUNC:ARB:SRAT {rate:.9g}",
            f"SOUR{k}:FUNC ARB",
            f"SOUR{k}:VOLT:OFFS {middle:.6g}",
            f"SOUR{k}:VOLT {span:.6g}",
            f"SOUR{k}:BURS:MODE TRIG",
            f"SOUR{k}:BURS:NCYC {timing.plays}",
            f"TRIG{k}:SOUR {source}",
            *([f"TRIG{k}:SLOP {slope}"] if source == "EXT" else []),
            f"SOUR{k}:BURS:STAT 1",
        ]
        return {
            f"{k}:pattern": upload.encode() + data,
            f"{k}:set-up": "\n".join(lines).encode(),
        }

    def _play(self) -> None:
        if not (self._pattern and self._box.holds(self._pattern)):
            raise DeviceError(f"{self.name}.play: nothing is loaded; load first")
        if not self._box.holds(self._outputs(1)):
            self._box.set(self._outputs(1), f"{self.name}: switching the outputs on")
        if self._options.trigger == "internal":
            self._box.tell([b"*TRG"], f"{self.name}: starting")

    def _safe_state(self) -> None:
        """Outputs off; what is loaded stays, and the next play switches them on again."""
        self._box.set(self._outputs(0), f"{self.name}: switching the outputs off", anew=True)

    def _outputs(self, state: int) -> dict[str, bytes]:
        return {f"{k}:output": f"OUTP{k} {state}".encode() for k in range(1, self.channels + 1)}

    def _number(self, query: str) -> float:
        return number(self._transport.query(query), f"{self.name}: {query}")


keysight_33500 = on_a_wire(
    Keysight33500Options, Keysight33500, answers_to=r"(?i)^(Agilent|Keysight).*,\s*33[56]\d\d"
)
