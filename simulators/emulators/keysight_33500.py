"""A Keysight 33500 waveform generator: bursts of a waveform on modulators.

Source: 33500 Operating and Service Guide. Voltages are said for the load that the box believes in; an amplitude is what
a waveform spans; after a burst the output stands at the first sample; DATA:VOL:CLE forgets waveforms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from hilonn.simulators.emulators.blocks import DataSession
from hilonn.simulators.emulators.instrument import Reply, Session
from hilonn.simulators.emulators.rack import Generator, Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    SETTINGS_CONFLICT,
    ScpiError,
    ScpiInstrument,
    number,
    scientific,
    switch,
)
from hilonn.typing import FloatArray

INSIDE = 50.0  # ohm of the output
OPEN = 9.9e37
SPAN = 32767
FEWEST, MOST = 8, 1_000_000
FASTEST = 250e6
A_COMMAND = 1e-3  # s: an estimate
A_BYTE = 1e-7  # s: an estimate, 100 Mbit/s
TRIGGER_IGNORED = (-211, "Trigger ignored")
BLOCK_DATA = (-161, "Invalid block data")
ALREADY = (786, "Specified arb waveform already exists")
MISSING = (787, "Specified arb waveform does not exist")
TOO_FEW = (-223, "Too much or too few data")
_DATA = re.compile(
    rb":?SOUR(?:CE)?\d*:DATA:ARB(?:ITRARY)?\d*:DAC\s+\w+,#(?P<length>(?!))?(?P<digits>\d)", re.I
)
_UPLOAD = re.compile(
    r":?SOUR(?:CE)?(\d*):DATA:ARB(?:ITRARY)?\d*:DAC\s+(\w+),#(\d)(.*)", re.I | re.S
)


@dataclass
class _Channel:
    """As it powers up."""

    function: str = "SIN"
    amplitude: float = 0.1
    offset: float = 0.0
    unit: str = "VPP"
    load: float = INSIDE
    rate: float = 40e3
    filter: str = "STEP"
    burst: bool = False
    cycles: int = 1
    source: str = "IMM"
    slope: str = "POS"
    on: bool = False
    waveforms: dict[str, FloatArray] = field(default_factory=dict)
    waveform: str = "EXP_RISE"


class Keysight33500Box(ScpiInstrument):
    """Outputs drive modulators ``columns`` through an ``amplifier`` whose input is ``load`` ohm (None: an open end). The
    trigger output of a ``master`` is the rack's trigger line."""

    busy = A_COMMAND

    def __init__(
        self,
        name: str,
        rack: Rack,
        columns: list[int],
        *,
        amplifier: float = 1.0,
        load: float | None = 50.0,
        master: bool = True,
    ) -> None:
        super().__init__(name, rack)
        self.identity = f"Agilent Technologies,335{len(columns)}2B,MY57800256,5.00-1.19-2.00-58-00"
        self.columns = columns
        self.amplifier = amplifier
        self.load = load
        self.master = master
        self.played = 0
        self._order = ">i2"
        for pattern, handler in (
            ("SOURce#:FUNCtion", self._set_function),
            ("SOURce#:FUNCtion?", lambda k: self._channel(k).function),
            ("SOURce#:FUNCtion:ARBitrary", self._set_waveform),
            ("SOURce#:FUNCtion:ARBitrary:SRATe", self._set_rate),
            ("SOURce#:FUNCtion:ARBitrary:FILTer", self._set_filter),
            ("SOURce#:DATA:VOLatile:CLEar", self._clear),
            ("SOURce#:VOLTage", self._set_amplitude),
            ("SOURce#:VOLTage?", self._tell_amplitude),
            ("SOURce#:VOLTage:OFFSet", self._set_offset),
            ("SOURce#:VOLTage:OFFSet?", lambda k: scientific(self._channel(k).offset, 14, 2)),
            ("SOURce#:VOLTage:UNIT", self._set_unit),
            ("SOURce#:BURSt:MODE", lambda k, text: self._one_of(text, "TRIG", "GAT") and None),
            ("SOURce#:BURSt:NCYCles", self._set_cycles),
            ("SOURce#:BURSt:STATe", self._set_burst),
            ("TRIGger#:SOURce", self._set_source),
            ("TRIGger#:SLOPe", self._set_slope),
            ("OUTPut:TRIGger", self._set_trigger_out),
            ("OUTPut#", self._set_output),
            ("OUTPut#?", lambda k: str(int(self._channel(k).on))),
            ("OUTPut#:LOAD", self._set_load),
            ("OUTPut#:LOAD?", lambda k: scientific(self._channel(k).load, 14, 2)),
            ("FORMat:BORDer", self._set_order),
            ("FORMat:BORDer?", lambda: "NORM" if self._order == ">i2" else "SWAP"),
        ):
            self.command(pattern, handler)
        self.command("*TRG", self._start)
        self.reboot()

    def session(self) -> Session:
        return DataSession(self, _DATA)

    def reset(self) -> None:
        self.channels = {k: _Channel() for k in range(1, len(self.columns) + 1)}
        self._order = ">i2"
        self._wire_up()

    def state(self) -> dict[str, str]:
        on = [str(k) for k, channel in self.channels.items() if channel.on]
        return {"outputs on": ", ".join(on) or "none", "played": str(self.played)}

    def answer(self, line: str) -> list[Reply]:
        found = _UPLOAD.match(line)
        if found is None:
            return super().answer(line)
        number_of, name, digits, rest = found.groups()
        length = int(rest[: int(digits)])
        try:
            self._upload(int(number_of or 1), name.upper(), rest[int(digits) :], length)
        except ScpiError as error:
            self.fail(error.number, error.text)
        return [Reply(b"", A_COMMAND + A_BYTE * len(line))]

    def _upload(self, k: int, name: str, data: str, length: int) -> None:
        channel = self._channel(k)
        codes = (
            np.frombuffer(data.encode("latin-1")[:length], self._order) if length % 2 == 0 else None
        )
        if codes is None or len(codes) * 2 != length:
            raise ScpiError(*BLOCK_DATA)
        if name in channel.waveforms:
            raise ScpiError(*ALREADY)
        if not FEWEST <= len(codes) <= MOST:
            raise ScpiError(*TOO_FEW)
        if int(codes.min()) < -SPAN:
            raise ScpiError(*OUT_OF_RANGE)
        channel.waveforms[name] = codes.astype(float)

    def _channel(self, k: int) -> _Channel:
        if k not in self.channels:
            raise ScpiError(*OUT_OF_RANGE)
        return self.channels[k]

    def _one_of(self, text: str, *words: str) -> str:
        if text.upper() not in words:
            raise ScpiError(*ILLEGAL_VALUE)
        return text.upper()

    # -- settings -----------------------------------------------------------------------------------

    def _most(self, k: int) -> float:
        """V at the load that it believes in."""
        return 10.0 * _share(self._channel(k).load)

    def _set_function(self, k: int, text: str) -> None:
        word = self._one_of(text, "SIN", "SQU", "RAMP", "DC", "ARB")
        if word == "DC":
            self._channel(k).burst = False
        self._channel(k).function = word
        self._wire_up()

    def _set_waveform(self, k: int, text: str) -> None:
        name = text.strip('"').upper()
        if name not in self._channel(k).waveforms:
            raise ScpiError(*MISSING)
        self._channel(k).waveform = name
        self._wire_up()

    def _set_rate(self, k: int, text: str) -> None:
        self._channel(k).rate = number(text, 1e-6, FASTEST)
        self._wire_up()

    def _set_filter(self, k: int, text: str) -> None:
        self._channel(k).filter = self._one_of(text, "OFF", "STEP", "NORM")

    def _clear(self, k: int) -> None:
        channel = self._channel(k)
        channel.waveforms.clear()
        channel.waveform = "EXP_RISE"
        self._wire_up()

    def _set_unit(self, k: int, text: str) -> None:
        self._channel(k).unit = self._one_of(text, "VPP", "VRMS", "DBM")

    def _least(self, k: int) -> float:
        return 2e-3 * _share(self._channel(k).load)

    def _set_amplitude(self, k: int, text: str) -> None:
        channel = self._channel(k)
        least, most = self._least(k), 2 * (self._most(k) - abs(channel.offset)) + 1e-4
        channel.amplitude = number(text, least, most, unit="V")
        self._wire_up()

    def _tell_amplitude(self, k: int, which: str = "") -> str:
        channel = self._channel(k)
        limits = {"MIN": self._least(k), "MAX": 2 * (self._most(k) - abs(channel.offset))}
        return scientific(limits.get(which.upper(), channel.amplitude), 14, 2)

    def _set_offset(self, k: int, text: str) -> None:
        channel = self._channel(k)
        value = number(text, -self._most(k), self._most(k), unit="V")
        if abs(value) + channel.amplitude / 2 > self._most(k) + 1e-4:
            raise ScpiError(*SETTINGS_CONFLICT)
        channel.offset = value
        self._wire_up()

    def _set_cycles(self, k: int, text: str) -> None:
        self._channel(k).cycles = int(number(text, 1, 1e8))
        self._wire_up()

    def _set_burst(self, k: int, text: str) -> None:
        if switch(text) and self._channel(k).function == "DC":
            raise ScpiError(*SETTINGS_CONFLICT)
        self._channel(k).burst = switch(text)
        self._wire_up()

    def _set_source(self, k: int, text: str) -> None:
        self._channel(k).source = self._one_of(text, "IMM", "EXT", "BUS", "TIM")
        self._wire_up()

    def _set_slope(self, k: int, text: str) -> None:
        self._channel(k).slope = self._one_of(text, "POS", "NEG")

    def _set_output(self, k: int, text: str) -> None:
        self._channel(k).on = switch(text)
        self._wire_up()

    def _set_load(self, k: int, text: str) -> None:
        infinite = text.upper() in ("INF", "INFINITY")
        old = self._channel(k).load
        self._channel(k).load = OPEN if infinite else number(text, 1.0, 1e4)
        ratio = _share(self._channel(k).load) / _share(old)
        self._channel(k).amplitude *= ratio  # what comes out stays, what it is called changes
        self._channel(k).offset *= ratio
        self._wire_up()

    def _set_trigger_out(self, text: str) -> None:
        switch(text)

    def _set_order(self, text: str) -> None:
        self._order = ">i2" if self._one_of(text, "NORM", "SWAP") == "NORM" else "<i2"

    # -- what comes out -----------------------------------------------------------------------------

    def _real(self, k: int) -> float:
        """V at a modulator per V that the box says."""
        outside = OPEN if self.load is None else self.load
        return self.amplifier * _share(outside) / _share(self.channels[k].load)

    def _generator(self, k: int) -> Generator | None:
        channel = self.channels[k]
        codes = channel.waveforms.get(channel.waveform)
        if not (channel.on and channel.burst and channel.function == "ARB") or codes is None:
            return None
        middle, span = (codes.max() + codes.min()) / 2, max(float(np.ptp(codes)), 1.0)
        volts = channel.offset + channel.amplitude * (codes - middle) / span
        pattern = (self._real(k) * volts)[:, np.newaxis]
        return Generator([self.columns[k - 1]], pattern, 1.0 / channel.rate, channel.cycles, 0)

    def _wire_up(self) -> None:
        for k, channel in self.channels.items():
            generator = self._generator(k)
            waits = generator is not None and channel.source == "EXT"
            self.rack.prepare(f"{self.name}:{k}", generator if waits else None)
            if generator is not None:
                level = float(generator.pattern[0, 0])
            else:
                level = self._real(k) * channel.offset if channel.on else 0.0
            self.rack.show([self.columns[k - 1]], level)

    def _start(self) -> None:
        started = {
            k: generator
            for k, channel in self.channels.items()
            if channel.source == "BUS" and (generator := self._generator(k)) is not None
        }
        if not started:
            raise ScpiError(*TRIGGER_IGNORED)
        self.played += 1
        if self.master:
            for k, generator in started.items():
                self.rack.prepare(f"{self.name}:{k}", generator)
            self.rack.trigger()
        else:
            self.rack.play(self.name, list(started.values()))
        self._wire_up()


def _share(load: float) -> float:
    """Of the open voltage that is left at ``load`` ohm."""
    return load / (load + INSIDE)
