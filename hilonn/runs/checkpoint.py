"""Checkpoints: nested values and arrays in one file, bit for bit, without pickle.

Layout: magic, sha256 of the rest, length of a JSON head, the head, the arrays' bytes. In the head an
array is {"__array__": [dtype, shape, offset, bytes]}; floats are kept by their hexadecimal form.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.atomic import write_bytes
from hilonn.errors import ResumeError
from hilonn.typing import Snapshot

MAGIC = b"hilonn-checkpoint-2\n"


def save(path: Path, snapshot: Snapshot) -> None:
    """Write ``snapshot`` whole. StorageError where the disk fails, TypeError for a value that a
    snapshot cannot hold."""
    blobs: list[bytes] = []
    head = json.dumps(_encode(snapshot, blobs, [0])).encode()
    payload = b"".join([len(head).to_bytes(8, "little"), head, *blobs])
    write_bytes(path, MAGIC + hashlib.sha256(payload).digest() + payload)


def load(path: Path) -> Snapshot:
    """The snapshot at ``path``; ResumeError where it is missing, truncated or corrupt."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResumeError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    start = len(MAGIC) + 32
    if not data.startswith(MAGIC) or len(data) < start + 8:
        raise ResumeError(f"{path} is no checkpoint of this version of hilonn, or it is cut short")
    payload = data[start:]
    if hashlib.sha256(payload).digest() != data[len(MAGIC) : start]:
        raise ResumeError(
            f"the checkpoint {path} is corrupt (its sha256 does not match): it cannot be resumed. "
            "What the run had logged is whole and can be shown"
        )
    length = int.from_bytes(payload[:8], "little")
    decoded = _decode(json.loads(payload[8 : 8 + length]), payload[8 + length :])
    assert isinstance(decoded, dict)
    return decoded


def generator_state(generator: np.random.Generator) -> Snapshot:
    """A generator's whole state."""
    return {"state": generator.bit_generator.state}


def restore_generator(snapshot: Snapshot) -> np.random.Generator:
    """The generator that ``generator_state`` saw."""
    kind = snapshot["state"]["bit_generator"]
    if kind != "PCG64":
        raise ResumeError(f"the checkpoint holds a {kind} generator; this version uses PCG64")
    bits = np.random.PCG64()
    bits.state = snapshot["state"]
    return np.random.Generator(bits)


def _encode(value: Any, blobs: list[bytes], offset: list[int]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("a snapshot holds no arrays of objects")
        data = np.ascontiguousarray(value).tobytes()
        blobs.append(data)
        where = [value.dtype.str, list(value.shape), offset[0], len(data)]
        offset[0] += len(data)
        return {"__array__": where}
    if isinstance(value, np.generic):
        return _encode(value.item(), blobs, offset)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return {"__int__": hex(value)}
    if isinstance(value, float):
        return {"__float__": value.hex()}
    if isinstance(value, list | tuple):
        return [_encode(v, blobs, offset) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a snapshot's keys are strings, not {list(value)[:3]}")
        return {"__dict__": {key: _encode(v, blobs, offset) for key, v in value.items()}}
    raise TypeError(f"a snapshot cannot hold a {type(value).__name__}")


def _decode(value: Any, data: bytes) -> Any:
    if isinstance(value, list):
        return [_decode(v, data) for v in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "__array__":
        dtype, shape, offset, length = content
        flat = np.frombuffer(data[offset : offset + length], dtype=np.dtype(dtype))
        return flat.reshape(shape).copy()
    if tag == "__int__":
        return int(content, 16)
    if tag == "__float__":
        return float.fromhex(content)
    return {key: _decode(v, data) for key, v in content.items()}
