"""Checkpoints come back bit for bit, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hilonn.errors import ResumeError, StorageError
from hilonn.runs import checkpoint, generator_state, restore_generator

arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.complex128, np.int64, np.bool_, np.uint8]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), arrays
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return isinstance(b, float) and (a.hex() == b.hex())
    return type(a) is type(b) and bool(a == b)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4), values, max_size=4))
def test_anything_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, snapshot: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("round") / "checkpoint"
    checkpoint.save(path, snapshot)
    assert same(snapshot, checkpoint.load(path))


def test_a_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    generator.normal(size=7)
    checkpoint.save(tmp_path / "c", generator_state(generator))
    again = restore_generator(checkpoint.load(tmp_path / "c"))
    np.testing.assert_array_equal(generator.normal(size=50), again.normal(size=50))


def test_damage_anywhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    checkpoint.save(path, {"weights": np.arange(20.0), "step": 3})
    whole = path.read_bytes()
    for cut in (0, 5, 30, 60, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ResumeError):
            checkpoint.load(path)
    for place in range(0, len(whole), 17):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(bytes(damaged))
        with pytest.raises(ResumeError):
            checkpoint.load(path)
    with pytest.raises(ResumeError, match="nowhere"):
        checkpoint.load(tmp_path / "nowhere")


def test_a_failing_disk_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    checkpoint.save(path, {"step": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        checkpoint.save(path, {"step": 2})
    monkeypatch.undo()
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    for value in (object(), {1: 2}, np.array([object()])):
        with pytest.raises(TypeError):
            checkpoint.save(tmp_path / "c", {"value": value})
    assert not list(tmp_path.iterdir())
