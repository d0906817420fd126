"""Sine and cosine of many angles at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.mesh.sincos import LARGEST, sincos


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 30.0, 0.99 * LARGEST, 1e3 * LARGEST]))
def test_as_numpy_s(seed: int, most: float) -> None:
    angles = np.random.default_rng(seed).uniform(-most, most, (7, 33))
    sine, cosine = sincos(angles)
    np.testing.assert_allclose(sine, np.sin(angles), rtol=0, atol=3e-16)
    np.testing.assert_allclose(cosine, np.cos(angles), rtol=0, atol=3e-16)
    strided = sincos(angles[::2, ::-1])
    np.testing.assert_array_equal(strided[0], sine[::2, ::-1])
    np.testing.assert_array_equal(strided[1], cosine[::2, ::-1])


@pytest.mark.parametrize("angle", [0.3, 1e7, np.nan])
def test_rounded_where_a_type_is_given(angle: float) -> None:
    angles = np.array([angle, 1.0, 5e3 + 1e-4])
    for rounded, exact in zip(sincos(angles, np.float32), sincos(angles), strict=True):
        assert rounded.dtype == np.float32
        np.testing.assert_array_equal(rounded, exact.astype(np.float32))
