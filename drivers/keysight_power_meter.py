"""Keysight 8163/8164/8166 and N7744A, N7745A: optical power meters, as photodetectors in W.

Sources: 8163A/B, 8164A/B programming guide p14 (errors), p17, p66, p97, p100-104 (logging); N774xC guide p14, p69, p88. Slots are counted
from 1, each with one detector. A batch is read as one log, which one trigger starts: ``samples`` x ``averages``
points, each averaged for one sample period; the modulators repeat their pattern meanwhile, so that point k of
repeat r is sample k. Logged data are float32, little endian; a reading above its range is 3.4e38.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.clock import Clock, WallClock
from hilonn.devices import ChannelSpec, DetectorReadings, Identity, Photodetectors, Timing
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, numbers
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\n", read="\n")
PAGE = DriverPage(
    instruments="Keysight (Agilent, HP) 8163, 8164, 8166 with power sensors; N7744A, N7745A and their successors",
    wiring=(
        "LAN, USB or GPIB through VISA; N77xx also a raw socket on port 5025. Lines end in LF. The trigger that starts the "
        "modulators goes to the meter's trigger input, a rising edge at TTL level."
    ),
    connection='transport = "visa"\nresource = "TCPIP::192.168.1.9::INSTR"',
    device='driver = "keysight_power_meter"\nconnection = "meter"\nchannels = 8\nwavelength = 1.55e-6',
    quirks=(
        ("Setting any parameter stops a log.", "8163 guide p100-104"),
        ("Numbers have three-digit exponents.", "8163 guide p17"),
        (
            "A reading above its range is +3.40282E+038; it is given as saturated, at the range's full scale.",
            "8163 guide p17",
        ),
        ("Modules in a mainframe log in W whatever their unit is; W is set everywhere.", "LabExT"),
        (
            "-410, -420, -231, -213, -261 are noise to some programs. Here they are errors, unless `harmless` lists them.",
            "LabExT",
        ),
        (
            "Changing the wavelength often disturbs automatic ranges, which are off here.",
            "N774xC guide p88",
        ),
    ),
    unverified=(
        "Commands and queries with `;` between them are answered in one line, blocks too; else `chained = false`.",
        "A raw socket on port 5025 (N77xx).",
        "N77xx log up to 1,000,000 points; `max_points` says how many are used.",
        "N77xx average for 1 us at least, modules in a mainframe for 100 us.",
        "`SENS1:FUNC:PAR:LOGG?` answers the points and the averaging time that were set.",
        (
            "Slots that one trigger starts end their logs together: the last one is asked whether it is done, all of them at the "
            "first log, and `FUNC:RES?` of a log that is not done is refused or too short; else `ask_all = true`."
        ),
        "The second detector of a dual head is not read.",
    ),
)
OVER_RANGE = 1e20
"""W: more than this is the box's way to say that a reading is above its range."""
BEYOND = 10.0
"""Full scales: a reading further out, and no over-range, is no reading."""
MAINFRAME = re.compile(r"816\d")
MULTIPORT = re.compile(r"N77\d\d")
MAINFRAME_POINTS = 10001
LONGEST_AVERAGE = 10.0
"""s."""
POLLS = (1e-3, 0.05)
"""s between looks at a log that is not done: the first ones, and at most."""
IN_PROGRESS, DONE = "LOGGING_STABILITY,PROGRESS", "LOGGING_STABILITY,COMPLETE"


class KeysightPowerMeterOptions(Options):
    """``channels``: slots read, from ``first`` on. ``wavelength`` (m) that the detectors' calibration is taken at.
    ``ranges`` (dBm), smallest first.

    ``reading`` "log": a batch is one log, at most ``max_points`` long. "single": one sample at a time, by software;
    averages lengthen the averaging time. ``trigger`` of a log: "start" (CME: one edge starts it), "sample" (SME: one edge
    a point), "none" (it starts when armed), "bench": "none" where the bench's timing is internal, else "start".
    ``auto_gain``: an N77xx amplifies weak light more within its range, with less noise; off, it follows fast steps best.
    ``averaging_time`` (s) of single readings; None: the sample period. ``chained``, ``ask_all``, ``harmless``: see the page.
    """

    channels: int = Field(default=8, ge=1, le=64)
    first: int = Field(default=1, ge=1, le=64)
    wavelength: float = Field(default=1.55e-6, gt=4e-7, lt=3e-6)
    ranges: tuple[float, ...] = (-30.0, -20.0, -10.0, 0.0, 10.0)
    reading: Literal["log", "single"] = "log"
    trigger: Literal["bench", "start", "sample", "none"] = "bench"
    max_points: int = Field(default=MAINFRAME_POINTS, ge=1, le=1_000_000)
    averaging_time: float | None = Field(default=None, gt=0, le=LONGEST_AVERAGE)
    auto_gain: bool = True
    chained: bool = True
    ask_all: bool = False
    harmless: tuple[int, ...] = ()


class KeysightPowerMeter(Photodetectors):
    """Detectors of one box. ``set_range`` sets all of them, and ends a log that is armed."""

    def __init__(self, name: str, transport: Transport, options: KeysightPowerMeterOptions) -> None:
        if any(decibels % 10 for decibels in options.ranges):
            raise ConfigError(f"devices.{name}: ranges are steps of 10 dB, got {options.ranges}")
        ranges = tuple(watts(decibels) for decibels in options.ranges)
        logs = options.reading == "log"
        super().__init__(
            name,
            options.channels,
            ChannelSpec(unit="W", low=0.0, high=max(ranges, default=0.0)),
            ranges,
            options.max_points if logs else 1,
            options.max_points if logs else None,
        )
        self._transport = transport
        self._options = options
        self._clock: Clock = WallClock()
        self._slots = range(options.first, options.first + options.channels)
        self._chain = scpi.Chain(
            transport, harmless=frozenset(options.harmless), chained=options.chained
        )
        self._sure = False  # what the box holds is what it was told
        self._mainframe = False
        self._log: tuple[int, float, str] | None = None
        self._together: str | None = (
            None  # the trigger by which a log was seen to end in all slots at once
        )
        self._averaging: float | None = None
        self._armed_for: tuple[int, int] | None = None
        self._order: list[int] = []
        transport.speak(DIALECT)

    def identity(self) -> Identity:
        return scpi.identity(self._transport)

    def _open(self) -> None:
        """Know the box and its slots; W, fixed ranges, no logs."""
        self._sure = False
        model = self.identity().model
        mainframe = MAINFRAME.search(model) is not None
        if not mainframe and MULTIPORT.search(model) is None:
            raise DeviceError(
                f"{self.name}: {model} answers, no 816x mainframe and no N77xx power meter"
            )
        if mainframe and self._options.max_points > MAINFRAME_POINTS:
            raise DeviceError(
                f"{self.name}: max_points = {self._options.max_points} is asked for, a {model} logs {MAINFRAME_POINTS}"
            )
        self._mainframe = mainframe
        self._transport.write("*CLS")
        self._find_slots(model)
        self._configure()
        self._sure = True

    def _configure(self) -> None:
        """All settings, but those of a log, which are forgotten."""
        self._log = self._averaging = self._armed_for = self._together = None
        self._chain.tell(self._each("SENS{}:FUNC:STAT LOGG,STOP"), "stopping logs")
        self._chain.tell(
            [
                *self._each("SENS{}:POW:UNIT 1"),
                *self._each(f"SENS{{}}:POW:WAV {1e9 * self._options.wavelength:.6f}NM"),
                *(
                    []
                    if self._mainframe
                    else self._each(f"SENS{{}}:POW:GAIN:AUTO {self._options.auto_gain:d}")
                ),
                *self._each("INIT{}:CONT 0"),
            ],
            "units and wavelength",
        )
        self._set_range(self.range)
        for slot, unit in zip(
            self._slots, self._chain.ask(self._each("SENS{}:POW:UNIT?")), strict=True
        ):
            if not flag(unit, f"{self.name}: SENS{slot}:POW:UNIT?"):
                raise DeviceError(f"{self.name}: slot {slot} stays in dBm, W was set")

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        """One message for all channels; RANG ends the automatic range, and it is said besides."""
        self._armed_for = None
        sure, self._sure = self._sure, False
        decibels = self._options.ranges[index]
        self._chain.tell(
            [
                *self._each("SENS{}:POW:RANG:AUTO 0"),
                *self._each(f"SENS{{}}:POW:RANG {decibels:g}DBM"),
            ],
            f"range {decibels:g} dBm",
        )
        self._sure = sure

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        self._armed_for = None
        if timing.edge != "rising":
            raise ConfigError(f"{self.name}.arm: this meter starts on rising edges")
        sure, self._sure = self._sure, False
        if not sure:
            self._configure()
        if self._options.reading == "single":
            self._arm_single(averages, timing)
        else:
            self._arm_log(samples * averages, timing)
        self._armed_for = samples, averages
        self._sure = True

    def _arm_log(self, points: int, timing: Timing) -> None:
        """Returns when every channel waits for its trigger."""
        if points > self._options.max_points:
            raise ConfigError(
                f"{self.name}.arm: {points} points (samples x averages) are asked for, a log holds "
                f"{self._options.max_points}; split the batch, average less, or raise `max_points` if the box holds more"
            )
        wanted = points, timing.sample_period, self._trigger(timing)
        if wanted != self._log:
            self._set_log(*wanted)
        self._chain.send(
            [*self._each("SENS{}:FUNC:STAT LOGG,STOP"), *self._each("SENS{}:FUNC:STAT LOGG,STAR")]
        )
        for slot, state in zip(self._slots, self._states(), strict=True):
            if state != IN_PROGRESS and not (wanted[2] == "IGN" and state == DONE):
                self._chain.raise_errors("starting a log")
                raise DeviceError(
                    f"{self.name}: slot {slot} is to log and says {state!r} to FUNC:STAT?"
                )
        self._log = wanted

    def _set_log(self, points: int, period: float, trigger: str) -> None:
        self._chain.tell(
            [
                *self._each("SENS{}:FUNC:STAT LOGG,STOP"),
                *self._each(f"TRIG{{}}:INP {trigger}"),
                *self._each(f"SENS{{}}:FUNC:PAR:LOGG {points},{1e6 * period:.6f}US"),
            ],
            f"a log of {points} points of {period:g} s",
        )
        for slot, answer in zip(
            self._slots, self._chain.ask(self._each("SENS{}:FUNC:PAR:LOGG?")), strict=True
        ):
            asked = f"{self.name}: SENS{slot}:FUNC:PAR:LOGG?"
            got = numbers(answer, asked, 2)
            if got[0] != points or not math.isclose(got[1], period, rel_tol=1e-3):
                raise DeviceError(
                    f"{self.name}: slot {slot} logs {got[0]:g} points of {got[1]:g} s where {points} of {period:g} s "
                    "were set; choose a sample period that the meter knows"
                )

    def _arm_single(self, averages: int, timing: Timing) -> None:
        seconds = (self._options.averaging_time or timing.sample_period) * averages
        if seconds > LONGEST_AVERAGE:
            raise ConfigError(
                f"{self.name}.arm: {averages} averages would take {seconds:g} s, the meter averages for "
                f"{LONGEST_AVERAGE:g} s"
            )
        if seconds != self._averaging:
            self._chain.tell(
                self._each(f"SENS{{}}:POW:ATIM {1e6 * seconds:.6f}US"),
                f"averaging for {seconds:g} s",
            )
        self._averaging = seconds

    def _fetch(self) -> DetectorReadings:
        if self._armed_for is None:
            raise DeviceError(f"{self.name}.fetch: a setting ended what was armed; arm again")
        (samples, averages), self._armed_for = self._armed_for, None
        self._sure = False
        if self._options.reading == "single":
            values = self._single()[None, :, :]
        else:
            values = self._logged(samples * averages).reshape(averages, samples, self.channels)
        readings = self._readings(values)
        self._sure = True
        return readings

    def _safe_state(self) -> None:
        """Logs stopped; the front panel measures again."""
        self._sure = False
        self._chain.tell(
            [*self._each("SENS{}:FUNC:STAT LOGG,STOP"), *self._each("INIT{}:CONT 1")],
            "safe state",
        )

    # -- parts --------------------------------------------------------------------------------------

    def _each(self, command: str) -> list[str]:
        return [":" + command.format(slot) for slot in self._slots]

    def _find_slots(self, model: str) -> None:
        """Every slot that is asked for is there; their order in answers for all."""
        data = self._transport.query_block("READ:POW:ALL:CONF?")
        if len(data) % 4:
            raise DeviceError(
                f"{self.name}: READ:POW:ALL:CONF? was answered with {len(data)} bytes, no pairs of numbers"
            )
        pairs = np.frombuffer(data, "<u2").reshape(-1, 2).tolist()
        self._order = [slot if channel == 1 else 0 for slot, channel in pairs]
        missing = [str(slot) for slot in self._slots if slot not in self._order]
        if missing:
            there = ", ".join(str(slot) for slot in self._order if slot) or "none"
            raise DeviceError(
                f"{self.name}: a {model} has detectors in slots {there}; asked for and not there: {', '.join(missing)}"
            )

    def _trigger(self, timing: Timing) -> str:
        chosen = self._options.trigger
        if chosen == "bench":
            chosen = "none" if timing.trigger == "internal" else "start"
        return {"none": "IGN", "start": "CME", "sample": "SME"}[chosen]

    def _states(self) -> list[str]:
        return self._chain.ask(self._each("SENS{}:FUNC:STAT?"))

    def _wait_for_log(self, duration: float, trigger: str) -> None:
        """Looks first when the log should be done if its trigger has just come, then less and less often.

        Half a millisecond a slot is a third of a pass: once a log by this trigger has ended in all slots at once, the one that was started
        last is asked alone. With an edge a point each slot counts its own, and all are asked.
        """
        alone = self._together == trigger != "SME" and not self._options.ask_all
        slots = self._slots[-1:] if alone else self._slots
        queries = [f":SENS{slot}:FUNC:STAT?" for slot in slots]
        deadline = self._clock.now() + duration + self._transport.timeout
        pause = duration
        apart = False
        while True:
            self._clock.sleep(pause)
            states = self._chain.ask(queries)
            # one after another is asked: a later one that is not done is not together with an earlier one that is
            apart |= any(a == DONE != b for a, b in pairwise(states))
            if all(state == DONE for state in states):
                self._together = None if apart else trigger
                return
            for slot, state in zip(slots, states, strict=True):
                if state not in (DONE, IN_PROGRESS):
                    raise DeviceError(
                        f"{self.name}: slot {slot} was logging and says {state!r}; did somebody change a setting?"
                    )
            if self._clock.now() > deadline:
                waiting = [str(s) for s, x in zip(slots, states, strict=True) if x != DONE]
                raise DeviceTimeout(
                    f"{self.name}: the log of {duration:g} s did not end within {self._transport.timeout:g} s more in "
                    f"slots {', '.join(waiting)}. Does the trigger reach the meter's input, and does something play?"
                )
            pause = min(max(2 * pause, POLLS[0]), POLLS[1])

    def _logged(self, points: int) -> FloatArray:
        """The log, (points, channels), once it is done."""
        assert self._log is not None
        self._wait_for_log(points * self._log[1], self._log[2])
        blocks = self._chain.blocks(self._each("SENS{}:FUNC:RES?"), 4 * points)
        return np.array([_floats(block) for block in blocks]).T

    def _single(self) -> FloatArray:
        """One measurement now, (1, channels)."""
        assert self._averaging is not None
        data = self._transport.query_block(
            "READ:POW:ALL?", 4 * len(self._order), self._transport.timeout + self._averaging
        )
        return _floats(data)[[self._order.index(slot) for slot in self._slots]][None, :]

    def _readings(self, values: FloatArray) -> DetectorReadings:
        """The mean over the first axis of W (averages, samples, channels); over range in one is saturated."""
        full_scale = self.ranges[self.range]
        over: np.ndarray = np.isfinite(values) & (values > OVER_RANGE)
        wrong = ~over & ~(np.abs(values) <= BEYOND * full_scale)  # NaN too
        if wrong.any():
            _, sample, channel = np.argwhere(wrong)[0]
            raise DeviceError(
                f"{self.name}: slot {self._slots[channel]} read {values[wrong][0]:g} W in sample {sample}, at a range of "
                f"{full_scale:g} W"
            )
        saturated = np.asarray(over.any(axis=0))
        return DetectorReadings(np.where(over, full_scale, values).mean(axis=0), saturated)


def _floats(data: bytes) -> FloatArray:
    """float32, little endian. NaNs are found, and told, where readings are checked."""
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, "<f4").astype(float)


def watts(decibels: float) -> float:
    """W of dBm."""
    return float(1e-3 * 10 ** (decibels / 10))


keysight_power_meter = on_a_wire(
    KeysightPowerMeterOptions,
    KeysightPowerMeter,
    answers_to=r"(?i)^(Agilent|Keysight|Hewlett|HP).*,\s*(816[346]|N774\d)",
)
