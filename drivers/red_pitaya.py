"""Red Pitaya STEMlab 125-14 over its SCPI server: two outputs as modulators, two inputs as photodetectors.

Source: the vendor's redpitaya_scpi.py and "Acquisition" and "Generator" pages. TCP port 5000, lines end in CR LF both
ways. A pattern is up to 16384 numbers of -1..1 in text; a reading is a buffer of 16384 samples of 8 ns times the
decimation. Both devices may share one connection.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.clock import WallClock
from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Identity,
    Modulators,
    Photodetectors,
    Timing,
)
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.settings import Settings
from hilonn.drivers.texts import numbers
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\r\n", read="\r\n")
PAGE = DriverPage(
    instruments="Red Pitaya STEMlab 125-14: outputs (`red_pitaya_modulators`), inputs (`red_pitaya_photodetectors`)",
    wiring=(
        "Network, TCP port 5000, after the SCPI server has been started on the box's page. The box that starts the "
        'others has trigger = "internal"; its trigger output goes to the others\' external trigger (DIO0_P, 3.3 '
        "V). An amplifier stands between 1 V of an output and the modulators."
    ),
    connection='transport = "tcp"\nhost = "192.168.1.20"\nport = 5000',
    device='driver = "red_pitaya_modulators"\nconnection = "rp"\namplifier = 8.0\ntrigger = "external"',
    quirks=(
        (
            "At a decimation above 32 an acquisition seems to hang: the buffer fills after the trigger, and its end "
            "is to be waited for (ACQ:TRIG:FILL?).",
            "issue 306",
        ),
        ("Since OS 2.00-18 a binary answer ends in CR LF.", "issue 262"),
        ("int16 are little-endian; an early release had them swapped.", "issues 55, 33"),
        (
            "The generator powers up as a 1 kHz sine; its output is switched on only over a pattern.",
            "manual",
        ),
    ),
    unverified=(
        "Whether the frequency of a pattern shorter than 16384 samples counts the pattern or the whole buffer: "
        "`frequency_of`.",
        "float32 of ACQ:DATA:UNITS VOLTS are big-endian: `byte_order`; by default the box is asked in text and in "
        "binary, and the two are compared.",
        "SOUR:TRIG:INT starts both outputs at once, and the outputs stand at the last sample after a burst.",
        "The command that puts a generator's start on a pin (`at_opening`, e.g. DAISY:TRIG_O:SOUR DAC) differs by OS "
        "version.",
        "1 V of a setting is 1 V at 50 ohm and 2 V at a high impedance: `load`.",
    ),
)
BUFFER = 16384
"""Samples of an output's or an input's memory."""
CLOCK = 8e-9
"""s: a sample of the converters at decimation 1."""
BITS = 14
LOADS = {"50": 1.0, "high": 2.0}
"""V at the load per V that is set."""
DECIMATIONS = tuple(1 << k for k in range(17))
FULL_SCALES = {"LV": 1.0, "HV": 20.0}
"""V of an input, by its jumpers and ACQ:SOURn:GAIN."""
LEAST = 2
"""Readings of the converter that a sample needs: the first may fall on its edge."""
ERRORS = "SYST:ERR:NEXT?"
POLL = 1e-3
"""s between two questions whether a reading is there."""
NEAR = 1e-3
"""V: numbers in text and in binary are the same value up to this."""


class RedPitayaModulatorsOptions(Options):
    """``channels``: OUT1, or OUT1 and OUT2. ``amplifier``: V at the modulator per V at the output; all drives are V at
    the modulator. ``load``: what the output drives, "50" ohm or "high". ``trigger``: "internal" starts by the program
    (and others by cable), "external" waits for an edge. ``frequency_of``: what SOUR:FREQ:FIX counts. ``at_opening``:
    commands for the box's own set-up, e.g. its trigger output."""

    channels: Literal[1, 2] = 2
    amplifier: float = Field(default=1.0, gt=0)
    load: Literal["50", "high"] = "50"
    trigger: Literal["internal", "external"] = "internal"
    frequency_of: Literal["pattern", "buffer"] = "pattern"
    at_opening: list[str] = Field(default_factory=list)


class RedPitayaModulators(Modulators):
    """Two outputs that play a pattern, in V at the modulators.

    A pattern that an output holds already is not sent again: 16384 numbers take longer than their play.
    """

    def __init__(
        self, name: str, transport: Transport, options: RedPitayaModulatorsOptions
    ) -> None:
        self._gain = options.amplifier * LOADS[options.load]
        spec = ChannelSpec(
            unit="V", low=-self._gain, high=self._gain, resolution=2 * self._gain / (2**BITS - 1)
        )
        super().__init__(name, options.channels, spec, BUFFER)
        self._transport = transport
        self._options = options
        self._box = Settings(transport, ERRORS)
        self._pattern: dict[str, bytes] = {}
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        return scpi.identity(self._transport, "redpitaya")

    def _open(self) -> None:
        self._box.forget()
        self._pattern = {}
        self.identity()
        scpi.drop_old_errors(self._transport, ERRORS)
        if self._options.at_opening:
            commands = [command.encode() for command in self._options.at_opening]
            self._box.tell(commands, f"{self.name}: set-up of `at_opening`")

    def _close(self) -> None:
        return None

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        """Pattern, speed and cycles of each output, as far as they change; then the outputs are on and armed."""
        samples = len(drive)
        period = timing.sample_period * timing.samples_per_reading
        if period < CLOCK:
            raise ConfigError(
                f"{self.name}: a sample of {period:g} s is asked for, the box's take {CLOCK:g} s or more"
            )
        counted = samples if self._options.frequency_of == "pattern" else BUFFER
        source = "INT" if self._options.trigger == "internal" else "EXT_PE"
        settings: dict[str, bytes] = {}
        for k in range(1, self.channels + 1):
            volts = ",".join(f"{v:.5f}" for v in drive[:, k - 1] / self._gain)
            for header, value in (
                ("FUNC", "ARBITRARY"),
                ("VOLT:OFFS", "0"),  # before VOLT: their sum is limited
                ("VOLT", "1"),
                ("TRAC:DATA:DATA", volts),
                ("FREQ:FIX", f"{1.0 / (counted * period):.9g}"),
                ("BURS:STAT", "BURST"),
                ("BURS:NCYC", str(timing.plays)),
                ("TRIG:SOUR", source),
            ):
                settings[f"{k}:{header}"] = f"SOUR{k}:{header} {value}".encode()
        self._box.set(settings | self._outputs("ON"), f"{self.name}: loading {samples} samples")
        self._pattern = settings

    def _play(self) -> None:
        if not (self._pattern and self._box.holds(self._pattern)):
            raise DeviceError(f"{self.name}.play: nothing is loaded; load first")
        if not self._box.holds(self._outputs("ON")):
            self._box.set(self._outputs("ON"), f"{self.name}: switching the outputs on")
        if self._options.trigger == "internal":
            self._box.tell([b"SOUR:TRIG:INT"], f"{self.name}: starting the generators")

    def _safe_state(self) -> None:
        """Outputs off; what is loaded stays, and the next play switches them on again."""
        doing = f"{self.name}: switching the outputs off"
        self._box.set(self._outputs("OFF"), doing, anew=True)

    def _outputs(self, state: str) -> dict[str, bytes]:
        return {
            f"{k}:output": f"OUTPUT{k}:STATE {state}".encode() for k in range(1, self.channels + 1)
        }


class RedPitayaPhotodetectorsOptions(Options):
    """``channels``: IN1, or IN1 and IN2. ``volts_per_unit``: V at the input per ``unit`` of light, so that
    readings are in ``unit``. ``ranges``: full scales that the inputs have; the jumpers on the board decide, so
    that one is the rule. ``trigger``: "external" edge; "generator": the box's own outputs start the reading;
    "now": it begins when it is fetched. ``oversampling``: readings of the converter that a sample gets, at least.
    ``guard``: share of a sample that is left out at its beginning. ``delay`` (s) from the trigger to the first
    sample. ``format``, ``byte_order``: of data on the wire."""

    channels: Literal[1, 2] = 2
    unit: str = "W"
    volts_per_unit: float = Field(default=1.0, gt=0)
    ranges: Literal["LV", "HV", "both"] = "LV"
    trigger: Literal["external", "generator", "now"] = "external"
    oversampling: int = Field(default=8, ge=LEAST)
    guard: float = Field(default=0.25, ge=0, lt=0.5)
    delay: float = Field(default=0.0, ge=0)
    format: Literal["binary", "text"] = "binary"
    byte_order: Literal["big", "little", "probe"] = "probe"


class RedPitayaPhotodetectors(Photodetectors):
    """Two inputs that record a buffer at a trigger; readings in ``unit``."""

    def __init__(
        self, name: str, transport: Transport, options: RedPitayaPhotodetectorsOptions
    ) -> None:
        self._gains = {"LV": ("LV",), "HV": ("HV",), "both": ("LV", "HV")}[options.ranges]
        ranges = tuple(FULL_SCALES[g] / options.volts_per_unit for g in self._gains)
        spec = ChannelSpec(unit=options.unit, low=-ranges[-1], high=ranges[-1])
        most = BUFFER // LEAST
        super().__init__(name, options.channels, spec, ranges, most, max_readings=most)
        self._transport = transport
        self._options = options
        self._box = Settings(transport, ERRORS)
        self._clock = WallClock()
        self._order = {"big": ">f4", "little": "<f4", "probe": ""}[options.byte_order]
        self._windows = np.zeros((0, 2), dtype=int)
        self._shape = (0, 0)
        self._seconds = 0.0
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        return scpi.identity(self._transport, "redpitaya")

    def _open(self) -> None:
        self.identity()
        scpi.drop_old_errors(self._transport, ERRORS)
        self._set_range(self.range)

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        gain = self._gains[index]
        self._tell(
            [f"ACQ:SOUR{c}:GAIN {gain}" for c in range(1, self.channels + 1)], f"range {gain}"
        )

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        """Speed, the trigger at the buffer's beginning, start."""
        period = timing.sample_period * timing.samples_per_reading
        decimation = self._decimation(samples * averages, period)
        readings = period / (decimation * CLOCK)
        first = self._options.delay / (decimation * CLOCK)
        whole = first + np.arange(samples * averages) * readings
        begin = np.ceil(whole + self._options.guard * readings - 1e-6).astype(int)
        end = np.maximum(np.floor(whole + readings + 1e-6).astype(int), begin + 1)
        self._windows = np.stack([begin, end], axis=1)
        self._shape = (averages, samples)
        self._seconds = BUFFER * decimation * CLOCK
        source = {"external": ["EXT_PE"], "generator": ["AWG_PE"], "now": []}
        self._tell(
            [
                "ACQ:STOP",
                f"ACQ:DEC {decimation}",
                "ACQ:AVG ON",
                "ACQ:DATA:UNITS VOLTS",
                f"ACQ:TRIG:DLY {BUFFER // 2}",
                "ACQ:START",
                *[f"ACQ:TRIG {s}" for s in source[self._options.trigger]],
            ],
            f"arming for {samples} samples",
        )

    def _fetch(self) -> DetectorReadings:
        averages, samples = self._shape
        self._wait_for_trigger(alone=samples == 1)
        self._wait("ACQ:TRIG:FILL?", "1", "the buffer did not fill")
        count = int(self._windows[-1, 1])
        columns = [self._data(channel, count) for channel in range(1, self.channels + 1)]
        volts = np.stack(columns, axis=1)
        full = FULL_SCALES[self._gains[self.range]]
        beyond = ~(np.abs(volts) <= 1.1 * full)  # not a number, too
        if beyond.any():
            raise DeviceError(
                f"{self.name}: {volts[beyond][0]:g} V came from an input of {full:g} V; is `byte_order` right?"
            )
        high = np.abs(volts) >= full * (1.0 - 2.0 ** (2 - BITS))
        shape = (averages, samples, self.channels)
        signal = self._means(volts).reshape(shape).mean(axis=0)
        clipped = self._means(high.astype(float)).reshape(shape).max(axis=0) > 0.0
        return DetectorReadings(signal / self._options.volts_per_unit, clipped)

    def _safe_state(self) -> None:
        return None  # an input drives nothing

    # -- one reading ------------------------------------------------------------------------------

    def _decimation(self, samples: int, period: float) -> int:
        """The largest that leaves ``oversampling`` readings to a sample; a larger one where the play would not fit."""
        for least in (self._options.oversampling, LEAST):
            fine = [int(d) for d in DECIMATIONS if least * d * CLOCK <= period * (1 + 1e-9)]
            if fine and samples * period + self._options.delay <= BUFFER * fine[-1] * CLOCK:
                return fine[-1]
        raise ConfigError(
            f"{self.name}: {samples} samples of {period:g} s (averages counted) are asked for; the inputs hold "
            f"{BUFFER} readings of {CLOCK:g} s or more, {LEAST} a sample. Take fewer averages, smaller batches, or "
            "longer samples"
        )

    def _wait_for_trigger(self, alone: bool) -> None:
        """Until the trigger has come. A single sample for which nobody has played (a dark one) begins by itself: what
        arrives at rest does not depend on when it is read."""
        now = self._options.trigger == "now"
        if now or (alone and self._transport.query("ACQ:TRIG:STAT?").strip() == "WAIT"):
            self._tell(["ACQ:TRIG NOW"], "reading now")
        self._wait(
            "ACQ:TRIG:STAT?",
            "TD",
            f"no trigger came ({self._options.trigger}); is its cable connected, and was anything played?",
        )

    def _wait(self, query: str, wanted: str, otherwise: str) -> None:
        deadline = self._clock.now() + self._transport.timeout + self._seconds
        while (answer := self._transport.query(query).strip()) != wanted:
            if answer not in ("WAIT", "0"):
                raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}")
            if self._clock.now() > deadline:
                raise DeviceTimeout(f"{self.name}: {otherwise}")
            self._clock.sleep(POLL)

    def _data(self, channel: int, count: int) -> FloatArray:
        """The first ``count`` samples after the trigger, V."""
        if self._options.format == "text":
            return self._text(channel, count)
        if not self._order:
            return self._probed(channel, count)
        return self._binary(channel, count).view(self._order).astype(float)

    def _probed(self, channel: int, count: int) -> FloatArray:
        """The samples in text, and from those in binary the order of their bytes, if they tell."""
        text = self._text(channel, count)
        data = self._binary(channel, count)
        with np.errstate(invalid="ignore", over="ignore"):
            near = {
                order: bool(np.all(np.abs(data.view(order).astype(float) - text) <= NEAR))
                for order in (">f4", "<f4")
            }
        if not any(near.values()):
            raise DeviceError(
                f"{self.name}: IN{channel} answers {text[:3]} V in text and {data[:12].tobytes()!r} in binary, "
                'which is that in no byte order; set format = "text"'
            )
        if near[">f4"] != near["<f4"]:
            self._order = ">f4" if near[">f4"] else "<f4"
        return text

    def _text(self, channel: int, count: int) -> FloatArray:
        query = f"ACQ:SOUR{channel}:DATA:OLD:N? {count}"
        with self._transport.atomic():
            self._transport.write("ACQ:DATA:FORMAT ASCII")
            answer = self._transport.query(query).strip()
        if not (answer.startswith("{") and answer.endswith("}")):
            raise DeviceError(f"{self.name}: {query} was answered {answer[:60]!r}, not {{v,v,...}}")
        return np.array(numbers(answer[1:-1], f"{self.name}: {query}", count))

    def _binary(self, channel: int, count: int) -> np.ndarray:
        with self._transport.atomic():
            self._transport.write("ACQ:DATA:FORMAT BIN")
            data = self._transport.query_block(f"ACQ:SOUR{channel}:DATA:OLD:N? {count}", 4 * count)
        return np.frombuffer(data, dtype=np.uint8)

    def _means(self, values: FloatArray) -> FloatArray:
        """Means over each sample's window, (samples, channels)."""
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        begin, end = self._windows[:, 0], self._windows[:, 1]
        means: FloatArray = (sums[end] - sums[begin]) / (end - begin)[:, np.newaxis]
        return means

    def _tell(self, commands: list[str], doing: str) -> None:
        self._box.tell([command.encode() for command in commands], f"{self.name}: {doing}")


red_pitaya_modulators = on_a_wire(
    RedPitayaModulatorsOptions, RedPitayaModulators, answers_to=r"(?i)^REDPITAYA"
)
red_pitaya_photodetectors = on_a_wire(
    RedPitayaPhotodetectorsOptions, RedPitayaPhotodetectors, answers_to=r"(?i)^REDPITAYA"
)
