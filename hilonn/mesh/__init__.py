"""Algebra of interferometer meshes: phases to matrices, matrices to phases, gradients."""

from hilonn.mesh.phases import MeshPhases
from hilonn.mesh.random import haar_unitary
from hilonn.mesh.svd import SvdMesh
from hilonn.mesh.unitary import UNITARY_MESHES, RectangularMesh, TriangularMesh, UnitaryMesh

__all__ = [
    "UNITARY_MESHES",
    "MeshPhases",
    "RectangularMesh",
    "SvdMesh",
    "TriangularMesh",
    "UnitaryMesh",
    "haar_unitary",
]
