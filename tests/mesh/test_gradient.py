"""Adjoint gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.errors import ConfigError
from hilonn.mesh import RectangularMesh, SvdMesh, TriangularMesh
from hilonn.typing import ComplexArray, FloatArray
from tests.mesh.cases import imperfect, random_phases

STEP = 1e-6


def _fields(shape: tuple[int, int], rng: np.random.Generator) -> ComplexArray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _numeric(
    mesh: RectangularMesh | TriangularMesh | SvdMesh,
    phases: FloatArray,
    inputs: ComplexArray,
    target: ComplexArray,
) -> tuple[FloatArray, ComplexArray]:
    """Central differences of sum |E - target|^2, at the phases and at the inputs (d/d conj)."""

    def loss(at: FloatArray, fields: ComplexArray) -> float:
        return float((np.abs(mesh.propagate(at, fields) - target) ** 2).sum())

    slopes = np.zeros(mesh.phases)
    for k in range(mesh.phases):
        move = np.zeros(mesh.phases)
        move[k] = STEP
        slopes[k] = (loss(phases + move, inputs) - loss(phases - move, inputs)) / (2 * STEP)
    backward = np.zeros(inputs.shape, np.complex128)
    for place in np.ndindex(inputs.shape):
        for unit in (1, 1j):
            shift = np.zeros(inputs.shape, np.complex128)
            shift[place] = STEP * unit
            slope = (loss(phases, inputs + shift) - loss(phases, inputs - shift)) / (2 * STEP)
            backward[place] += unit * slope / 2  # d/d conj(z) = (d/dx + i d/dy) / 2
    return slopes, backward


@given(
    st.sampled_from([RectangularMesh, TriangularMesh]),
    st.integers(2, 6),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_gradient_with_errors_and_loss(
    kind: type[RectangularMesh] | type[TriangularMesh], ports: int, samples: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    errors, powers = imperfect(ports * (ports - 1) // 2, rng)
    mesh = kind(ports, splitter_errors=errors, mzi_transmission=powers)
    phases = random_phases(mesh, rng)
    inputs, target = _fields((samples, ports), rng), _fields((samples, ports), rng)
    gradient, backward = mesh.gradient(phases, inputs, mesh.propagate(phases, inputs) - target)
    slopes, expected = _numeric(mesh, phases, inputs, target)
    scale = 1 + np.abs(slopes).max()
    np.testing.assert_allclose(gradient.flat(), slopes, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(backward, expected, rtol=0, atol=1e-7 * scale)


def test_gradient_through_an_opaque_interferometer() -> None:
    rng = np.random.default_rng(0)
    mesh = RectangularMesh(4, mzi_transmission=[1, 0, 1, 1, 0.5, 1])
    phases = random_phases(mesh, rng)
    inputs, target = _fields((2, 4), rng), _fields((2, 4), rng)
    gradient, _ = mesh.gradient(phases, inputs, mesh.propagate(phases, inputs) - target)
    slopes, _ = _numeric(mesh, phases, inputs, target)
    np.testing.assert_allclose(gradient.flat(), slopes, rtol=0, atol=1e-6)
    assert gradient.theta[1] == 0 and gradient.phi[1] == 0


def test_large_batches_and_chunks_agree_with_single_samples() -> None:
    rng = np.random.default_rng(1)
    mesh = RectangularMesh(64)
    phases = random_phases(mesh, rng)
    inputs, arriving = _fields((70, 64), rng), _fields((70, 64), rng)
    total = sum(
        (mesh.gradient(phases, inputs[[k]], arriving[[k]])[0].flat() for k in range(70)),
        start=np.zeros(mesh.phases),
    )
    together, backward = mesh.gradient(phases, inputs, arriving)
    np.testing.assert_allclose(together.flat(), total, rtol=0, atol=1e-9)
    np.testing.assert_allclose(backward @ mesh.matrix(phases).T, arriving, rtol=0, atol=1e-9)
    nothing, empty = mesh.gradient(phases, inputs[:0], arriving[:0])
    assert not nothing.flat().any() and empty.shape == (0, 64)
    weight = mesh.matrix_gradient(phases, arriving.T @ inputs.conj())
    np.testing.assert_allclose(weight.flat(), total, rtol=0, atol=1e-9)


def test_a_mesh_wider_than_a_chunk() -> None:
    rng = np.random.default_rng(3)
    mesh = RectangularMesh(70)
    phases = random_phases(mesh, rng)
    inputs, arriving = _fields((69, 70), rng), _fields((69, 70), rng)
    together, _ = mesh.gradient(phases, inputs, arriving)
    halves = [
        mesh.gradient(phases, inputs[part], arriving[part])[0].flat()
        for part in (slice(40), slice(40, None))
    ]
    np.testing.assert_allclose(together.flat(), halves[0] + halves[1], rtol=0, atol=1e-9)


def test_complex64_gradient() -> None:
    rng = np.random.default_rng(2)
    fine, coarse = RectangularMesh(8), RectangularMesh(8, dtype=np.complex64)
    phases = rng.uniform(0, 6, fine.phases)
    inputs, arriving = _fields((4, 8), rng), _fields((4, 8), rng)
    expected, expected_backward = fine.gradient(phases, inputs, arriving)
    gradient, backward = coarse.gradient(phases, inputs, arriving)
    assert backward.dtype == np.complex64
    np.testing.assert_allclose(gradient.flat(), expected.flat(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(backward, expected_backward, rtol=0, atol=1e-4)


@pytest.mark.parametrize("ports", [2, 3, 5])
def test_svd_mesh_gradient(ports: int) -> None:
    rng = np.random.default_rng(ports)
    errors, powers = imperfect(ports * ports, rng)
    mesh = SvdMesh(ports, splitter_errors=errors, mzi_transmission=powers)
    phases = random_phases(mesh, rng)
    inputs, target = _fields((3, ports), rng), _fields((3, ports), rng)
    gradient, backward = mesh.gradient(phases, inputs, mesh.propagate(phases, inputs) - target)
    slopes, expected = _numeric(mesh, phases, inputs, target)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-6)
    np.testing.assert_allclose(backward, expected, rtol=0, atol=1e-6)


def test_shapes_that_disagree_are_refused() -> None:
    for mesh in (RectangularMesh(3), SvdMesh(3)):
        phases = np.zeros(mesh.phases)
        with pytest.raises(ConfigError, match="one row of gradients"):
            mesh.gradient(phases, np.ones((2, 3)), np.ones((3, 3)))
        with pytest.raises(ConfigError, match="not square"):
            mesh.matrix_gradient(phases, np.ones((2, 3)))
