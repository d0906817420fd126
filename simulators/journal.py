"""A file that shows what a dead process left on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from hilonn.errors import StorageError


class Journal:
    """Append-only JSON lines, each the whole visible state, written through at every change.

    Keys: time (s), emission, laser_power (W), switch, heaters (V, largest drive), heater_peak (V,
    largest so far). Heaters are entered when they go to or from zero or reach a new peak.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[str, float | bool | int] = {}
        self._peak = 0.0
        try:
            self._file: BinaryIO = path.open("ab", buffering=0)
        except OSError as error:
            raise StorageError(
                f"The plant's journal {path} cannot be written: {error.strerror}. "
                "Give a path in a folder that exists and is writable."
            ) from error

    def enter(
        self, now: float, emission: bool, laser_power: float, switch: int, largest_drive: float
    ) -> None:
        """Write a line if something changed that the journal follows."""
        peak = max(self._peak, largest_drive)
        last_drive = float(self._last.get("heaters", -1.0))
        same = (
            bool(self._last)
            and self._last["emission"] == emission
            and self._last["laser_power"] == laser_power
            and self._last["switch"] == switch
            and (last_drive > 0) == (largest_drive > 0)
            and peak == self._peak
        )
        if same:
            return
        self._peak = peak
        self._last = {
            "time": now,
            "emission": emission,
            "laser_power": laser_power,
            "switch": switch,
            "heaters": largest_drive,
            "heater_peak": peak,
        }
        line = json.dumps(self._last) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise StorageError(f"The plant's journal {self._path}: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path) -> list[dict[str, float | bool | int]]:
    """The journal's whole lines, oldest first; a line cut off by a crash is left out."""
    text = path.read_bytes().decode()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
