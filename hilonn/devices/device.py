"""What every device is: something opened, identified, made safe and closed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from hilonn.devices.gate import Gate, OpenGate
from hilonn.devices.spec import ChannelSpec, Identity
from hilonn.errors import (
    ConfigError,
    DeviceError,
    DeviceTimeout,
    LimitError,
    SafeStateTaken,
    tell_too,
)
from hilonn.typing import FloatArray

LONGEST_TURN = 3.0
"""s of wall time that a safe state waits for a verb of the same device that is under way: longer than wires wait for an answer,
so that it ends by itself."""
TURNS_AFTER = 3
"""So many times as long it then waits for one that it went past, to take the safe state once more behind it."""
_ZEROS = np.zeros(0)


class Device(ABC):
    """Base of all devices. A bank of channels is one device.

    Verbs that change hardware are final (checked when a subclass is defined): they check the
    request, ask the gate, and only then call the subclass's ``_verb``, which holds the wire and
    nothing else. One verb is under way at a time: a safe state waits for the one that is in the wire, and whatever
    was planned before it and is not yet in the wire is refused (SafeStateTaken).
    """

    final_verbs: ClassVar[frozenset[str]] = frozenset({"safe_state"})
    nonblocking: ClassVar[bool] = False
    """True for a device whose verbs never wait for a wire: it is called in place."""

    members: tuple[Device, ...] = ()
    """The devices that a bank over several boxes is made of: they hold the limits and are made safe themselves."""

    terminals: tuple[str, ...] | None = None
    """What of its box this device drives, as the box names it (``ch1``, ``slot 2``); None: all that such a device can. Two
    devices of one bench never drive the same."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._gate: Gate = OpenGate()
        self.is_open = False
        self._turn = threading.RLock()
        self._overtakings = 0
        """How often a safe state went on beside a verb that did not end."""
        self._beside = False

    @property
    def gate(self) -> Gate:
        """What every verb asks first. A bench puts its devices behind its own (``put_behind``)."""
        return self._gate

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = frozenset().union(
            *(getattr(base, "final_verbs", frozenset()) for base in cls.__mro__[1:])
        )
        if cls.__module__.startswith("hilonn.devices."):
            return  # the interfaces themselves define the verbs
        overridden = sorted(inherited & cls.__dict__.keys())
        if overridden:
            raise TypeError(
                f"{cls.__qualname__} overrides {', '.join(overridden)}: these verbs carry the "
                f"safety checks and are final; implement {', '.join('_' + v for v in overridden)}"
            )

    def open(self) -> None:
        """Connect. Changes no output. Raises ConnectionLost, DeviceTimeout or DeviceError."""
        self._open()
        self.is_open = True

    def close(self) -> None:
        """Disconnect; safe to call twice. Does not change outputs: see ``safe_state``."""
        if self.is_open:
            self.is_open = False
            self._close()

    @abstractmethod
    def identity(self) -> Identity:
        """Who answers on the wire."""

    def safe_state(self) -> None:
        """Outputs off, light off, heaters at zero. Never refused by the gate.

        A verb that is in the wire is let finish first. One that does not end within ``LONGEST_TURN`` is gone past, and the safe state
        taken once more behind it. Where it does not end within ``TURNS_AFTER`` times as long either DeviceError says so; it takes itself back
        should it end later.
        """
        self.gate.plans.call_off()
        turn = self._turn.acquire(timeout=LONGEST_TURN)
        if not turn:
            self._overtakings += 1
            self._beside = True
        try:
            try:
                self._safe_state()
            except BaseException:
                self.gate.unknown(self, "safe_state")
                raise
            self.gate.accepted(self, "safe_state", _ZEROS)
        finally:
            if turn:
                self._turn.release()
            else:
                self._beside = False
        if not turn:
            self._safe_behind()

    def _safe_behind(self) -> None:
        """Once more, when the verb that a safe state went past has ended."""
        longest = TURNS_AFTER * LONGEST_TURN
        if not self._turn.acquire(timeout=longest):
            self.gate.unknown(self, "safe_state")
            raise DeviceError(
                f"{self.name}: made safe, but beside a verb that had not ended {longest:g} s later and may end after it. "
                "Look whether its outputs are off"
            )
        try:
            self._safe_state()
            self.gate.accepted(self, "safe_state", _ZEROS)
        except BaseException:
            self.gate.unknown(self, "safe_state")
            raise
        finally:
            self._turn.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within: no other thread's verb is under way. DeviceTimeout where one does not end within ``LONGEST_TURN``."""
        if not self._turn.acquire(timeout=LONGEST_TURN):
            raise DeviceTimeout(
                f"{self.name}: what another thread does with it has not ended after {LONGEST_TURN:g} s"
            )
        try:
            yield
        finally:
            self._turn.release()

    def eases(self, verb: str, value: FloatArray) -> bool:
        """Whether ``verb`` with ``value`` only takes light or heat away: no interlock stands in its way."""
        return False

    def calms(self, verb: str, value: FloatArray) -> bool:
        """Whether it leaves outputs off that are off: no safe state stands in its way."""
        return self.eases(verb, value)

    def _do(self, verb: str, value: FloatArray, act: Callable[[], None]) -> None:
        """``act``, if the gate admits it, in this device's turn."""
        gate = self.gate
        with gate.plans.made():
            gate.ask(self, verb, value)
            with self._turn:
                overtakings = self._overtakings
                if self._beside:
                    raise SafeStateTaken(
                        f"{self.name}.{verb}: a safe state is being taken; nothing was written"
                    )
                gate.admit(self, verb, value)
                try:
                    act()
                except BaseException as error:
                    gate.unknown(self, verb)
                    if self._overtakings != overtakings:
                        self._take_back(verb, error)
                    raise
                if self._overtakings != overtakings:
                    gate.unknown(self, verb)
                    late = SafeStateTaken(
                        f"{self.name}.{verb} ended after a safe state that did not wait for it; its outputs were switched off again"
                    )
                    self._take_back(verb, late)
                    raise late
                gate.accepted(self, verb, value)

    def _take_back(self, verb: str, error: BaseException) -> None:
        """What was in the wire when a safe state went past it may have come after it."""
        try:
            self._safe_state()
        except Exception as unsafe:  # noqa: BLE001 - told
            tell_too(error, f"{self.name} may not be safe: {unsafe}")

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _safe_state(self) -> None: ...

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.safe_state()
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def put_behind(device: Device, gate: Gate) -> None:
    """Let ``device`` ask ``gate`` from now on: for benches, and for tests of devices."""
    device._gate = gate


class Bank(Device):
    """A device with channels: what actuators, modulators and photodetectors share."""

    def __init__(self, name: str, channels: int, spec: ChannelSpec) -> None:
        super().__init__(name)
        if channels < 1:
            raise ConfigError(f"{name}: a bank needs at least one channel, got {channels}")
        self.channels = channels
        self._spec = spec
        self._low = spec.bound("low", channels)
        self._high = spec.bound("high", channels)

    @property
    def spec(self) -> ChannelSpec:
        """Limits and grain of the channels, fixed when the device is built."""
        return self._spec

    def nearest_to_zero(self) -> FloatArray:
        """The drive (channels,) nearest to zero within the limits: where a ramp to off ends."""
        return np.minimum(np.maximum(0.0, self._low), self._high)

    def check_drive(self, drive: FloatArray, verb: str, shape: tuple[int, ...]) -> FloatArray:
        """``drive`` as an array of its own, which nobody changes while it is written, or LimitError naming the first offending
        channel."""
        try:
            found = np.asarray(drive)
            if found.dtype.kind not in "biufO" or np.ma.is_masked(drive):
                held = "masked values" if np.ma.is_masked(drive) else f"{found.dtype} values"
                raise TypeError(f"it holds {held}")
            array: FloatArray = np.array(found, dtype=self._spec.dtype)
        except (TypeError, ValueError) as error:
            raise LimitError(
                f"{self.name}.{verb}: not an array of numbers: {error}; nothing was written"
            ) from None
        if array.shape != shape:
            raise LimitError(
                f"{self.name}.{verb}: expected shape {shape}, got {array.shape}; nothing was written"
            )
        # One comparison chain catches NaN too: every comparison with NaN is False.
        inside = (array >= self._low) & (array <= self._high)
        if not inside.all():
            self._refuse(array, inside, verb)
        return array

    def _refuse(self, array: FloatArray, inside: np.ndarray, verb: str) -> None:
        where = np.argwhere(~inside)[0]
        channel = int(where[-1])
        value = float(array[tuple(where)])
        count = int((~inside).sum())
        what = (
            "is not finite; the limits are" if not np.isfinite(value) else "is outside the limits"
        )
        unit = self.spec.unit
        raise LimitError(
            f"{self.name}.{verb}: {value:g} {unit} on channel {channel} {what} "
            f"{self._low[channel]:g} .. {self._high[channel]:g} {unit}"
            + (f" (and {count - 1} more values)" if count > 1 else "")
            + "; nothing was written"
        )
