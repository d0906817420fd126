"""The gate that every write passes, as devices see it. ``hilonn.safety`` implements it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from hilonn.errors import SafeStateTaken
from hilonn.typing import FloatArray

if TYPE_CHECKING:
    from hilonn.devices.actuators import Actuators
    from hilonn.devices.device import Device


class _Here(threading.local):
    """The plan of the calling thread; None: whatever it does is planned when it is done."""

    plan: int | None = None


class Plans:
    """Which plans still hold. A safe state calls off all that were made before it began, so that none of what they hold
    comes after it, in whatever thread that is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = 0
        self._closed = 0
        self._here = _Here()

    @property
    def current(self) -> int:
        """The plan of this thread: a number to be handed to another one; outside any, that of one made now."""
        plan = self._here.plan
        return self._epoch if plan is None else plan

    def call_off(self) -> None:
        """No plan made until now holds."""
        with self._lock:
            self._epoch += 1

    @contextmanager
    def none_made(self) -> Iterator[None]:
        """No plan made until now holds, and none that is made within."""
        with self._lock:
            self._epoch += 1
            self._closed += 1
        try:
            yield
        finally:
            with self._lock:
                self._epoch += 1
                self._closed -= 1

    @contextmanager
    def made(self, plan: int | None = None) -> Iterator[None]:
        """Within, in this thread: what is done belongs to ``plan``, by default the one under way, or one made now."""
        before = self._here.plan
        self._here.plan = self.current if plan is None else plan
        try:
            yield
        finally:
            self._here.plan = before

    def check(self, device: Device, verb: str) -> None:
        """SafeStateTaken where this thread's plan was called off, or a safe state is under way."""
        if self._closed or self.current != self._epoch:
            raise SafeStateTaken(
                f"{device.name}.{verb}: a safe state was taken after this was planned; nothing was written. "
                "Begin anew, once light may be on again"
            )


class Gate(Protocol):
    """Asked before hardware changes and told after. One object a bench.

    ``generation`` rises whenever what a device holds may not be what was last written.
    """

    @property
    def plans(self) -> Plans: ...

    @property
    def generation(self) -> int: ...

    def ask(self, device: Device, verb: str, value: FloatArray) -> None:
        """Return if ``device.verb(value)`` may happen as far as interlocks tell, which may make the bench safe; raise
        InterlockError if not. Asked before the device's turn."""
        ...

    def look_ahead(self) -> None:
        """There is time: look at interlocks that will soon have to be looked at. Raises as ``ask``."""
        ...

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        """Return if ``device.verb(value)`` may happen; raise LimitError, SafeStateTaken if not. Asked in the device's turn."""
        ...

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        """``device`` took ``value``."""
        ...

    def unknown(self, device: Device, verb: str) -> None:
        """The wire failed during ``verb``: what ``device`` holds is not known any more."""
        ...

    def bring(self, device: Actuators, drive: FloatArray) -> None:
        """Write ``drive`` (channels,) to ``device``, in steps where its slew rate asks for them."""
        ...

    def passed(self, plan: int) -> AbstractContextManager[None]:
        """Within, in this thread: interlocks were asked already, by the bank whose members are at work, and it is at work
        for ``plan``."""
        ...


class OpenGate:
    """The gate of a device used on its own, outside any bench: only the device's own limits hold."""

    generation = 0

    def __init__(self) -> None:
        self.plans = Plans()

    def ask(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def look_ahead(self) -> None:
        return None

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        if not device.calms(verb, value):
            self.plans.check(device, verb)

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def unknown(self, device: Device, verb: str) -> None:
        return None

    def bring(self, device: Actuators, drive: FloatArray) -> None:
        device.write(drive)

    def passed(self, plan: int) -> AbstractContextManager[None]:
        return self.plans.made(plan)
