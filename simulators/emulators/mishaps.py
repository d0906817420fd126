"""What happens to a box, besides what happens to its wire: a door opens, a sensor comes off, the mount is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mishap:
    """``strike`` is given a value, ``value`` where none is asked for (None: it takes none). ``mend``, where it can be mended, ends it."""

    strike: Callable[[float], None]
    mend: Callable[[], None] | None = None
    value: float | None = None


@dataclass(slots=True)
class _Waiting:
    name: str
    strikes: int | None
    mends: int | None
    mishap: Mishap
    value: float


class Mishaps:
    """Those of one box, by the number of its transactions."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self.struck: list[str] = []

    def schedule(
        self, name: str, mishap: Mishap, value: float, after: int, count: int | None
    ) -> None:
        """Let ``mishap`` strike at the first transaction after ``after``, and be mended ``count`` later."""
        mends = None if count is None else after + count
        self._waiting.append(_Waiting(name, after, mends, mishap, value))

    @property
    def waiting(self) -> bool:
        """Whether anything is still to come."""
        return bool(self._waiting)

    def follow(self, transactions: int) -> None:
        """So many are done: strike and mend what is due. Called under the rack's lock."""
        for entry in list(self._waiting):
            if entry.strikes is not None and transactions >= entry.strikes:
                entry.strikes = None
                entry.mishap.strike(entry.value)
                self.struck.append(entry.name)
            if entry.strikes is None and (entry.mends is None or transactions >= entry.mends):
                self._waiting.remove(entry)
                if entry.mends is not None and entry.mishap.mend is not None:
                    entry.mishap.mend()
                    self.struck.append(f"{entry.name} mended")
