"""Matrix and decomposition of the unitary meshes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.errors import ConfigError
from hilonn.mesh import MeshPhases, RectangularMesh, TriangularMesh, UnitaryMesh, haar_unitary
from hilonn.mesh.oracle import interferometer, mesh_matrix
from tests.mesh.cases import KINDS, imperfect, random_phases, unitary

MESHES = (RectangularMesh, TriangularMesh)
Mesh = type[RectangularMesh] | type[TriangularMesh]

meshes = st.sampled_from(MESHES)
ports = st.integers(2, 12)
seeds = st.integers(0, 2**32 - 1)
example = settings(max_examples=80, deadline=None, derandomize=True)


@given(meshes, ports, seeds)
@example
def test_matrix_agrees_with_the_oracle_with_errors_and_loss(
    kind: Mesh, ports: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    errors, powers = imperfect(ports * (ports - 1) // 2, rng)
    mesh = kind(ports, splitter_errors=errors, mzi_transmission=powers)
    phases = random_phases(mesh, rng)
    expected = mesh_matrix(ports, mesh.top, phases, errors, powers)
    np.testing.assert_allclose(mesh.matrix(phases), expected, rtol=0, atol=1e-12)


@given(meshes, ports, seeds, st.sampled_from(KINDS))
@example
def test_decomposition_is_exact_and_in_range(kind: Mesh, ports: int, seed: int, case: str) -> None:
    target = unitary(case, ports, np.random.default_rng(seed))
    mesh = kind(ports)
    phases = mesh.decompose(target)
    flat = phases.flat()
    assert np.isfinite(flat).all() and flat.min() >= 0 and flat.max() < 2 * np.pi
    assert phases.theta.max() <= np.pi
    built = mesh_matrix(ports, mesh.top, flat)
    np.testing.assert_allclose(built, target, rtol=0, atol=1e-12)


@given(ports, seeds, st.floats(-320, -1))
@example
def test_decomposition_survives_nearly_zero_elements(
    ports: int, seed: int, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    small = 10.0**exponent
    target = np.diag(np.exp(1j * rng.uniform(0, 6, ports)))
    rotation = np.array([[np.cos(small), -np.sin(small)], [np.sin(small), np.cos(small)]])
    for m in range(ports - 1):
        target[:, m : m + 2] = target[:, m : m + 2] @ rotation
    mesh = RectangularMesh(ports)
    phases = mesh.decompose(target)
    np.testing.assert_allclose(mesh.matrix(phases), target, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("case", KINDS)
def test_64_ports_to_1e_12(kind: Mesh, case: str) -> None:
    target = unitary(case, 64, np.random.default_rng(1))
    mesh = kind(64)
    built = mesh.matrix(mesh.decompose(target))
    np.testing.assert_allclose(built, target, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["haar", "identity", "permutation"])
def test_256_ports_to_1e_11(case: str) -> None:
    target = unitary(case, 256, np.random.default_rng(2))
    mesh = RectangularMesh(256)
    built = mesh.matrix(mesh.decompose(target))
    np.testing.assert_allclose(built, target, rtol=0, atol=1e-11)


@pytest.mark.parametrize("ports", [2, 3, 16])
def test_a_batch_decomposes_as_its_members(ports: int) -> None:
    rng = np.random.default_rng(3)
    targets = np.stack([haar_unitary(ports, rng) for _ in range(5)])
    mesh = RectangularMesh(ports)
    together = mesh.decompose_flat(targets)
    assert together.shape == (5, mesh.phases)
    for flat, target in zip(together, targets, strict=True):
        np.testing.assert_array_equal(flat, mesh.decompose(target).flat())
    transposed = mesh.decompose_flat(targets.transpose(0, 2, 1))
    np.testing.assert_array_equal(transposed[0], mesh.decompose(targets[0].T).flat())


def test_what_is_not_finite_is_not_hidden() -> None:
    mesh = RectangularMesh(4)
    broken = np.eye(4, dtype=np.complex128)[np.newaxis].copy()
    broken[0, 3, 0] = np.nan
    assert np.isnan(mesh.decompose_flat(broken)).any()


@pytest.mark.parametrize("kind", MESHES)
def test_complex64_to_1e_5(kind: Mesh) -> None:
    rng = np.random.default_rng(4)
    target = haar_unitary(16, rng)
    mesh = kind(16, dtype=np.complex64)
    built = mesh.matrix(mesh.decompose(target.astype(np.complex64)))
    assert built.dtype == np.complex64
    np.testing.assert_allclose(built, target, rtol=0, atol=1e-5)
    inputs = rng.standard_normal((3, 16))
    outputs = mesh.propagate(mesh.decompose(target), inputs)
    assert outputs.dtype == np.complex64
    np.testing.assert_allclose(outputs, inputs @ target.T, rtol=0, atol=1e-5)


def test_convention_of_one_interferometer() -> None:
    mesh = RectangularMesh(2)
    theta, phi = 0.7, 1.9
    expected = (
        1j
        * np.exp(1j * theta / 2)
        * np.array(
            [
                [np.sin(theta / 2) * np.exp(1j * phi), np.cos(theta / 2)],
                [np.cos(theta / 2) * np.exp(1j * phi), -np.sin(theta / 2)],
            ]
        )
    )
    np.testing.assert_allclose(mesh.matrix([theta, phi, 0, 0]), expected, atol=1e-15)
    np.testing.assert_allclose(interferometer(theta, phi), expected, atol=1e-15)
    bar = np.abs(interferometer(np.pi, 0, 0.03, 0.05)[0, 0]) ** 2
    assert bar == pytest.approx(np.cos(0.03 - 0.05) ** 2, abs=1e-15)


def test_propagate_rows_and_loss() -> None:
    rng = np.random.default_rng(5)
    mesh = RectangularMesh(5, mzi_transmission=np.full(10, 0.8))
    phases, inputs = random_phases(mesh, rng), rng.standard_normal((3, 5))
    outputs = mesh.propagate(phases, inputs)
    for row, given_row in zip(outputs, inputs, strict=True):
        np.testing.assert_allclose(row, mesh.matrix(phases) @ given_row, atol=1e-14)
    powers = np.linalg.svd(mesh.matrix(phases), compute_uv=False) ** 2
    assert powers.max() <= 0.8**2 + 1e-12  # an edge port passes two or three interferometers
    assert powers.min() >= 0.8**5 - 1e-12


@pytest.mark.parametrize("ports", range(2, 13))
@pytest.mark.parametrize("kind", MESHES)
def test_geometry(kind: Mesh, ports: int) -> None:
    mesh = kind(ports)
    mzis = ports * (ports - 1) // 2
    assert (mesh.mzis, mesh.phases) == (mzis, 2 * mzis + ports)
    keys = list(zip(mesh.column.tolist(), mesh.top.tolist(), strict=True))
    assert keys == sorted(set(keys))
    for column in range(mesh.depth):
        used = [p for c, t in keys if c == column for p in (t, t + 1)]
        assert used and len(used) == len(set(used)) and max(used) < ports
    assert len({tuple(place) for place in mesh.layout}) == mesh.phases == len(mesh.layout)
    phases = MeshPhases.from_flat(np.arange(float(mesh.phases)), mzis, ports)
    np.testing.assert_array_equal(mesh.layout[:mzis, 0], 2 * mesh.column + 1)
    np.testing.assert_array_equal(mesh.layout[mzis : 2 * mzis, 0], 2 * mesh.column)
    np.testing.assert_array_equal(mesh.layout[mzis : 2 * mzis, 1], mesh.top)
    np.testing.assert_array_equal(mesh.layout[2 * mzis :, 0], 2 * mesh.depth)
    np.testing.assert_array_equal(phases.flat(), np.arange(mesh.phases))


def test_depth_of_the_two_meshes() -> None:
    assert [RectangularMesh(n).depth for n in (2, 3, 4, 7, 16)] == [1, 3, 4, 7, 16]
    assert [TriangularMesh(n).depth for n in (2, 3, 4, 7, 16)] == [1, 3, 5, 11, 29]


def test_haar_draws_are_unitary_and_seeded() -> None:
    first = haar_unitary(9, np.random.default_rng(6))
    np.testing.assert_allclose(first @ first.conj().T, np.eye(9), atol=1e-14)
    np.testing.assert_array_equal(first, haar_unitary(9, np.random.default_rng(6)))
    rng = np.random.default_rng(7)
    trace = np.array([np.trace(haar_unitary(4, rng)) for _ in range(2000)])
    assert abs(trace.mean()) < 0.1  # without the phase correction of QR the mean trace is not 0
    assert (np.abs(trace) ** 2).mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("ports", "options"),
    [
        (1, {}),
        (0, {}),
        (2.5, {}),
        (True, {}),
        (4, {"splitter_errors": np.zeros((5, 2))}),
        (4, {"splitter_errors": np.full((6, 2), np.nan)}),
        (4, {"mzi_transmission": np.full(6, 1.01)}),
        (4, {"mzi_transmission": np.full(6, np.nan)}),
        (4, {"mzi_transmission": np.ones(5)}),
        (4, {"dtype": np.float64}),
        (4, {"dtype": "no such type"}),
    ],
)
def test_bad_arguments_are_refused(ports: int, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RectangularMesh(ports, **options)  # type: ignore[arg-type]


def test_bad_phases_and_matrices_are_refused() -> None:
    mesh: UnitaryMesh = RectangularMesh(4)
    with pytest.raises(ConfigError, match="which has 16"):
        mesh.matrix(np.zeros(15))
    broken = np.zeros(16)
    broken[7] = np.inf
    with pytest.raises(ConfigError, match="index 7"):
        mesh.matrix(broken)
    with pytest.raises(ConfigError, match="not unitary"):
        mesh.decompose(np.eye(4) * 1.01)
    with pytest.raises(ConfigError, match="not unitary"):
        mesh.decompose(np.full((4, 4), np.nan))
    with pytest.raises(ConfigError, match="shape"):
        mesh.decompose(np.eye(5))
    with pytest.raises(ConfigError, match="samples"):
        mesh.propagate(np.zeros(16), np.ones(4))
    with pytest.raises(ConfigError):
        MeshPhases.from_flat(np.zeros(15), 6, 4)
    with pytest.raises(ConfigError):
        haar_unitary(0, np.random.default_rng(0))


@given(meshes, ports, seeds)
@example
def test_one_phase_turned_is_the_matrix_of_the_new_phases(
    kind: Mesh, ports: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    errors, powers = imperfect(ports * (ports - 1) // 2, rng)
    mesh = kind(ports, splitter_errors=errors, mzi_transmission=powers)
    phases = random_phases(mesh, rng)
    index, angle = int(rng.integers(mesh.phases)), float(rng.uniform(-4.0, 4.0))
    before = mesh.matrix_flat(phases)
    turned = mesh.turned_flat(before, phases, index, angle)
    phases[index] += angle
    expected = mesh_matrix(ports, mesh.top, phases, errors, powers)
    np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-12)
