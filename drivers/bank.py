"""Several boxes as one bank: their channels follow one another in the order in which the members are named.

Limits, slew rates and powers are the members' own: every verb goes through each member's checks and gate. Members
work at the same time, each in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from hilonn.devices import (
    Bank,
    ChannelSpec,
    DetectorReadings,
    Device,
    Identity,
    Modulators,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.drivers.options import Options
from hilonn.errors import ConfigError, tell_too
from hilonn.registry import Driver
from hilonn.safe_order import make_safe
from hilonn.typing import FloatArray
from hilonn.workers import Worker

B = TypeVar("B", bound=Bank)
T = TypeVar("T")
LONGEST_SAFE_STATE = 20.0
"""s that members may take for it, all at once: 12 that one waits for a verb that hangs, and their wires' timeouts."""
_ARRAYS = (
    "low",
    "high",
    "resolution",
    "max_power",
    "max_current",
    "slew_rate",
)


class BankOptions(Options):
    """``members``: devices of one kind. ``starts``: of modulators, the member whose trigger starts the others by a cable;
    it is played last. None: all are started by the program, and start one after another."""

    members: list[str] = Field(min_length=1)
    starts: str | None = None


class _Together:
    """Runs one thing on every member at once. Every member's error is waited for; the first is raised, and tells the others."""

    def __init__(self, members: Sequence[Device]) -> None:
        self.members = tuple(members)
        self._pool: ThreadPoolExecutor | None = None
        self._savers: dict[str, Worker] = {}

    def open(self) -> None:
        waiting = [m for m in self.members if not m.nonblocking]
        if len(waiting) > 1:
            self._pool = ThreadPoolExecutor(len(waiting), "bank")
            self._savers = {m.name: Worker(f"{m.name}, safe state") for m in waiting}

    def close(self) -> None:
        pool, self._pool = self._pool, None
        savers, self._savers = self._savers, {}
        for saver in savers.values():
            saver.end()
        if pool is not None:
            pool.shutdown(wait=True)

    def all(self, work: Sequence[Callable[[], T]]) -> list[T]:
        if self._pool is None:
            return [do() for do in work]
        gate = self.members[0].gate
        plan = gate.plans.current

        def passed(do: Callable[[], T]) -> T:
            with gate.passed(plan):  # interlocks: the bank has asked, for all of them
                return do()

        futures = [self._pool.submit(passed, do) for do in work]
        _raise([error for f in futures if (error := f.exception()) is not None])
        return [f.result() for f in futures]

    def safe_state(self) -> None:
        """Of every member, whatever becomes of another's. Threads of their own, that are there since ``open``: none waits for a
        member that hangs, and none has to be started while the interpreter ends."""
        _raise(
            make_safe(
                [self.members],
                lambda member: [member.safe_state],
                lambda member: self._savers.get(member.name),
                LONGEST_SAFE_STATE,
            )
        )


def _raise(errors: Sequence[BaseException]) -> None:
    """The first of ``errors``, if any, telling the others."""
    if not errors:
        return
    first, *others = errors
    for other in others:
        tell_too(first, str(other))
    raise first


def _joined(members: Sequence[Bank]) -> ChannelSpec:
    """Limits of all channels one after another."""

    def arrays(name: str) -> FloatArray:
        return np.concatenate([m.spec.bound(name, m.channels) for m in members])

    specs = [m.spec for m in members]
    units, kinds = {s.unit for s in specs}, {s.dtype for s in specs}
    if len(units) > 1 or len(kinds) > 1:
        raise ConfigError(f"members of a bank speak different units: {', '.join(sorted(units))}")
    known = all(s.resistance is not None for s in specs)
    return ChannelSpec(
        unit=specs[0].unit,
        resistance=arrays("resistance") if known else None,
        dtype=specs[0].dtype,
        settling_time=max(s.settling_time for s in specs),
        **{name: arrays(name) for name in _ARRAYS},
    )


def _identity(members: Sequence[Device]) -> Identity:
    found = [m.identity() for m in members]
    models = sorted({i.model for i in found})
    return Identity(
        found[0].vendor, f"{len(found)} x {', '.join(models)}", " ".join(i.serial for i in found)
    )


def _slices(members: Sequence[Bank]) -> list[slice]:
    ends = np.cumsum([m.channels for m in members])
    return [slice(int(end) - m.channels, int(end)) for end, m in zip(ends, members, strict=True)]


class BankOfPhaseShifters(PhaseShifters):
    """Phase shifters of several boxes."""

    def __init__(self, name: str, members: Sequence[PhaseShifters]) -> None:
        super().__init__(name, sum(m.channels for m in members), _joined(members))
        self.members = tuple(members)
        self.tells = all(member.tells for member in members)
        self._banks = tuple(members)
        self._together = _Together(members)
        self._parts = _slices(members)

    def identity(self) -> Identity:
        return _identity(self.members)

    def _open(self) -> None:
        self._together.open()

    def _close(self) -> None:
        self._together.close()

    def _write(self, drive: FloatArray) -> None:
        self._together.all(
            [
                lambda m=m, part=part: m.write(drive[part])  # type: ignore[misc]
                for m, part in zip(self._banks, self._parts, strict=True)
            ]
        )

    def _read_back(self) -> FloatArray:
        return np.concatenate(self._together.all([m.read_back for m in self._banks]))

    def _safe_state(self) -> None:
        self._together.safe_state()


class BankOfModulators(Modulators):
    """Modulators of several boxes; the box that starts the others is played last."""

    def __init__(self, name: str, members: Sequence[Modulators], starts: str | None) -> None:
        most = min(m.max_samples for m in members)
        super().__init__(name, sum(m.channels for m in members), _joined(members), most)
        self.members = tuple(members)
        self._banks = tuple(members)
        self._together = _Together(members)
        self._parts = _slices(members)
        self._first = [m for m in members if m.name != starts]
        self._last = [m for m in members if m.name == starts]
        if starts is not None and not self._last:
            names = ", ".join(m.name for m in members)
            raise ConfigError(f"{name}: starts = {starts!r} is no member; there are {names}")

    def identity(self) -> Identity:
        return _identity(self.members)

    def _open(self) -> None:
        self._together.open()

    def _close(self) -> None:
        self._together.close()

    def most_samples(self, timing: Timing) -> int:
        return min(m.most_samples(timing) for m in self._banks)

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        self._together.all(
            [
                lambda m=m, part=part: m.load(drive[:, part], timing)  # type: ignore[misc]
                for m, part in zip(self._banks, self._parts, strict=True)
            ]
        )

    def _play(self) -> None:
        self._together.all([m.play for m in self._first])
        for starting in self._last:
            starting.play()

    def _safe_state(self) -> None:
        self._together.safe_state()


class BankOfPhotodetectors(Photodetectors):
    """Photodetectors of several boxes that have the same ranges."""

    def __init__(self, name: str, members: Sequence[Photodetectors]) -> None:
        if len({m.ranges for m in members}) > 1:
            raise ConfigError(f"{name}: the members of a bank of photodetectors have other ranges")
        most = min(m.max_samples for m in members)
        channels = sum(m.channels for m in members)
        super().__init__(name, channels, _joined(members), members[0].ranges, most)
        self.members = tuple(members)
        self._banks = tuple(members)
        self._together = _Together(members)

    def identity(self) -> Identity:
        return _identity(self.members)

    def _open(self) -> None:
        self._together.open()

    def _close(self) -> None:
        self._together.close()

    def _set_range(self, index: int) -> None:
        self._together.all([lambda m=m: m.set_range(index) for m in self._banks])  # type: ignore[misc]

    def most_samples(self, averages: int, timing: Timing) -> int:
        return min(m.most_samples(averages, timing) for m in self._banks)

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        self._together.all(
            [lambda m=m: m.arm(samples, averages, timing) for m in self._banks]  # type: ignore[misc]
        )

    def _fetch(self) -> DetectorReadings:
        parts = self._together.all([m.fetch for m in self._banks])
        return DetectorReadings(
            np.concatenate([p.signal for p in parts], axis=1),
            np.concatenate([p.saturated for p in parts], axis=1),
        )

    def _safe_state(self) -> None:
        self._together.safe_state()


def _build(name: str, options: Any, members: Sequence[Device]) -> Device:
    for kind, make in (
        (PhaseShifters, BankOfPhaseShifters),
        (Photodetectors, BankOfPhotodetectors),
    ):
        if all(isinstance(m, kind) for m in members):
            if options.starts is not None:
                raise ConfigError(f"{name}: `starts` is for modulators")
            return make(name, members)  # type: ignore[arg-type]
    if all(isinstance(m, Modulators) for m in members):
        return BankOfModulators(name, members, options.starts)  # type: ignore[arg-type]
    kinds = ", ".join(f"{m.name} ({type(m).__name__})" for m in members)
    raise ConfigError(
        f"{name}: the members of a bank are all phase shifters, all modulators or all photodetectors; these are {kinds}"
    )


def _alone(name: str, options: Any, connection: object) -> Device:
    raise ConfigError(f"{name}: a bank is built over its members by a bench")


bank = Driver(options=BankOptions, build=_alone, join=_build)
