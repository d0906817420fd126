"""One random generator per purpose, and its state as plain values."""

from __future__ import annotations

import zlib

import numpy as np

from hilonn.typing import Snapshot


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each ``purpose``: using one never shifts another."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return np.random.Generator(np.random.PCG64(entropy))


def generator_state(source: np.random.Generator) -> Snapshot:
    """The generator's state; its 128-bit numbers as text, which every file format can hold."""
    state = source.bit_generator.state
    return {
        "state": str(state["state"]["state"]),
        "increment": str(state["state"]["inc"]),
        "has_half": int(state["has_uint32"]),
        "half": int(state["uinteger"]),
    }


def restore_generator(source: np.random.Generator, saved: Snapshot) -> None:
    """Put back what ``generator_state`` returned."""
    source.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(saved["state"]), "inc": int(saved["increment"])},
        "has_uint32": int(saved["has_half"]),
        "uinteger": int(saved["half"]),
    }
