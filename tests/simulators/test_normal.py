"""Standard normal numbers of detectors' noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hilonn.simulators.normal import AHEAD, NormalStream, standard_normal


def test_numbers_are_normal() -> None:
    """Moments to four standard errors, the distribution by Kolmogorov and Smirnov, tails by count."""
    numbers = standard_normal(np.random.default_rng(1), 2_000_000)
    for power, wanted in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = np.sqrt(np.prod(np.arange(1, 2 * power, 2)) - wanted**2)
        assert abs((numbers**power).mean() - wanted) < 4 * spread / np.sqrt(numbers.size)
    assert stats.kstest(numbers[:200_000], "norm").pvalue > 1e-3
    beyond = int((np.abs(numbers) > 4.0).sum())
    expected = 2 * stats.norm.sf(4.0) * numbers.size
    assert abs(beyond - expected) < 4 * np.sqrt(expected)


def test_numbers_do_not_depend_on_each_other() -> None:
    numbers = standard_normal(np.random.default_rng(2), 1_000_000)
    for values in (numbers, numbers**2 - 1, np.abs(numbers) - np.sqrt(2 / np.pi)):
        for lag in (1, 2, 511, 512, 513, 1024):  # pairs stand 512 apart
            both = values[:-lag] * values[lag:]
            assert abs(both.mean()) < 4.5 * values.var() / np.sqrt(both.size)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1023, 1024, 1025, 4097])
def test_any_count_can_be_drawn(count: int) -> None:
    drawn = standard_normal(np.random.default_rng(3), count)
    assert drawn.shape == (count,)
    assert np.isfinite(drawn).all()
    assert len(set(drawn)) == count


def test_a_word_of_zeros_and_one_of_ones_give_finite_numbers() -> None:
    """u = 1 - k / 2^32 is never 0, and its logarithm at 1 is 0."""

    class Words:
        def __init__(self, word: int) -> None:
            self.bit_generator = self
            self.word = word

        def random_raw(self, count: int) -> np.ndarray:
            return np.full(count, self.word, np.uint64)

    zeros = standard_normal(Words(0), 2)  # type: ignore[arg-type]
    assert np.abs(zeros).max() == 0.0
    ones = standard_normal(Words(2**64 - 1), 2)  # type: ignore[arg-type]
    assert np.isfinite(ones).all()
    assert np.hypot(*ones) == pytest.approx(np.sqrt(64 * np.log(2)), rel=1e-12)


def test_a_stream_is_the_same_however_it_is_asked_for() -> None:
    whole = NormalStream(7, "noise").take(2 * AHEAD + 100)
    pieces = NormalStream(7, "noise")
    sizes = [1, 999, AHEAD - 1000, 3, AHEAD - 3, 100]
    np.testing.assert_array_equal(np.concatenate([pieces.take(n) for n in sizes]), whole)
    assert NormalStream(8, "noise").take(1) != whole[0]


@pytest.mark.parametrize("used", [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 3 * AHEAD])
def test_a_stream_goes_on_where_a_snapshot_was_taken(used: int) -> None:
    stream = NormalStream(7, "noise")
    stream.take(used)
    saved = stream.snapshot()
    wanted = stream.take(AHEAD + 10)
    other = NormalStream(1, "another")
    other.take(AHEAD + 1)
    other.restore(saved)
    np.testing.assert_array_equal(other.take(AHEAD + 10), wanted)
    stream.restore(saved)
    np.testing.assert_array_equal(stream.take(AHEAD + 10), wanted)
