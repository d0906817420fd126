"""Known splitter errors made up for, interferometer by interferometer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.mesh import RectangularMesh, SvdMesh, TriangularMesh
from hilonn.typing import FloatArray
from tests.mesh.cases import imperfect

MESHES = (RectangularMesh, TriangularMesh, SvdMesh)


def errors_of(mesh: RectangularMesh | SvdMesh, sd: float, rng: np.random.Generator) -> FloatArray:
    count = mesh.ports**2 if isinstance(mesh, SvdMesh) else mesh.mzis
    return sd * rng.standard_normal((count, 2))


@given(st.sampled_from(MESHES), st.integers(2, 9), st.integers(0, 2**32 - 1), st.floats(0.001, 0.1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_exact_where_more_is_wanted_than_leaks(
    kind: type[RectangularMesh], ports: int, seed: int, sd: float
) -> None:
    rng = np.random.default_rng(seed)
    ideal = kind(ports)
    errors = np.clip(errors_of(ideal, sd, rng), -2 * sd, 2 * sd)
    half = 1.25 * np.sin(4 * sd)  # the largest leak there can be
    phases = rng.uniform(0, 2 * np.pi, (3, ideal.phases))
    low, high = 2 * np.arcsin(half), 2 * np.arccos(half)
    sides = rng.choice([0.0, 1.0], phases.shape)
    inner = rng.uniform(low, high, phases.shape)
    inner = np.where(sides > 0, 2 * np.pi - inner, inner)
    if isinstance(ideal, SvdMesh):
        mesh = ideal.right.mzis
        parts = [slice(0, mesh), slice(ideal.right.phases, ideal.right.phases + ports + mesh)]
    else:
        parts = [slice(0, ideal.mzis)]
    for part in parts:
        phases[:, part] = inner[:, part]
    made = kind(ports, splitter_errors=errors)
    corrected = made.corrected_flat(phases)
    assert corrected.min() >= 0
    assert corrected.max() < 2 * np.pi
    for before, after in zip(phases, corrected, strict=True):
        np.testing.assert_allclose(made.matrix(after), ideal.matrix(before), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("ports", "improvement"), [(16, 3.0), (64, 3.0)])
def test_what_leaks_is_left_where_it_is_not_read(ports: int, improvement: float) -> None:
    rng = np.random.default_rng(0)
    ideal = SvdMesh(ports)
    better = []
    for _ in range(3):
        wanted = rng.standard_normal((ports, ports))
        wanted /= np.linalg.norm(wanted, 2)
        made = SvdMesh(ports, splitter_errors=errors_of(ideal, 0.02, rng))
        phases = ideal.decompose(wanted)[np.newaxis]
        before = np.linalg.norm(made.matrix(phases[0]).real - wanted)
        after = np.linalg.norm(made.matrix(made.corrected_flat(phases)[0]).real - wanted)
        better.append(before / after)
    assert np.median(better) > improvement


@pytest.mark.parametrize("kind", MESHES)
def test_no_jump_at_the_leak(kind: type[RectangularMesh]) -> None:
    """Wanted fields that grow through the size of the leak move the matrix in proportion."""
    rng = np.random.default_rng(1)
    ideal = kind(4)
    made = kind(4, splitter_errors=errors_of(ideal, 0.03, rng))
    phases = np.repeat(rng.uniform(0, 2 * np.pi, (1, ideal.phases)), 400, axis=0)
    phases[:, 0] = np.linspace(0, 0.4, 400)  # sin(theta / 2) up to 0.2
    matrices = np.stack([made.matrix(p) for p in made.corrected_flat(phases)])
    steps = np.abs(np.diff(matrices, axis=0)).max(axis=(1, 2))
    assert steps.max() < 0.03


def test_any_coupler_gives_phases() -> None:
    rng = np.random.default_rng(2)
    ideal = RectangularMesh(6)
    for size in (np.pi / 4, np.pi / 2, 3.0):
        made = RectangularMesh(6, splitter_errors=rng.choice([-size, 0.0, size], (15, 2)))
        corrected = made.corrected_flat(rng.uniform(0, 2 * np.pi, (20, ideal.phases)))
        assert np.isfinite(corrected).all()
        assert corrected.min() >= 0
        assert corrected.max() < 2 * np.pi


def test_losses_alone_change_nothing() -> None:
    _, powers = imperfect(15, np.random.default_rng(3))
    made = RectangularMesh(6, mzi_transmission=powers)
    phases = np.random.default_rng(4).uniform(0, 2 * np.pi, (2, made.phases))
    np.testing.assert_array_equal(made.corrected_flat(phases), phases)


@pytest.mark.parametrize("part", ["right", "row", "left"])
def test_parts_of_a_mesh_are_corrected_each_by_its_own_couplers(part: str) -> None:
    """What is far from its leak comes out as wanted, whichever part is off; many tiles at once, and rows of a larger array, as
    one."""
    rng = np.random.default_rng(6)
    ideal = SvdMesh(6)
    mzis = ideal.mzis
    where = {
        "right": slice(mzis),
        "row": slice(mzis, mzis + 6),
        "left": slice(mzis + 6, None),
    }[part]
    errors = np.zeros((36, 2))
    errors[where] = rng.uniform(-0.02, 0.02, errors[where].shape)
    made = SvdMesh(6, splitter_errors=errors)
    wide = rng.uniform(0, 2 * np.pi, (8, ideal.phases + 3))
    phases = wide[::2, 1:-2]
    inner = np.r_[:mzis, ideal.right.phases : ideal.right.phases + 6 + mzis]
    phases[:, inner] = rng.uniform(0.5, np.pi - 0.5, (4, len(inner)))
    corrected = made.corrected_flat(phases)
    for before, after in zip(phases, corrected, strict=True):
        np.testing.assert_allclose(made.matrix(after), ideal.matrix(before), rtol=0, atol=1e-9)
        alone = made.corrected_flat(np.ascontiguousarray(before[np.newaxis]))[0]
        np.testing.assert_array_equal(alone, after)
