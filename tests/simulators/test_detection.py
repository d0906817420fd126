"""Noise, converters, ranges and saturation, each against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulators.benchtop import TIMING, Benchtop

CHARGE, BOLTZMANN = 1.602176634e-19, 1.380649e-23
BANDWIDTH = 0.5 / 1e-5
SAMPLES = 20000


def crossbar(**choice: object) -> Benchtop:
    """Two inputs, two outputs: half the light of each input on each plus bus, none on minus."""
    return Benchtop(architecture="crossbar", ports=2, **choice)  # type: ignore[arg-type]


def constant(amplitude: float) -> np.ndarray:
    return np.full((SAMPLES, 2), amplitude)


@pytest.mark.parametrize("index", [9, 6])
def test_detector_noise_is_a_share_of_the_full_scale_in_use(index: int) -> None:
    top = crossbar(real=("detector_noise",))
    top.detectors.set_range(index)
    signal = top.read(constant(0.1)).signal
    full_scale = 2 * 0.9e-3 / 2 ** (9 - index)
    assert top.detectors.ranges[index] == pytest.approx(full_scale)
    np.testing.assert_allclose(signal.std(axis=0), 0.005 * full_scale, rtol=0.03)
    np.testing.assert_allclose(signal[:, :2].mean(axis=0), 0.9e-5, atol=5e-5 * full_scale * 5)


def test_averages_lower_the_variance_and_take_time() -> None:
    top = crossbar(real=("detector_noise",))
    before = top.plant.clock.now()
    signal = top.read(constant(0.1), averages=4).signal
    np.testing.assert_allclose(signal.std(axis=0), 0.005 * 1.8e-3 / 2, rtol=0.03)
    assert top.plant.clock.now() - before == pytest.approx(4 * SAMPLES * 1e-5)


def test_shot_noise_variance_is_linear_in_power() -> None:
    top = crossbar(real=("shot_noise",))
    for amplitude in (0.3, 1.0):
        signal = top.read(constant(amplitude)).signal[:, 0]
        expected = 2 * CHARGE * 0.9e-3 * amplitude**2 * BANDWIDTH
        assert signal.var() == pytest.approx(expected, rel=0.04)
    assert not top.read(constant(1.0)).signal[:, 2:].any()  # no current, no shot noise


def test_thermal_noise_of_the_load() -> None:
    top = crossbar(real=("thermal_noise",), load_resistance=50.0)
    signal = top.read(constant(0.5)).signal
    expected = 4 * BOLTZMANN * 298.15 * BANDWIDTH / 50.0
    np.testing.assert_allclose(signal.var(axis=0), expected, rtol=0.05)


def test_rin_is_quadratic_in_power_and_common_to_all_channels() -> None:
    top = crossbar(real=("rin",), rin=-120.0)
    share = 1e-12 * BANDWIDTH
    for amplitude in (0.5, 1.0):
        signal = top.read(constant(amplitude)).signal
        assert signal[:, 0].var() == pytest.approx(share * (0.9e-3 * amplitude**2) ** 2, rel=0.04)
        np.testing.assert_allclose(signal[:, 0], signal[:, 1], rtol=1e-12)


def test_variance_is_the_sum_of_its_three_terms() -> None:
    noises = ("detector_noise", "shot_noise", "thermal_noise", "rin", "dark_current")
    top = crossbar(
        real=(*noises, "detector_gain_spread"), rin=-125.0, detector_noise=2e-5, shot_noise=300.0
    )
    v0, v1, v2 = top.plant.detection.variance_terms(1e-5)
    for amplitude in (0.0, 0.4, 0.7, 1.0):
        power = 1e-3 * amplitude**2
        expected = v0 + v1 * power + v2 * power**2
        variance = top.read(constant(amplitude)).signal.var(axis=0)
        np.testing.assert_allclose(variance[:2], expected[:2], rtol=0.05)
        np.testing.assert_allclose(variance[2:], v0[2:], rtol=0.05)
    assert (v1 * 1e-3 > 0.2 * v0).all()  # each term matters here
    assert (v2 * 1e-6 > 0.2 * v0).all()


def test_every_noise_off_is_exactly_no_noise() -> None:
    signal = crossbar().read(constant(0.6)).signal
    assert (signal == signal[0]).all()


def test_gain_spread_and_dark_current() -> None:
    top = crossbar(real=("detector_gain_spread", "dark_current"))
    truth = top.plant.truth
    signal = top.read(np.array([[0.0, 0.0], [1.0, 1.0]])).signal
    np.testing.assert_allclose(signal[0], truth.dark, rtol=1e-12)
    np.testing.assert_allclose(signal[1, :2], truth.dark[:2] + truth.gain[:2] * 1e-3, rtol=1e-12)
    wide = Benchtop(architecture="crossbar", ports=64, real=("detector_gain_spread",)).plant.truth
    assert wide.gain.std() == pytest.approx(0.027, rel=0.2)
    assert truth.dark.min() > 4e-9
    assert truth.dark.max() < 16e-9


@pytest.mark.parametrize("bits", [8, 12])
def test_readings_stand_on_the_converters_grid(bits: int) -> None:
    top = crossbar(real=("adc",), adc_bits=bits)
    amplitudes = np.random.default_rng(0).uniform(0, 1, (200, 2))
    clean = crossbar().read(amplitudes).signal
    signal = top.read(amplitudes).signal
    full_scale = top.detectors.ranges[-1]
    step = 1.125 * full_scale / (2**bits - 1)
    codes = (signal + full_scale / 8) / step
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-6)
    assert abs(signal - clean).max() <= step / 2 * (1 + 1e-9)
    assert abs(signal - clean).max() > step / 4


def test_a_small_range_saturates_and_says_so() -> None:
    top = crossbar(real=("adc",))
    top.detectors.set_range(7)  # full scale 0.45 mA
    readings = top.read(np.array([[0.5, 0.5], [1.0, 1.0]]))
    assert not readings.saturated[0].any()
    assert readings.saturated[1].tolist() == [True, True, False, False]
    np.testing.assert_allclose(readings.signal[1, :2], 0.45e-3, rtol=1e-12)


def test_the_converters_last_code_counts_as_saturated() -> None:
    top = crossbar(real=("adc",), adc_bits=8)
    top.detectors.set_range(8)  # full scale 0.9 mA, which full drive gives exactly
    step = 1.125 * 0.9e-3 / 255
    for below, saturated in ((0.3, True), (0.7, False)):
        amplitude = np.sqrt(1 - below * step / 0.9e-3)
        readings = top.read(np.full((1, 2), amplitude))
        assert readings.saturated[0].tolist() == [saturated, saturated, False, False]


def test_the_largest_range_saturates_at_the_onset() -> None:
    inputs = np.array([[0.7, 0.7], [1.0, 1.0]])
    top = crossbar(real=("saturation",), saturation_onset=0.6)
    readings = top.read(inputs)
    assert not readings.saturated[0].any()
    assert readings.saturated[1, :2].all()
    np.testing.assert_allclose(readings.signal[1, :2], 0.6 * 0.9e-3, rtol=1e-12)
    assert not crossbar().read(inputs).saturated.any()


def test_full_scale_is_twice_the_largest_expected_power() -> None:
    top = Benchtop(preset="typical", ports=16)
    power = 1e-3 * 10 ** (-(2 * 2.0 + 33 * 0.1) / 10)
    largest = (2 * np.sqrt(power)) ** 2 / 2  # a full input and the oscillator, in phase
    assert top.detectors.ranges[-1] == pytest.approx(2 * 0.9 * largest)
    ratios = np.array(top.detectors.ranges[1:]) / top.detectors.ranges[:-1]
    np.testing.assert_allclose(ratios, 2.0)
    np.testing.assert_allclose(top.plant.truth.lo_field, np.sqrt(power), rtol=0.15)


def test_several_readings_a_sample_average_like_plays() -> None:
    from dataclasses import replace

    top = crossbar(real=("detector_noise",))
    timing = replace(TIMING, samples_per_reading=4)
    top.modulators.load(np.zeros((SAMPLES, 2)), timing)
    top.detectors.arm(SAMPLES, 1, timing)
    top.modulators.play()
    np.testing.assert_allclose(top.detectors.fetch().signal.std(axis=0), 4.5e-6, rtol=0.03)
    assert top.plant.clock.now() == pytest.approx(4 * SAMPLES * 1e-5)


@pytest.mark.parametrize("samples", [50, 5000])
def test_a_mean_of_plays_is_the_mean_of_as_many_single_ones(samples: int) -> None:
    """Drawn by another thread in blocks, or here reading by reading: the numbers are the same."""
    at_once, singly = crossbar(real=("detector_noise",)), crossbar(real=("detector_noise",))
    inputs = np.full((samples, 2), 0.1)
    found = at_once.read(inputs, averages=30).signal
    single = sum(singly.read(inputs).signal for _ in range(30)) / 30
    np.testing.assert_array_equal(found, single)
