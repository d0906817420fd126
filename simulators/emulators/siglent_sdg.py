"""A Siglent SDG generator: DC voltages and bursts on modulators.

Source: Siglent programming guide PG02. Answers repeat their header and carry units; what is out of range is brought
to its limit and what is not understood is passed over, both without a word; commands that come too fast are lost, if
asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Generator, Rack
from hilonn.typing import FloatArray

INSIDE = 50.0  # ohm of the output
OPEN = 1e9
A_COMMAND = 2e-3  # s: an estimate
A_BYTE = 1e-7  # s: an estimate, 100 Mbit/s
LONG = {"BSWV": "BASIC_WAVE", "OUTP": "OUTPUT", "ARWV": "ARBWAVE", "BTWV": "BURSTWAVE"}
_LINE = re.compile(r"C(\d):(\w+)(\?|\s+)?(.*)", re.S)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([a-zA-Z]*)")


@dataclass
class _Channel:
    """As it powers up."""

    on: bool = False
    load: str = "HZ"
    kind: str = "SINE"
    frequency: float = 1000.0
    amplitude: float = 4.0
    offset: float = 0.0
    waveform: str = ""
    burst: bool = False
    source: str = "INT"
    cycles: int = 1
    true_arb: bool = False
    waveforms: dict[str, FloatArray] = field(default_factory=dict)


class SiglentSdgBox(LineInstrument):
    """Outputs drive modulators ``columns`` through an ``amplifier`` whose input is ``load`` ohm (None: an open
    end). The trigger output of a ``master`` is the rack's trigger line. ``gap`` (s): what comes faster is lost.
    ``suffix`` is added to waveforms' names."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        columns: list[int],
        *,
        amplifier: float = 1.0,
        load: float | None = None,
        master: bool = True,
        gap: float = 0.0,
        suffix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, rack)
        self.columns = columns
        self.amplifier = amplifier
        self.load = load
        self.master = master
        self.gap = gap
        self.suffix = suffix
        self.played = 0
        self.lost = 0
        self._clock = clock
        self._last = float("-inf")
        self.reboot()

    def reboot(self) -> None:
        self.channels = {k: _Channel() for k in range(1, len(self.columns) + 1)}
        self.header = "SHORT"
        self._wire_up()

    def state(self) -> dict[str, str]:
        on = [str(k) for k, channel in self.channels.items() if channel.on]
        return {"outputs on": ", ".join(on) or "none", "played": str(self.played)}

    def answer(self, line: str) -> list[Reply]:
        now, last = self._clock(), self._last
        self._last = now
        if now - last < self.gap:
            self.lost += 1
            return [Reply(b"")]
        answered = self._answered(line if "WAVEDATA" in line else line.strip())
        data = b"" if answered is None else (answered + "\n").encode()
        return [Reply(data, A_COMMAND + A_BYTE * len(line))]

    def _answered(self, line: str) -> str | None:
        if line == "*IDN?":
            prefix = "" if self.header == "OFF" else "*IDN "
            return f"{prefix}Siglent Technologies,SDG2042X,SDG2XCA1R0001,2.01.01.35R3B2"
        if line.startswith("CHDR "):
            self.header = line[5:].strip()
            return None
        found = _LINE.fullmatch(line)
        if found is None or int(found.group(1)) not in self.channels:
            return None
        k, verb = int(found.group(1)), found.group(2)
        channel = self.channels[k]
        if found.group(3) == "?":
            return self._told(k, verb, channel)
        handler = {
            "OUTP": self._set_output,
            "BSWV": self._set_wave,
            "ARWV": self._choose,
            "WVDT": self._upload,
            "BTWV": self._set_burst,
            "SRATE": self._set_mode,
        }.get(verb)
        if handler is not None:
            handler(channel, found.group(4))
            self._wire_up()
        return None

    def _told(self, k: int, verb: str, channel: _Channel) -> str | None:
        if verb == "OUTP":
            body = f"{'ON' if channel.on else 'OFF'},LOAD,{channel.load},PLRT,NOR"
        elif verb == "BSWV" and channel.kind == "DC":
            body = f"WVTP,DC,OFST,{channel.offset:.6g}V"
        elif verb == "BSWV":
            high, low = (
                channel.offset + channel.amplitude / 2,
                channel.offset - channel.amplitude / 2,
            )
            body = (
                f"WVTP,{channel.kind},FRQ,{channel.frequency:.9g}HZ,PERI,{1 / channel.frequency:.6g}S,"
                f"AMP,{channel.amplitude:.6g}V,OFST,{channel.offset:.6g}V,HLEV,{high:.6g}V,LLEV,{low:.6g}V,PHSE,0"
            )
        elif verb == "ARWV":
            body = f"INDEX,2,NAME,{channel.waveform}"
        elif verb == "BTWV":
            body = (
                f"STATE,{'ON' if channel.burst else 'OFF'},PRD,0.01S,STPS,0,TRSR,{channel.source},TRMD,OFF,"
                f"TIME,{channel.cycles},DLAY,0S,GATE_NCYC,NCYC,CARR,WVTP,{channel.kind},FRQ,{channel.frequency:.9g}HZ"
            )
        else:
            return None
        head = {"OFF": "", "LONG": f"C{k}:{LONG[verb]} "}.get(self.header, f"C{k}:{verb} ")
        return head + body

    # -- settings -----------------------------------------------------------------------------------

    def _set_output(self, channel: _Channel, text: str) -> None:
        words = text.split(",")
        if words[0] in ("ON", "OFF"):
            channel.on = words.pop(0) == "ON"
        values = dict(zip(words[::2], words[1::2], strict=False))
        if values.get("LOAD") in ("HZ", "50"):
            channel.load = values["LOAD"]

    def _set_wave(self, channel: _Channel, text: str) -> None:
        words = text.split(",")
        for word, value in zip(words[::2], words[1::2], strict=False):
            if word == "WVTP" and value in ("SINE", "SQUARE", "RAMP", "DC", "ARB"):
                channel.kind = value
            elif word == "FRQ":
                channel.frequency = min(max(_number(value), 1e-6), 40e6)
            elif word in ("AMP", "AMPL"):
                channel.amplitude = min(
                    max(_number(value), self._least(channel)), self._most(channel)
                )
            elif word == "OFST":
                swing = 0.0 if channel.kind == "DC" else channel.amplitude
                room = max((self._most(channel) - swing) / 2, 0.0)
                channel.offset = min(max(_number(value), -room), room)

    def _most(self, channel: _Channel) -> float:
        """V peak to peak at the load that it believes in."""
        return 20.0 if channel.load == "HZ" else 10.0

    def _least(self, channel: _Channel) -> float:
        return self._most(channel) / 5000

    def _choose(self, channel: _Channel, text: str) -> None:
        _, _, name = text.partition("NAME,")
        stored = name + self.suffix
        if stored in channel.waveforms:
            channel.waveform, channel.kind = stored, "ARB"

    def _upload(self, channel: _Channel, text: str) -> None:
        head, _, data = text.partition("WAVEDATA,")
        words = head.split(",")
        values = dict(zip(words[::2], words[1::2], strict=False))
        raw = data.encode("latin-1")
        codes = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(float)
        if "WVNM" in values and len(codes):
            channel.waveforms[values["WVNM"] + self.suffix] = codes

    def _set_burst(self, channel: _Channel, text: str) -> None:
        if text == "MTRIG":
            self._start(channel)
            return
        words = text.split(",")
        values = dict(zip(words[::2], words[1::2], strict=False))
        if "STATE" in values and not channel.true_arb:
            channel.burst = values["STATE"] == "ON"
        if not channel.burst:
            return  # only STATE is understood while no burst is on
        channel.source = values.get("TRSR", channel.source)
        channel.cycles = int(_number(values.get("TIME", str(channel.cycles))))

    def _set_mode(self, channel: _Channel, text: str) -> None:
        channel.true_arb = "MODE,TARB" in text

    # -- what comes out -----------------------------------------------------------------------------

    def _real(self, channel: _Channel) -> float:
        """V at a modulator per V that the box says."""
        outside = OPEN if self.load is None else self.load
        believed = OPEN if channel.load == "HZ" else 50.0
        return self.amplifier * _share(outside) / _share(believed)

    def generator(self, k: int) -> Generator | None:
        """The burst of channel ``k``; None: it plays none."""
        channel = self.channels[k]
        codes = channel.waveforms.get(channel.waveform)
        if not (channel.on and channel.burst and channel.kind == "ARB") or codes is None:
            return None
        volts = channel.offset + channel.amplitude / 2 * codes / 32767
        period = 1.0 / (channel.frequency * len(codes))
        pattern = (self._real(channel) * volts)[:, np.newaxis]
        return Generator([self.columns[k - 1]], pattern, period, channel.cycles, 0)

    def _wire_up(self) -> None:
        for k, channel in self.channels.items():
            generator = self.generator(k)
            waits = generator is not None and channel.source == "EXT"
            self.rack.prepare(f"{self.name}:{k}", generator if waits else None)
            level = 0.0 if not channel.on else self._real(channel) * channel.offset
            if generator is not None:
                level = float(generator.pattern[0, 0])
            self.rack.show([self.columns[k - 1]], level)

    def _start(self, channel: _Channel) -> None:
        k = next(k for k, c in self.channels.items() if c is channel)
        generator = self.generator(k)
        if generator is None or channel.source != "MAN":
            return
        self.played += 1
        if self.master:
            self.rack.prepare(f"{self.name}:{k}", generator)
            self.rack.trigger()
        else:
            self.rack.play(self.name, [generator])


def _number(text: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    return float(found.group(1)) if found else 0.0


def _share(load: float) -> float:
    """Of the open voltage that is left at ``load`` ohm."""
    return load / (load + INSIDE)
