"""Devices over an instrument of another library (see ``bridge``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Device,
    Identity,
    Laser,
    PhaseShifters,
    Photodetectors,
    TemperatureController,
    Timing,
)
from hilonn.drivers.bridge import (
    BridgeOptions,
    LaserMap,
    Library,
    PhaseShiftersMap,
    PhotodetectorsMap,
    TemperatureMap,
    TheirInstrument,
)
from hilonn.errors import ConfigError, DeviceError, HilonnError
from hilonn.registry import Driver
from hilonn.typing import FloatArray

POWERS = {"W": 1.0, "mW": 1e-3, "uW": 1e-6}
LENGTHS = {"m": 1.0, "um": 1e-6, "nm": 1e-9}


class BridgedPhaseShifters(PhaseShifters):
    """One parameter a channel: those that change are set, each is read back."""

    def __init__(self, name: str, box: TheirInstrument, mapped: PhaseShiftersMap) -> None:
        spec = ChannelSpec(
            unit=mapped.unit,
            low=mapped.low,
            high=mapped.high,
            resolution=mapped.resolution,
            resistance=mapped.resistance,
            settling_time=mapped.settling_time,
        )
        super().__init__(name, len(mapped.channels), spec)
        self._box = box
        self._mapped = mapped
        self._words = (mapped.on, mapped.off)
        self._held: FloatArray | None = None
        self._on = False
        self._made = 0

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._held, self._on = None, False
        self._box.open()
        for path in (*self._mapped.channels, *self._mapped.switches):
            self._box.get(path)

    def _close(self) -> None:
        self._box.close()

    def _write(self, drive: FloatArray) -> None:
        """Set what changes, switch on, then read back: some parameters read what stands at an output that is on."""
        held, self._held = self._held, None
        made, self._made = self._made, self._box.made()
        if (
            made != self._made
        ):  # it was lost, or its constructor reset it: nothing is known to stand
            held, self._on = None, False
        changed = [
            (path, float(drive[channel]))
            for channel, path in enumerate(self._mapped.channels)
            if held is None or held[channel] != drive[channel]
        ]
        for path, value in changed:
            self._box.set(path, value)
        if not self._on:
            for path in self._mapped.switches:
                self._box.set_switch(path, True, self._words)
            self._on = True
        for path, value in changed:
            self._box.check_number(path, value, self._mapped.resolution)
        if self._box.made() != self._made:
            raise DeviceError(
                f"{self.name}: its connection broke while it was written; write again"
            )
        self._held = drive.copy()

    def _read_back(self) -> FloatArray:
        """What the parameters read; 0 where a channel is switched off."""
        drive = np.array([self._box.number(path) for path in self._mapped.channels])
        on = [self._box.switch(path, self._words) for path in self._mapped.switches]
        return drive if not on else np.where(on, drive, 0.0)

    def _safe_state(self) -> None:
        """Every channel nearest to zero and off, those behind one that fails too."""
        self._held, self._on = None, False
        box, mapped = self._box, self._mapped
        wanted = list(zip(mapped.channels, map(float, self.nearest_to_zero()), strict=True))
        steps: list[Callable[[], None]] = [partial(box.set, *pair) for pair in wanted]
        steps += [partial(box.set_switch, path, False, self._words) for path in mapped.switches]
        if not mapped.switches:
            steps += [partial(box.check_number, *pair, mapped.resolution) for pair in wanted]
        every(self.name, steps)


class BridgedPhotodetectors(Photodetectors):
    """One parameter a channel, read when fetched; a sample a play."""

    def __init__(self, name: str, box: TheirInstrument, mapped: PhotodetectorsMap) -> None:
        top = mapped.ranges[-1]
        spec = ChannelSpec(unit=mapped.unit, low=-top, high=top)
        super().__init__(name, len(mapped.channels), spec, tuple(mapped.ranges), max_samples=1)
        self._box = box
        self._mapped = mapped
        self._averages = 1

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._box.open()
        for path in self._mapped.channels:
            self._box.get(path)
        self._set_range(len(self.ranges) - 1)
        self.range = len(self.ranges) - 1

    def _close(self) -> None:
        self._box.close()

    def _set_range(self, index: int) -> None:
        for path in self._mapped.range_parameters:
            self._box.set_number(path, self.ranges[index], 1e-3 * self.ranges[index])

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        self._averages = averages

    def _fetch(self) -> DetectorReadings:
        """Means of the averages; from full scale on, over-range sentinels among them, full scale and saturated."""
        full = self.ranges[self.range]
        total = np.zeros(self.channels)
        saturated = np.zeros(self.channels, dtype=bool)
        for _ in range(self._averages):
            values = np.array([self._box.number(path) for path in self._mapped.channels])
            if np.isnan(values).any():
                path = self._mapped.channels[int(np.argmax(np.isnan(values)))]
                raise DeviceError(f"{self.name}: {path} reads NaN")
            beyond = np.abs(values) >= full
            total += np.where(beyond, np.sign(values) * full, values)
            saturated |= beyond
        return DetectorReadings((total / self._averages)[np.newaxis], saturated[np.newaxis])

    def _safe_state(self) -> None:
        return None  # a detector drives nothing


class BridgedLaser(Laser):
    """Three parameters; each setting is read back."""

    def __init__(self, name: str, box: TheirInstrument, mapped: LaserMap) -> None:
        super().__init__(name, mapped.max_power, mapped.wavelengths)
        self._box = box
        self._mapped = mapped
        self._words = (mapped.on, mapped.off)

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._box.open()
        for path in (self._mapped.power, self._mapped.emission, self._mapped.wavelength):
            self._box.get(path)

    def _close(self) -> None:
        self._box.close()

    def power(self) -> float:
        value = self._box.number(self._mapped.power)
        if self._mapped.power_unit == "dBm":
            return float(1e-3 * 10 ** (value / 10))
        return value * POWERS[self._mapped.power_unit]

    def emission(self) -> bool:
        return self._box.switch(self._mapped.emission, self._words)

    def wavelength(self) -> float:
        return self._box.number(self._mapped.wavelength) * LENGTHS[self._mapped.wavelength_unit]

    def _set_power(self, power: float) -> None:
        mapped = self._mapped
        if mapped.power_unit != "dBm":
            self._box.set(mapped.power, power / POWERS[mapped.power_unit])
        elif power > 0:
            self._box.set(mapped.power, float(10 * np.log10(power / 1e-3)))
        else:
            raise DeviceError(f"{self.name}: 0 W is no power in dBm; switch its emission off")
        self._agrees("power", power, self.power(), mapped.power_resolution, "W")

    def _set_emission(self, on: float) -> None:
        self._box.set_switch(self._mapped.emission, bool(on), self._words)

    def _set_wavelength(self, wavelength: float) -> None:
        unit = LENGTHS[self._mapped.wavelength_unit]
        self._box.set(self._mapped.wavelength, wavelength / unit)
        self._agrees(
            "wavelength", wavelength, self.wavelength(), self._mapped.wavelength_resolution, "m"
        )

    def _agrees(self, what: str, asked: float, back: float, resolution: float, unit: str) -> None:
        if not abs(back - asked) <= resolution * (1 + 1e-9):
            raise DeviceError(
                f"{self.name}: {what} was set to {asked:.9g} {unit} and reads {back:.9g} {unit} (resolution {resolution:g}): "
                "did the instrument or its library clip or round it?"
            )

    def _safe_state(self) -> None:
        self._box.set_switch(self._mapped.emission, False, self._words)


class BridgedTemperatureController(TemperatureController):
    """Setpoint and temperature; stable within a window of our own."""

    def __init__(self, name: str, box: TheirInstrument, mapped: TemperatureMap) -> None:
        super().__init__(name, mapped.low, mapped.high)
        self._box = box
        self._mapped = mapped
        self._words = (mapped.on, mapped.off)

    def identity(self) -> Identity:
        return self._box.identity()

    def _open(self) -> None:
        self._box.open()
        for path in (self._mapped.setpoint, self._mapped.temperature):
            self._box.number(path)

    def _close(self) -> None:
        self._box.close()

    def temperature(self) -> float:
        return self._box.number(self._mapped.temperature)

    def stable(self) -> bool:
        """Within the window of the setpoint, with control on."""
        mapped = self._mapped
        if mapped.output is not None and not self._box.switch(mapped.output, self._words):
            return False
        return abs(self.temperature() - self._box.number(mapped.setpoint)) <= mapped.window

    def _set_setpoint(self, temperature: float) -> None:
        self._box.set_number(self._mapped.setpoint, temperature, self._mapped.resolution)
        if self._mapped.output is not None:
            self._box.set_switch(self._mapped.output, True, self._words)

    def _safe_state(self) -> None:
        if self._mapped.output is not None and self._mapped.off_when_safe:
            self._box.set_switch(self._mapped.output, False, self._words)


def every(name: str, steps: Sequence[Callable[[], None]]) -> None:
    """Take all ``steps``, those behind one that fails too; the failures are raised together."""
    failures = []
    for step in steps:
        try:
            step()
        except HilonnError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise type(failures[0])(f"{name}: " + "; ".join(str(error) for error in failures))


def bridge(library: Callable[[str], Library], options: type[BridgeOptions]) -> Driver:
    """The driver of a ``library``, which is made from the class that a bench file names."""

    def build(name: str, chosen: Any, connection: object) -> Device:
        if connection is not None:
            raise ConfigError(
                f"devices.{name}: a bridge opens its instrument itself, by `address`; it takes no connection"
            )
        box = TheirInstrument(name, library(chosen.instrument), chosen)
        if chosen.phase_shifters is not None:
            return BridgedPhaseShifters(name, box, chosen.phase_shifters)
        if chosen.photodetectors is not None:
            return BridgedPhotodetectors(name, box, chosen.photodetectors)
        if chosen.laser is not None:
            return BridgedLaser(name, box, chosen.laser)
        return BridgedTemperatureController(name, box, chosen.temperature_controller)

    return Driver(options=options, build=build)
