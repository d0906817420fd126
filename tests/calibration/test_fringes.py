"""Fringes are found whatever the number of their periods."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.calibration.fringes import fit_fringe
from hilonn.errors import CalibrationError


def test_a_thousand_of_a_thousand() -> None:
    """0.6 to 3 periods at 1 % noise: frequency within 5 %, phase within 0.1 rad, and errors as stated."""
    rng = np.random.default_rng(1)
    x = np.linspace(0.0, 1.0, 50)
    deviations = []
    for _ in range(1000):
        frequency, phase = 2 * np.pi * rng.uniform(0.6, 3.0), rng.uniform(0.0, 2 * np.pi)
        y = 1.0 + 0.9 * np.cos(frequency * x + phase) + 0.01 * rng.standard_normal(50)
        found = fit_fringe(x, y, 2 * np.pi * 0.3, 2 * np.pi * 4)
        off = np.angle(np.exp(1j * (found.phase - phase)))
        assert abs(found.frequency / frequency - 1) < 0.05
        assert abs(off) < 0.1
        deviations += [
            (found.frequency - frequency) / found.uncertainty[2],
            off / found.uncertainty[3],
        ]
    assert 0.6 < np.mean(np.abs(deviations) < 1) < 0.76


def test_too_few_points_are_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 6"):
        fit_fringe(np.arange(5.0), np.arange(5.0), 0.1, 1.0)
