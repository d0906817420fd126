"""After a loss: what is waited for, and what a box that comes back must be again before light goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hilonn.clock import Clock
from hilonn.devices import Device, Laser, TemperatureController
from hilonn.errors import (
    ConnectionLost,
    DeviceError,
    DeviceTimeout,
    HilonnError,
    LimitError,
    NotSafe,
    SafeStateTaken,
    tell_too,
)
from hilonn.safety import SafetyGate

RETRY = (0.2, 5.0)
"""s: first and longest pause between two looks at whether what was lost is back."""
SLICE = 0.2
"""s: pauses are cut into such pieces, between which somebody may ask to stop."""
SAME_LIGHT = 1e-3
"""Of a laser's power and wavelength: differences below are rounding."""
SAME_TEMPERATURE = 0.1
"""K: a chip that comes back further off is not the chip that was trained."""
TROUBLE = (ConnectionLost, DeviceTimeout, DeviceError, LimitError)
Tell = Callable[[str], None]
Ask = Callable[[], None]


class RecoverableBench(Protocol):
    """What a recovery needs of a bench."""

    name: str
    gate: SafetyGate
    clock: Clock
    safe_states: int
    """How often ``safe_state`` was called."""

    @property
    def devices(self) -> Mapping[str, Device]: ...

    def safe_state(self) -> None: ...

    def light_on(self, asked: Ask = ...) -> None: ...

    def lost_connections(self) -> list[str]: ...

    def bring_back(self, connection: str) -> None: ...


class AsBefore:
    """What lasers and temperature controllers were set to when light went on: a box that was switched off and on may come
    back with other settings."""

    def __init__(self) -> None:
        self._light: dict[str, tuple[float, float]] = {}
        self._temperature: dict[str, float] = {}

    def note(self, devices: Iterable[Device]) -> None:
        """Ask those that have not been asked."""
        for device in devices:
            if device.nonblocking:
                continue
            if isinstance(device, Laser) and device.name not in self._light:
                self._light[device.name] = device.power(), device.wavelength()
            if (
                isinstance(device, TemperatureController)
                and device.name not in self._temperature
                and device.stable()
            ):
                self._temperature[device.name] = device.temperature()

    def put_back(self, device: Device) -> None:
        """Set a laser as it was. Its light is off."""
        if not isinstance(device, Laser) or device.name not in self._light:
            return
        power, wavelength = self._light[device.name]
        if not math.isclose(device.wavelength(), wavelength, rel_tol=1e-3 * SAME_LIGHT):
            device.set_wavelength(wavelength)
        device.set_power(
            min(power, device.max_power)
        )  # some lasers do not tell it while they are dark

    def compare(self, devices: Iterable[Device]) -> None:
        """DeviceError where a chip is held at another temperature than before."""
        for device in devices:
            before = self._temperature.get(device.name)
            if before is None or not isinstance(device, TemperatureController):
                continue
            now = device.temperature()
            if abs(now - before) > SAME_TEMPERATURE:
                raise DeviceError(
                    f"{device.name} holds {now:.3f} degC; it was {before:.3f} degC before. Set it as it was"
                )


def pause(clock: Clock, seconds: float, asked: Ask) -> None:
    """``seconds`` on ``clock``; ``asked`` is called in between, and may raise."""
    end = clock.now() + seconds
    asked()
    while (left := end - clock.now()) > 0.0:
        clock.sleep(min(left, SLICE))
        asked()


def wait_until_whole(
    bench: RecoverableBench,
    error: HilonnError,
    patience: float,
    tell: Tell,
    asked: Ask,
) -> None:
    """After ``error``: make safe what answers, then look again and again whether everything is back.

    Whatever comes back is opened anew, must say who it was, and is made safe; then temperatures, light, interlocks.
    After ``patience`` seconds on the bench's clock ``error`` is raised with what was last wrong. ``tell`` is
    told what is waited for and for how long, and how light and heaters are meanwhile; ``asked`` is called often and may raise.
    """
    deadline = bench.clock.now() + patience

    def within() -> None:
        asked()
        if bench.clock.now() > deadline:
            raise DeviceTimeout("a temperature has not settled yet, and light is off")

    rest, last = RETRY[0], str(error)
    state = _made_safe(bench)
    missing = bench.lost_connections()
    taken_here = bench.safe_states
    while True:
        tell(f"up to {patience:g} s: {_first(last)}\n{state.told}")
        pause(bench.clock, rest, asked)
        rest = min(2 * rest, RETRY[1])
        try:
            while missing:
                bench.bring_back(missing[0])
                missing.pop(0)
                asked()
            if bench.safe_states != taken_here:
                raise SafeStateTaken(
                    f"bench {bench.name}: a safe state was taken while it was waited for; it stays dark"
                )
            bench.gate.look_again()
            bench.light_on(within)
            bench.gate.check_interlocks(anew=True)
            return
        except SafeStateTaken as taken:
            raise taken from error  # of another thread: somebody wants it to stay dark
        except TROUBLE as again:
            last = str(again)
            if not missing:  # light may be on, or a box was lost that was there
                state = _made_safe(bench)
                missing = bench.lost_connections()
            else:
                missing.append(missing.pop(0))  # look at the others meanwhile
            taken_here = bench.safe_states
            if bench.clock.now() > deadline:
                tell_too(error, f"waited {patience:g} s; then: {last}{state.unsafe}")
                raise error from again


@dataclass(frozen=True, slots=True)
class _State:
    """How a bench is that waits: in words for whoever looks on, and with all that failed for the end."""

    told: str
    unsafe: str


def _made_safe(bench: RecoverableBench) -> _State:
    """Make safe what answers. Whoever looks on is told to do something by hand only where light may be on: heaters that
    keep their drives while their box is away do not hurt the chip that they were set for."""
    try:
        bench.safe_state()
    except DeviceError as error:
        failures = error.failures if isinstance(error, NotSafe) else (str(error),)
        unsafe = f"\n{error}"
    else:
        failures, unsafe = (), ""
    bright = [d.name for d in bench.devices.values() if isinstance(d, Laser) and not _is_off(d)]
    by_hand = f"Light may be on: switch {', '.join(bright)} off by hand"
    told = by_hand if bright else "Light is off"
    if failures:
        told += "; may not be safe until it is back: " + "; ".join(
            dict.fromkeys(_first(f).strip() for f in failures)
        )
    return _State(told, unsafe)


def _is_off(laser: Laser) -> bool:
    """Whether it says so."""
    try:
        return not laser.emission()
    except TROUBLE:
        return False


def _first(text: str) -> str:
    """The line that says what happened; what was told too stands in the run's events."""
    return text.partition("\n")[0]
