"""Phases as paths have them: the variables in which the global fit of a large mesh is well conditioned.

A phase common to both outputs of an interferometer can be pushed along the light, from each interferometer's outer phase to the
next, as a phase at an input can (``hilonn.chips.gauges``), and each reading tells it well. In terms of the outer phases it
is a chain across the chip: a common phase that grows slowly along it moves sixty phases by much and readings by little, and
conjugate gradients, which see each phase alone, take hundreds of steps to find it. Here each interferometer's outer
phase is exchanged for what it adds to what is pushed, and the last phase shifters for what is pushed in at the inputs; and a
heater's offset is counted at its mean power, where it owes nothing to what is wrong of its power a half turn. Not every
change of phases is one of these (two outputs of the last interferometers against each other are none), so that they stand
beside the model's own, not for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.chips.forward import ForwardModel
from hilonn.chips.forward_kernels import MZI, PHASE, shares, spread
from hilonn.mesh.jit import kernel
from hilonn.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Pushing:
    """x = ``forth``(z), x a change of the model's parameters (size,), z of the others, at the same places; ``own``, ``bends``
    (heaters,) are means over settings of the own phases and of their slopes by resistance rise."""

    model: ForwardModel
    own: FloatArray
    bends: FloatArray

    def forth(self, z: FloatArray) -> FloatArray:
        """To the model's parameters."""
        x = z.copy()
        part = self.model.names.split(x)
        _forth(self.model.elements, self.model.ports, part["heater_phase_offset"])
        phases = part["heater_phase_offset"]
        phases += self.own * part["heater_power_per_pi"]
        phases -= self.bends * part["heater_resistance_rise"]
        spread(*self.model.pairs, -part["crosstalk_kernel"], self.own, phases)
        return x

    def back(self, x: FloatArray) -> FloatArray:
        """The transpose of ``forth``: from slopes by the model's parameters to those by the others."""
        z = x.copy()
        part = self.model.names.split(z)
        slopes = part["heater_phase_offset"]
        part["heater_power_per_pi"] += self.own * slopes
        part["heater_resistance_rise"] -= self.bends * slopes
        shares(*self.model.pairs, -self.own, slopes, part["crosstalk_kernel"])
        _back(self.model.elements, self.model.ports, slopes)
        return z


@kernel
def _forth(elements: IntArray, ports: int, phases: FloatArray) -> None:
    on = np.empty(ports)
    last = elements.shape[0] - ports
    for e in range(
        last, elements.shape[0]
    ):  # what is pushed in stands at the last phase shifters' places
        on[elements[e, 1]] = phases[elements[e, 2]]
    for e in range(elements.shape[0]):
        m = elements[e, 1]
        if elements[e, 0] == MZI:
            own = phases[elements[e, 3]]
            phases[elements[e, 3]] = on[m + 1] - on[m]
            on[m + 1] += own
            on[m] = on[m + 1]
        elif elements[e, 0] == PHASE and e >= last:
            phases[elements[e, 2]] = -on[m]


@kernel
def _back(elements: IntArray, ports: int, slopes: FloatArray) -> None:
    on = np.zeros(ports)
    last = elements.shape[0] - ports
    for e in range(elements.shape[0] - 1, -1, -1):
        m = elements[e, 1]
        if elements[e, 0] == MZI:
            own = slopes[elements[e, 3]]
            both = on[m] + on[m + 1]
            slopes[elements[e, 3]] = both
            on[m + 1] = both + own
            on[m] = -own
        elif elements[e, 0] == PHASE and e >= last:
            on[m] -= slopes[elements[e, 2]]
    for e in range(last, elements.shape[0]):
        slopes[elements[e, 2]] = on[elements[e, 1]]
