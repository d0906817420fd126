"""A stand-in for ``nidaqmx`` that keeps NI's rules, since the real library needs a device.

Rules: a channel belongs to one task at a time (-50103); writing on demand needs auto_start (-200846); a buffer holds two samples at
least (-200609 here for any buffer error); a task that runs is not configured (-200557); values lie within the channel's range (-200077); what
was not acquired cannot be read (-200284); a number of samples that is not given is 1000, and a shorter pattern repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np


class DaqNotFoundError(Exception):
    pass


class DaqError(Exception):
    def __init__(self, text: str, error_code: int) -> None:
        super().__init__(f"{text}\nStatus Code: {error_code}")
        self.error_code = error_code


@dataclass
class Bench:
    """The device behind the tasks: outputs wired to inputs, ``ai0`` sees ``ao0`` and so on."""

    outputs: dict[str, float] = field(default_factory=dict)
    tasks: list[Any] = field(default_factory=list)
    played: list[np.ndarray] = field(default_factory=list)
    gone: bool = False

    def module(self, name: str, extra: str) -> Any:
        """What ``library`` gives: the part ``name`` of the package."""
        if name == "nidaqmx":
            return SimpleNamespace(Task=lambda title: Task(self, title))
        if name == "nidaqmx.errors":
            return SimpleNamespace(DaqError=DaqError, DaqNotFoundError=DaqNotFoundError)
        if name == "nidaqmx.system":
            return SimpleNamespace(Device=self.device)
        return SimpleNamespace(
            Edge=SimpleNamespace(RISING="rising", FALLING="falling"),
            AcquisitionType=SimpleNamespace(FINITE="finite"),
            TerminalConfiguration=SimpleNamespace(DEFAULT="default", RSE="rse"),
        )

    def device(self, name: str) -> Any:
        self.there()
        return SimpleNamespace(
            product_type="PCIe-6738", serial_num=0x1D2C3B4, ao_voltage_rngs=[-10.0, 10.0]
        )

    def there(self) -> None:
        if self.gone:
            raise DaqError("Device is not available", -201003)

    def play(self, channels: list[str], pattern: np.ndarray) -> None:
        self.played.append(pattern)
        for task in self.tasks:
            task.hear(pattern)
        for row, channel in zip(pattern, channels, strict=True):
            self.outputs[channel] = float(row[-1])


class Task:
    def __init__(self, bench: Bench, title: str) -> None:
        bench.there()
        if title in (t.title for t in bench.tasks):
            raise DaqError(f"Task name conflicts with an existing task name: {title}", -200089)
        self.bench, self.title = bench, title
        self.names: list[str] = []
        self.ranges: list[tuple[float, float]] = []
        self.samples: int | None = None
        self.source = ""
        self.trigger = ""
        self.buffer: np.ndarray | None = None
        self.heard = np.zeros((0, 0))
        self.running = self.closed = False
        bench.tasks.append(self)
        self.ao_channels = SimpleNamespace(add_ao_voltage_chan=self._add)
        self.ai_channels = SimpleNamespace(add_ai_voltage_chan=self._add)
        self.timing = SimpleNamespace(cfg_samp_clk_timing=self._clock)
        self.triggers = SimpleNamespace(
            start_trigger=SimpleNamespace(cfg_dig_edge_start_trig=self._triggered)
        )

    def _add(
        self, name: str, min_val: float = -10.0, max_val: float = 10.0, terminal_config: Any = None
    ) -> None:
        self._open()
        for task in self.bench.tasks:
            if name in task.names:
                raise DaqError(f"The specified resource is reserved: {name}", -50103)
        self.names.append(name)
        self.ranges.append((min_val, max_val))

    def _clock(
        self,
        rate: float,
        source: str = "",
        active_edge: Any = None,
        sample_mode: Any = "finite",
        samps_per_chan: int = 1000,
    ) -> None:
        self._open()
        if self.running:
            raise DaqError("Specified property cannot be set while the task is running", -200557)
        if samps_per_chan < 2 or rate > 1e6:
            raise DaqError("Buffer or rate is not possible", -200609)
        self.samples, self.source, self.buffer = samps_per_chan, source, None

    def _triggered(self, terminal: str, trigger_edge: Any = None) -> None:
        self.trigger = terminal

    def write(self, data: Any, auto_start: bool = False, timeout: float = 10.0) -> int:
        self._open()
        array = np.atleast_1d(np.asarray(data, dtype=float))
        if len(self.names) == 1:
            array = array.reshape(1, -1)
        elif array.ndim == 1:
            array = array[:, None]
        if len(array) != len(self.names):
            raise DaqError("Number of channels in the data does not match", -200524)
        for row, (low, high) in zip(array, self.ranges, strict=True):
            if (row < low - 1e-9).any() or (row > high + 1e-9).any():
                raise DaqError("Requested value is not a supported value", -200077)
        if self.samples is None:
            if not auto_start:
                raise DaqError("Write cannot be performed when the task is not started", -200846)
            self.bench.play(self.names, array)
            return int(array.shape[1])
        self.buffer = array
        return int(array.shape[1])

    def start(self) -> None:
        self._open()
        self.running = True
        if self.names[0].split("/")[-1].startswith("ao"):
            if self.buffer is None:
                raise DaqError("No data in the buffer", -200462)
            if not self.trigger:
                self.fire()

    def fire(self) -> None:
        """The pattern is played: repeated or cut to the number of samples that the clock was told."""
        assert self.buffer is not None
        assert self.samples is not None
        repeats = -(-self.samples // self.buffer.shape[1])
        self.bench.play(self.names, np.tile(self.buffer, (1, repeats))[:, : self.samples])

    def hear(self, pattern: np.ndarray) -> None:
        if self.running and self.source.endswith("ao/SampleClock"):
            self.heard = pattern

    def wait_until_done(self, timeout: float = 10.0) -> None:
        self._open()

    def read(self, number_of_samples_per_channel: int | None = None, timeout: float = 10.0) -> Any:
        self._open()
        if number_of_samples_per_channel is None:
            values = [self._stands(name) for name in self.names]
            return values if len(values) > 1 else values[0]
        wanted = number_of_samples_per_channel
        if self.source.endswith("ao/SampleClock"):
            if self.heard.shape[1] < wanted:
                raise DaqError(
                    "Some or all of the samples requested have not yet been acquired", -200284
                )
            data = self.heard[: len(self.names), :wanted]
        else:
            data = np.array([[self._stands(n)] * wanted for n in self.names])
        limits = np.array(self.ranges)
        data = np.clip(data, limits[:, :1], limits[:, 1:])
        return data.tolist() if len(self.names) > 1 else data[0].tolist()

    def _stands(self, name: str) -> float:
        device, _, end = name.partition("/")
        output = end.strip("_").replace("_vs_aognd", "").replace("ai", "ao")
        return self.bench.outputs.get(f"{device}/{output}", 0.0)

    def stop(self) -> None:
        self._open()
        self.running = False

    def close(self) -> None:
        self.closed = True
        if self in self.bench.tasks:
            self.bench.tasks.remove(self)

    def _open(self) -> None:
        self.bench.there()
        if self.closed:
            raise DaqError("Task specified is invalid or does not exist", -200088)
