"""What the findings say of a product that comes out wrong: noise is not laid to the record."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.missed import Missed
from hilonn.reports.findings import findings
from hilonn.reports.story import Story

RNG = np.random.default_rng(0)


def missed(lasting: float, noise: float, trips: int = 4) -> Missed:
    wanted = RNG.standard_normal((256, 16))
    wrong = lasting * RNG.standard_normal(wanted.shape)
    read = [wrong + noise * RNG.standard_normal(wanted.shape) for _ in range(trips)]
    return Missed.of(read, wanted)


@pytest.mark.parametrize(("lasting", "noise"), [(0.05, 0.0), (0.3, 0.02), (0.3, 0.7), (0.047, 0.1)])
def test_noise_is_told_from_what_lasts(lasting: float, noise: float) -> None:
    found = missed(lasting, noise)
    assert found.whole == pytest.approx(np.hypot(lasting, noise), rel=0.1)
    assert found.lasting == pytest.approx(lasting, rel=0.15)
    assert found.noise == pytest.approx(noise, rel=0.1, abs=1e-9)
    assert found.quiet == (noise < 0.1 * found.whole)


def test_less_than_readings_can_tell_is_not_claimed() -> None:
    assert 0.03 < missed(0.0, 0.7).lasting < 0.15
    assert Missed.of([np.zeros((4, 0))] * 2, np.zeros((4, 0))) == Missed(0.0, 0.0, 0.0)


def told(mapping: dict[str, object], silent: tuple[int, ...] = ()) -> tuple[str, str, str]:
    heaters = {"response": [9.0] * 4, "silent": list(silent), "masked": []} if silent else None
    story = Story(
        "run", {"backend": "emulated"}, None, [], [], [], heaters, mapping, None, None, None, ""
    )
    (found,) = [f for f in findings(story, []) if "matrix product" in f.text]
    return found.gravity, found.text, found.meaning


def of(m: Missed) -> dict[str, object]:
    return {
        "layers": [m.whole],
        "lasting": [m.lasting],
        "noise": [m.noise],
        "outputs": [m.whole] * 4,
        "outputs_lasting": [m.lasting] * 4,
    }


def test_noisy_readings_ask_for_no_calibration() -> None:
    gravity, text, meaning = told(of(Missed(0.7, 0.05, 0.698)))
    assert gravity == "note"
    assert "About 5% came again at every reading; noise of one reading is 70%" in text
    assert "no calibration lowers" in meaning
    assert "A new calibration" not in meaning


def test_a_record_that_is_wrong_asks_for_one() -> None:
    gravity, _, meaning = told(of(Missed(0.51, 0.5, 0.1)))
    assert gravity == "warning"
    assert "drift and leaked light. Training" in meaning
    assert meaning.endswith("A new calibration lowers it.")
    gravity, _, meaning = told(of(Missed(0.85, 0.4, 0.75)), silent=(3,))
    assert gravity == "warning"
    assert "no calibration lowers" in meaning
    assert "mend these first. What comes again" in meaning
    assert meaning.endswith("a new calibration lowers it.")


def test_a_run_of_an_earlier_version_is_told_as_before() -> None:
    gravity, text, meaning = told({"layers": [0.6], "outputs": [0.6] * 4})
    assert gravity == "warning"
    assert "noise of one reading" not in text
    assert "drift, leaked light and noise. Training" in meaning
