"""Light: splitters, losses, modulators and local oscillator, each against its formula."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.mesh import UNITARY_MESHES, SvdMesh
from hilonn.simulators.optics import CoherentOptics, optics_of
from tests.simulators.benchtop import TIMING, Benchtop

LAUNCHED = 1e-3


def random_drive(top: Benchtop, seed: int = 0) -> np.ndarray:
    drive = np.random.default_rng(seed).uniform(0, 4.4, top.heaters.channels)
    drive[-1] = 0.0  # the local oscillator at phase 0
    return drive


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
@pytest.mark.parametrize("real", [(), ("splitter_errors", "mzi_loss")])
def test_homodyne_is_the_real_part_of_the_matrix_product(
    architecture: str, real: tuple[str, ...]
) -> None:
    top = Benchtop(architecture=architecture, ports=5, real=real)
    drive = random_drive(top)
    top.heat(drive)
    truth = top.plant.truth
    kind = UNITARY_MESHES.get(architecture, SvdMesh)
    mesh = kind(5, splitter_errors=truth.splitter_errors, mzi_transmission=truth.mzi_transmission)
    matrix = mesh.matrix(np.pi * drive[:-1] ** 2 / 500 / 0.020)
    inputs = np.random.default_rng(1).uniform(-1, 1, (7, 5))
    expected = 2 * truth.lo_field * np.sqrt(LAUNCHED) * (inputs @ matrix.T).real
    np.testing.assert_allclose(top.homodyne(inputs), expected, atol=1e-15)
    drive[-1] = np.sqrt(0.5 * 0.020 * 500)  # a quarter turn: the other quadrature
    top.heat(drive)
    expected = 2 * truth.lo_field * np.sqrt(LAUNCHED) * (inputs @ matrix.T).imag
    np.testing.assert_allclose(top.homodyne(inputs), expected, atol=1e-15)
    expected = LAUNCHED * abs(inputs @ matrix.T) ** 2
    np.testing.assert_allclose(top.powers(inputs), expected, atol=1e-15)


def test_splitter_errors_leave_light_in_the_bar_port() -> None:
    """bar(theta = 0) = sin^2(a + b), bar(pi) = cos^2(a - b), on a crossbar's lone interferometers."""
    top = Benchtop(architecture="crossbar", ports=3, real=("splitter_errors",))
    a, b = top.plant.truth.splitter_errors.T.reshape(2, 3, 3)
    one_hot = np.eye(3)
    for drive, bar in ((0.0, np.sin(a + b) ** 2), (np.sqrt(10.0), np.cos(a - b) ** 2)):
        top.heat(drive)
        minus = top.read(one_hot).signal[:, 3:].T / 0.9
        np.testing.assert_allclose(minus, bar * LAUNCHED / 3, atol=1e-15)


def test_crossbar_weights_are_cosines_and_powers_add() -> None:
    top = Benchtop(architecture="crossbar", ports=3)
    drive = np.random.default_rng(2).uniform(0, 4, 9)
    top.heat(drive)
    weights = np.cos(np.pi * drive**2 / 10).reshape(3, 3)
    amplitudes = np.random.default_rng(3).uniform(0, 1, (4, 3))
    expected = LAUNCHED / 3 * amplitudes**2 @ weights.T
    np.testing.assert_allclose(top.homodyne(amplitudes), expected, atol=1e-15)


def test_loss_of_interferometers_and_facets_in_decibels() -> None:
    top = Benchtop(real=("mzi_loss", "coupling_loss"), mzi_loss_spread=0, coupling_loss_spread=0)
    top.heat(random_drive(top))
    clean = Benchtop()
    clean.heat(random_drive(clean))
    inputs = np.ones((1, 4))
    # Light passes 2 * 2 + 1 columns at least and 2 * 4 + 1 at most: edge ports skip some.
    ratio = -10 * np.log10(top.powers(inputs).sum() / clean.powers(inputs).sum())
    assert 4 + 0.5 < ratio < 4 + 0.9
    truth = Benchtop(real=("coupling_loss",), ports=200).plant.truth
    loss = -20 * np.log10(np.abs(np.concatenate((truth.input_facet, truth.output_facet))))
    assert loss.mean() == pytest.approx(2.0, abs=0.05)
    assert loss.std() == pytest.approx(0.3, rel=0.12)
    loss = -10 * np.log10(Benchtop(real=("mzi_loss",), ports=24).plant.truth.mzi_transmission)
    assert loss.mean() == pytest.approx(0.1, abs=3e-3)
    assert loss.std() == pytest.approx(0.02, rel=0.1)


def test_static_phases_fill_the_circle_or_are_absent() -> None:
    truth = Benchtop(real=("static_phase",), ports=24).plant.truth
    assert abs(np.exp(1j * truth.phase_offset).mean()) < 0.1
    assert abs(np.exp(1j * np.angle(truth.input_facet)).mean()) < 0.5
    truth = Benchtop().plant.truth
    assert not truth.phase_offset.any()
    assert not np.angle(truth.input_facet).any()


def single(top: Benchtop, volts: np.ndarray) -> np.ndarray:
    """Total power out (samples,) for voltages on modulator 0, the others at their null."""
    drive = np.tile(top.plant.truth.bias, (len(volts), 1))
    drive[:, 0] = volts
    top.shutter.select(0)
    return np.asarray(top.play(drive).signal.sum(axis=1) / 0.9)


def test_modulator_field_is_a_sine_of_the_voltage_around_its_own_null() -> None:
    top = Benchtop(architecture="crossbar", ports=2, real=("modulator_spread",))
    truth = top.plant.truth
    assert truth.v_pi[0] != 3.5
    volts = np.linspace(-3.5, 3.5, 21)
    expected = np.sin(np.pi * (volts - truth.bias[0]) / 2 / truth.v_pi[0]) ** 2 * LAUNCHED
    np.testing.assert_allclose(single(top, volts), expected, atol=1e-15)
    spread = Benchtop(architecture="crossbar", ports=64, real=("modulator_spread",)).plant.truth
    assert spread.v_pi.std() == pytest.approx(0.035, rel=0.3)


def test_extinction_ratio_in_decibels() -> None:
    top = Benchtop(architecture="crossbar", ports=2, real=("modulator_extinction",))
    # The other modulator stands at its null and leaks as much.
    null, full = single(top, np.array([0.0, 3.5]))
    leak = null / 2
    assert 10 * np.log10((full - leak) / leak) == pytest.approx(30.0, abs=1e-9)
    off = Benchtop(architecture="crossbar", ports=2)
    assert single(off, np.array([0.0]))[0] == 0.0


def test_leak_is_in_quadrature_with_the_signal() -> None:
    top = Benchtop(ports=2, architecture="unitary_mesh", real=("modulator_extinction",))
    leak = top.plant.truth.leak
    fields = top.plant.modulation.fields(
        np.array([[0.0, 0.0], [1.75, 1.75]]), np.zeros(2), np.zeros(2), 1.0
    )
    np.testing.assert_allclose(fields[0], 1j * leak * np.sqrt(LAUNCHED), atol=1e-18)
    expected = np.sqrt(LAUNCHED / 2) * (1 + 1j * leak)
    np.testing.assert_allclose(fields[1], expected, rtol=1e-12)


def test_modulator_drives_stand_on_the_converters_grid() -> None:
    top = Benchtop(architecture="crossbar", ports=2, real=("drive_resolution",))
    step = 2 * top.modulators.spec.high / (2**12 - 1)
    assert top.modulators.spec.resolution == pytest.approx(step)
    volts = -top.modulators.spec.high + step * np.array([2300, 2303, 2303.4])
    three = single(top, volts)
    assert three[1] == three[2] != three[0]


def test_laser_power_scales_signal_and_oscillator() -> None:
    top = Benchtop()
    top.heat(random_drive(top))
    inputs = np.ones((1, 4))
    full = top.homodyne(inputs)
    top.laser.set_power(top.laser.max_power / 4)
    np.testing.assert_allclose(top.homodyne(inputs), full / 4, rtol=1e-12)


def test_no_light_reads_dark_and_the_shutter_blocks_the_oscillator() -> None:
    top = Benchtop(real=("dark_current",), light=False)
    inputs = np.ones((2, 4))
    dark = top.plant.truth.dark
    np.testing.assert_array_equal(top.read(inputs).signal, [dark, dark])
    top.laser.set_emission(True)
    top.modulators.load(np.zeros((1, 4)), TIMING)
    top.detectors.arm(1, 1, TIMING)
    lo = top.plant.truth.lo_field**2 / 2 * 0.9
    np.testing.assert_allclose(top.detectors.fetch().signal[0], np.tile(lo, 2) + dark, rtol=1e-12)
    top.shutter.select(0)
    np.testing.assert_allclose(top.play(np.zeros((1, 4))).signal[0], dark, rtol=1e-12)


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_single_precision_is_off_by_what_the_page_says(architecture: str) -> None:
    """Transfer matrices, and fields that walk through a chip on its way; phases of up to two turns and their offsets."""
    truth = Benchtop(preset="typical", ports=32, architecture=architecture).plant.truth
    exact, single = CoherentOptics(truth, single=False), CoherentOptics(truth, single=True)
    rng = np.random.default_rng(1)
    phases = truth.phase_offset[: truth.chip_heaters] + rng.uniform(
        0.0, 4 * np.pi, truth.chip_heaters
    )
    fields = rng.standard_normal((5, 32)) + 1j * rng.standard_normal((5, 32))
    largest = np.linalg.norm(fields, axis=1).max()
    assert np.abs(single.transfer(phases) - exact.transfer(phases)).max() < 2e-6
    few = exact.passed(fields, phases)
    assert np.abs(single.passed(fields, phases) - few).max() < 2e-6 * largest
    np.testing.assert_allclose(
        few, exact.arriving(fields, exact.transfer(phases)), rtol=0, atol=1e-12 * largest
    )
    assert single.transfer(phases).dtype == np.complex64


def test_noisy_detectors_let_the_mesh_be_rounded() -> None:
    quiet, noisy = Benchtop(), Benchtop(preset="typical")
    for top, kind in ((quiet, np.complex128), (noisy, np.complex64)):
        optics = optics_of(top.plant.truth, top.plant.parameters.detector_noise)
        assert optics.transfer(np.zeros(top.plant.truth.chip_heaters)).dtype == kind
