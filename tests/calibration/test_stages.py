"""The chip as stages: the same matrices as the mesh's own, differentials, gauges, reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.calibration.gauges import canonical
from hilonn.calibration.reconstruct import Seen, input_output_sizes, reconstruct
from hilonn.calibration.stages import Layout, Optics, layout_of, transfer, walk
from hilonn.errors import ConfigError
from hilonn.mesh import UNITARY_MESHES, SvdMesh
from hilonn.typing import FloatArray

PORTS = 5


def _chip(architecture: str, ports: int = PORTS) -> tuple[Layout, FloatArray, Optics]:
    layout = layout_of(architecture, ports)
    rng = np.random.default_rng(0)
    into, out = rng.standard_normal((2, ports)) + 1j * rng.standard_normal((2, ports))
    optics = Optics(
        rng.normal(0, 0.1, (layout.mzis, 2)), rng.uniform(0.8, 1, layout.mzis), into, out
    )
    return layout, rng.uniform(0, 6, (3, layout.heaters)), optics


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_matrices_are_the_meshes(architecture: str) -> None:
    layout, psi, optics = _chip(architecture)
    kind = UNITARY_MESHES.get(architecture, SvdMesh)
    mesh = kind(PORTS, splitter_errors=optics.errors, mzi_transmission=optics.transmission)
    wanted = [optics.out[:, None] * mesh.matrix_flat(p) * optics.into for p in psi]
    np.testing.assert_allclose(transfer(layout, psi, optics), wanted, atol=1e-12)


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_differentials(architecture: str) -> None:
    layout, psi, optics = _chip(architecture)
    walked = walk(layout, psi, optics)
    step = 1e-6

    def term(*which: int) -> np.ndarray:
        x, y = (a[:, [w for w in which if w >= 0]] for a in (walked.x, walked.y))
        return np.einsum("sti,stj->sij", x, y)

    def slope(psi: FloatArray, optics: Optics) -> np.ndarray:
        return np.asarray((transfer(layout, psi, optics) - walked.matrix) / step)

    for h in range(layout.heaters):
        moved = psi.copy()
        moved[:, h] += step
        np.testing.assert_allclose(slope(moved, optics), 1j * term(h), atol=2e-5)
    for k in range(layout.mzis):
        for w in range(2):
            errors = optics.errors.copy()
            errors[k, w] += step
            changed = Optics(errors, optics.transmission, optics.into, optics.out)
            np.testing.assert_allclose(
                slope(psi, changed), 1j * term(*walked.couplers[k, w]), atol=2e-5
            )
        lost = optics.transmission.copy()
        lost[k] *= np.exp(2 * step)
        changed = Optics(optics.errors, lost, optics.into, optics.out)
        np.testing.assert_allclose(slope(psi, changed), term(*walked.losses[k]), atol=2e-5)


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_gauges_change_no_matrix(architecture: str) -> None:
    layout, psi, optics = _chip(architecture)
    offset = psi[0]
    moved = canonical(layout, offset, np.angle(optics.into), np.angle(optics.out))
    sizes = Optics(optics.errors, optics.transmission, abs(optics.into) + 0j, abs(optics.out) + 0j)
    np.testing.assert_allclose(
        transfer(layout, moved - offset + psi, sizes), transfer(layout, psi, optics), atol=1e-12
    )


@pytest.mark.parametrize("architecture", ["svd_mesh", "unitary_mesh", "triangular_mesh"])
def test_reconstruction_from_rows(architecture: str) -> None:
    """Exact rows give phases and couplers back, noisy ones as well as the noise allows; a dead heater's neighbours too."""
    ports = 6
    layout, _, _ = _chip(architecture, ports)
    rng = np.random.default_rng(2)
    errors = rng.normal(0, 0.02, (layout.mzis, 2))
    psi = rng.uniform(0, 2 * np.pi, layout.heaters)
    known = np.zeros(layout.heaters)
    for stage in layout.stages:
        if stage.kind == "attenuator":
            psi[stage.index], errors[stage.mzis] = np.pi, 0.0
            known[stage.index] = np.pi
    if architecture == "svd_mesh":
        middle = [s for s in layout.stages if s.part == "right"][-1].index
        known[middle] = psi[middle]
    transmission = np.full(layout.mzis, 0.98)
    optics = Optics(errors, transmission, rng.uniform(0.8, 1.2, ports) + 0j, np.ones(ports) + 0j)
    walked = walk(layout, psi[np.newaxis], optics)
    y = walked.y[0, : layout.heaters]
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    y = y * np.exp(1j * rng.uniform(0, 6, (layout.heaters, 1)))
    alive = np.ones(layout.heaters, bool)
    whole = np.ones(ports, bool)
    blank = Optics(np.zeros_like(errors), transmission, optics.into, optics.out)
    built = reconstruct(layout, Seen(y, alive), blank, known, walked.matrix[0], whole, whole)
    off = np.angle(np.exp(1j * (built.psi - psi)))
    assert np.abs(off).max() < 0.03  # couplers are believed a little less than seen
    y[3], alive[3] = 0.0, False  # theta of the fourth interferometer
    built = reconstruct(layout, Seen(y, alive), blank, known, walked.matrix[0], whole, whole)
    model = transfer(layout, built.psi[np.newaxis], built.optics)[0]
    into, out = input_output_sizes(walked.matrix, whole, whole)
    assert np.isfinite(model).all()
    assert np.std(into / np.abs(optics.into)) < 0.03
    assert np.std(out) < 0.03


def test_a_crossbar_has_no_stages() -> None:
    with pytest.raises(ConfigError, match="crossbar"):
        layout_of("crossbar", 4)
