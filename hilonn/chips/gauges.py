"""What no reading tells: directions in which a forward model's parameters change and its readings do not.

- A phase at an input, or at an output phase shifter, can be pushed along the light: an interferometer passes on what its
  two inputs have in common and takes the rest with its outer phase. So the phases of the inputs, of the phase
  shifters between the two meshes of an SVD chip, and of the outputs are gauges: 3 N of an SVD mesh, 2 N of a single one, and
  one of the oscillator.
- A detector pair's gain is only seen times what couples to it: N gauges; and the size of all input fields
  only times the outputs' gains: one.

All are straight lines in the parameters of ``hilonn.chips.parameters``. By convention the values named by ``held``
keep those of the record that a fit started from; everything else is relative to them. Losses of single
interferometers have directions beyond these that are nearly dark: there the prior decides, and says so by its
uncertainty.
"""

from __future__ import annotations

import numpy as np

from hilonn.chips.forward import ForwardModel
from hilonn.chips.forward_kernels import MZI, PHASE
from hilonn.typing import BoolArray, FloatArray


def phase_gauges(model: ForwardModel) -> FloatArray:
    """(size, gauges): one column a gauge of static phases, in rad."""
    names, ports, elements = model.names, model.ports, model.elements
    columns = []

    def carry(on: FloatArray, first: int, start: FloatArray) -> None:
        part = names.split(start)
        for kind, m, _, phi, _ in elements[first:]:
            if kind == MZI:
                part["heater_phase_offset"][phi] -= on[m] - on[m + 1]
                on[m] = on[m + 1]
        part["output_phase"] -= on
        columns.append(start)

    for p in range(ports):
        start = np.zeros(names.size)
        names.split(start)["input_phase"][p] = 1.0
        carry(np.eye(ports)[p], 0, start)
    for e, (kind, m, theta, _, _) in enumerate(elements):
        if kind == PHASE:
            start = np.zeros(names.size)
            names.split(start)["heater_phase_offset"][theta] = 1.0
            carry(np.eye(ports)[m], e + 1, start)
    start = np.zeros(names.size)
    part = names.split(start)
    part["heater_phase_offset"][-1] = 1.0
    part["output_phase"][:] = 1.0
    columns.append(start)
    return np.stack(columns, axis=1)


def scale_gauges(model: ForwardModel) -> FloatArray:
    """(size, ports + 1): gauges of gains, in logarithms."""
    names, ports = model.names, model.ports
    columns = np.zeros((names.size, ports + 1))
    for k in range(ports):
        part = names.split(columns[:, k])
        part["gain"][[k, ports + k]] = 1.0
        part["output_gain"][k] = part["output_power_gain"][k] = -1.0
    part = names.split(columns[:, ports])
    part["input_size"][:] = 1.0
    part["output_gain"][:] = -1.0
    part["output_power_gain"][:] = -2.0
    return columns


def held(model: ForwardModel) -> BoolArray:
    """Phases (size,) that keep their values by convention: of inputs, outputs and oscillator, and of the phase
    shifters behind the first mesh of two."""
    names, ports, elements = model.names, model.ports, model.elements
    keep = np.zeros(names.size, bool)
    part = names.split(keep)
    part["input_phase"][:] = part["output_phase"][:] = True
    part["heater_phase_offset"][-1] = True
    phases = elements[elements[:, 0] == PHASE]
    part["heater_phase_offset"][phases[:-ports, 2]] = True
    return keep


def held_sums(model: ForwardModel) -> FloatArray:
    """(ports + 1, size): the sums that keep their values by convention: the logarithmic gains of each pair of detectors, and
    the sizes of all input fields."""
    names, ports = model.names, model.ports
    rows = np.zeros((ports + 1, names.size))
    for k in range(ports):
        names.split(rows[k])["gain"][[k, ports + k]] = 0.5
    names.split(rows[ports])["input_size"][:] = 1.0 / ports
    return rows


def aligned(model: ForwardModel, values: FloatArray, to: FloatArray) -> FloatArray:
    """``values`` (size,) moved along the gauges until what is held by convention is as in ``to`` (size,)."""
    gauges = np.concatenate((phase_gauges(model), scale_gauges(model)), axis=1)
    rows = np.concatenate((np.eye(model.names.size)[held(model)], held_sums(model)))
    return values + gauges @ np.linalg.solve(rows @ gauges, rows @ (to - values))
