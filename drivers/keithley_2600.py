"""Keithley 2600B source-measure units: two channels as phase shifters, or as readers of biased photodiodes.

Source: Series 2600B reference manual 2600BS-901-01. Everything is a line of Lua (see ``tsp``). Heaters are driven by
voltage with a current limit ("compliance"), which the box holds by lowering the voltage: the phase is wrong then, and
the box says so in ``smuX.source.compliance``, which is read after every write.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Identity,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.drivers import tsp
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import number
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Reader, Transport
from hilonn.typing import FloatArray

DIALECT = tsp.DIALECT
PAGE = DriverPage(
    instruments="Keithley 2601B to 2636B; two channels (`a`, `b`) where the model has two",
    wiring=(
        "LAN, raw socket 5025, lines end in LF; also GPIB and USB over VISA. Heaters between HI and LO. Photodiodes: cathode to "
        "HI, anode to LO, `bias` in V, `sign` so that light reads positive. For buffered patterns the modulators' trigger "
        'output goes to line 1 of the digital port (`trigger = "line"`).'
    ),
    connection='transport = "tcp"\nhost = "192.168.1.20"\nport = 5025',
    device=(
        'driver = "keithley_2600"\nconnection = "smu"\nchannels = ["a", "b"]\nhigh = 8.0\nmax_current = 0.02\n\n'
        '[devices.meter]\ndriver = "keithley_2600_detectors"\nconnection = "smu2"\nchannels = ["a", "b"]\nbias = 2.0'
    ),
    quirks=(
        (
            "Indefinite blocks: `printbuffer` in binary answers `#0`, data and LF; the length must be known.",
            "2600BS-901-01 p7-101",
        ),
        (
            "Values printed one by one cost 3 ms each over Ethernet: they are read as one block.",
            "log in OE-FET/keithley2600 #11",
        ),
        (
            "A 100 nA limit written with `%f` is 0.000000: numbers are written with nine digits.",
            "pymeasure 0.16.0",
        ),
        (
            'While it waits for an edge (`trigger = "line"`) the box does nothing else: a heater on its other unit would wait as '
            'long for its safe state. Give heaters a box of their own, or `trigger = "none"`.',
            "2600BS-901-01, digio.trigger[N].wait()",
        ),
        (
            "A line that is no Lua is not run, and not answered: only the error queue tells (-285).",
            "2600BS-901-01, error summary",
        ),
    ),
    unverified=(
        "`format.asciiprecision` is set to 10, so that levels are read back with ten digits.",
        "An overflowed reading is 9.91e37; every number from 9.9e37 on is taken as saturated.",
        "The voltages that each model reaches (40 V or 200 V) are from its data sheet.",
        'With `trigger = "line"` the reading begins within a tenth of a sample after the edge; try it with long samples.',
    ),
)
REACH = {"0": 40.0, "1": 200.0, "3": 200.0}
"""V, by the third digit of the model: 2601B, 2602B, 2604B; 2611B ..; 2634B .. (data sheet)."""
VOLTS, AMPERES = 1, 0
Channel = Literal["a", "b"]


class _Smu:
    """What both kinds of devices do with the box."""

    def __init__(self, name: str, transport: Transport, channels: list[Channel]) -> None:
        if not channels or len(set(channels)) != len(channels):
            raise ConfigError(f"devices.{name}: channels = {channels}: give each of a, b once")
        self.name, self.transport = name, transport
        self.names = [f"smu{c}" for c in channels]
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        found = tsp.identity(self.transport, "Keithley")
        if not found.model.startswith("26"):
            raise DeviceError(
                f"{self.name}: a 2600 was expected at {self.transport.address}, {found} answers; is another box on this "
                "address?"
            )
        return found

    def open(self, volts: float) -> None:
        """The model has these channels and reaches ``volts``; numbers are printed with ten digits."""
        model = self.identity().model
        reach = REACH.get(model[2:3], 0.0)
        if volts > reach:
            raise DeviceError(
                f"{self.name}: {volts:g} V are asked for, a {model} reaches {reach:g} V"
            )
        self.run("errorqueue.clear() format.data=format.ASCII format.asciiprecision=10", "opening")
        answers = tsp.ask(self.transport, [f"{smu}~=nil" for smu in self.names])
        for smu, answer in zip(self.names, answers, strict=True):
            if not tsp.flag(answer, f"{self.name}: {smu}~=nil"):
                raise DeviceError(f"{self.name}: a {model} has no {smu}")

    def run(
        self, statements: str, doing: str, what: str = "", timeout: float | None = None
    ) -> list[str]:
        """Run, checked; then ``what`` of every channel (``source.compliance``)."""
        asked = [f"{smu}.{what}" for smu in self.names] if what else []
        return tsp.run(self.transport, statements, f"{self.name}: {doing}", asked, timeout)

    def all(self, text: str) -> str:
        """``text`` for every channel: ``{smu}`` is its name."""
        return " ".join(text.format(smu=smu) for smu in self.names)

    def ask(self, what: str) -> list[str]:
        """``what`` of every channel."""
        return tsp.ask(self.transport, [f"{smu}.{what}" for smu in self.names])

    def numbers(self, texts: list[str], what: str) -> FloatArray:
        return np.array(
            [
                number(text, f"{self.name}: {smu}.{what}")
                for smu, text in zip(self.names, texts, strict=True)
            ]
        )


class Keithley2600Options(Options):
    """``channels`` in their order. ``high`` (V): the largest voltage. ``max_current`` (A): the compliance. ``resistance``
    (ohm) of the heaters, for the gate's power limits. ``settling_time`` (s) of the heaters."""

    channels: list[Channel] = Field(default_factory=lambda: list[Channel](["a", "b"]))
    high: float = Field(gt=0, le=200)
    max_current: float = Field(gt=0, le=3)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)


class Keithley2600(PhaseShifters):
    """One or two heaters, in V."""

    def __init__(self, name: str, transport: Transport, options: Keithley2600Options) -> None:
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=1e-6,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, len(options.channels), spec)
        self.terminals = tuple(f"channel {c}" for c in options.channels)
        self._smu = _Smu(name, transport, options.channels)
        self._options = options
        self._set_up = False

    def identity(self) -> Identity:
        return self._smu.identity()

    def _open(self) -> None:
        self._smu.open(self._options.high)
        self._set_up = False

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """All channels in one line, and what the box says of them; DeviceError where one stands at its current limit."""
        levels = " ".join(
            f"{smu}.source.levelv={v:.9g}" for smu, v in zip(self._smu.names, drive, strict=True)
        )
        known, self._set_up = self._set_up, False
        if not known:
            self._set_limits()
            levels += " " + self._smu.all(f"{{smu}}.source.func={VOLTS} {{smu}}.source.output=1")
        limited = self._smu.run(levels, f"writing {drive}", "source.compliance")
        self._set_up = True
        for smu, text, volts in zip(self._smu.names, limited, drive, strict=True):
            if tsp.flag(text, f"{self.name}: {smu}.source.compliance"):
                raise DeviceError(
                    f"{self.name}: {smu} stands at its current limit of {self._options.max_current:g} A and does not "
                    f"reach {volts:g} V; is the heater's resistance lower than thought, or is there a short?"
                )

    def _set_limits(self) -> None:
        """Current limits and ranges, before anything is on; DeviceError where the box does not hold them."""
        most = self._options.max_current
        settings = (
            f"{{smu}}.source.limiti={most:.9g} {{smu}}.source.rangev={self._options.high:.9g}"
        )
        texts = self._smu.run(self._smu.all(settings), "setting its limits", "source.limiti")
        held = self._smu.numbers(texts, "source.limiti")
        if not np.allclose(held, most, rtol=1e-3):
            raise DeviceError(
                f"{self.name}: a current limit of {most:g} A was set, the box holds {held} A"
            )

    def _read_back(self) -> FloatArray:
        """The levels that the box holds; 0 where an output is off."""
        levels = self._smu.numbers(self._smu.ask("source.levelv"), "source.levelv")
        on = self._smu.numbers(self._smu.ask("source.output"), "source.output")
        return np.where(on != 0.0, levels, 0.0)

    def currents(self) -> FloatArray:
        """A that the channels measure, (channels,). DeviceError where there is no reading."""
        values = self._smu.numbers(self._smu.ask("measure.i()"), "measure.i()")
        if (np.abs(values) >= tsp.NO_READING).any():
            raise DeviceError(f"{self.name}: measure.i() of {self._smu.names} overflowed: {values}")
        return values

    def _safe_state(self) -> None:
        """Zero, and off."""
        self._set_up = False
        self._smu.run(self._smu.all("{smu}.source.levelv=0 {smu}.source.output=0"), "switching off")


class Keithley2600DetectorsOptions(Options):
    """``bias`` (V) on the photodiodes, as sourced; ``sign`` of the current that is light. ``ranges`` (A), smallest first.
    ``nplc``: mains cycles of one reading, where no trigger sets the pace. ``trigger``: ``none``, one sample at a time, read when it
    is fetched; ``line``: the reading waits for an edge on line 1 of the digital port, for ``trigger_timeout`` s at most."""

    channels: list[Channel] = Field(default_factory=lambda: list[Channel](["a", "b"]))
    bias: float = Field(default=0.0, ge=-40, le=40)
    sign: Literal[1, -1] = 1
    ranges: tuple[float, ...] = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    nplc: float = Field(default=0.1, ge=0.001, le=25)
    mains: Literal[50, 60] = 50
    trigger: Literal["none", "line"] = "none"
    trigger_timeout: float = Field(default=2.0, gt=0, le=60)


MOST = 10_000
"""Readings of one buffered measurement; the box's buffers hold more."""


class Keithley2600Detectors(Photodetectors):
    """One or two biased photodiodes, in A."""

    def __init__(
        self, name: str, transport: Transport, options: Keithley2600DetectorsOptions
    ) -> None:
        top = options.ranges[-1] if options.ranges else 1.0
        spec = ChannelSpec(unit="A", low=-top, high=top)
        most = MOST if options.trigger == "line" else 1
        super().__init__(name, len(options.channels), spec, options.ranges, most, MOST)
        self._smu = _Smu(name, transport, options.channels)
        self._options = options
        self._set_up = False
        self._asked = (1, 1)
        self._lasts = 0.0

    def identity(self) -> Identity:
        return self._smu.identity()

    def _open(self) -> None:
        self._smu.open(abs(self._options.bias))
        self._set_up = False

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        self._smu.run(
            self._smu.all(f"{{smu}}.measure.rangei={self.ranges[index]:.9g}"), "setting the range"
        )

    def _set_up_once(self) -> None:
        """Bias on, with a current limit just above the largest range."""
        if self._set_up:
            return
        settings = (
            f"{{smu}}.source.limiti={1.01 * self.ranges[-1]:.9g} {{smu}}.source.levelv={self._options.bias:.9g} "
            f"{{smu}}.source.func={VOLTS} {{smu}}.measure.rangei={self.ranges[self.range]:.9g} {{smu}}.source.output=1"
        )
        edge = (
            " digio.trigger[1].mode=digio.TRIG_RISINGA" if self._options.trigger == "line" else ""
        )
        self._smu.run(self._smu.all(settings) + edge, "biasing the photodiodes")
        self._set_up = True

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        count = samples * averages
        if count > MOST:
            raise ConfigError(
                f"{self.name}.arm: {samples} x {averages} readings asked, {MOST} are possible"
            )
        waits = self._options.trigger == "line"
        every = timing.sample_period * timing.samples_per_reading if waits else 0.0
        nplc = 0.8 * every * self._options.mains if waits else self._options.nplc
        if nplc < 0.001:
            raise ConfigError(
                f"{self.name}.arm: a reading every {every:g} s is asked for; one takes at "
                f"least {0.001 / 0.8 / self._options.mains:.3g} s"
            )
        self._set_up_once()
        self._asked, self._lasts = (
            (samples, averages),
            count * max(every, 1.5 * nplc / self._options.mains),
        )
        self._smu.run(
            self._smu.all(
                f"{{smu}}.measure.nplc={min(nplc, 25.0):.9g} {{smu}}.measure.interval={every:.9g} "
                f"{{smu}}.measure.count={count} {{smu}}.nvbuffer1.clear()"
            ),
            "arming",
        )
        if waits:
            wait = f"started=digio.trigger[1].wait({self._options.trigger_timeout:.9g}) "
            self._smu.transport.write("digio.trigger[1].clear() " + wait + self._measuring())

    def _measuring(self) -> str:
        return self._smu.all("{smu}.measure.overlappedi({smu}.nvbuffer1)") + " waitcomplete()"

    def _fetch(self) -> DetectorReadings:
        """One block of REAL32 a channel, all in one go."""
        samples, averages = self._asked
        count = samples * averages
        waits = self._options.trigger == "line"
        patience = self._smu.transport.timeout + self._lasts
        if waits:
            patience += self._options.trigger_timeout
            self._check_started(patience)
            taken = self._smu.run("", "reading", "nvbuffer1.n", patience)
        else:
            taken = self._smu.run(self._measuring(), "reading", "nvbuffer1.n", patience)
        if (self._smu.numbers(taken, "nvbuffer1.n") != count).any():
            raise DeviceError(f"{self.name}: {count} readings were asked for, {taken} were taken")
        asked = "format.data=format.REAL32 format.byteorder=format.LITTLEENDIAN\n" + "".join(
            f"printbuffer(1,{count},{smu}.nvbuffer1.readings)\n" for smu in self._smu.names
        )

        def blocks(reader: Reader) -> list[bytes]:
            return [reader.block(4 * count) for _ in self._smu.names]

        found = self._smu.transport.ask(asked.encode("ascii"), blocks)
        values = np.stack([np.frombuffer(data, "<f4") for data in found], axis=1).astype(float)
        return self._readings(values.reshape(averages, samples, self.channels))

    def _check_started(self, patience: float) -> None:
        (started,) = tsp.answered(self._smu.transport, "", ["started"], patience)
        if started != "true":
            raise DeviceError(
                f"{self.name}: no edge came on line 1 of the digital port within "
                f"{self._options.trigger_timeout:g} s; is the modulators' trigger output wired to it?"
            )

    def _readings(self, values: FloatArray) -> DetectorReadings:
        full = self.ranges[self.range]
        if np.isnan(values).any():
            raise DeviceError(f"{self.name}: NaN came in a block of readings")
        over = np.abs(values) >= full
        held = np.where(np.abs(values) >= tsp.NO_READING, np.copysign(full, values), values)
        return DetectorReadings(self._options.sign * held.mean(axis=0), np.any(over, axis=0))

    def _safe_state(self) -> None:
        """No bias; a measurement under way is given up."""
        self._set_up = False
        self._smu.run(
            self._smu.all("{smu}.abort() {smu}.source.levelv=0 {smu}.source.output=0"),
            "switching off",
        )


keithley_2600 = on_a_wire(
    Keithley2600Options, Keithley2600, answers_to=r"(?i)^Keithley.*,\s*Model 26\d\d"
)
keithley_2600_detectors = on_a_wire(
    Keithley2600DetectorsOptions,
    Keithley2600Detectors,
    answers_to=r"(?i)^Keithley.*,\s*Model 26\d\d",
)
