"""From wanted phases to what each heater has to give itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.chips.programming import TOLERANCE, Heaters
from hilonn.errors import CalibrationError
from hilonn.mesh.runs import RunMatrix


@cache
def heaters_of_a_chip() -> Heaters:
    """Those of a chip of 16 ports whose heaters warm each other."""
    with Bench.open("simulated", seed=0) as bench:
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        return Heaters.of(chip.records.chip, chip.layout, np.full(len(chip.layout), 12.0))  # V


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-5, 0.3, np.nan]))
def test_own_phases_and_what_they_warm_are_what_was_wanted(seed: int, away: float) -> None:
    """Near to what was there or not (NaN), also where the end of the range is a hair away: a heater that must go round by a
    turn warms its neighbours by that turn's share, which they have to take off."""
    rng = np.random.default_rng(seed)
    n = len(heaters_of_a_chip().offset)
    heaters = replace(heaters_of_a_chip(), largest=2 * np.pi * rng.uniform(1.3, 1.6, n))
    there = rng.uniform(0.0, 1.0, (3, n)) * heaters.largest
    there[:, rng.random(n) < 0.2] = 1e-5
    at_end = rng.random(n) < 0.2
    there[:, at_end] = heaters.largest[at_end] - 1e-5
    moved = there + away * rng.standard_normal((3, n)) if np.isfinite(away) else there
    wanted = heaters.offset + moved + (heaters.crosstalk @ moved.T).T
    q = heaters.self_phases(wanted, there if np.isfinite(away) else None)
    assert (q >= 0.0).all()
    assert (q <= heaters.largest).all()
    left = wanted - heaters.offset - q - (heaters.crosstalk @ q.T).T
    left -= 2 * np.pi * np.round(left / (2 * np.pi))
    assert np.abs(left).max() < 1.01 * TOLERANCE
    alone = np.concatenate(
        [heaters.self_phases(wanted[k : k + 1], there[k : k + 1]) for k in range(3)]
    )
    together = heaters.self_phases(wanted, there)
    np.testing.assert_array_equal(together, alone)  # whatever else is worked out beside it


def test_a_heater_of_hardly_more_than_a_turn_is_named() -> None:
    """It goes round, its neighbours make up for it, and it goes back: the message blames its range, not the crosstalk."""
    heaters = heaters_of_a_chip()
    n = len(heaters.offset)
    short = replace(heaters, largest=np.full(n, 2 * np.pi))
    refused = 0
    for seed in range(20):
        wanted = np.random.default_rng(seed).uniform(0, 2 * np.pi, (1, n))
        try:
            short.self_phases(wanted, None)
        except CalibrationError as error:
            refused += 1
            assert "it reaches 6.28 rad, hardly more than a turn" in str(error)
    assert refused


def test_crosstalk_that_cannot_be_undone_is_refused() -> None:
    heaters = heaters_of_a_chip()
    warmth = RunMatrix(
        heaters.warmth.row,
        heaters.warmth.column,
        heaters.warmth.length,
        heaters.warmth.share * 2.5 / heaters.reach,
    )
    strong = replace(heaters, warmth=warmth, reach=2.5)
    with pytest.raises(CalibrationError, match="crosstalk does not converge"):
        strong.self_phases(np.random.default_rng(0).uniform(0, 6, (1, len(heaters.offset))), None)
