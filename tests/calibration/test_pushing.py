"""The variables of the large fit's blocks."""

from __future__ import annotations

import numpy as np
import pytest

from hilonn.calibration.pushing import Pushing
from hilonn.chips.forward import ForwardModel
from hilonn.mesh import RectangularMesh, SvdMesh

PORTS = 5


@pytest.mark.parametrize("architecture", ["unitary_mesh", "svd_mesh"])
def test_back_is_the_transpose_of_forth(architecture: str) -> None:
    mesh = SvdMesh(PORTS) if architecture == "svd_mesh" else RectangularMesh(PORTS)
    heaters = mesh.phases + 1
    kernel = np.array([(1.0, 0.0), (-1.0, 0.0)])
    ones = np.ones(heaters)
    model = ForwardModel(architecture, PORTS, ones, ones > 0, kernel)
    rng = np.random.default_rng(0)
    pushing = Pushing(model, *rng.standard_normal((2, heaters)))
    eye = np.eye(model.names.size)
    forth = np.stack([pushing.forth(z) for z in eye], axis=1)
    back = np.stack([pushing.back(x) for x in eye], axis=1)
    assert np.allclose(back, forth.T)
