"""The gate that every write passes, as devices see it. ``hilonn.safety`` implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from hilonn.typing import FloatArray

if TYPE_CHECKING:
    from hilonn.devices.device import Device


class Gate(Protocol):
    """Asked before hardware changes and told after. One object a bench.

    ``generation`` rises whenever what a device holds may not be what was last written.
    """

    @property
    def generation(self) -> int: ...

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        """Return if ``device.verb(value)`` may happen; raise LimitError if not."""
        ...

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        """``device`` took ``value``."""
        ...

    def unknown(self, device: Device, verb: str) -> None:
        """The wire failed during ``verb``: what ``device`` holds is not known any more."""
        ...

    def passed(self) -> AbstractContextManager[None]:
        """Within, in this thread: interlocks were asked already, by the bank whose members are at work."""
        ...


class OpenGate:
    """The gate of a device used on its own, outside any bench: only the device's own limits hold."""

    generation = 0

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def unknown(self, device: Device, verb: str) -> None:
        return None

    def passed(self) -> AbstractContextManager[None]:
        return nullcontext()
