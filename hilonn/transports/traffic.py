"""What went over a wire, and when: the last lines in memory, all of it in a file where one is asked for."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

from hilonn.errors import StorageError

Direction = Literal[
    "open", "sent", "received", "unasked", "dropped", "timeout", "recover", "lost", "close"
]
"""``received``: what an answer was read from. ``unasked``: what lay there before a command was sent. ``dropped``: what came
while the wire was brought back into step. ``timeout``: an answer was given up. ``recover``: the wire was out of step, and
why."""
DIRECTIONS: tuple[str, ...] = get_args(Direction)
KEPT = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One event on a wire; ``seconds`` on the transport's clock."""

    seconds: float
    direction: Direction
    data: bytes

    def __str__(self) -> str:
        shown = self.data if len(self.data) <= 80 else self.data[:77] + b"..."
        return f"{self.seconds:.6f} {self.direction} {shown!r}"


class TrafficLog:
    """The last ``KEPT`` events; with ``path`` every one as a line of JSON, for replay."""

    def __init__(self, path: Path | None = None) -> None:
        self._lines: deque[tuple[float, Direction, bytes]] = deque(maxlen=KEPT)
        self._path = path
        self._file: IO[str] | None = None

    def open(self) -> None:
        """Begin the file. Raises StorageError where it cannot be written."""
        if self._path is not None and self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("a", encoding="utf-8", buffering=1)
            except OSError as error:
                raise StorageError(f"cannot write the traffic log {self._path}: {error}") from error

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def note(self, seconds: float, direction: Direction, data: bytes = b"") -> None:
        """Keep one event."""
        self._lines.append((seconds, direction, data))
        if self._file is not None:
            event = {"t": seconds, "what": direction, "data": data.decode("latin-1")}
            try:
                self._file.write(json.dumps(event) + "\n")
            except OSError as error:
                raise StorageError(f"cannot write the traffic log {self._path}: {error}") from error

    def __iter__(self) -> Iterator[Line]:
        return iter([Line(*line) for line in tuple(self._lines)])


def read_traffic(path: Path) -> list[Line]:
    """The events of a file that a log wrote. Raises StorageError where it is none."""
    lines = []
    try:
        for text in path.read_text("utf-8").splitlines():
            event = json.loads(text)
            if event["what"] not in DIRECTIONS:
                raise ValueError(f"an event is {event['what']!r}")
            lines.append(Line(float(event["t"]), event["what"], event["data"].encode("latin-1")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is no traffic log of hilonn: {error}") from error
    return lines
