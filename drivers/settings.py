"""Settings of a box that has an error queue: what differs is sent, at once, and what the box says to it is asked."""

from __future__ import annotations

from collections.abc import Mapping

from hilonn.drivers import scpi
from hilonn.transports import Transport


class Settings:
    """What a box has been told, by names of ours. Whatever fails is forgotten, and sent again the next time."""

    def __init__(self, transport: Transport, error_query: str = "SYST:ERR?") -> None:
        self._transport = transport
        self._error_query = error_query
        self._held: dict[str, bytes] = {}

    def holds(self, settings: Mapping[str, bytes]) -> bool:
        """Whether the box has all of ``settings`` already."""
        return all(self._held.get(name) == command for name, command in settings.items())

    def forget(self) -> None:
        """The box may have been switched off meanwhile."""
        self._held = {}

    def set(self, settings: Mapping[str, bytes], doing: str, *, anew: bool = False) -> None:
        """Bring the box to ``settings`` (name: command, without terminator), in their order; ``anew`` sends all of them. It
        is asked for its errors also where nothing differs: an answer shows that it is there. Raises DeviceError with its
        error's text.
        """
        held, self._held = self._held, {}
        self.tell([c for name, c in settings.items() if anew or held.get(name) != c], doing)
        self._held = held | dict(settings)

    def tell(self, commands: list[bytes], doing: str) -> None:
        """Send ``commands`` at once; DeviceError with what the error queue then holds."""
        end = self._transport.dialect.write.encode()
        with self._transport.atomic():
            if commands:
                self._transport.write(end.join(commands) + end)
            scpi.raise_errors(self._transport, doing, self._error_query)
