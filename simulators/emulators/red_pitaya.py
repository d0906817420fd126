"""A Red Pitaya STEMlab 125-14: two outputs on modulators, two inputs on detectors.

Sources: the vendor's SCPI pages and redpitaya_scpi.py. The server ends lines in CR LF; the queue's empty answer is
``0,"No error"``; a refused command is told only there. A burst ends at its last sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hilonn.simulators.emulators.instrument import Reply
from hilonn.simulators.emulators.rack import Generator, Listener, Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    SETTINGS_CONFLICT,
    ScpiError,
    ScpiInstrument,
    block,
    number,
    switch,
)
from hilonn.typing import FloatArray

BUFFER = 16384
CLOCK = 8e-9  # s
CODES = 8191  # of 1 V, 14 bits with a sign
FASTEST = 62.5e6  # Hz
FULL_SCALES = {"LV": 1.0, "HV": 20.0}
A_COMMAND = 3e-4  # s: an estimate, a small computer on the network
A_BYTE = 1e-7  # s: an estimate, 100 Mbit/s and reading of text
FUNCTIONS = (
    "SINE",
    "SQUARE",
    "TRIANGLE",
    "SAWU",
    "SAWD",
    "PWM",
    "ARBITRARY",
    "DC",
    "DC_NEG",
)
SOURCES = ("INT", "EXT_PE", "EXT_NE", "GATED")
TRIGGERS = ("DISABLED", "NOW", "CH1_PE", "CH1_NE", "CH2_PE", "CH2_NE", "EXT_PE", "EXT_NE", "AWG_PE")


@dataclass
class _Output:
    """As it powers up."""

    function: str = "SINE"
    amplitude: float = 1.0
    offset: float = 0.0
    frequency: float = 1000.0
    data: FloatArray = field(default_factory=lambda: np.zeros(0))
    burst: bool = False
    cycles: int = 1
    source: str = "INT"
    on: bool = False


class RedPitayaBox(ScpiInstrument):
    """Outputs drive modulators ``columns`` through an ``amplifier`` (V a volt); inputs see ``detectors`` with
    ``volts_per_watt``. The trigger output of a ``master`` is the rack's trigger line, which starts the others.
    ``float_order`` of binary volts.
    """

    identity = "REDPITAYA,INSTR2024,0,01-02"
    no_error = '0,"No error"'
    terminators = (b"\r\n",)
    reply_terminator = b"\r\n"
    busy = A_COMMAND

    def __init__(
        self,
        name: str,
        rack: Rack,
        columns: list[int],
        *,
        amplifier: float = 1.0,
        master: bool = True,
        detectors: list[int] | None = None,
        volts_per_watt: float = 1.0,
        float_order: str = ">f4",
    ) -> None:
        super().__init__(name, rack)
        self.columns = columns
        self.amplifier = amplifier
        self.master = master
        self.detectors = detectors or []
        self.volts_per_watt = volts_per_watt
        self.float_order = float_order
        self.played = 0
        """Bursts that were started, for tests."""
        self._generator_commands()
        self._acquisition_commands()
        self.reboot()

    def reset(self) -> None:
        self._reset_generator()
        self._reset_acquisition()

    def answer(self, line: str) -> list[Reply]:
        (reply,) = super().answer(line)
        sent = A_BYTE * (len(line) + len(reply.data))
        return [Reply(reply.data, reply.busy + sent, reply.wait)]

    def state(self) -> dict[str, str]:
        on = [str(k) for k, output in self.outputs.items() if output.on]
        return {
            "outputs on": ", ".join(on) or "none",
            "samples": str(max(len(o.data) for o in self.outputs.values())),
            "played": str(self.played),
        }

    # -- the generator ----------------------------------------------------------------------------

    def _generator_commands(self) -> None:
        self.command("GEN:RST", self._reset_generator)
        self.command("SOURce:TRIGger:INTernal", lambda: self._start([1, 2]))
        self.command("SOURce#:TRIGger:INTernal", lambda k: self._start([k]))
        self.command("SOURce#:FUNCtion", self._set_function)
        self.command("SOURce#:FUNCtion?", lambda k: self._output(k).function)
        self.command("SOURce#:VOLTage", self._set_amplitude)
        self.command("SOURce#:VOLTage?", lambda k: f"{self._output(k).amplitude:.6f}")
        self.command("SOURce#:VOLTage:OFFSet", self._set_offset)
        self.command("SOURce#:VOLTage:OFFSet?", lambda k: f"{self._output(k).offset:.6f}")
        self.command("SOURce#:FREQuency:FIX", self._set_frequency)
        self.command("SOURce#:FREQuency:FIX?", lambda k: f"{self._output(k).frequency:.6f}")
        self.command("SOURce#:TRACe:DATA:DATA", self._set_data)
        self.command("SOURce#:BURSt:STATe", self._set_burst)
        self.command("SOURce#:BURSt:NCYCles", self._set_cycles)
        self.command("SOURce#:BURSt:NCYCles?", lambda k: str(self._output(k).cycles))
        self.command("SOURce#:TRIGger:SOURce", self._set_source)
        self.command("OUTPut#:STATe", self._set_state)
        self.command("OUTPut#:STATe?", lambda k: str(int(self._output(k).on)))

    def _output(self, k: int) -> _Output:
        if k not in self.outputs:
            raise ScpiError(*OUT_OF_RANGE)
        return self.outputs[k]

    def _reset_generator(self) -> None:
        self.outputs = {1: _Output(), 2: _Output()}
        self._wire_up()

    def _set_function(self, k: int, text: str) -> None:
        if text.upper() not in FUNCTIONS:
            raise ScpiError(*ILLEGAL_VALUE)
        self._output(k).function = text.upper()
        self._wire_up()

    def _set_amplitude(self, k: int, text: str) -> None:
        output = self._output(k)
        output.amplitude = number(text, 0.0, 1.0 - abs(output.offset), unit="V")
        self._wire_up()

    def _set_offset(self, k: int, text: str) -> None:
        output = self._output(k)
        most = 1.0 - output.amplitude
        output.offset = number(text, -most, most, unit="V")
        self._wire_up()

    def _set_frequency(self, k: int, text: str) -> None:
        self._output(k).frequency = number(text, 1e-6, FASTEST, unit="HZ")
        self._wire_up()

    def _set_data(self, k: int, *texts: str) -> None:
        if len(texts) > BUFFER:
            raise ScpiError(*OUT_OF_RANGE)
        self._output(k).data = np.array([number(text, -1.0, 1.0) for text in texts])
        self._wire_up()

    def _set_burst(self, k: int, text: str) -> None:
        if text.upper() not in ("BURST", "CONTINUOUS"):
            raise ScpiError(*ILLEGAL_VALUE)
        self._output(k).burst = text.upper() == "BURST"
        self._wire_up()

    def _set_cycles(self, k: int, text: str) -> None:
        self._output(k).cycles = int(number(text, 1, 50000))
        self._wire_up()

    def _set_source(self, k: int, text: str) -> None:
        if text.upper() not in SOURCES:
            raise ScpiError(*ILLEGAL_VALUE)
        self._output(k).source = text.upper()
        self._wire_up()

    def _set_state(self, k: int, text: str) -> None:
        self._output(k).on = switch(text)
        self._wire_up()

    def _wire_up(self) -> None:
        """What the modulators get from now on: nothing from an output that is off, a pattern at the trigger from
        one that waits for it."""
        for k, column in enumerate(self.columns, 1):
            output = self.outputs[k]
            waits = output.on and output.source == "EXT_PE"
            self.rack.prepare(f"{self.name}:{k}", self._generator(k) if waits else None)
            if not output.on:
                self.rack.show([column], 0.0)
            elif output.function in ("DC", "DC_NEG"):
                sign = -1.0 if output.function == "DC_NEG" else 1.0
                level = sign * output.amplitude + output.offset
                self.rack.show([column], self.amplifier * level)

    def _generator(self, k: int) -> Generator | None:
        """The burst of output ``k``; None: it plays none."""
        output = self.outputs[k]
        if not (output.burst and output.function == "ARBITRARY" and len(output.data)):
            return None
        volts = output.amplitude * output.data + output.offset
        volts = self.amplifier * np.rint(CODES * volts) / CODES
        period = 1.0 / (output.frequency * len(volts))
        return Generator([self.columns[k - 1]], volts[:, np.newaxis], period, output.cycles)

    def _start(self, outputs: list[int]) -> None:
        """The program starts bursts; a master's trigger output starts whoever waits for it."""
        if any(self._output(k).source != "INT" for k in outputs):
            raise ScpiError(*SETTINGS_CONFLICT)
        self.played += 1
        started = [
            (k, generator)
            for k in outputs
            if k <= len(self.columns)
            and self.outputs[k].on
            and (generator := self._generator(k)) is not None
        ]
        if not self.master:
            self.rack.play(self.name, [generator for _, generator in started])
            return
        for k, generator in started:
            self.rack.prepare(f"{self.name}:{k}", generator)
        self.rack.trigger()
        for k, _ in started:
            self.rack.prepare(f"{self.name}:{k}", None)

    # -- the inputs -------------------------------------------------------------------------------

    def _acquisition_commands(self) -> None:
        self.command("ACQ:RST", self._reset_acquisition)
        self.command("ACQ:DEC", self._set_decimation)
        self.command("ACQ:DEC?", lambda: str(self._decimation))
        self.command("ACQ:AVG", lambda text: self._store("_averaging", switch(text)))
        self.command("ACQ:SOURce#:GAIN", self._set_gain)
        self.command("ACQ:SOURce#:GAIN?", lambda k: self._input(k))
        self.command("ACQ:DATA:FORMAT", lambda text: self._choose("_format", text, "ASCII", "BIN"))
        self.command("ACQ:DATA:UNITS", lambda text: self._choose("_units", text, "RAW", "VOLTS"))
        self.command("ACQ:TRIGger:DLY", self._set_delay)
        self.command("ACQ:START", self._run_acquisition)
        self.command("ACQ:STOP", self._stop_acquisition)
        self.command("ACQ:TRIGger", self._set_trigger)
        self.command("ACQ:TRIGger:STAT?", lambda: "TD" if self._triggered else "WAIT")
        self.command("ACQ:TRIGger:FILL?", lambda: str(int(self._filled())))
        self.command("ACQ:SOURce#:DATA?", lambda k: self._data(k, 0, BUFFER))
        self.command("ACQ:SOURce#:DATA:OLDest:N?", lambda k, n: self._data(k, 0, n))
        self.command("ACQ:SOURce#:DATA:STArt:N?", lambda k, at, n: self._data(k, at, n))

    def _reset_acquisition(self) -> None:
        self._decimation = 1
        self._averaging = True
        self._gains = {1: "LV", 2: "LV"}
        self._format = "ASCII"
        self._units = "VOLTS"
        self._delay = 0
        self._running = False
        self._triggered = False
        self._full_at = 0.0
        self._volts: FloatArray = np.zeros((BUFFER, 2))
        self.rack.listen(self.name, None)

    def _input(self, k: int) -> str:
        if k not in self._gains:
            raise ScpiError(*OUT_OF_RANGE)
        return self._gains[k]

    def _store(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def _choose(self, name: str, text: str, *words: str) -> None:
        if text.upper() not in words:
            raise ScpiError(*ILLEGAL_VALUE)
        setattr(self, name, text.upper())

    def _set_decimation(self, text: str) -> None:
        decimation = int(number(text, 1, 65536))
        if decimation < 16 and decimation & (decimation - 1):
            raise ScpiError(*OUT_OF_RANGE)
        self._decimation = decimation

    def _set_gain(self, k: int, text: str) -> None:
        self._input(k)
        if text.upper() not in FULL_SCALES:
            raise ScpiError(*ILLEGAL_VALUE)
        self._gains[k] = text.upper()

    def _set_delay(self, text: str) -> None:
        self._delay = int(number(text, -BUFFER // 2, BUFFER))

    def _run_acquisition(self) -> None:
        self._running, self._triggered = True, False

    def _stop_acquisition(self) -> None:
        self._running = False
        self.rack.listen(self.name, None)

    def _set_trigger(self, text: str) -> None:
        if text.upper() not in TRIGGERS:
            raise ScpiError(*ILLEGAL_VALUE)
        self.rack.listen(self.name, None)
        if not self._running or text.upper() == "DISABLED":
            return
        if text.upper() == "NOW":
            self.rack.read(self._listener())
        elif text.upper() in ("EXT_PE", "AWG_PE"):
            self.rack.listen(self.name, self._listener())

    def _listener(self) -> Listener:
        """Both inputs, from the trigger until the buffer is full."""
        after = min(max(BUFFER // 2 + self._delay, 1), BUFFER)
        scales = np.array([FULL_SCALES[self._gains[k + 1]] for k in range(len(self.detectors))])
        return Listener(
            self.detectors,
            after,
            self._decimation * CLOCK,
            scales / self.volts_per_watt,
            self._take,
        )

    def _take(self, watts: FloatArray, saturated: np.ndarray) -> None:
        self._volts = np.zeros((BUFFER, 2))
        for k in range(watts.shape[1]):
            full = FULL_SCALES[self._gains[k + 1]]
            volts = np.where(saturated[:, k], full, self.volts_per_watt * watts[:, k])
            codes = np.clip(np.rint(volts / full * CODES), -CODES - 1, CODES)
            self._volts[BUFFER - len(watts) :, k] = codes * full / CODES
        self._triggered, self._running = True, False
        self._full_at = self.rack.now() + len(watts) * self._decimation * CLOCK

    def _filled(self) -> bool:
        return self._triggered and self.rack.now() >= self._full_at - 1e-9

    def _data(self, k: int, at: str | int, n: str | int) -> str | bytes:
        full = FULL_SCALES[self._input(k)]
        first = int(number(str(at), 0, BUFFER - 1))
        count = int(number(str(n), 1, BUFFER))
        volts = np.roll(self._volts[:, k - 1], -first)[:count]
        codes = np.rint(volts / full * CODES).astype(int)
        if self._format == "BIN":
            data = volts.astype(self.float_order) if self._units == "VOLTS" else codes.astype("<i2")
            return block(data.tobytes())
        texts = [f"{v:.6f}" for v in volts] if self._units == "VOLTS" else map(str, codes)
        return "{" + ",".join(texts) + "}"
