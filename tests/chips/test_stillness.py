"""What a turn changes, against the undisturbed chip at its moment."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.chips.stillness import NOISES, REFRESH, changes_of, rms
from hilonn.typing import FloatArray

SHAPE = (16, 8)


class Drifting:
    """A chip that drifts by ``rate`` a reading, noise of one; a turn adds ``answer``."""

    def __init__(self, rate: float = 0.0, answer: float = 0.0, noise: float = 1.0) -> None:
        self.rate, self.answer, self.noise = rate, answer, noise
        self.rng = np.random.default_rng(5)
        self.log: list[int] = []

    def still(self) -> FloatArray:
        self.log.append(-1)
        return self.rate * len(self.log) + self.noise * self.rng.standard_normal(SHAPE)

    def turned(self, place: int) -> FloatArray:
        self.log.append(place)
        return (
            self.rate * len(self.log) + self.answer + self.noise * self.rng.standard_normal(SHAPE)
        )


@pytest.mark.parametrize("count", [0, 1, 7, 8, 40, 200])
def test_every_turn_is_read_once_between_two_readings_of_the_rest(count: int) -> None:
    chip = Drifting()
    changes, _, stills = changes_of(chip.turned, count, chip.still, chip.still(), np.asarray)
    assert [place for place in chip.log if place >= 0] == list(range(count))
    assert len(changes) == count
    assert stills == chip.log.count(-1) - 1 >= NOISES
    assert chip.log[-1] == -1
    told = "".join("." if place < 0 else "x" for place in chip.log).split(".")
    assert max(map(len, told)) <= REFRESH


def test_noise_alone_changes_as_much_as_noise() -> None:
    chip = Drifting()
    sizes, noise, _ = changes_of(chip.turned, 200, chip.still, chip.still(), rms)
    ratios = np.array(sizes) / noise
    assert abs(np.mean(ratios) - 1) < 0.06
    assert ratios.max() < 1.35


def test_drift_is_no_answer_and_an_answer_is_told_in_units_of_the_noise() -> None:
    still = Drifting(rate=3.0, noise=0.0)
    changes, _, _ = changes_of(still.turned, 40, still.still, still.still(), rms)
    assert max(changes) < 1e-12
    loud = Drifting(answer=10.0)
    sizes, noise, _ = changes_of(loud.turned, 40, loud.still, loud.still(), rms)
    # Noise of two readings makes sqrt(2) of what the noise is told to be.
    np.testing.assert_allclose(np.array(sizes) / noise, 10 / np.sqrt(2), rtol=0.25)
