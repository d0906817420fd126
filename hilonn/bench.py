"""A bench: what a bench file says, opened, wired, guarded, and made safe by every way out."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from pydantic import BaseModel

from hilonn import registry
from hilonn.bench_file import (
    BenchFile,
    BenchSource,
    ChipFrame,
    DeviceFrame,
    InterlockSection,
    MonitorFrame,
    options,
    parse,
    parse_wire,
    read_source,
)
from hilonn.checks import CheckReport, check_bench
from hilonn.chips import MatrixChip
from hilonn.chips.nominal import nominal_records
from hilonn.clock import Clock, WallClock
from hilonn.devices import (
    Actuators,
    Bank,
    Device,
    Identity,
    Laser,
    Modulators,
    Photodetectors,
    Switch,
    TemperatureController,
    Timing,
)
from hilonn.errors import (
    CalibrationError,
    ConfigError,
    ConnectionLost,
    DeviceError,
    DeviceTimeout,
    HilonnError,
    InterlockError,
    Interrupted,
    LimitError,
    NotSafe,
    tell_too,
)
from hilonn.interruptions import (
    Interruptions,
    deferred,
    exit_on_termination,
    soft_interrupt,
    stop_exiting,
)
from hilonn.monitors import MonitorType, Watched
from hilonn.records import Records, load_records
from hilonn.recovery import AsBefore, pause, wait_until_whole
from hilonn.registry import Wire
from hilonn.safe_order import make_safe, stages
from hilonn.safety import Interlock, SafetyGate, interlock_reader
from hilonn.transports.contract import ClockSource, Connection, RecordSource, Snapshotable
from hilonn.transports.places import Claims, place_of, way_of
from hilonn.transports.transport import Transport
from hilonn.typing import Snapshot
from hilonn.workers import Worker

D = TypeVar("D", bound=Device)
STABLE_TIMEOUT = 600.0
"""Seconds on the bench's clock that a temperature may take to settle before light goes on."""
LONGEST_STEPS, TIMEOUTS = 20.0, 10
"""s that the safe state of a bench may take besides so many of its longest wire's timeouts, and the ramps that slew rates ask for."""
KINDS = (Actuators, Modulators, Laser, TemperatureController, Switch)
"""Of devices that drive something."""
LASER_LOOK = 0.5
"""s: a laser on a wire is asked so often, in between writes, whether its light is on still."""


def _shared(one: Device, other: Device, on_a_wire: bool) -> str:
    """What both devices of one box drive, in words; nothing where they drive different things."""
    if one.terminals is not None and other.terminals is not None:
        return ", ".join(sorted({*one.terminals} & {*other.terminals}))
    if not on_a_wire or not any(isinstance(one, k) and isinstance(other, k) for k in KINDS):
        return ""  # a library's own devices do not all say where they are
    if isinstance(one, Bank) and isinstance(other, Bank):
        return f"channels 0 .. {min(one.channels, other.channels) - 1}"
    return "the light" if isinstance(one, Laser) else "all"


class Bench:
    """Owner of connections, devices, chips, the clock and the gate. Use as a context manager."""

    def __init__(self, source: BenchSource, file: BenchFile) -> None:
        self.name = source.name
        self.text = source.text
        self.path = source.path
        self.file = file
        self.backend = file.backend
        self.clock: Clock = WallClock()
        self.gate = SafetyGate(self.clock)
        self.connections: dict[str, Connection] = {}
        self.devices: dict[str, Device] = {}
        self.chips: dict[str, MatrixChip] = {}
        self.identities: dict[str, Identity] = {}
        self.wirings: dict[str, dict[str, Wire]] = {}
        self._monitors: dict[str, tuple[MonitorFrame, MonitorType, BaseModel]] = {}
        self._record: str | None = None
        self._lit = False
        self.safe_states = 0
        """How often ``safe_state`` was called."""
        self._as_before = AsBefore()
        self._workers: dict[str, Worker] = {}
        self._open = False
        self._lock: FileLock | None = None
        self._claims = Claims()
        self._handlers = False

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        seed: int | None = None,
        chip_seed: int | None = None,
        imports: Sequence[str] = (),
        record: str | None = None,
    ) -> Self:
        """Open the bench of a file or a built-in name.

        Connects everything (in parallel where a device can block), checks identities, wires the
        chips. Changes no output. ``seed`` and ``chip_seed`` reach simulated plants only. ``record`` stands
        in for that of every chip of the file: a record's file, or "nominal" for a chip to be calibrated.

        Raises ConfigError before anything is touched where the file is wrong or another process
        has the bench; ConnectionLost with every failure in one tree where boxes do not answer.
        """
        for module in imports:
            registry.import_module(module)
        found = read_source(source)
        bench = cls(found, parse(found))
        bench._record = record
        bench._take_lock()
        try:
            bench._build(seed, chip_seed)
            bench._wire()
            bench._connect()
            bench._check_powers()
            bench._check_boxes()
        except BaseException as error:
            try:
                bench.close()
            except HilonnError as unsafe:  # why it did not open stays first
                tell_too(error, str(unsafe))
            raise
        return bench

    # -- what users call ------------------------------------------------------------------------

    def chip(self, name: str | None = None) -> MatrixChip:
        """The chip called ``name``, or the only one."""
        if name is None and len(self.chips) == 1:
            return next(iter(self.chips.values()))
        if name is None or name not in self.chips:
            what = "which chip?" if name is None else f"no chip {name!r}:"
            raise ConfigError(f"{what} bench {self.name} has {', '.join(self.chips) or 'no chips'}")
        return self.chips[name]

    def rewire(self, name: str | None, records: Records) -> MatrixChip:
        """The chip called ``name``, or the only one, anew with ``records``: what a calibration has found."""
        chip = self.chip(name)
        frame, key = self.file.chips[chip.name], f"chips.{chip.name}"
        with self._at(key):
            kind = registry.load("hilonn.chips", frame.architecture)
            own = options(frame, kind.options, self._where, key, {})
            timing = Timing(self.file.timing.sample_period, trigger=self.file.timing.trigger)
            new: MatrixChip = kind.build(
                chip.name, own, self.wirings[chip.name], records, self.clock, timing
            )
        new.bench = self
        new.power_budget = self.file.safety.total_power
        self.chips[chip.name] = new
        return new

    def monitors(self, chip: MatrixChip) -> dict[str, Watched]:
        """The file's monitors of ``chip``, by name, none of which has looked yet."""
        if self.chips.get(chip.name) is not chip:
            return {}
        return {
            name: Watched(kind.build(chosen), chip.name, frame.every)
            for name, (frame, kind, chosen) in self._monitors.items()
            if frame.chip in (None, chip.name)
        }

    def device(self, name: str) -> Device:
        """The device called ``name``."""
        if name not in self.devices:
            raise ConfigError(
                f"no device {name!r}: bench {self.name} has {', '.join(self.devices)}"
            )
        return self.devices[name]

    def light_on(self, asked: Callable[[], None] = lambda: None) -> None:
        """Temperatures first, then the lasers: at the power that the file states for them, or as they were found set, where their
        limit allows that (LimitError); nothing where light is on.

        ``asked`` is called while a temperature settles, and may raise. Raises InterlockError where a laser is off that
        was switched on: it tripped, and is not switched on again by itself. The same
        where an interlock has tripped that only light can let go, until ``gate.look_again``. LimitError where one does not go on,
        DeviceError where a temperature does not settle; SafeStateTaken where a safe state is taken meanwhile.
        """
        with (
            self.gate.plans.made()
        ):  # a safe state taken meanwhile, by whatever thread, keeps it dark
            self._light_on(asked)

    def _light_on(self, asked: Callable[[], None], *, as_left: bool = False) -> None:
        """``light_on``; ``as_left``: at the power that a laser had when it went off on purpose, which may be a dimmed one."""
        if self._lit:
            for laser in self._of(Laser):
                if not laser.emission():
                    raise InterlockError(
                        f"{laser.name} is off although it was switched on: it tripped, or somebody "
                        "switched it off. See to the cause; then `hilonn resume` goes on from the "
                        "last checkpoint"
                    )
            return
        self.gate.ask_light()
        for controller in self._of(TemperatureController):
            deadline = self.clock.now() + STABLE_TIMEOUT
            while not controller.stable():
                if self.clock.now() > deadline:
                    raise DeviceError(
                        f"{controller.name} did not settle within {STABLE_TIMEOUT:g} s (it is at "
                        f"{controller.temperature():.3f} degC); light stays off"
                    )
                pause(self.clock, 1.0, asked)
        self._as_before.compare(self.devices.values())
        try:
            for laser in self._of(Laser):
                power = self.file.devices[laser.name].power
                if power is not None and not as_left:
                    laser.set_power(power)
                laser.set_emission(True)
                if not laser.emission():
                    raise LimitError(
                        f"{laser.name} was switched on and is off: is its interlock open, or its key turned off?"
                    )
        except BaseException as error:
            for laser in self._of(Laser):  # all or none
                try:
                    laser.set_emission(False)
                except Exception as unsafe:  # noqa: BLE001 - told
                    tell_too(error, f"{laser.name} may be on: {unsafe}; switch it off by hand")
            raise
        self._lit = True
        self._as_before.note(self.devices.values())

    @contextmanager
    def darkness(self) -> Iterator[None]:
        """Within: lasers are off on purpose, which is no trip. Afterwards light is on again if it was; after an error it
        stays off, and after a safe state (SafeStateTaken)."""
        with self.gate.plans.made():
            lit, self._lit = self._lit, False
            for laser in self._of(Laser):
                laser.set_emission(False)
            yield
            if lit:
                self._light_on(lambda: None, as_left=True)

    def status(self) -> dict[str, float]:
        """What a person at the bench would glance at: ``temperature`` (degC) of every controller, by
        name where there are several, and ``heater_power`` (W) as last written."""
        controllers = list(self._of(TemperatureController))
        found = {
            "temperature" if len(controllers) == 1 else f"temperature {c.name}": c.temperature()
            for c in controllers
        }
        power = self.gate.power
        return found if power is None else found | {"heater_power": power}

    def interruptions(self) -> AbstractContextManager[Interruptions]:
        """Within: the first Ctrl-C only asks (``requested``), a second raises at once."""
        return soft_interrupt()

    def check(self) -> CheckReport:
        """Identities, dark, light, a known pattern, safe state: go or no-go with reasons."""
        self._lit = False  # it switches off first, on purpose
        return check_bench(self)

    def safe_state(self) -> None:
        """Light off, heaters ramped to zero, outputs off, in the order of ``[safety]``.

        Each connection has its own thread, so that a box that hangs holds up none of the others (see ``safe_order``).
        Every step is tried even where another fails; failures are reported together. What any thread planned before, and is
        not yet in a wire, is refused from now on (SafeStateTaken); what is in a wire ends before that box's zeros are sent.
        """
        self._lit = False
        self.safe_states += 1
        with deferred(), self.gate.plans.none_made():
            staged = stages(self.devices, self.file.safety.order)
            failures = make_safe(
                staged, self._guarded_steps, self._worker_of, self._longest_safe_state()
            )
        if failures:
            raise NotSafe(self.name, [str(error) for error in failures])

    def waits_for(self, error: HilonnError) -> bool:
        """Whether the bench file says to wait after ``error`` of a verb."""
        safety = self.file.safety
        if isinstance(error, InterlockError):
            return safety.on_interlock == "wait"
        lost = isinstance(error, (ConnectionLost, DeviceTimeout, DeviceError))
        return lost and safety.on_connection_lost == "wait"

    def recover(
        self,
        error: HilonnError,
        notice: Callable[[str], None] = lambda text: None,
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        """After ``error`` of a verb: raise it, or wait until the bench is whole again, as its file says.

        Waiting, everything that still answers is made safe first; boxes that come back must say who they were; light
        is on at the end, and what was programmed is not believed. ``notice`` is told what is waited for; ``asked`` is
        called every fifth of a second and may raise, which ends the waiting. After the file's patience ``error`` is
        raised, with what was last wrong.
        """
        if not self.waits_for(error):
            raise error
        wait_until_whole(self, error, self.file.safety.patience, notice, asked)

    @property
    def watched(self) -> bool:
        """Whether something is looked at only now and then that may spoil readings: an interlock."""
        return self.gate.watches

    def check_peers(self) -> None:
        """ConnectionLost where a peer is gone, as far as that shows without asking it anything."""
        for connection in self.connections.values():
            if isinstance(connection, Transport):
                connection.check_peer()

    def make_sure(self) -> None:
        """All is well now: peers are there, and no interlock is tripped. Raises ConnectionLost, InterlockError."""
        self.check_peers()
        self.gate.check_interlocks(anew=True)

    def lost_connections(self) -> list[str]:
        """Connections that have to be brought back after a loss: all that have a wire, for a box may have been
        switched off and on without its wire telling."""
        own = [d for d in self.devices.values() if not d.nonblocking and not d.members]
        return list(dict.fromkeys(self._wire_name(d) for d in own))

    def bring_back(self, connection: str) -> None:
        """Connect again if need be, check who is there, open its devices anew and make them safe. Raises ConnectionLost,
        DeviceTimeout, DeviceError."""
        wire = self.connections.get(connection)
        if isinstance(wire, Transport) and wire.lost:
            wire.reconnect(0.0)
        for device in self._behind(connection):
            answered = device.identity()
            if answered != self.identities[device.name]:
                raise DeviceError(
                    f"{device.name}: {self.identities[device.name]} was there, {answered} answers now"
                )
            device.open()
            self.gate.reconnected(device)
            failures: list[HilonnError] = []
            with self.gate.making_safe():
                for step in self._safe_steps(device):
                    try:
                        step()
                    except HilonnError as error:
                        failures.append(error)  # off, even where it cannot be ramped there
            if failures:
                raise failures[0]
            self._as_before.put_back(device)

    def _behind(self, connection: str) -> list[Device]:
        return [d for d in self.devices.values() if self._wire_name(d) == connection]

    def close(self) -> None:
        """Make safe, disconnect, release. Safe to call twice."""
        try:
            self._release()
        except (KeyboardInterrupt, SystemExit):
            self._release()  # the signal may have come before signals were deferred
            raise

    def _release(self) -> None:
        try:
            with deferred():
                if self._open:
                    self._open = False
                    self._let_go()
        finally:
            if self._handlers:
                self._handlers = False
                stop_exiting()
            if self._lock is not None:
                self._lock.release()
                self._lock = None
            self._claims.release()
            atexit.unregister(self.close)

    def _let_go(self) -> None:
        """Make safe and close everything, whatever fails; then raise what failed: the first as it is where it stands
        alone, else DeviceError with all."""
        errors: list[tuple[str, Exception]] = []

        def attempt(what: str, act: Callable[[], None]) -> None:
            try:
                act()
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append((what, error))

        attempt("", self.safe_state)
        for name, device in self.devices.items():
            attempt(f"devices.{name}", device.close)
        for name, connection in self.connections.items():
            attempt(f"connections.{name}", connection.close)
        for name, worker in self._workers.items():
            attempt(f"the thread of {name}", worker.end)
        self._workers = {}
        if len(errors) == 1 and isinstance(errors[0][1], HilonnError):
            raise errors[0][1]
        if errors:
            raise DeviceError(
                f"bench {self.name} did not close whole\n"
                + "\n".join(
                    f"  {what}: {type(error).__name__}: {error}" if what else f"  {error}"
                    for what, error in errors
                )
            ) from errors[0][1]

    @property
    def exact_resume(self) -> bool:
        """Whether the whole state can be saved: every connection is a plant."""
        return bool(self.connections) and all(
            isinstance(c, Snapshotable) for c in self.connections.values()
        )

    def snapshot(self) -> Snapshot:
        """State of plants, gate and chips; ConfigError where a connection cannot be saved."""
        if not self.exact_resume:
            raise ConfigError(f"bench {self.name} ({self.backend}) cannot be saved exactly")
        return {
            "connections": {
                name: c.snapshot()
                for name, c in self.connections.items()
                if isinstance(c, Snapshotable)
            },
            "gate": self.gate.snapshot(),
            "chips": {name: chip.snapshot() for name, chip in self.chips.items()},
            "lit": self._lit,
            "ranges": {name: d.range for name, d in self.devices.items() if hasattr(d, "range")},
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Take up ``snapshot`` of the same bench, bit for bit."""
        for name, connection in self.connections.items():
            if isinstance(connection, Snapshotable):
                connection.restore(snapshot["connections"][name])
        for name, index in snapshot["ranges"].items():
            self.devices[name].range = index  # type: ignore[attr-defined]
        self.gate.restore(snapshot["gate"])
        for name, chip in self.chips.items():
            chip.restore(snapshot["chips"][name])
        self._lit = snapshot["lit"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except HilonnError as unsafe:
            if not isinstance(error, (HilonnError, Interrupted)):
                raise
            tell_too(error, str(unsafe))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: a bench is one thing in the world (scikit-learn copies an estimator's parameters)."""
        return self

    def __repr__(self) -> str:
        return f"<Bench {self.name} ({self.backend}): {', '.join(self.devices)}>"

    # -- opening ---------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return str(self.path or f"bench {self.name}")

    def _take_lock(self) -> None:
        if self.path is None:
            return
        lock = FileLock(self.path.resolve().with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{self._where} is in use by another process (its lock is {lock.lock_file})"
            ) from None
        except OSError as error:
            raise ConfigError(f"cannot lock {self._where}: {error}") from None
        self._lock = lock

    def _build(self, seed: int | None, chip_seed: int | None) -> None:
        changes = {
            name: value
            for name, value in (("noise_seed", seed), ("chip_seed", chip_seed))
            if value is not None
        }
        for name, frame in self.file.connections.items():
            key = f"connections.{name}"
            with self._at(f"{key}.transport"):
                transport = registry.load("hilonn.transports", frame.transport)
            own = options(frame, transport.options, self._where, key, changes)
            with self._at(key):
                connection = transport.build(name, own)
            self.connections[name] = connection
            if isinstance(connection, ClockSource):
                self.clock = connection.clock
        self._claim()
        safety = self.file.safety
        self.gate = SafetyGate(
            self.clock,
            total_power=safety.total_power,
            read_back_tolerance=safety.read_back_tolerance,
        )
        joined: list[tuple[str, DeviceFrame, registry.Driver]] = []
        for name, device_frame in self.file.devices.items():
            with self._at(f"devices.{name}.driver"):
                driver = registry.load("hilonn.devices", device_frame.driver)
            if driver.join is not None:
                joined.append((name, device_frame, driver))  # when its members are there
            else:
                self._add(name, device_frame, driver)
        for name, device_frame, driver in joined:
            self._add(name, device_frame, driver)
        self._driven_once()
        for name, monitor in self.file.monitors.items():
            with self._at(f"monitors.{name}.monitor"):
                kind: MonitorType = registry.load("hilonn.monitors", monitor.monitor)
            chosen = options(monitor, kind.options, self._where, f"monitors.{name}", {})
            self._monitors[name] = (monitor, kind, chosen)
        for lock in safety.interlocks:
            self.gate.watch(self._interlock(lock))
        self._watch_lasers()
        self.gate.on_trip = self.safe_state

    def _claim(self) -> None:
        """Every box of a wire for this bench alone, and by one connection: two would not know what the other one does."""
        wires = {n: c.wire for n, c in self.connections.items() if isinstance(c, Transport)}
        first: dict[str, str] = {}
        for name, wire in wires.items():
            place = place_of(wire)
            if place is None:
                continue
            other = first.setdefault(place, name)
            if other != name:
                raise ConfigError(
                    f"{self._where}: connections.{other} and connections.{name} both lead to {place}: let the devices of one "
                    "box name one connection"
                )
        with self._at("connections"):
            self._claims.take(
                [w for w in map(way_of, wires.values()) if w is not None], self._where
            )

    def _driven_once(self) -> None:
        """ConfigError where two devices drive the same channels of a box: what one's limits forbid the other would do."""
        driving = [
            (device, self.file.devices[name].connection)
            for name, device in self.devices.items()
            if not device.members and not isinstance(device, Photodetectors)
        ]
        for (one, first), (other, second) in combinations(driving, 2):
            what = _shared(one, other, first is not None) if first == second else ""
            if what:
                box = "one box" if first is None else f"connection {first!r}"
                raise ConfigError(
                    f"{self._where}: devices.{one.name} and devices.{other.name} both drive {what} of {box}: the limits of one "
                    "would not hold for the other. Let one device drive them, or give each its own"
                )

    def _add(self, name: str, device_frame: DeviceFrame, driver: registry.Driver) -> None:
        """Build one device and put it behind the gate."""
        key = f"devices.{name}"
        own = options(device_frame, driver.options, self._where, key, {})
        wire = device_frame.connection
        with self._at(key):
            if driver.join is not None:
                device = driver.join(name, own, self._members(getattr(own, "members", [])))
            else:
                device = driver.build(name, own, None if wire is None else self.connections[wire])
        if device_frame.power is not None and not isinstance(device, Laser):
            raise ConfigError(f"{self._where}: {key}.power: {name} is no laser")
        limits = device_frame.limits.model_dump(exclude_none=True)
        if limits and not isinstance(device, Bank):
            how = "; a laser's largest power is its driver's `high` or `max_power`"
            raise ConfigError(
                f"{self._where}: {key}.limits: {name} has no channels to limit"
                + (how if isinstance(device, Laser) else "")
            )
        try:
            self.gate.guard(device, limits)
        except HilonnError as error:
            raise ConfigError(f"{self._where}: {key}: {error}") from None
        self.devices[name] = device

    def _members(self, names: list[str]) -> list[Device]:
        unknown = [n for n in names if n not in self.devices]
        if unknown:
            raise ConfigError(
                f"members: no device {unknown[0]!r} that is no bank itself; there are "
                f"{', '.join(self.devices)}"
            )
        if len(set(names)) != len(names):
            raise ConfigError("members: a device is named twice")
        return [self.devices[n] for n in names]

    def _interlock(self, section: InterlockSection) -> Interlock:
        device = self.devices[section.device]
        try:
            read = interlock_reader(device, section.quantity)
        except HilonnError as error:
            raise ConfigError(f"{self._where}: safety.interlocks: {error}") from None
        return Interlock(
            f"{section.device}.{section.quantity}",
            read,
            section.low,
            section.high,
            section.low if section.resume_low is None else section.resume_low,
            section.high if section.resume_high is None else section.resume_high,
            section.every,
            (lambda: self._lit) if isinstance(device, Laser) else (lambda: True),
        )

    def _watch_lasers(self) -> None:
        """A laser that goes off by itself says nothing, and a chip in the dark would go on learning."""
        if not isinstance(self.clock, WallClock):
            return
        for laser in self._of(Laser):
            if not laser.nonblocking:
                read = interlock_reader(laser, "emission")
                name = f"{laser.name}.emission"
                self.gate.watch(
                    Interlock(name, read, 0.5, np.inf, 0.5, np.inf, LASER_LOOK, lambda: self._lit)
                )

    def _connect(self) -> None:
        self._open = True
        for device in self.devices.values():
            wire = self._wire_name(device)
            if not device.nonblocking and not device.members and wire not in self._workers:
                self._workers[wire] = Worker(f"hilonn {wire}")
        atexit.register(self.close)
        self._handlers = exit_on_termination()
        failures: dict[str, Exception] = {}

        def attempt(name: str, action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - reported together below
                failures[name] = error

        for name, connection in self.connections.items():
            attempt(f"connections.{name}", connection.open)
        if not failures:
            waiting = [d for d in self.devices.values() if not d.nonblocking]
            for device in self.devices.values():
                if device.nonblocking:
                    attempt(f"devices.{device.name}", device.open)
            if waiting:
                with ThreadPoolExecutor(len(waiting)) as pool:
                    for device in waiting:
                        pool.submit(attempt, f"devices.{device.name}", device.open)
        for name, device in self.devices.items():
            if device.is_open:
                attempt(f"devices.{name}", partial(self._identify, name, device))
        if failures:
            raise ConnectionLost(
                f"bench {self.name}: {len(failures)} of {len(self.devices)} devices did not open\n"
                + "\n".join(
                    f"  {name}: {type(error).__name__}: {error}"
                    for name, error in sorted(failures.items())
                )
            )

    def _identify(self, name: str, device: Device) -> None:
        identity = device.identity()
        self.identities[name] = identity
        if isinstance(device, Actuators):
            self.gate.found(device)
        for key, wanted in self.file.devices[name].identity.items():
            answered = getattr(identity, key)
            if answered != wanted:
                raise ConfigError(
                    f"the bench file expects {key} {wanted!r}, the box answers {answered!r} "
                    f"({identity}): is it plugged into another socket?"
                )

    def _wire(self) -> None:
        timing = Timing(self.file.timing.sample_period, trigger=self.file.timing.trigger)
        for name, frame in self.file.chips.items():
            key = f"chips.{name}"
            with self._at(f"{key}.architecture"):
                kind = registry.load("hilonn.chips", frame.architecture)
            own = options(frame, kind.options, self._where, key, {})
            wiring = {
                role: self._wire_of(f"{key}.wiring.{role}", text)
                for role, text in frame.wiring.items()
            }
            with self._at(key):
                records = self._records(name, frame)
                chip = kind.build(name, own, wiring, records, self.clock, timing)
            chip.bench = self
            chip.power_budget = self.file.safety.total_power
            self.chips[name] = chip
            self.wirings[name] = wiring

    def _wire_of(self, key: str, text: str | list[str]) -> Wire:
        device: Device | None = None
        channels = []
        for part in [text] if isinstance(text, str) else text:
            name, wanted = parse_wire(part, f"{self._where}: {key}")
            if name not in self.devices:
                raise ConfigError(
                    f"{self._where}: {key} = {part!r}: no device {name!r}; there are "
                    f"{', '.join(self.devices)}"
                )
            if device is not None and self.devices[name] is not device:
                raise ConfigError(
                    f"{self._where}: {key}: all channels of one role lie on one device (a `bank` "
                    f"joins several); {device.name} and {name} are named"
                )
            device = self.devices[name]
            count = device.channels if isinstance(device, Bank) else 1
            chosen = range(count) if wanted is None else wanted
            if chosen[-1] >= count:
                raise ConfigError(
                    f"{self._where}: {key} = {part!r}: {name} has channels 0 .. {count - 1}"
                )
            channels.append(np.array(chosen))
        if device is None:
            raise ConfigError(f"{self._where}: {key} is empty")
        joined = np.concatenate(channels)
        if len(np.unique(joined)) != len(joined):
            raise ConfigError(f"{self._where}: {key} names a channel twice")
        return Wire(device, joined)

    def _records(self, name: str, frame: ChipFrame) -> Records:
        if self._record is not None and self._record != "nominal":
            return self._in_date(name, frame, load_records(Path(self._record)), self._record)
        if "nominal" in (self._record, frame.record):
            ports = int((frame.model_extra or {})["ports"])
            return nominal_records(name, frame.architecture, ports, frame.nominal)
        if not frame.record.startswith("connection:"):
            folder = Path() if self.path is None else self.path.parent
            found = load_records(folder / frame.record)
            return self._in_date(name, frame, found, frame.record)
        source = frame.record.removeprefix("connection:")
        connection: object = self.connections.get(source)
        if not isinstance(connection, RecordSource):
            raise ConfigError(
                f"{self._where}: chips.{name}.record = {frame.record!r}: {source!r} is no "
                f"connection that hands out records; there are {self._record_sources()}; else name "
                "a record's JSON file"
            )
        return connection.records(name)

    def _in_date(self, name: str, frame: ChipFrame, records: Records, where: str) -> Records:
        """``records``, or CalibrationError where they are too old, or of another chip than the file names."""
        if "expired" not in frame.accept_records:
            for record in (records.chip, records.modulators, records.photodetectors):
                if record.expired():
                    raise CalibrationError(
                        f"{where}: what it knows of {record.title} expired on {record.expires}: calibrate again "
                        f"(hilonn calibrate), or allow it: chips.{name}.accept_records = ['expired']"
                    )
        wanted = frame.nominal.chip
        if wanted and records.chip.chip != wanted and "foreign" not in frame.accept_records:
            raise CalibrationError(
                f"{where} is a record of {records.chip.title}, the bench file says that chip {wanted} is there; name "
                f"its record, or allow this one: chips.{name}.accept_records = ['foreign']"
            )
        return records

    def _check_powers(self) -> None:
        """ConfigError where the file states a power that its laser may not have; some tell their limit when they are open."""
        for laser in self._of(Laser):
            power = self.file.devices[laser.name].power
            if power is not None and power > laser.max_power:
                raise ConfigError(
                    f"{self._where}: devices.{laser.name}.power = {power:g} W, and its limit is {laser.max_power:g} W"
                )

    def _check_boxes(self) -> None:
        """CalibrationError where a record was measured on other boxes than those that answer."""
        for name, chip in self.chips.items():
            if "foreign" in self.file.chips[name].accept_records:
                continue
            for record in (chip.records.modulators, chip.records.photodetectors):
                wire = self.wirings[name].get(record.kind)
                if wire is None or not record.serial or not record.source.startswith("measured"):
                    continue
                answered = self.identities[wire.device.name]
                if answered.serial != record.serial:
                    raise CalibrationError(
                        f"chip {name}: the record of its {record.kind} was measured on the box with serial "
                        f"{record.serial}; {wire.device.name} is {answered}. Calibrate the box that is there "
                        f"(hilonn calibrate), or allow this record: chips.{name}.accept_records = ['foreign']"
                    )

    def _record_sources(self) -> str:
        found = [n for n, c in self.connections.items() if isinstance(c, RecordSource)]
        return ", ".join(found) or "none"

    @contextmanager
    def _at(self, key: str) -> Iterator[None]:
        """Within: a ConfigError of a part names this file, and ``key`` unless it does itself."""
        try:
            yield
        except ConfigError as error:
            text = str(error)
            if text.startswith(self._where):
                raise
            named = text if text.startswith(key) else f"{key}: {text}"
            raise ConfigError(f"{self._where}: {named}") from error

    # -- being safe --------------------------------------------------------------------------------

    def _of(self, kind: type[D]) -> Iterator[D]:
        return (d for d in self.devices.values() if isinstance(d, kind))

    def _guarded_steps(self, device: Device) -> Iterator[Callable[[], None]]:
        """In whatever thread takes them."""
        with self.gate.making_safe():
            yield from self._safe_steps(device)

    def _safe_steps(self, device: Device) -> Iterator[Callable[[], None]]:
        if isinstance(device, Actuators):
            yield partial(self.gate.lower, device)
        yield device.safe_state

    def _longest_safe_state(self) -> float:
        """s of wall time after which a box that is still at its safe state hangs: every step ends by its timeouts."""
        wires = [c.timeout for c in self.connections.values() if isinstance(c, Transport)]
        ramps: dict[str, float] = {}  # those on one wire wait for one another
        for device in self.devices.values():
            if device.is_open:
                wire = self._wire_name(device)
                ramps[wire] = ramps.get(wire, 0.0) + self.gate.lowering(device)
        return LONGEST_STEPS + TIMEOUTS * max(wires, default=0.0) + max(ramps.values(), default=0.0)

    def _worker_of(self, device: Device) -> Worker | None:
        """The thread of its connection; None: it is called in place."""
        return self._workers.get(self._wire_name(device))

    def _wire_name(self, device: Device) -> str:
        return self.file.devices[device.name].connection or f"devices.{device.name}"
