"""Which heaters any reading can tell: those that signals pass, and behind which some output is read.

The phase shifter at an input whose modulator is stuck turns light that nothing modulates; the one at an output without
detectors turns what nobody sees. Neither matters, and neither can be found to be alive.
"""

from __future__ import annotations

import numpy as np

from hilonn.chips.forward import mesh_elements, svd_elements
from hilonn.chips.forward_kernels import ATTENUATOR, MZI
from hilonn.mesh import RectangularMesh, SvdMesh
from hilonn.typing import BoolArray, IntArray


def elements_of(architecture: str, ports: int) -> IntArray:
    """The elements of a mesh in the order of the light (see ``forward_kernels``)."""
    if architecture == "svd_mesh":
        return svd_elements(SvdMesh(ports))
    return mesh_elements(RectangularMesh(ports), 0, 0)


def seen_heaters(
    elements: IntArray, heaters: int, inputs: BoolArray, outputs: BoolArray
) -> BoolArray:
    """(heaters,): those that light of some of ``inputs`` (ports,) passes on its way to some of ``outputs`` (ports,)."""
    passed = _crossed(elements, heaters, inputs)
    read = _crossed(elements[::-1], heaters, outputs)
    seen: BoolArray = passed & read
    return seen


def _crossed(elements: IntArray, heaters: int, lit: BoolArray) -> BoolArray:
    """Heaters that light from the ports ``lit`` comes to, in the order of ``elements``."""
    forward = bool(elements[0, 0] == MZI)  # the last elements are phases at the outputs
    lit = lit.copy()
    found = np.zeros(heaters, bool)
    for kind, m, theta, phi, _ in elements:
        if kind == MZI:
            both = lit[m] | lit[m + 1]
            found[theta] = both
            found[phi] = lit[m] if forward else both
            lit[m] = lit[m + 1] = both
        else:
            assert kind >= ATTENUATOR
            found[theta] = lit[m]
    return found
