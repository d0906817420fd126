"""The SVD mesh: any matrix up to spectral norm 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.errors import ConfigError
from hilonn.mesh import SvdMesh, haar_unitary
from hilonn.mesh.oracle import interferometer, mesh_matrix
from hilonn.typing import ComplexArray, FloatArray
from tests.mesh.cases import KINDS, imperfect, random_phases, unitary


def _product(ports: int, rank: int, rng: np.random.Generator) -> FloatArray:
    product: FloatArray = rng.standard_normal((ports, rank)) @ rng.standard_normal((rank, ports))
    return product


def _oracle(
    mesh: SvdMesh, phases: FloatArray, errors: FloatArray, powers: FloatArray
) -> ComplexArray:
    n, mzis = mesh.ports, mesh.mzis
    one = 2 * mzis + n
    row = [
        interferometer(
            phases[one + p], 0.0, errors[mzis + p, 0], errors[mzis + p, 1], powers[mzis + p]
        )[0, 0]
        for p in range(n)
    ]
    top = mesh.right.top
    right = mesh_matrix(n, top, phases[:one], errors[:mzis], powers[:mzis])
    behind = slice(mzis + n, None)
    left = mesh_matrix(n, top, phases[one + n :], errors[behind], powers[behind])
    return left @ np.diag(row) @ right


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_matrix_agrees_with_the_oracle(ports: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, powers = imperfect(ports * ports, rng)
    mesh = SvdMesh(ports, splitter_errors=errors, mzi_transmission=powers)
    phases = random_phases(mesh, rng)
    expected = _oracle(mesh, phases, errors, powers)
    np.testing.assert_allclose(mesh.matrix(phases), expected, rtol=0, atol=1e-12)


@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.booleans(), st.integers(0, 12))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_decomposition_is_exact(ports: int, seed: int, real: bool, rank: int) -> None:
    rng = np.random.default_rng(seed)
    rank = min(rank, ports)
    target: FloatArray | ComplexArray = _product(ports, rank, rng)
    if not real:
        target = target + 1j * _product(ports, rank, rng)
    target = target / max(float(np.linalg.norm(target, 2)), 1e-300)
    mesh = SvdMesh(ports)
    phases = mesh.decompose(target)
    assert phases.shape == (mesh.phases,)
    assert phases.min() >= 0 and phases.max() < 2 * np.pi
    np.testing.assert_allclose(mesh.matrix(phases), target, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_unitary_matrices(kind: str) -> None:
    mesh = SvdMesh(7)
    target = unitary(kind, 7, np.random.default_rng(0))
    np.testing.assert_allclose(mesh.matrix(mesh.decompose(target)), target, atol=1e-12)


def test_sixteen_ports() -> None:
    mesh = SvdMesh(16)
    assert (mesh.phases, mesh.mzis) == (528, 120)
    assert mesh.layout.shape == (528, 2)
    assert len({tuple(place) for place in mesh.layout}) == 528
    columns = mesh.layout[:, 0]
    assert columns[:256].max() < columns[256:272].min()
    assert columns[256:272].max() < columns[272:].min()
    np.testing.assert_array_equal(mesh.layout[256:272, 1], np.arange(16))


def test_singular_values_set_the_attenuators() -> None:
    rng = np.random.default_rng(1)
    mesh = SvdMesh(4)
    values = np.array([[1.0, 0.5, 0.1, 0.0], [1.0 + 5e-10, 0.9, 0.9, 0.2]])
    left = np.stack([haar_unitary(4, rng) for _ in range(2)])
    right = np.stack([haar_unitary(4, rng) for _ in range(2)])
    flat = mesh.compose_phases(left, values, right)
    assert flat.shape == (2, mesh.phases)
    np.testing.assert_allclose(flat[:, 16:20], 2 * np.arcsin(np.minimum(values, 1)), atol=1e-15)
    for k in range(2):
        expected = left[k] @ np.diag(np.minimum(values[k], 1)) @ right[k]
        np.testing.assert_allclose(mesh.matrix(flat[k]), expected, rtol=0, atol=1e-12)
        alone = mesh.compose_phases(left[k], values[k], right[k])
        np.testing.assert_array_equal(alone, flat[k])
    np.testing.assert_allclose(np.abs(mesh.attenuation(flat[0, 16:20])), values[0], atol=1e-15)


def test_complex64() -> None:
    rng = np.random.default_rng(2)
    target = rng.standard_normal((16, 16)).astype(np.float32)
    target /= np.float32(np.linalg.norm(target, 2) * 1.01)
    mesh = SvdMesh(16, dtype=np.complex64)
    np.testing.assert_allclose(mesh.matrix(mesh.decompose(target)), target, rtol=0, atol=1e-5)
    assert mesh.matrix(mesh.decompose(target)).dtype == np.complex64


def test_what_the_mesh_cannot_do_is_refused() -> None:
    mesh = SvdMesh(3)
    with pytest.raises(ConfigError, match="no gain"):
        mesh.decompose(np.eye(3) * (1 + 1e-8))
    with pytest.raises(ConfigError, match="no gain"):
        mesh.compose_phases(np.eye(3), [0.5, -0.1, 0.2], np.eye(3))
    with pytest.raises(ConfigError, match="finite"):
        mesh.decompose(np.full((3, 3), np.nan))
    with pytest.raises(ConfigError, match="shape"):
        mesh.decompose(np.eye(4))
    with pytest.raises(ConfigError, match="factors"):
        mesh.compose_phases(np.eye(3), np.ones(4), np.eye(3))
    with pytest.raises(ConfigError, match="which has 21"):
        mesh.matrix(np.zeros(20))
    with pytest.raises(ConfigError, match="samples"):
        mesh.propagate(np.zeros(21), np.ones((2, 4)))
    with pytest.raises(ConfigError):
        SvdMesh(1)
    with pytest.raises(ConfigError):
        SvdMesh(3, splitter_errors=np.zeros((6, 2)))
    with pytest.raises(ConfigError):
        SvdMesh(3, dtype=np.int32)
