"""NI-DAQmx: analog outputs as phase shifters or as modulators, analog inputs as photodetectors.

Source: nidaqmx 1.7 (National Instruments' Python interface) and its issues 67, 447, 454, 595, 615; the setup of Pai et al.,
Science 2023 (solgaardlab/phox). There is no wire to see: the vendor's library talks to the device.

Tasks are made once, when the device is opened, and kept: making one a write costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Device,
    Identity,
    Modulators,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.drivers.libraries import library
from hilonn.drivers.options import Options
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout, HilonnError
from hilonn.registry import Driver
from hilonn.typing import FloatArray

PAGE = DriverPage(
    instruments="National Instruments DAQ with NI-DAQmx (extra `ni`, and NI-DAQmx itself on the machine)",
    wiring=(
        "PCIe, PXI or USB; `device` and `channels` as NI MAX names them (`Dev1`, `ao0:15`). Patterns start at `start_trigger` and "
        "run on `clock`: give outputs and inputs of one device the same clock, e.g. inputs with "
        '`clock = "/Dev1/ao/SampleClock"`.'
    ),
    connection="",
    device=(
        'driver = "nidaqmx_outputs"\ndevice = "Dev1"\nchannels = "ao0:15"\nlow = 0.0\nhigh = 5.0\n\n'
        '[devices.inputs]\ndriver = "nidaqmx_patterns"\ndevice = "Dev2"\nchannels = "ao0:3"\nlow = -5.0\nhigh = 5.0\n\n'
        '[devices.meter]\ndriver = "nidaqmx_inputs"\ndevice = "Dev2"\nchannels = "ai0:7"\nhigh = 10.0\n'
        'clock = "/Dev2/ao/SampleClock"\nfactor = 1e-3\nunit = "W"'
    ),
    quirks=(
        (
            "`cfg_samp_clk_timing` takes 1000 samples unless told otherwise: short patterns would be repeated. The number is "
            "always given.",
            "nidaqmx-python issue 454",
        ),
        (
            "A write on demand needs `auto_start`, or it is error -200846. Buffered tasks are started by `play`.",
            "issue 67",
        ),
        (
            "Inputs that run on in a buffer lag behind more and more: a finite task is armed for each batch and read whole.",
            "issues 595, 615",
        ),
        ("Only devices with internal channels can measure their outputs: `measured`.", "NI-DAQmx"),
        (
            "Outputs keep their last value when a task ends: the safe state writes zeros first.",
            "NI-DAQmx",
        ),
    ),
    unverified=(
        "The driver has never run on a device: the tests use a stand-in for `nidaqmx.Task` that keeps NI's rules as they are "
        "documented.",
        "A reading from full scale on is saturated; `full_scale_margin` (V) below `high` counts as full scale.",
        "A finite output task that is done keeps its last sample at its outputs.",
        "Inputs clocked by `ao/SampleClock` are armed before the outputs start (`start_order`).",
    ),
)
DEVICES = r"[A-Za-z]\w*(/[A-Za-z]\w*)?"
GRAIN, MEASURED = 20.0 / 2**16, 5e-3
"""V: a step of 16 bits over +-10 V; what an input's offset and noise leave of an output that is measured."""
GONE = (-201003, -200045, -200220, -201190, -201252, -201253, -201390, -50300)
"""NI's codes of a device that is not there: cannot be accessed, removed, no such name, to be replugged, network target
unreachable, network down, connection lost, not found."""
TIMED_OUT = (-200284, -200474, -200560, -200292, -200221, -201250)
"""Samples not yet there, operation timed out, not done in time, samples not taken in time, time exceeded, network."""


class NiOptions(Options):
    """``device`` and ``channels`` as NI MAX names them, ``"ao0:3"`` or ``"ao0,ao2"``. ``low``, ``high`` in V: limits, and
    what the task is made for. ``timeout`` in s, beyond what a pattern lasts."""

    device: str = Field(pattern=f"^{DEVICES}$")
    channels: str = Field(pattern=r"^a[io]\d+(:\d+)?(,a[io]\d+(:\d+)?)*$")
    low: float = Field(default=0.0, ge=-10.0, le=10.0)
    high: float = Field(default=10.0, ge=-10.0, le=10.0)
    timeout: float = Field(default=5.0, gt=0)


class OutputsOptions(NiOptions):
    """``measured``: outputs are read back through the device's internal channels (``_ao0_vs_aognd``); where it has none, what was
    written last is told, and before the first write every output is taken to stand at its high limit. ``resistance`` (ohm) of
    the heaters, for the gate's power limits. ``settling_time`` in s."""

    measured: bool = True
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)


class PatternsOptions(NiOptions):
    """``max_samples``: of the buffer, with repeats. ``clock``: a terminal instead of the device's own clock.
    ``start_trigger``: a terminal whose rising or falling edge (``timing``) starts a pattern, instead of ``play``."""

    max_samples: int = Field(default=65536, ge=2)
    clock: str = ""
    start_trigger: str = ""


class InputsOptions(NiOptions):
    """``low`` None: the range is symmetric. ``ranges`` (V): full scales to choose among, smallest first; None: ``high`` alone.
    ``unit``, and ``factor`` in it per V. ``clock`` and ``start_trigger``: terminals; ``max_samples`` with averages.
    ``wiring`` of the inputs."""

    ranges: list[float] | None = None
    unit: str = "V"
    factor: float = Field(default=1.0, gt=0)
    full_scale_margin: float = Field(default=1e-3, ge=0)
    clock: str = ""
    start_trigger: str = ""
    max_samples: int = Field(default=1 << 20, ge=1)
    wiring: Literal["DEFAULT", "RSE", "NRSE", "DIFF", "PSEUDO_DIFF"] = "DEFAULT"


def physical(options: NiOptions, kind: str) -> list[str]:
    """``Dev1/ao0`` ... of the options' channels. ConfigError where one is no ``kind`` (``ao``, ``ai``) or comes twice."""
    names = []
    for part in options.channels.split(","):
        first, _, last = part.partition(":")
        if not first.startswith(kind):
            raise ConfigError(f"channels = {options.channels!r}: {part} is no {kind} channel")
        begin = int(first[2:])
        end = int(last) if last else begin
        if end < begin:
            raise ConfigError(f"channels = {options.channels!r}: {part} runs backwards")
        names += [f"{options.device}/{kind}{k}" for k in range(begin, end + 1)]
    if len(set(names)) != len(names):
        raise ConfigError(f"channels = {options.channels!r} names a channel twice")
    return names


class Daq:
    """The vendor's library, for one device of ours."""

    def __init__(self, name: str, options: NiOptions, kind: str) -> None:
        if options.low > options.high:
            raise ConfigError(f"devices.{name}: low lies above high")
        self.name = name
        self.options = options
        self.channels = physical(options, kind)
        self.module = library("nidaqmx", "ni")
        self.constants = library("nidaqmx.constants", "ni")
        self._errors = library("nidaqmx.errors", "ni")
        self._system = library("nidaqmx.system", "ni")
        self.broken = False

    def identity(self) -> Identity:
        """Product and serial number of the device."""
        with self.named("who it is"):
            device = self._system.Device(self.options.device)
            return Identity("National Instruments", device.product_type, str(device.serial_num))

    def check_outputs(self) -> None:
        """DeviceError where the limits go beyond what the outputs can do."""
        with self.named("its output ranges"):
            flat = list(self._system.Device(self.options.device).ao_voltage_rngs)
        low, high = min(flat[::2]), max(flat[1::2])
        if self.options.low < low or self.options.high > high:
            raise DeviceError(
                f"{self.name}: {self.options.low:g} .. {self.options.high:g} V is asked for, {self.options.device} gives "
                f"{low:g} .. {high:g} V"
            )

    def task(self, what: str) -> Any:
        """A new task with a name that a person finds in NI MAX."""
        return self.module.Task(f"hilonn {self.name} {what}")

    def edge(self, timing: Timing) -> Any:
        """NI's word for the trigger's edge."""
        return (
            self.constants.Edge.RISING if timing.edge == "rising" else self.constants.Edge.FALLING
        )

    @contextmanager
    def named(self, doing: str) -> Iterator[None]:
        """Within: NI's errors become ours, with their text; tasks are then made anew (``renew``)."""
        try:
            yield
        except self._errors.DaqNotFoundError as error:
            self.broken = True
            raise ConnectionLost(f"{self.name}: {error}") from error
        except self._errors.DaqError as error:
            self.broken = True
            text = f"{self.name} ({self.options.device}): {doing}: NI-DAQmx says {' '.join(str(error).split())}"
            if error.error_code in TIMED_OUT:
                raise DeviceTimeout(text) from error
            if error.error_code in GONE:
                raise ConnectionLost(text) from error
            raise DeviceError(text) from error


def renew(device: NiOutputs | NiPatterns | NiInputs, daq: Daq) -> None:
    """After an error, make ``device``'s task anew: a device that was away knows its old one no more."""
    if daq.broken:
        with suppress(HilonnError):
            device._close()
        daq.broken = False
        device._open()


class NiOutputs(PhaseShifters):
    """Analog outputs that hold a value, all set by one write."""

    def __init__(self, name: str, options: OutputsOptions) -> None:
        self._daq = Daq(name, options, "ao")
        spec = ChannelSpec(
            unit="V",
            low=options.low,
            high=options.high,
            resolution=MEASURED if options.measured else GRAIN,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, len(self._daq.channels), spec)
        self.terminals = tuple(self._daq.channels)
        self._measured = self.tells = options.measured
        self._task: Any = None
        self._held: FloatArray | None = None

    def identity(self) -> Identity:
        return self._daq.identity()

    def _open(self) -> None:
        """Reserve the outputs; they stay as they are."""
        self._held = None
        self._daq.check_outputs()
        with self._daq.named("reserve outputs"):
            self._task = self._daq.task("outputs")
            for channel in self._daq.channels:
                self._task.ao_channels.add_ao_voltage_chan(
                    channel, min_val=self._daq.options.low, max_val=self._daq.options.high
                )

    def _close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            with self._daq.named("close"):
                task.close()

    def _write(self, drive: FloatArray) -> None:
        renew(self, self._daq)
        self._held = None
        with self._daq.named("write"):
            values = drive.tolist()
            self._task.write(
                values if len(values) > 1 else values[0],
                auto_start=True,
                timeout=self._daq.options.timeout,
            )
        self._held = drive.copy()

    def _read_back(self) -> FloatArray:
        """What stands at the outputs, measured; else what was written last, or before that the most that may stand there."""
        if not self._measured:
            return self._high.copy() if self._held is None else self._held.copy()
        with self._daq.named("measure outputs (measured = false where it cannot)"):
            task = self._daq.task("read back")
            try:
                for channel in self._daq.channels:
                    device, _, output = channel.rpartition("/")
                    task.ai_channels.add_ai_voltage_chan(
                        f"{device}/_{output}_vs_aognd", min_val=-10.0, max_val=10.0
                    )
                volts = task.read(timeout=self._daq.options.timeout)
            finally:
                task.close()
        return np.atleast_1d(np.asarray(volts, dtype=float))

    def _safe_state(self) -> None:
        self._write(self.nearest_to_zero())


class NiPatterns(Modulators):
    """Analog outputs that play a buffer on a hardware clock, once for each of ``timing.plays``."""

    def __init__(self, name: str, options: PatternsOptions) -> None:
        self._daq = Daq(name, options, "ao")
        self._options = options
        spec = ChannelSpec(unit="V", low=options.low, high=options.high, resolution=GRAIN)
        most = options.max_samples
        super().__init__(name, len(self._daq.channels), spec, most, max_played=most)
        self.terminals = tuple(self._daq.channels)
        self._task: Any = None
        self._loaded: float | None = None

    def identity(self) -> Identity:
        return self._daq.identity()

    def _open(self) -> None:
        """Reserve the outputs; they stay as they are."""
        self._loaded = None
        self._daq.check_outputs()
        with self._daq.named("reserve outputs"):
            self._task = self._daq.task("patterns")
            for channel in self._daq.channels:
                self._task.ao_channels.add_ao_voltage_chan(
                    channel, min_val=self._options.low, max_val=self._options.high
                )

    def _close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            with self._daq.named("close"):
                task.close()

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        """The whole run goes into the buffer; a single sample is doubled, since NI's buffers hold two at least."""
        run = np.tile(np.repeat(drive, timing.samples_per_reading, axis=0), (timing.plays, 1))
        if len(run) > self._options.max_samples:
            raise DeviceError(
                f"{self.name}: {len(drive)} samples x {timing.plays} plays are {len(run)}, the buffer holds "
                f"{self._options.max_samples}; take fewer averages or smaller batches"
            )
        if len(run) == 1:
            run = np.repeat(run, 2, axis=0)
        rate = 1.0 / timing.sample_period
        renew(self, self._daq)
        self._loaded = None
        with self._daq.named("load a pattern"):
            self._task.stop()
            self._task.timing.cfg_samp_clk_timing(
                rate,
                source=self._options.clock,
                sample_mode=self._daq.constants.AcquisitionType.FINITE,
                samps_per_chan=len(run),
            )
            if self._options.start_trigger:
                self._task.triggers.start_trigger.cfg_dig_edge_start_trig(
                    self._options.start_trigger, trigger_edge=self._daq.edge(timing)
                )
            array = run.T.tolist() if self.channels > 1 else run[:, 0].tolist()
            written = self._task.write(array, auto_start=False, timeout=self._options.timeout)
        if written != len(run):
            raise DeviceError(f"{self.name}: {len(run)} samples were loaded, {written} were taken")
        self._loaded = len(run) / rate

    def _play(self) -> None:
        """Start, and wait for the end unless a trigger starts it."""
        if self._loaded is None:
            raise DeviceError(f"{self.name}.play: nothing is loaded")
        with self._daq.named("play"):
            self._task.stop()
            self._task.start()
            if not self._options.start_trigger:
                self._task.wait_until_done(timeout=self._loaded + self._options.timeout)

    def _safe_state(self) -> None:
        """Zeros, on demand, by a task of its own: the pattern's task is let go first."""
        self._loaded = None
        with suppress(HilonnError):
            self._close()  # a broken task may not close; the zeros matter
        try:
            with self._daq.named("safe state"):
                self._zeros()
        finally:
            self._open()

    def _zeros(self) -> None:
        task = self._daq.task("safe")
        try:
            for channel in self._daq.channels:
                task.ao_channels.add_ao_voltage_chan(
                    channel, min_val=self._options.low, max_val=self._options.high
                )
            zeros = self.nearest_to_zero().tolist()
            task.write(zeros if self.channels > 1 else zeros[0], auto_start=True)
        finally:
            task.close()


class NiInputs(Photodetectors):
    """Analog inputs; a finite task is armed for each batch and read whole."""

    def __init__(self, name: str, options: InputsOptions) -> None:
        self._daq = Daq(name, options, "ai")
        self._options = options
        volts = options.ranges or [options.high]
        self._volts = tuple(volts)
        full = options.factor * volts[-1]
        spec = ChannelSpec(unit=options.unit, low=-full, high=full)
        ranges = tuple(options.factor * v for v in volts)
        most = options.max_samples
        super().__init__(name, len(self._daq.channels), spec, ranges, most, max_readings=most)
        self._task: Any = None
        self._run: tuple[int, int, int, float] | None = None

    def identity(self) -> Identity:
        return self._daq.identity()

    def _open(self) -> None:
        self.range = len(self.ranges) - 1
        self._make(self.range)

    def _close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            with self._daq.named("close"):
                task.close()

    def _make(self, index: int) -> None:
        """A task for one full scale: NI chooses a channel's gain when it is made."""
        self._close()
        with self._daq.named("reserve inputs"):
            self._task = self._daq.task("inputs")
            wiring = getattr(self._daq.constants.TerminalConfiguration, self._options.wiring)
            for channel in self._daq.channels:
                self._task.ai_channels.add_ai_voltage_chan(
                    channel,
                    terminal_config=wiring,
                    min_val=-self._volts[index],
                    max_val=self._volts[index],
                )

    def _set_range(self, index: int) -> None:
        self._make(index)

    def most_samples(self, averages: int, timing: Timing) -> int:
        """The buffer holds every reading of every play."""
        return super().most_samples(averages * timing.samples_per_reading, timing)

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        each = timing.samples_per_reading
        count = samples * averages * each
        if count > self._options.max_samples:
            raise ConfigError(
                f"{self.name}.arm: {samples} samples x {averages} averages x {each} readings are {count}, the buffer holds "
                f"{self._options.max_samples}"
            )
        index = self.range
        renew(self, self._daq)
        if index != self.range:
            self._make(index)
            self.range = index
        taken = max(count, 2)  # NI's buffers hold two at least
        with self._daq.named("arm"):
            self._task.stop()
            self._task.timing.cfg_samp_clk_timing(
                1.0 / timing.sample_period,
                source=self._options.clock,
                sample_mode=self._daq.constants.AcquisitionType.FINITE,
                samps_per_chan=taken,
            )
            if self._options.start_trigger:
                self._task.triggers.start_trigger.cfg_dig_edge_start_trig(
                    self._options.start_trigger, trigger_edge=self._daq.edge(timing)
                )
            self._task.start()
        self._run = (samples, averages, each, taken * timing.sample_period)

    def _fetch(self) -> DetectorReadings:
        """All samples at once; averages are means over plays and over each sample's readings."""
        assert self._run is not None
        samples, averages, each, lasts = self._run
        count = samples * averages * each
        with self._daq.named("fetch"):
            try:
                data = self._task.read(max(count, 2), timeout=lasts + self._options.timeout)
            finally:
                self._task.stop()
        volts = np.asarray(data, dtype=float).reshape(self.channels, -1)
        if volts.shape[1] != max(count, 2):
            raise DeviceError(
                f"{self.name}: {max(count, 2)} samples were armed, {volts.shape[1]} came"
            )
        plays = volts[:, :count].reshape(self.channels, averages, samples, each)
        end = self._volts[self.range] - self._options.full_scale_margin
        saturated = (np.abs(plays) >= end).any(axis=(1, 3)).T
        return DetectorReadings(self._options.factor * plays.mean(axis=(1, 3)).T, saturated)

    def _safe_state(self) -> None:
        return None  # inputs drive nothing


def _driver(options: type[NiOptions], make: Any) -> Driver:
    def build(name: str, chosen: Any, connection: object) -> Device:
        if connection is not None:
            raise ConfigError(
                f"devices.{name}: NI-DAQmx finds its device itself; it takes no connection"
            )
        made: Device = make(name, chosen)
        return made

    return Driver(options=options, build=build)


nidaqmx_outputs = _driver(OutputsOptions, NiOutputs)
nidaqmx_patterns = _driver(PatternsOptions, NiPatterns)
nidaqmx_inputs = _driver(InputsOptions, NiInputs)
