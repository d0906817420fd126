"""Phases worked out beside passes: each tile once, whoever does it, and nobody waits while there is work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hilonn.chips.chip import NOTHING, Settings
from hilonn.errors import CalibrationError
from hilonn.passes import compiling
from hilonn.passes.compiling import Compiler
from hilonn.typing import FloatArray

LONG = 20.0  # s that a thread waits for the other one before the test fails


class Chip:
    """Settings whose scale is the matrix's first element. ``beside`` blocks another thread's first job until this one has done
    one that came later."""

    outputs = 64

    def __init__(self, bad: float | None = None) -> None:
        self.driver = threading.get_ident()
        self.done: list[tuple[bool, list[float]]] = []
        self.begun, self.helped = threading.Event(), threading.Event()
        self.bad = bad

    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        mine = threading.get_ident() == self.driver
        scales = matrices[:, 0, 0].tolist()
        if not mine and not self.begun.is_set():
            self.begun.set()
            assert self.helped.wait(LONG)
        if mine and self.begun.is_set():
            self.helped.set()
        self.done.append((mine, scales))
        if self.bad in scales:
            raise CalibrationError(f"tile {self.bad:g} cannot be")
        return [Settings(NOTHING, NOTHING, s, (1, 1), NOTHING, NOTHING, 0) for s in scales]


def begun(chip: Chip, monkeypatch: pytest.MonkeyPatch, tiles: int = 21) -> Any:
    monkeypatch.setattr(compiling, "WORKERS", 1)
    matrices = np.arange(float(tiles)).reshape(-1, 1, 1)
    compiled = Compiler(chip).compile(matrices, [None] * tiles)  # type: ignore[arg-type]
    assert chip.begun.wait(LONG)
    return compiled


def test_who_waits_for_a_tile_works_out_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = Chip()
    compiled = begun(chip, monkeypatch)
    assert [compiled[tile].scale for tile in range(21)] == list(range(21))
    assert [settings.scale for settings in compiled.all()] == list(range(21))
    assert sorted(scale for _, scales in chip.done for scale in scales) == list(range(21))
    assert {mine for mine, _ in chip.done} == {True, False}


@pytest.mark.parametrize("bad", [0.0, 2.0, 20.0])
def test_what_compiling_raises_is_raised_to_who_asks(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = begun(Chip(bad), monkeypatch)
    with pytest.raises(CalibrationError, match=f"tile {bad:g} cannot be"):
        compiled.all()
