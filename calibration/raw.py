"""Raw data of one routine: blocks of arrays, on disk before anything is fitted, never taken twice."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.atomic import write_bytes, write_json
from hilonn.errors import CalibrationError

_NAME = re.compile(r"[a-z0-9_-]+")


@dataclass(frozen=True)
class Raw:
    """The folder of one routine's blocks. Each block is written whole or not at all."""

    folder: Path

    def has(self, block: str) -> bool:
        return self._path(block).exists()

    def save(self, block: str, **arrays: Any) -> None:
        """Write ``arrays`` as the block called ``block``. StorageError where the disk refuses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
        write_bytes(self._path(block), buffer.getvalue())

    def load(self, block: str) -> dict[str, np.ndarray]:
        """A block's arrays; CalibrationError where it is missing or damaged."""
        try:
            with np.load(self._path(block), allow_pickle=False) as found:
                return dict(found)
        except (OSError, ValueError) as error:
            raise CalibrationError(
                f"raw data {self._path(block)} cannot be read: {error}. Acquire it again"
            ) from None

    def blocks(self, prefix: str = "") -> Iterator[str]:
        """Names of the blocks that start with ``prefix``, in order."""
        for path in sorted(self.folder.glob(f"{prefix}*.npz")):
            yield path.stem

    def beside(self, routine: str) -> Raw:
        """The raw data of another routine of the same calibration; CalibrationError where they are not whole."""
        other = Raw(self.folder.parent / routine)
        if other.finished is None:
            raise CalibrationError(
                f"{self.folder.name} is fitted to the raw data of {routine}, too, and {other.folder} holds none that are "
                f"whole: acquire {routine} first, into the same folder"
            )
        return other

    @property
    def finished(self) -> dict[str, Any] | None:
        """What ``finish`` wrote, None before."""
        path = self.folder / "finished.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    def finish(self, **facts: Any) -> None:
        """All blocks are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "finished.json", facts)

    def _path(self, block: str) -> Path:
        if not _NAME.fullmatch(block):
            raise CalibrationError(
                f"a block is called by small letters, digits, - and _, not {block!r}"
            )
        return self.folder / f"{block}.npz"
