"""Images moved while one learns from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.datasets import Shifts, Split
from hilonn.errors import ConfigError


def image(side: int, row: int, column: int) -> np.ndarray:
    drawn = np.zeros((side, side))
    drawn[row, column] = 1.0
    return drawn.ravel()


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(4, 9), st.integers(0, 2**32 - 1))
def test_a_moved_image_is_the_image_elsewhere_and_empty_where_it_was_not(
    pixels: int, side: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    background = rng.normal(size=side * side)
    drawn = rng.normal(size=(5, side, side))
    moved = Shifts(pixels, 1.0, background)(drawn.reshape(5, -1) + background, rng)
    for before, after in zip(drawn, (moved - background).reshape(5, side, side), strict=True):
        padded = np.pad(before, pixels)
        size = 2 * pixels + 1
        candidates = [padded[i : i + side, j : j + side] for i in range(size) for j in range(size)]
        assert any(np.allclose(after, c, atol=1e-12) for c in candidates)


def test_a_share_of_the_images_stays_where_it_is() -> None:
    inputs = np.tile(image(5, 2, 2), (4000, 1))
    moved = Shifts(1, 0.5, np.zeros(25))(inputs, np.random.default_rng(0))
    # Half are asked to move, and one of the nine moves is to stay.
    assert (moved == inputs).all(axis=1).mean() == pytest.approx(0.5 + 0.5 / 9, abs=0.02)
    places = moved.mean(axis=0).reshape(5, 5)
    assert places[1:4, 1:4].min() > 0.04 and places.sum() == pytest.approx(1.0)


def test_a_split_moves_what_one_learns_from_only() -> None:
    inputs = np.tile(image(4, 1, 1), (8, 1))
    split = Split(inputs, np.zeros(8, dtype=int), Shifts(1, 1.0, np.zeros(16)))
    batch = split.batch(np.arange(8), np.random.default_rng(1))
    assert not (batch == inputs).all()
    assert (split.inputs == image(4, 1, 1)).all()
    again = split.batch(np.arange(8), np.random.default_rng(1))
    assert (batch == again).all()


@pytest.mark.parametrize(
    ("features", "pixels", "share"), [(10, 1, 0.5), (16, 4, 0.5), (16, 1, 0.0), (16, 1, 1.5)]
)
def test_what_cannot_be_moved_is_refused(features: int, pixels: int, share: float) -> None:
    with pytest.raises(ConfigError, match="shift"):
        Shifts(pixels, share, np.zeros(features))
