"""What a routine gets to see of a bench: the verbs of the devices' interfaces, the chip's wiring, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from hilonn.chips.nominal import Nominal
from hilonn.clock import Clock
from hilonn.devices import Actuators, Device, Laser, Modulators, Photodetectors, Switch, Timing
from hilonn.errors import CalibrationError, SaturationError
from hilonn.registry import Wire
from hilonn.typing import BoolArray, FloatArray, IntArray

VERBS: dict[type[Device], tuple[str, ...]] = {
    Actuators: ("write", "bring", "read_back", "spec", "channels"),
    Modulators: ("load", "play", "spec", "channels", "max_samples", "most_samples"),
    Photodetectors: (
        "arm",
        "fetch",
        "set_range",
        "spec",
        "channels",
        "ranges",
        "range",
        "max_samples",
        "most_samples",
    ),
    Laser: ("set_power", "set_emission", "power", "emission", "max_power"),
    Switch: ("select", "position", "locked", "positions"),
}
"""What a proxy lets through, by interface; ``name`` and ``identity`` besides."""
SETTLED = 2.0
"""Times to settle that are waited for: after one, 0.7 % of a step is left, which is more than noise."""
MARGIN = 1.25
"""Of a range over the largest reading expected."""


class Proxy:
    """A device reduced to the verbs of its interface. The device itself is held by no attribute."""

    __slots__ = ("_get",)

    def __init__(self, device: Device) -> None:
        allowed = {"name", "identity"}
        for kind, verbs in VERBS.items():
            if isinstance(device, kind):
                allowed |= set(verbs)

        def get(name: str) -> Any:
            if name not in allowed:
                raise AttributeError(
                    f"{device.name}: a calibration routine sees {', '.join(sorted(allowed))}, not {name!r}"
                )
            return getattr(device, name)

        object.__setattr__(self, "_get", get)

    def __getattr__(self, name: str) -> Any:
        return object.__getattribute__(self, "_get")(name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a calibration routine sets nothing on a device, not {name!r}")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is known of a chip and its boxes before anything is measured: enough to fit raw data offline.

    ``layout`` (heaters, 2) in pitches; ``drive_high`` (heaters,) V, with the oscillator's last where there is one;
    ``modulator_low``, ``modulator_high`` (ports,) V; ``ranges`` full scales in the signal's unit; times in s.
    """

    chip: str
    architecture: str
    ports: int
    layout: FloatArray
    oscillator: bool
    shutter: bool
    drive_high: FloatArray
    drive_step: float
    modulator_low: FloatArray
    modulator_high: FloatArray
    max_samples: int
    ranges: FloatArray
    sample_period: float
    settling_time: float
    modulators_serial: str
    photodetectors_serial: str
    nominal: Nominal

    @property
    def heaters(self) -> int:
        """Heaters of the chip, the oscillator's not counted."""
        return len(self.layout)


class Interrupted(Exception):
    """The person at the keyboard asked to stop; what was acquired is on disk."""


class Stop(Protocol):
    """Says whether somebody asked to stop."""

    @property
    def requested(self) -> bool: ...


@dataclass
class Tally:
    """What was done so far: ``passes`` are programmings of the chip with a batch driven through it."""

    passes: int = 0
    samples: int = 0
    retakes: int = 0
    seconds: float = 0.0


@dataclass
class Rig:
    """The devices of one chip, as proxies, for acquiring. Everything goes through the bench's gate."""

    setup: Setup
    clock: Clock
    timing: Timing
    heaters: Proxy
    modulators: Proxy
    photodetectors: Proxy
    lasers: tuple[Proxy, ...]
    shutter: Proxy | None
    heater_channels: IntArray
    modulator_channels: IntArray
    detector_channels: IntArray
    ready: Callable[[], None] = lambda: None
    """Brings light back where it went off on purpose."""
    tally: Tally = field(default_factory=Tally)
    stop: Stop | None = None
    darkness: Callable[[], AbstractContextManager[None]] = nullcontext
    """The bench's: lasers off on purpose, and on again."""
    dimming: float = 1.0
    """Of the inputs' amplitude, where the detectors do not hold more."""
    _settled: float = -np.inf
    _written: FloatArray | None = None
    _shutter: int | None = None

    def check(self) -> None:
        """Raises Interrupted where somebody asked to stop."""
        if self.stop is not None and self.stop.requested:
            raise Interrupted

    def program(self, drive: FloatArray) -> None:
        """Write ``drive`` (heaters,) V, the oscillator's last; what the chip is not wired to stays at zero.
        Settling is waited for by the next reading."""
        if self._written is not None and np.array_equal(drive, self._written):
            return
        whole = np.zeros(self.heaters.channels)
        whole[self.heater_channels] = drive
        self.heaters.bring(whole)
        self._written = drive.copy()
        self._settled = self.clock.now() + SETTLED * self.setup.settling_time

    def let_oscillator(self, through: bool) -> None:
        """Open or close the oscillator's shutter, where there is one."""
        if self.shutter is not None and self._shutter != int(through):
            self.shutter.select(int(through))
            self._shutter = int(through)

    def forget(self) -> None:
        """Believe nothing of what was written."""
        self._written, self._shutter = None, None

    def set_range(self, index: int) -> None:
        if self.photodetectors.range != index:
            self.photodetectors.set_range(index)

    def read(self, volts: FloatArray, averages: int = 1) -> tuple[FloatArray, BoolArray]:
        """Play ``volts`` (samples, ports): currents (samples, 2 ports) in the detectors' unit and what is
        saturated, at the range that is set."""
        self.check()
        started = self.clock.now()
        self.clock.wait_until(self._settled)
        whole = np.zeros((len(volts), self.modulators.channels))
        whole[:, self.modulator_channels] = volts
        played = replace(self.timing, plays=averages)
        readable = self.photodetectors.most_samples(averages, self.timing)
        chunk = min(self.modulators.most_samples(played), readable)
        signals, saturated = [], []
        for first in range(0, len(whole), chunk):
            piece = whole[first : first + chunk]
            self.photodetectors.arm(len(piece), averages, self.timing)
            self.modulators.load(piece, played)
            self.modulators.play()
            found = self.photodetectors.fetch()
            signals.append(found.signal[:, self.detector_channels])
            saturated.append(found.saturated[:, self.detector_channels])
        self.tally.passes += 1
        self.tally.samples += len(volts) * averages
        self.tally.seconds += self.clock.now() - started
        return np.concatenate(signals), np.concatenate(saturated)

    def ranged(
        self, volts: FloatArray, averages: int = 1, ignore: BoolArray | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """``read`` at the smallest range that holds it, from the present one on: a saturated reading is taken
        again a range higher. Channels in ``ignore`` (2 ports,) may stand at their rail.

        SaturationError where the largest range does not hold it.
        """
        ranges = self.photodetectors.ranges
        while True:
            signal, saturated = self.read(volts, averages)
            counted = saturated if ignore is None else saturated & ~ignore
            index = self.photodetectors.range
            if not counted.any():
                largest = float(signal.max() if ignore is None else signal[:, ~ignore].max())
                if index > 0 and MARGIN * largest < ranges[index - 1]:
                    self.set_range(index - 1)  # from the next reading on
                return signal, saturated
            if index == len(ranges) - 1:
                channel = int(np.argwhere(counted)[0][-1])
                raise SaturationError(
                    f"{self.photodetectors.name}: detector {channel} is saturated at the largest range "
                    f"({ranges[-1]:g} {self.photodetectors.spec.unit}): lower the laser's power or `amplitude`"
                )
            self.tally.retakes += 1
            self.set_range(index + 1)

    def railed(self, volts: FloatArray) -> BoolArray:
        """Detectors (2 ports,) that stand at their rail on the largest range whichever of ``volts`` (samples, ports) is played,
        which should be faint. SaturationError where all do: then it is the light.
        """
        top = len(self.setup.ranges) - 1
        self.set_range(top)
        found = np.asarray(self.read(volts)[1].all(axis=0))
        if found.all():
            raise SaturationError(
                f"{self.photodetectors.name}: every detector is saturated at the largest range ({self.setup.ranges[top]:g} "
                f"{self.photodetectors.spec.unit}), however faint the inputs: lower the laser's power"
            )
        return found

    def dark(self, samples: int) -> FloatArray:
        """Readings (samples, 2 ports) with every laser off; light is on again afterwards, unless something went wrong."""
        with self._without_lasers():
            return self.read(np.zeros((samples, self.setup.ports)))[0]

    def darks(self, samples: int) -> tuple[FloatArray, IntArray]:
        """What every detector reads with every laser off (2 ports,), A, each on the smallest range that holds it, and which that
        is (2 ports,). One that stands at its rail on every range is left at what it reads on the largest."""
        ranges = self.photodetectors.ranges
        mean, index = np.zeros(2 * self.setup.ports), np.zeros(2 * self.setup.ports, int)
        high = np.ones(2 * self.setup.ports, bool)
        with self._without_lasers():
            for at in range(len(ranges)):
                self.set_range(at)
                signal, saturated = self.read(np.zeros((samples, self.setup.ports)))
                mean[high], index[high] = signal.mean(axis=0)[high], at
                high &= saturated.any(axis=0)
                if not high.any():
                    break
        return mean, index

    def _without_lasers(self) -> AbstractContextManager[None]:
        if not self.lasers:
            raise CalibrationError(
                "no laser of this bench can be switched: dark currents cannot be told from light"
            )
        return self.darkness()


def rig_of(bench: Any, name: str | None = None, stop: Stop | None = None) -> Rig:
    """The rig of the chip called ``name`` on an open bench, or of its only one."""
    chip = bench.chip(name)
    wiring: dict[str, Wire] = bench.wirings[chip.name]
    heaters, modulators, detectors = (
        wiring[role].device for role in ("phase_shifters", "modulators", "photodetectors")
    )
    assert isinstance(heaters, Actuators)
    assert isinstance(modulators, Modulators)
    assert isinstance(detectors, Photodetectors)
    channels = wiring["phase_shifters"].channels
    if "local_oscillator" in wiring:
        channels = np.concatenate((channels, wiring["local_oscillator"].channels))
    switch = wiring.get("local_oscillator_switch")
    mods = wiring["modulators"].channels
    step = heaters.spec.bound("resolution", heaters.channels)[channels]
    frame = bench.file.chips[chip.name]
    setup = Setup(
        chip=frame.nominal.chip or f"{chip.name}-{bench.identities[heaters.name].serial}",
        architecture=chip.architecture,
        ports=chip.ports,
        layout=np.array(chip.layout, float),
        oscillator="local_oscillator" in wiring,
        shutter=switch is not None,
        drive_high=bench.gate.admitted(heaters)[1][channels],
        drive_step=float(step.max()),
        modulator_low=bench.gate.admitted(modulators)[0][mods],
        modulator_high=bench.gate.admitted(modulators)[1][mods],
        max_samples=min(modulators.max_samples, detectors.max_samples),
        ranges=np.array(detectors.ranges),
        sample_period=bench.file.timing.sample_period,
        settling_time=heaters.spec.settling_time,
        modulators_serial=bench.identities[modulators.name].serial,
        photodetectors_serial=bench.identities[detectors.name].serial,
        nominal=frame.nominal,
    )
    return Rig(
        setup,
        bench.clock,
        Timing(bench.file.timing.sample_period, trigger=bench.file.timing.trigger),
        Proxy(heaters),
        Proxy(modulators),
        Proxy(detectors),
        tuple(Proxy(d) for d in bench.devices.values() if isinstance(d, Laser)),
        None if switch is None else Proxy(switch.device),
        channels,
        mods,
        wiring["photodetectors"].channels,
        stop=stop,
        darkness=bench.darkness,
    )
