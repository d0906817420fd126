"""Siglent SDG generators (SDG1000X, 2000X, 6000X), one or two channels, as modulators: DC voltages or bursts of a
pattern.

Source: Siglent programming guide PG02 (BSWV, ARWV, WVDT, BTWV, OUTP); qcodes_contrib_drivers' sdg_channel.py. Raw
socket on TCP port 5025 (5024 is telnet, with a banner); lines end in LF. Answers repeat the header unless CHDR is
off, and carry units. There is no error queue to rely on: whatever is set is asked back and compared.
"""

from __future__ import annotations

import re
import zlib
from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, Modulators, Timing
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

GAP = 0.01
"""s: commands that follow one another faster are lost."""
DIALECT = Dialect(write="\n", read="\n", gap=GAP)
PAGE = DriverPage(
    instruments="Siglent SDG1000X, SDG2000X, SDG6000X",
    wiring=(
        'Network, TCP port 5025, or VISA. Aux In/Out is a trigger input (trigger = "external") or, of a box with '
        'one channel in use and trigger = "internal", the output that starts the others.'
    ),
    connection='transport = "tcp"\nhost = "192.168.1.31"\nport = 5025',
    device='driver = "siglent_sdg"\nconnection = "sdg"\nmode = "arbitrary"\nload = "HZ"\ntrigger = "external"',
    quirks=(
        (
            "Commands that come within 10 ms of the last one are lost: the wire waits.",
            "public drivers",
        ),
        (
            "A newline byte inside a waveform's data ends the command: codes that hold one are moved to the nearest "
            "that does not, by 0.2 % of the pattern's span at most (option `newlines`).",
            "public drivers for the raw socket",
        ),
        (
            "What is refused or out of range is not told: every setting is asked back.",
            "programming guide",
        ),
        ("Firmware adds .bin to a waveform's name.", "public drivers"),
        ("A burst needs DDS mode, not TrueArb.", "public drivers"),
        (
            "The program starts channels one by one, 10 ms apart: with two, start them by an edge.",
            "programming guide",
        ),
    ),
    unverified=(
        "int16 of WAVEDATA are little-endian, without a block header; the span of the codes is AMPL peak to peak.",
        "Waveforms have at least 8 points; after a burst the output stands at the first sample.",
        "5 V at 50 ohm and 10 V at a high impedance are the largest voltages: `high`.",
        "BTWV TRMD,RISE puts a pulse on Aux In/Out at MTRIG.",
    ),
)
LARGEST = {"50": 5.0, "HZ": 10.0}
"""V at the load."""
LEAST = {"50": 2e-3, "HZ": 4e-3}
"""V peak to peak at the load: the smallest amplitude that all of them have."""
SPAN = 32767
FEWEST = 8
MOST = 16384
FASTEST = 30e6
"""Points a second that every model has."""
NEAR = 2e-3
"""V, or of the voltage if that is above 1 V: what is asked back is what was set up to this."""
NEWLINE = 0x0A
_HEADER = re.compile(r"(?:C\d:)?[A-Z_*?]+ +")
_QUANTITY = re.compile(r"([+-]?\d+\.?\d*(?:[eE][+-]?\d+)?)([munkM]?)(V|HZ|Hz|)")
_PREFIXES = {"m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3, "M": 1e6, "": 1.0}


class SiglentSdgOptions(Options):
    """``channels``: 1 or 2. ``mode``: "dc" holds one sample; "arbitrary" plays bursts. ``load``: "50" ohm or "HZ",
    as set at the box. ``amplifier``: V at the modulator per V at the output; drives and ``high`` (V, None: all
    that the box gives) are at the modulator. ``trigger`` of a burst: "internal" (one channel only) or "external"
    edge. ``newlines`` in data: "avoid" on a raw socket; "send" where the wire marks a message's end itself (USB,
    VXI-11)."""

    channels: Literal[1, 2] = 2
    mode: Literal["dc", "arbitrary"] = "dc"
    load: Literal["50", "HZ"] = "HZ"
    amplifier: float = Field(default=1.0, gt=0)
    high: float | None = Field(default=None, gt=0)
    trigger: Literal["internal", "external"] = "external"
    newlines: Literal["avoid", "send"] = "avoid"


class SiglentSdg(Modulators):
    """Outputs in V at the modulators."""

    def __init__(self, name: str, transport: Transport, options: SiglentSdgOptions) -> None:
        most = options.amplifier * LARGEST[options.load]
        high = most if options.high is None else options.high
        if high > most:
            raise ConfigError(
                f"devices.{name}: high = {high:g} V is asked for; with load {options.load} and an amplifier of "
                f"{options.amplifier:g} the box reaches {most:g} V"
            )
        bursts = options.mode == "arbitrary"
        if bursts and options.trigger == "internal" and options.channels > 1:
            raise ConfigError(
                f"devices.{name}: two channels of this box are started one after another by a program; give "
                'trigger = "external", or channels = 1'
            )
        grain = LEAST[options.load] if bursts else 1e-3
        spec = ChannelSpec(unit="V", low=-high, high=high, resolution=options.amplifier * grain)
        super().__init__(name, options.channels, spec, MOST if bursts else 1)
        self._transport = transport
        self._options = options
        self._held: dict[int, tuple[object, ...]] = {}
        self._wanted: FloatArray | None = None
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        """``*IDN?``: maker, model, serial number, firmware."""
        text = self._transport.query("*IDN?").strip().removeprefix("*IDN ")
        parts = [part.strip() for part in text.split(",")]
        if len(parts) < 4 or not parts[1].startswith("SDG"):
            raise DeviceError(
                f"{self.name}: *IDN? was answered {text[:60]!r}, not by a Siglent SDG"
            )
        return Identity(parts[0], parts[1], parts[2], parts[3])

    def _open(self) -> None:
        """Compare the loads with the box's; outputs stay as they are."""
        self._held, self._wanted = {}, None
        self.identity()
        for k in range(1, self.channels + 1):
            load = self._asked(k, "OUTP").get("LOAD", "")
            if load != self._options.load:
                raise DeviceError(
                    f"{self.name}: channel {k} is set for a load of {load or '?'}, the bench file says "
                    f"{self._options.load}: every voltage would be wrong. Set one like the other"
                )

    def _close(self) -> None:
        return None

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        """A pattern goes to the box where it differs from what is there; a DC voltage is set when it is played."""
        self._wanted = None
        if self._options.mode == "arbitrary":
            for k in range(1, self.channels + 1):
                self._burst(k, drive[:, k - 1] / self._options.amplifier, timing)
                self._output(k, "ON")
        self._wanted = drive

    def _play(self) -> None:
        if self._wanted is None:
            raise DeviceError(f"{self.name}.play: nothing is loaded; load first")
        for k in range(1, self.channels + 1):
            if self._options.mode == "dc":
                self._level(k, float(self._wanted[0, k - 1]) / self._options.amplifier)
            self._output(k, "ON")
        if self._options.mode == "arbitrary" and self._options.trigger == "internal":
            self._transport.write("C1:BTWV MTRIG")
            self._asked(1, "BTWV")  # an answer shows that the box is past it

    def _safe_state(self) -> None:
        """Outputs off; what is loaded stays, and the next play switches them on again."""
        for k in range(1, self.channels + 1):
            self._transport.write(f"C{k}:OUTP OFF")
            self._check(k, "OUTP", {"": "OFF"})

    # -- a channel ----------------------------------------------------------------------------------

    def _output(self, k: int, state: str) -> None:
        if self._asked(k, "OUTP")[""] != state:
            self._transport.write(f"C{k}:OUTP {state}")
            self._check(k, "OUTP", {"": state})

    def _level(self, k: int, volts: float) -> None:
        if self._held.pop(k, None) != ("DC", volts):
            self._transport.write(f"C{k}:BSWV WVTP,DC,OFST,{volts:.6f}")
            self._check(k, "BSWV", {"WVTP": "DC", "OFST": volts})
        self._held[k] = ("DC", volts)

    def _burst(self, k: int, volts: FloatArray, timing: Timing) -> None:
        """Waveform, speed, levels and burst of one channel; its output is off meanwhile."""
        period = timing.sample_period * timing.samples_per_reading
        points = -(-FEWEST // len(volts))
        if points / period > FASTEST:
            raise ConfigError(
                f"{self.name}: a sample of {period:g} s is asked for, the box plays {FASTEST:g} points a second"
            )
        data, middle, span = self._codes(np.repeat(volts, points))
        frequency = 1.0 / (len(volts) * period)
        waveform = f"H{zlib.crc32(data):08X}"
        edge = "RISE" if timing.edge == "rising" else "FALL"
        state = (waveform, frequency, middle, span, timing.plays, edge)
        if self._held.pop(k, None) == state:
            self._held[k] = state
            return
        source = "MAN,TRMD,RISE" if self._options.trigger == "internal" else f"EXT,EDGE,{edge}"
        levels = f"FRQ,{frequency:.9g},AMP,{span:.6g},OFST,{middle:.6g}"
        header = (
            f"C{k}:WVDT WVNM,{waveform},FREQ,{frequency:.9g},TYPE,8,AMPL,{span:.6g},OFST,{middle:.6g},"
            "PHASE,0.0,WAVEDATA,"
        )
        self._transport.write(f"C{k}:OUTP OFF")
        self._transport.write(f"C{k}:BTWV STATE,OFF")
        self._transport.write(header.encode() + data + b"\n")
        self._transport.write(f"C{k}:ARWV NAME,{waveform}")
        self._check(k, "ARWV", {"NAME": waveform})
        self._transport.write(f"C{k}:SRATE MODE,DDS")
        self._transport.write(f"C{k}:BSWV {levels}")
        self._check(k, "BSWV", {"WVTP": "ARB", "FRQ": frequency, "AMP": span, "OFST": middle})
        self._transport.write(f"C{k}:BTWV STATE,ON")
        self._transport.write(f"C{k}:BTWV GATE_NCYC,NCYC,TIME,{timing.plays},TRSR,{source}")
        wanted: dict[str, str | float] = {"STATE": "ON", "TIME": float(timing.plays)}
        self._check(k, "BTWV", wanted | {"TRSR": source[:3]})
        self._held[k] = state

    def _codes(self, volts: FloatArray) -> tuple[bytes, float, float]:
        """The pattern stretched to all codes, its middle and what it spans (V)."""
        least, most = LEAST[self._options.load], LARGEST[self._options.load]
        low, high = float(volts.min()), float(volts.max())
        span = max(high - low, least)
        middle = float(np.clip((high + low) / 2, span / 2 - most, most - span / 2))
        codes = np.rint((volts - middle) / span * 2 * SPAN).astype(int)
        if high - low < least:
            codes = np.where(np.arange(len(volts)) % 2, SPAN, -SPAN)
        if self._options.newlines == "avoid":
            codes = without_newlines(codes)
        return codes.astype("<i2").tobytes(), middle, span

    # -- answers ------------------------------------------------------------------------------------

    def _asked(self, k: int, verb: str) -> dict[str, str]:
        """``C1:BSWV?`` as words and values; a value without a word (OUTP's ON) is that of ""."""
        query = f"C{k}:{verb}?"
        answer = self._transport.query(query).strip()
        found = _HEADER.match(answer)
        body = answer[found.end() :] if found else answer
        if found and found.group().startswith("C") and not found.group().startswith(f"C{k}:"):
            raise DeviceError(
                f"{self.name}: {query} was answered for another channel: {answer[:60]!r}"
            )
        words = body.split(",CARR,")[0].split(",")
        values = {"": words.pop(0)} if len(words) % 2 else {}
        values |= dict(zip(words[::2], words[1::2], strict=True))
        if verb == "OUTP" and values.get("") not in ("ON", "OFF"):
            raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}")
        return values

    def _check(self, k: int, verb: str, wanted: dict[str, str | float]) -> None:
        """What was set is there: the box does not say what it refuses. DeviceError otherwise."""
        values = self._asked(k, verb)
        for word, value in wanted.items():
            text = values.get(word, "nothing")
            if isinstance(value, str):
                same = text.removesuffix(".bin") == value
            else:
                told = _quantity(text, f"{self.name}: C{k}:{verb}?")
                volts = word in ("AMP", "OFST")
                same = abs(told - value) <= (NEAR * max(abs(value), 1.0) if volts else 1e-5 * value)
            if not same:
                what = f"{verb} {word}".strip()
                raise DeviceError(
                    f"{self.name}: {what} of channel {k} was set to {value}, the box says {text[:40]}; is it beyond "
                    "its limits?"
                )


def without_newlines(codes: np.ndarray) -> np.ndarray:
    """The nearest int16 of which neither byte is a newline."""
    high = (codes >> 8) & 0xFF == NEWLINE
    base = codes & ~0xFF
    moved = np.where(high, np.where(codes - base < 0x80, base - 1, base + 0x100), codes)
    low = moved & 0xFF == NEWLINE
    return np.where(low, moved + 1, moved)


def _quantity(text: str, asked: str) -> float:
    """A number with its unit, SI."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise DeviceError(
            f"{asked} was answered with {text[:40]!r}, which is no number with a unit"
        )
    return float(found.group(1)) * _PREFIXES[found.group(2)]


siglent_sdg = on_a_wire(SiglentSdgOptions, SiglentSdg, answers_to=r"(?i)Siglent.*,\s*SDG")
