"""A run's folder: what it is of, what happened, where to go on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from hilonn.atomic import sync_folder, write_bytes, write_json
from hilonn.errors import ConfigError, ResumeError, StorageError
from hilonn.runs import checkpoint as checkpoints
from hilonn.typing import FloatArray, Snapshot

MUST_AGREE = {
    "hilonn": "the version of hilonn",
    "experiment_text": "the experiment",
    "bench_text": "the bench file",
    "backend": "the back end",
    "chip": "the chip",
    "record": "the chip's record",
    "data_digest": "the data",
}


class Run:
    """One run's folder. ``create`` and ``open(write=True)`` hold its lock until ``close``."""

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self.folder = folder
        self._lock = lock
        try:
            self.header: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            self.close()
            raise ConfigError(f"{folder}/run.json cannot be read: {error}") from None

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any], snapshot: Snapshot) -> Self:
        """A new folder that appears whole, with its first checkpoint: killed at any instant, there
        is either no folder or one that can be resumed."""
        folder = folder.absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"the run folder {folder} exists and is not empty")
        beside: Path | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            raise ConfigError(
                f"cannot make the run folder {folder}: {error.strerror or error}"
            ) from None
        try:
            beside.chmod(0o755)
            write_json(beside / "run.json", header)
            write_bytes(beside / "events.jsonl", b"")
            checkpoints.save(beside / "checkpoint", {"events": 0, "arrays": {}, "state": snapshot})
            if folder.exists():
                folder.rmdir()
            beside.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise StorageError(f"cannot make {folder}: {error.strerror or error}") from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return cls(folder, _locked(folder))

    @classmethod
    def open(cls, folder: Path | str, *, write: bool = False) -> Self:
        """An existing run; ConfigError where the folder is none, or is being written by another."""
        folder = Path(folder).absolute()
        if not (folder / "run.json").is_file():
            what = "does not exist" if not folder.exists() else "holds no run.json"
            raise ConfigError(f"{folder} is no run: it {what}")
        return cls(folder, _locked(folder) if write else None)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to events.jsonl, in one write."""
        line = json.dumps({"time": time.time(), "kind": kind, **fields}) + "\n"
        self._append("events.jsonl", line.encode())

    def events(self) -> list[dict[str, Any]]:
        """All whole lines; a torn last one (a crash, or a write under way) is left out."""
        try:
            data = (self.folder / "events.jsonl").read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot read its events: {error}") from None
        return [json.loads(line) for line in data.split(b"\n")[:-1]]

    def append_array(self, name: str, array: FloatArray) -> None:
        """Add a segment to the one-dimensional array ``name``: a file NAME-0000.npy and so on."""
        count = len(self._segments(name))
        path = self.folder / f"{name}-{count:06d}.npy"
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_bytes(path, buffer.getvalue())

    def array(self, name: str) -> FloatArray:
        """All segments of ``name``, one after another."""
        parts = [np.load(path, allow_pickle=False) for path in self._segments(name)]
        if not parts:
            raise ConfigError(f"{self.folder} has no array {name!r}")
        return np.concatenate(parts)

    def segments(self, name: str) -> Iterator[FloatArray]:
        """Segments of ``name`` one after another, each read when it is asked for."""
        for path in self._segments(name):
            yield np.load(path, allow_pickle=False)

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Replace the checkpoint; it also tells how far the events and arrays belong to it."""
        names = {p.name.rsplit("-", 1)[0] for p in self.folder.glob("*-*.npy")}
        size = (self.folder / "events.jsonl").stat().st_size
        arrays = {name: len(self._segments(name)) for name in sorted(names)}
        checkpoints.save(
            self.folder / "checkpoint", {"events": size, "arrays": arrays, "state": snapshot}
        )

    def load_checkpoint(self) -> Snapshot:
        """The last checkpoint's snapshot. Reads only."""
        state: Snapshot = checkpoints.load(self.folder / "checkpoint")["state"]
        return state

    def weights(self) -> list[FloatArray]:
        """The last checkpoint's weights, one (outputs, inputs) array a layer."""
        return list(self.load_checkpoint()["weights"])

    def rewind(self) -> Snapshot:
        """The last checkpoint's snapshot; what was logged after it is dropped, for it will happen
        again."""
        if self._lock is None:
            raise ResumeError(f"{self.folder} was opened for reading")
        saved = checkpoints.load(self.folder / "checkpoint")
        path = self.folder / "events.jsonl"
        data = path.read_bytes()
        if len(data) < saved["events"]:
            raise ResumeError(f"{path} is shorter than its checkpoint says: it was tampered with")
        if len(data) > saved["events"]:
            write_bytes(path, data[: saved["events"]])
        for name in {p.name.rsplit("-", 1)[0] for p in self.folder.glob("*-*.npy")}:
            for segment in self._segments(name)[saved["arrays"].get(name, 0) :]:
                segment.unlink()
        state: Snapshot = saved["state"]
        return state

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result: the run has ended."""
        write_json(self.folder / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        """The result, None while the run has not ended."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        try:
            result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path} is not valid JSON: {error}") from None
        return result

    def _segments(self, name: str) -> list[Path]:
        return sorted(self.folder.glob(f"{name}-[0-9][0-9][0-9][0-9][0-9][0-9].npy"))

    def _append(self, name: str, data: bytes) -> None:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError("the disk took only a part of it")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def weights_sha256(weights: list[FloatArray]) -> str:
    """sha256 of the weights' shapes and float32 bytes, layer by layer."""
    digest = hashlib.sha256()
    for w in weights:
        array = np.ascontiguousarray(w, dtype="<f4")
        digest.update(str(array.shape).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What must agree and does not, a line each."""
    found = []
    for key, what in MUST_AGREE.items():
        before, after = str(saved.get(key)), str(now.get(key))
        if before != after:
            short = [t if len(t) < 60 else f"sha256 {_digest(t)}" for t in (before, after)]
            found.append(f"{what} has changed: the run has {short[0]}, now it is {short[1]}")
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{folder} is being written by another process") from None
    except OSError as error:
        raise ConfigError(f"cannot lock {folder}: {error.strerror or error}") from None
    return lock
