"""The gate that every write passes: one object a bench. It refuses; it never clips."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np

from hilonn.clock import Clock
from hilonn.devices import (
    Actuators,
    Bank,
    Device,
    Laser,
    Modulators,
    Photodetectors,
    TemperatureController,
    put_behind,
)
from hilonn.devices.gate import Plans
from hilonn.errors import HilonnError, InterlockError, LimitError
from hilonn.typing import FloatArray, Snapshot

RAMP_STEPS = 20
"""Steps of a ramp of a device that states no slew rate: what a bench's closing uses."""
SMOOTH = 0.05
"""s on the clock: steps of a programming that a slew rate makes slow follow one another no faster than this."""
NAP = 0.2
"""s: a step of a slow ramp is waited for in naps, so that a safe state ends it."""
RAMP_SECONDS = 0.3
"""On the clock, that such a ramp may take: on a slow wire it has fewer steps, or is left out."""
AHEAD = 0.5
"""Of an interlock's ``every``: after which it is looked at where that holds up nothing."""
HAIR = 1e-9
"""Of a limit of current or power: a drive that leaves as much is not worked out channel by channel."""
LIMITS = ("low", "high", "current", "max_power", "resistance", "slew_rate")
ELECTRICAL = {"V": (1.0, False), "mV": (1e-3, False), "A": (1.0, True), "mA": (1e-3, True)}
"""Units by which a resistance makes a power of a drive: their size in V or A, and whether they are of current."""


@dataclass(frozen=True, slots=True)
class Interlock:
    """Watches ``read()``; trips outside ``low`` .. ``high``, and lets go again only inside
    ``resume_low`` .. ``resume_high``, which lie within them. Read at most every ``every`` seconds, and only
    while ``active()``: a laser that is switched off may be dark."""

    name: str
    read: Callable[[], float]
    low: float = -np.inf
    high: float = np.inf
    resume_low: float = -np.inf
    resume_high: float = np.inf
    every: float = 0.0
    active: Callable[[], bool] = lambda: True


class MembersGate:
    """The gate of a bank over several boxes, whose members ask ``gate`` themselves: a second asking would
    count their power twice. Interlocks alone are asked here, before the members are at work side by side: what one of
    them found could not stop the others."""

    def __init__(self, gate: SafetyGate) -> None:
        self._gate = gate

    @property
    def generation(self) -> int:
        return self._gate.generation

    @property
    def plans(self) -> Plans:
        return self._gate.plans

    def ask(self, device: Device, verb: str, value: FloatArray) -> None:
        self._gate.ask(device, verb, value)

    def look_ahead(self) -> None:
        self._gate.look_ahead()

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        self._gate.check_plan(device, verb, value)
        if verb == "write":
            self._gate.admit_together(device, value)

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def unknown(self, device: Device, verb: str) -> None:
        return None

    def bring(self, device: Actuators, drive: FloatArray) -> None:
        self._gate.bring(device, drive)

    def passed(self, plan: int) -> AbstractContextManager[None]:
        return self._gate.passed(plan)


class _Here(threading.local):
    """What holds for the calling thread alone."""

    releasing = 0
    passed = 0


@dataclass
class _Bank:
    """Limits of one bank as arrays (channels,), and what it holds."""

    low: FloatArray
    high: FloatArray
    current: FloatArray
    max_power: FloatArray
    slew: FloatArray
    resistance: FloatArray | None
    off: FloatArray
    scale: float = 1.0
    is_current: bool = False
    last: FloatArray | None = None
    since: float = 0.0
    power: float = 0.0
    bounded: bool = True
    asked: float = 0.0
    """W of the write under way: what the bank may hold if the answer is lost."""
    asked_by: FloatArray | None = None
    """The drive (channels,) that takes ``asked``."""
    began: float = 0.0
    took: float = 0.0
    """s on the clock that the last write took."""
    slow: bool = False
    """Whether any channel has a slew rate."""
    surely: tuple[FloatArray, FloatArray] | None = None
    """Drives (channels,) between which no limit of drive, current or power is near; None where the resistance is not known."""

    def __post_init__(self) -> None:
        self.slow = bool(np.isfinite(self.slew).any())
        if self.resistance is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                most = (1 - HAIR) * self.most()
            self.surely = np.maximum(self.low, -most), np.minimum(self.high, most)

    def most(self) -> FloatArray:
        """The largest drive (channels,) either way that the limits of current and power leave; the resistance is known."""
        ohm = self.resistance
        assert ohm is not None
        if self.is_current:
            least = np.minimum(self.current, np.sqrt(self.max_power / ohm))
        else:
            least = np.minimum(self.current * ohm, np.sqrt(self.max_power * ohm))
        return np.asarray(least / self.scale)

    def watts(self, drive: FloatArray) -> FloatArray:
        """What each channel takes at ``drive`` (..., channels); the resistance is known."""
        assert self.resistance is not None
        squared = (self.scale * drive) ** 2
        return np.asarray(
            squared * self.resistance if self.is_current else squared / self.resistance
        )

    def amperes(self, drive: FloatArray) -> FloatArray:
        """What each channel draws at ``drive`` (..., channels)."""
        assert self.resistance is not None
        size = np.abs(self.scale * drive)
        return np.asarray(size if self.is_current else size / self.resistance)

    def total(self, drive: FloatArray) -> float:
        """W of all channels at ``drive`` (channels,)."""
        return float(self.watts(drive).sum())


class SafetyGate:
    """Limits a channel, total heater power, slew rate, read-back, interlocks; counts generations.

    ``generation`` rises whenever a device's state may not be what was last written (a trip, a
    reconnect, a failed write), so that whoever believed a chip to be programmed can tell.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        total_power: float = np.inf,
        read_back_tolerance: float | None = None,
    ) -> None:
        self._clock = clock
        self._total_power = total_power
        self._tolerance = read_back_tolerance
        self._banks: dict[str, _Bank] = {}
        self._interlocks: list[Interlock] = []
        self._tripped: set[int] = set()
        self._rested: set[int] = set()
        """Those of ``_tripped`` that were not active since: their light went off, and tells nothing."""
        self._seen_to: set[int] = set()
        """Those of ``_tripped`` whose light may be tried again."""
        self._looked: dict[int, float] = {}
        self._here = _Here()
        self._lock = threading.Lock()
        """Several threads write at once: an interlock trips once, and powers are added up whole."""
        self._reading = threading.RLock()
        """Threads that are at work side by side ask for interlocks one after another: what is looked at is looked at once."""
        self._failures, self._failure = 0, cast("HilonnError | None", None)
        self.generation = 0
        self.plans = Plans()
        self.on_trip: Callable[[], None] = lambda: None

    # -- setting up ---------------------------------------------------------------------------

    def guard(self, device: Device, limits: Mapping[str, float] | None = None) -> None:
        """Put ``device`` behind this gate. The stricter of its own limits and ``limits`` holds."""
        if limits and isinstance(device, Photodetectors):
            raise LimitError("photodetectors are driven by nothing: they have no limits to set")
        if limits and "slew_rate" in limits and isinstance(device, Modulators):
            raise LimitError("modulators play samples: a slew rate cannot be kept for them")
        if device.members:
            if limits:
                raise LimitError("limits of a bank over several boxes are given to its members")
            put_behind(device, MembersGate(self))
            return
        if isinstance(device, Bank):
            bank = _bounds(device, limits or {})
            if (
                isinstance(device, Actuators)
                and device.spec.unit in ELECTRICAL
                and np.isfinite(self._total_power)
                and bank.resistance is None
            ):
                raise LimitError(
                    "safety.total_power counts the power of every heater, and needs the channels' resistance (ohm): add "
                    "`limits = { resistance = ... }`, or the driver's `resistance`"
                )
            self._banks[device.name] = bank
        put_behind(device, self)

    def watch(self, interlock: Interlock) -> None:
        """Check ``interlock`` before every write that adds light or heat."""
        self._interlocks.append(interlock)

    # -- the Gate protocol ----------------------------------------------------------------------

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        """LimitError, with nothing written, if ``device.verb(value)`` may not happen; SafeStateTaken if it was planned before a
        safe state."""
        self.check_plan(device, verb, value)
        if verb == "write" and isinstance(device, Actuators):
            with self._lock:
                self._admit_write(device, value)
        elif verb == "load" and isinstance(device, Modulators):
            bank = self._banks[device.name]
            self._inside(device, verb, value, bank.low, bank.high, "limit")
            if bank.bounded and bank.resistance is not None:
                worst = np.abs(value).max(axis=0)
                self._below(device, verb, bank.amperes(worst), bank.current, "A", "current")
                self._below(device, verb, bank.watts(worst), bank.max_power, "W", "power")

    def ask(self, device: Device, verb: str, value: FloatArray) -> None:
        """InterlockError where one is tripped and ``device.verb(value)`` would add light or heat."""
        here = self._here
        if here.releasing == 0 and here.passed == 0 and not device.eases(verb, value):
            self.check_interlocks()

    def check_plan(self, device: Device, verb: str, value: FloatArray) -> None:
        """SafeStateTaken where ``device.verb(value)`` would add light or heat and was planned before a safe state."""
        if self._here.releasing == 0 and not device.calms(verb, value):
            self.plans.check(device, verb)

    @contextmanager
    def passed(self, plan: int) -> Iterator[None]:
        """Within, in this thread: interlocks were asked already, by the bank that this is a part of, which is at work for
        ``plan``."""
        self._here.passed += 1
        try:
            with self.plans.made(plan):
                yield
        finally:
            self._here.passed -= 1

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        """Remember what ``device`` holds now."""
        bank = self._banks.get(device.name)
        if bank is None:
            return
        if verb == "safe_state":
            bank.last = bank.off.copy() if isinstance(device, Actuators) else None
            bank.power = 0.0 if bank.resistance is None else bank.total(bank.off)
            bank.since = self._clock.now()
            self.generation += 1
        elif verb == "write":
            bank.last = value.copy()
            bank.since = self._clock.now()
            bank.took = bank.since - bank.began
            if bank.resistance is not None:
                bank.power = bank.asked if value is bank.asked_by else bank.total(value)
            bank.asked_by = None
            if self._tolerance is not None and isinstance(device, Actuators):
                self._read_back(device, value)
                bank.took = self._clock.now() - bank.began

    def unknown(self, device: Device, verb: str) -> None:
        """Nothing is believed of ``device`` any more."""
        self.generation += 1
        bank = self._banks.get(device.name)
        if bank is not None:
            bank.last = bank.asked_by = None
            bank.power = max(bank.power, bank.asked)

    def found(self, device: Actuators) -> None:
        """Count what ``device`` was found to hold towards the total. Where it has a slew rate its first step begins there;
        else nothing is believed of it."""
        if device.members:
            return
        bank = self._banks[device.name]
        slow = bank.slow and device.tells
        if bank.resistance is None and not slow:
            return
        drive = device.read_back()
        if bank.resistance is not None:
            bank.power = bank.total(drive)
        if slow:
            self._start(device, drive)

    # -- what a bench and a chip use --------------------------------------------------------------

    def last(self, device: Device) -> FloatArray | None:
        """The last accepted drive (channels,), None where it is not known."""
        bank = self._banks.get(device.name)
        return None if bank is None or bank.last is None else bank.last.copy()

    @property
    def power(self) -> float | None:
        """Electrical power (W) of all heaters as last written; None where no resistance is known."""
        known = [bank.power for bank in self._banks.values() if bank.resistance is not None]
        return sum(known) if known else None

    @property
    def total_power(self) -> float:
        """W that all heaters together may take; infinite where nothing is said."""
        return self._total_power

    def admitted(self, device: Bank) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest drive (channels,) that every limit of one channel admits: the bench file's and the
        device's own, of drive, current and power."""
        if device.members:
            parts = [self.admitted(m) for m in device.members if isinstance(m, Bank)]
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        bank = self._banks[device.name]
        if bank.resistance is None:
            return bank.low.copy(), bank.high.copy()
        most = bank.most()
        return np.maximum(bank.low, -most), np.minimum(bank.high, most)

    def resistance(self, device: Bank) -> FloatArray | None:
        """Ohm (channels,) by which drives become powers; None where it is not known of every channel."""
        if not device.members:
            return self._banks[device.name].resistance
        parts = [self.resistance(m) for m in device.members if isinstance(m, Bank)]
        known = [p for p in parts if p is not None]
        return np.concatenate(known) if len(known) == len(parts) else None

    def reconnected(self, device: Device) -> None:
        """The link to ``device`` was lost and is back: its state is not known."""
        self.unknown(device, "open")

    def ramp(self, device: Actuators, target: FloatArray) -> None:
        """Bring ``device`` to ``target`` (channels,) no faster than its slew rate, on the clock."""
        target = device.check_drive(target, "ramp", (device.channels,))
        with self.plans.made():
            self._steps(device, self._start(device), target, RAMP_STEPS)

    def bring(self, device: Actuators, drive: FloatArray) -> None:
        """Write ``drive`` (channels,): at once, or in as few steps as a slew rate asks for. SafeStateTaken, with the rest of the
        steps left out, where a safe state is taken meanwhile."""
        with self.plans.made():
            self._bring(device, drive)

    def _bring(self, device: Actuators, drive: FloatArray) -> None:
        parts = self._parts(device)
        if not any(part.slow for part in parts):
            device.write(drive)
            return
        slew = np.concatenate([part.slew for part in parts])
        finite = np.isfinite(slew)
        drive = device.check_drive(drive, "write", (device.channels,))
        start = self._start(device)
        step = np.abs(drive - start)
        now = self._clock.now()
        elapsed = np.concatenate([np.full(part.slew.shape, now - part.since) for part in parts])
        if (step[finite] <= slew[finite] * elapsed[finite]).all():
            device.write(drive)
            return
        duration = float((step[finite] / slew[finite]).max())
        self._steps(device, start, drive, min(max(math.ceil(duration / SMOOTH), 1), RAMP_STEPS))

    def _parts(self, device: Device) -> list[_Bank]:
        """What is held for ``device``, or for the members that it is made of."""
        return [self._banks[part.name] for part in device.members or (device,)]

    def _start(self, device: Actuators, found: FloatArray | None = None) -> FloatArray:
        """What ``device`` holds (channels,): as last accepted, or as ``found``, or read back, where that is not known."""
        parts = self._parts(device)
        if any(part.last is None for part in parts):
            if not device.tells:
                raise LimitError(
                    f"{device.name}: the box cannot tell what it drives before it was written to, so no step can be called slow "
                    "enough; take its safe state first. Nothing was written"
                )
            # What is measured may lie a hair beyond what can be driven: -1 mV at zero is zero.
            found = device.read_back() if found is None else found
            low = device.spec.bound("low", device.channels)
            high = device.spec.bound("high", device.channels)
            start = np.minimum(np.maximum(found, low), high)
            first = 0
            for part in parts:
                last = first + len(part.slew)
                if part.last is None:
                    part.last, part.since = start[first:last].copy(), self._clock.now()
                first = last
        return np.concatenate([part.last for part in parts if part.last is not None])

    def _steps(self, device: Actuators, start: FloatArray, target: FloatArray, steps: int) -> None:
        """From ``start`` to ``target`` (channels,) in ``steps`` equal ones, no faster than the slew rates."""
        parts = self._parts(device)
        slew = np.concatenate([part.slew for part in parts])
        step = np.abs(target - start)
        finite = np.isfinite(slew)
        duration = float((step[finite] / slew[finite]).max(initial=0.0))
        steps = steps if step.max(initial=0.0) > 0 else 1
        begun = self._clock.now()
        for k in range(1, steps + 1):
            took = max(part.took for part in parts)
            late = self._clock.now() - begun + took > RAMP_SECONDS
            if not finite.any() and k < steps and late:
                continue
            self._wait_a_step(device, duration / steps)
            device.write(start + (target - start) * (k / steps))

    def _wait_a_step(self, device: Actuators, seconds: float) -> None:
        """In naps, so that a safe state that is taken meanwhile ends it. SafeStateTaken then."""
        naps = max(math.ceil(seconds / NAP), 1)
        # A hair longer than the limit asks, so that rounding never makes a step too fast,
        # not even the clock's own where it has run for long.
        hair = 1e-12 + 2 * math.ulp(self._clock.now() + seconds)
        for _ in range(naps):
            self._clock.sleep(seconds * (1 + 1e-9) / naps + hair)
            if self._here.releasing == 0:
                self.plans.check(device, "write")

    def lower(self, device: Actuators) -> None:
        """``ramp`` to off, before a safe state that switches off at once. Left out where nothing asks for slowness and
        the wire would take longer than ``RAMP_SECONDS`` for two steps."""
        with device.turn():
            bank = self._banks[device.name]
            if bank.last is None and not device.tells:
                return  # from where it is thought to stand to off might be a way up
            if bank.slow or 2 * bank.took <= RAMP_SECONDS:
                self.ramp(device, device.nearest_to_zero())

    def lowering(self, device: Device) -> float:
        """s that ``lower`` may take by the slew rates of ``device``."""
        bank = self._banks.get(device.name)
        if bank is None or not isinstance(device, Actuators):
            return 0.0
        farthest = np.maximum(np.abs(bank.low), np.abs(bank.high))
        finite = np.isfinite(bank.slew)
        writing = RAMP_STEPS * bank.took if finite.any() else RAMP_SECONDS
        return writing + float((farthest[finite] / bank.slew[finite]).max(initial=0.0))

    @contextmanager
    def making_safe(self) -> Iterator[None]:
        """Within, in this thread: interlocks do not stand in the way of a safe state."""
        self._here.releasing += 1
        try:
            yield
        finally:
            self._here.releasing -= 1

    @property
    def watches(self) -> bool:
        """Whether there are interlocks."""
        return bool(self._interlocks)

    @property
    def seen(self) -> float:
        """When (s on the clock) the interlock that was looked at longest ago was looked at; inf where none is active."""
        found = (
            self._looked.get(number, -np.inf)
            for number, interlock in enumerate(self._interlocks)
            if interlock.active()
        )
        return min(found, default=np.inf)

    def look_ahead(self) -> None:
        """There is time: look at interlocks half of whose ``every`` is over, so that no write waits for them later."""
        self._check_interlocks(AHEAD)

    def check_interlocks(self, *, anew: bool = False) -> None:
        """InterlockError while an interlock is tripped; the first trip makes the bench safe. ``anew``: whatever their
        ``every`` says. Raises what reading raises."""
        self._check_interlocks(0.0 if anew else 1.0)

    def _check_interlocks(self, rest: float) -> None:
        """Those that have rested for ``rest`` of their ``every``."""
        if not self._interlocks:
            return
        failures = self._failures
        with self._reading:
            if self._failure is not None and self._failures != failures:
                # Who was asked meanwhile gave no answer: it would take its timeout once more to find that out again.
                raise type(self._failure)(str(self._failure))
            try:
                self._check_each(rest)
            except InterlockError:
                raise
            except HilonnError as error:
                self._failures, self._failure = failures + 1, error
                raise

    def _check_each(self, rest: float) -> None:
        now = self._clock.now()
        for number, interlock in enumerate(self._interlocks):
            if not interlock.active():
                if number in self._tripped:
                    self._rested.add(number)
                continue
            if (
                number not in self._tripped
                and now - self._looked.get(number, -np.inf) < rest * interlock.every
            ):
                continue
            value = interlock.read()
            self._looked[number] = now
            if number in self._tripped:
                if interlock.resume_low <= value <= interlock.resume_high:
                    self._let_go(number)
                    continue
                if number not in self._rested:
                    raise InterlockError(
                        f"interlock {interlock.name} is tripped: {value:g} is not yet within "
                        f"{interlock.resume_low:g} .. {interlock.resume_high:g}; nothing was written"
                    )
                self._let_go(number)  # light is on again, and no better: it trips again
                self._trip(number, interlock, value, "is not within the levels at which it lets go")
            if not interlock.low <= value <= interlock.high:
                self._trip(
                    number, interlock, value, f"is outside {interlock.low:g} .. {interlock.high:g}"
                )

    def _trip(self, number: int, interlock: Interlock, value: float, what: str) -> NoReturn:
        with self._lock:
            first = number not in self._tripped
            self._tripped.add(number)
            self._seen_to.discard(number)
        if not first:
            raise InterlockError(
                f"interlock {interlock.name} is tripped: {value:g}; nothing was written"
            )
        self.generation += 1
        safe = "the bench was made safe"
        try:
            self.on_trip()
        except HilonnError as error:
            safe = str(error)
        raise InterlockError(
            f"interlock {interlock.name} tripped: {value:g} {what}; {safe}. It lets go "
            f"within {interlock.resume_low:g} .. {interlock.resume_high:g}"
        )

    def _let_go(self, number: int) -> None:
        with self._lock:
            for which in (self._tripped, self._rested, self._seen_to):
                which.discard(number)

    def ask_light(self) -> None:
        """InterlockError where an interlock that only tells something in the light has tripped, and nobody has said since
        that light may be tried again (``look_again``)."""
        for number in sorted(self._tripped - self._seen_to):
            interlock = self._interlocks[number]
            if not interlock.active():
                raise InterlockError(
                    f"interlock {interlock.name} has tripped, and only light can tell whether it lets go: light stays off. "
                    "See to the cause; then call the bench's gate.look_again(), or open the bench anew (hilonn resume does)"
                )

    def look_again(self) -> None:
        """Read every interlock the next time that one is asked for; what tripped stays tripped until it lets go. Where only
        light can tell that, light may be tried again."""
        self._looked.clear()
        self._seen_to |= self._tripped

    def snapshot(self) -> Snapshot:
        """What was last accepted, by device."""
        return {
            "generation": self.generation,
            "banks": {
                name: {"last": bank.last, "since": bank.since, "power": bank.power}
                for name, bank in self._banks.items()
            },
        }

    def restore(self, snapshot: Snapshot) -> None:
        """The inverse of ``snapshot``, for devices whose state was restored too."""
        self.generation = snapshot["generation"]
        for name, saved in snapshot["banks"].items():
            bank = self._banks[name]
            bank.last = None if saved["last"] is None else np.array(saved["last"])
            bank.since, bank.power = saved["since"], saved["power"]

    # -- parts --------------------------------------------------------------------------------------

    def _admit_write(self, device: Actuators, drive: FloatArray) -> None:
        bank = self._banks[device.name]
        bank.began, bank.asked_by = self._clock.now(), None
        if (
            self._here.releasing
            and bank.last is not None
            and (np.abs(drive) <= np.abs(bank.last)).all()
        ):
            # Down from a state that the limits forbid, found so or left by a failure.
            if bank.slow:
                self._slow_enough(device, drive, bank)
            return
        clear = bank.surely is not None and _between(drive, *bank.surely)
        if not clear:
            self._inside(device, "write", drive, bank.low, bank.high, "limit")
        if bank.resistance is not None:
            power = bank.watts(drive)
            if bank.bounded and not clear:
                self._below(device, "write", bank.amperes(drive), bank.current, "A", "current")
                self._below(device, "write", power, bank.max_power, "W", "power")
            bank.asked, bank.asked_by = float(power.sum()), drive
            if not self._here.passed:  # a bank over several boxes has asked for all of them
                others = sum(b.power for name, b in self._banks.items() if name != device.name)
                self._within_total(device, bank.asked + others)
        if bank.slow:
            self._slow_enough(device, drive, bank)
        bank.power = max(bank.power, bank.asked)  # until it is written: another thread may ask

    def admit_together(self, device: Device, drive: FloatArray) -> None:
        """LimitError where a bank over several boxes would take too much with ``drive`` (channels,), before any of them
        is written; limits of single channels are asked by each of them."""
        with self._lock:
            total, first, names = 0.0, 0, set()
            parts: list[tuple[_Bank, float]] = []
            for member in device.members:
                bank = self._banks.get(member.name)
                if bank is None or not isinstance(member, Bank):
                    return
                part = drive[first : first + member.channels]
                first += member.channels
                names.add(member.name)
                if bank.resistance is not None:
                    parts.append((bank, bank.total(part)))
                    total += parts[-1][1]
            total += sum(b.power for name, b in self._banks.items() if name not in names)
            if not self._here.releasing:
                self._within_total(device, total)
            for bank, power in parts:
                bank.power = max(bank.power, power)  # until it is written: another thread may ask

    def _within_total(self, device: Device, total: float) -> None:
        if not total <= self._total_power:
            raise LimitError(
                f"{device.name}.write: all heaters together would take {total:.4g} W, the "
                f"bench allows {self._total_power:g} W (safety.total_power); nothing was written"
            )

    def _slow_enough(self, device: Actuators, drive: FloatArray, bank: _Bank) -> None:
        if bank.last is None:
            raise LimitError(
                f"{device.name}.write: what the device holds is not known, so no step can be "
                "called slow enough; use gate.ramp, which reads it back first. Nothing was written"
            )
        elapsed = self._clock.now() - bank.since
        step = np.abs(drive - bank.last)
        allowed = bank.slew * elapsed
        fast = step > np.where(np.isfinite(bank.slew), allowed, np.inf)
        if fast.any():
            channel = int(np.flatnonzero(fast)[0])
            raise LimitError(
                f"{device.name}.write: channel {channel} would step {step[channel]:.4g} "
                f"{device.spec.unit} within {elapsed:.3g} s; its slew rate is "
                f"{bank.slew[channel]:g} {device.spec.unit}/s. Use gate.ramp. Nothing was written"
            )

    def _inside(
        self,
        device: Bank,
        verb: str,
        value: FloatArray,
        low: FloatArray,
        high: FloatArray,
        what: str,
    ) -> None:
        if not _between(value, low, high):
            good = (value >= low) & (value <= high)
            where = tuple(np.argwhere(~good)[0])
            channel = int(where[-1])
            raise LimitError(
                f"{device.name}.{verb}: {float(value[where]):g} {device.spec.unit} on channel "
                f"{channel} is outside the bench's {what} {low[channel]:g} .. {high[channel]:g}; "
                "nothing was written"
            )

    def _below(
        self, device: Bank, verb: str, value: FloatArray, limit: FloatArray, unit: str, what: str
    ) -> None:
        good = value <= limit
        if not good.all():
            channel = int(np.flatnonzero(~good)[0])
            raise LimitError(
                f"{device.name}.{verb}: channel {channel} would take {value[channel]:.4g} {unit}; "
                f"its {what} limit is {limit[channel]:g} {unit}. Nothing was written"
            )

    def _read_back(self, device: Actuators, drive: FloatArray) -> None:
        assert self._tolerance is not None
        found = device.read_back()
        bad = ~(np.abs(found - drive) <= self._tolerance)
        if bad.any():
            channel = int(np.flatnonzero(bad)[0])
            self.unknown(device, "read_back")
            raise LimitError(
                f"{device.name}: channel {channel} was set to {drive[channel]:g} and reads back "
                f"{found[channel]:g} {device.spec.unit}, more than {self._tolerance:g} off; check the wiring of that channel"
            )


def _between(value: FloatArray, low: FloatArray, high: FloatArray) -> bool:
    """Whether every ``value`` is within; what is not a number is not."""
    within = value >= low
    within &= value <= high
    return bool(within.all())


def _bounds(device: Bank, limits: Mapping[str, float]) -> _Bank:
    """The stricter of the device's own limits and ``limits``. LimitError where they cannot be kept."""
    spec, channels = device.spec, device.channels

    def least(name: str, key: str | None = None) -> FloatArray:
        return np.minimum(spec.bound(name, channels), limits.get(key or name, np.inf))

    scale, is_current = ELECTRICAL.get(spec.unit, (1.0, False))
    resistance = None if spec.resistance is None else spec.bound("resistance", channels)
    if "resistance" in limits:
        # The stricter is the one by which a drive takes more power.
        asked = np.full(channels, float(limits["resistance"]))
        stricter = np.maximum if is_current else np.minimum
        resistance = asked if resistance is None else stricter(asked, resistance)
    bank = _Bank(
        low=np.maximum(spec.bound("low", channels), limits.get("low", -np.inf)),
        high=least("high"),
        current=least("max_current", "current"),
        max_power=least("max_power"),
        slew=least("slew_rate"),
        resistance=resistance,
        off=device.nearest_to_zero(),
        scale=scale,
        is_current=is_current,
    )
    bank.bounded = bool(np.isfinite(bank.current).any() or np.isfinite(bank.max_power).any())
    if bank.bounded and resistance is None:
        raise LimitError(
            "a current or power limit needs the channels' resistance: add it to `limits`"
        )
    if resistance is not None and spec.unit not in ELECTRICAL:
        raise LimitError(
            f"a resistance makes power of V, mV, A or mA; this device is driven in {spec.unit}"
        )
    outside = ~((bank.low <= bank.off) & (bank.off <= bank.high))
    if outside.any():
        channel = int(np.flatnonzero(outside)[0])
        raise LimitError(
            f"`limits` leave {bank.low[channel]:g} .. {bank.high[channel]:g} {spec.unit} to channel {channel}, and off, which "
            f"is {bank.off[channel]:g} {spec.unit}, must lie within: every way out of a bench ends there"
        )
    return bank


def interlock_reader(device: Device, quantity: str) -> Callable[[], float]:
    """What an interlock of the bench file watches."""
    if isinstance(device, TemperatureController) and quantity == "temperature":
        return device.temperature
    if isinstance(device, TemperatureController) and quantity == "stable":
        return lambda: float(device.stable())
    if isinstance(device, Laser) and quantity == "power":
        return device.power
    if isinstance(device, Laser) and quantity == "emission":
        return lambda: float(device.emission())
    raise LimitError(f"{device.name} has no {quantity!r} that an interlock could watch")
