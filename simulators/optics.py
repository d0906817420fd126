"""What light does on the chip: from fields at its inputs to powers on its detectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hilonn.mesh import UNITARY_MESHES, SvdMesh
from hilonn.mesh.jit import kernel
from hilonn.simulators.truth import Truth
from hilonn.typing import ComplexArray, FloatArray

Transfer = np.ndarray
"""A chip at fixed phases: a field matrix (ports, ports), or powers (2 * ports, ports)."""


COARSE = 1e-4
"""Noise of a reading, in full scales, that single precision stays below until thousands of readings are averaged."""

FEW = 3
"""Fields are walked through a mesh whose ports are this many times as many."""


class Optics(Protocol):
    """A chip's light path. ``transfer`` depends on phases only, so that it can be kept."""

    def transfer(self, phases: FloatArray) -> Transfer:
        """The chip at ``phases`` (chip heaters,) rad."""
        ...

    def arriving(self, fields: ComplexArray, transfer: Transfer) -> np.ndarray:
        """What leaves the chip (samples, ...) for ``fields`` (samples, ports); linear in transfer."""
        ...

    def passed(self, fields: ComplexArray, phases: FloatArray) -> np.ndarray:
        """``arriving`` at a transfer that is not kept."""
        ...

    def detected(self, arriving: np.ndarray, lo: ComplexArray) -> FloatArray:
        """Powers (samples, 2 * ports) in W; ``lo`` (samples,), or (1,) where it is the same for all, is the oscillator's
        field, in units of its nominal one: 0 when its shutter is closed."""
        ...


class CoherentOptics:
    """A mesh, and at each output a 50:50 coupler with the local oscillator: |E +- LO|^2 / 2.

    With ``single`` the mesh is worked out in single precision: a field is off by 2e-6 of the largest, or less.
    """

    def __init__(self, truth: Truth, single: bool) -> None:
        kind = UNITARY_MESHES.get(truth.architecture, SvdMesh)
        self._mesh = kind(
            truth.ports,
            splitter_errors=truth.splitter_errors,
            mzi_transmission=truth.mzi_transmission,
            dtype=np.complex64 if single else np.complex128,
        )
        self._facet = truth.output_facet
        self._lo = truth.lo_field

    def transfer(self, phases: FloatArray) -> Transfer:
        return self._mesh.matrix_flat(phases)

    def arriving(self, fields: ComplexArray, transfer: Transfer) -> np.ndarray:
        leaving: ComplexArray = fields.astype(transfer.dtype, copy=False) @ transfer.T
        return leaving

    def passed(self, fields: ComplexArray, phases: FloatArray) -> np.ndarray:
        if FEW * len(fields) > fields.shape[1]:
            return self.arriving(fields, self.transfer(phases))
        return self._mesh.propagate_flat(phases, fields)

    def detected(self, arriving: np.ndarray, lo: ComplexArray) -> FloatArray:
        powers = np.empty((len(arriving), 2 * len(self._lo)))
        _interfere(arriving, self._facet, self._lo, lo, powers)
        return powers


class CrossbarOptics:
    """Powers shared by all outputs; one interferometer a weight feeds a plus and a minus bus.

    cross = [1 - sin 2a sin 2b + cos 2a cos 2b cos theta] / 2 goes to the plus bus, the rest to the
    minus bus, and inputs add as powers: they are taken to be mutually incoherent.
    """

    def __init__(self, truth: Truth) -> None:
        a, b = truth.splitter_errors.T
        square = (truth.ports, truth.ports)
        through = truth.mzi_transmission / truth.ports / 2
        self._half = np.reshape(through, square)
        self._fixed = np.reshape(-np.sin(2 * a) * np.sin(2 * b) * through, square)
        self._swing = np.reshape(np.cos(2 * a) * np.cos(2 * b) * through, square)
        self._out = (np.abs(truth.output_facet) ** 2)[:, np.newaxis]

    def transfer(self, phases: FloatArray) -> Transfer:
        lean = self._fixed + self._swing * np.cos(phases).reshape(self._half.shape)
        return np.concatenate((self._out * (self._half + lean), self._out * (self._half - lean)))

    def arriving(self, fields: ComplexArray, transfer: Transfer) -> np.ndarray:
        powers: FloatArray = fields.real**2 + fields.imag**2
        leaving: FloatArray = powers @ transfer.T
        return leaving

    def passed(self, fields: ComplexArray, phases: FloatArray) -> np.ndarray:
        return self.arriving(fields, self.transfer(phases))

    def detected(self, arriving: np.ndarray, lo: ComplexArray) -> FloatArray:
        return arriving


def optics_of(truth: Truth, detector_noise: float) -> Optics:
    """The light path of the chip ``truth``, whose readings have a noise of ``detector_noise`` of full scale."""
    if truth.architecture == "crossbar":
        return CrossbarOptics(truth)
    return CoherentOptics(truth, single=detector_noise >= COARSE)


@kernel
def _interfere(
    fields: ComplexArray,
    facet: ComplexArray,
    size: FloatArray,
    lo: ComplexArray,
    powers: FloatArray,
) -> None:
    ports = size.size
    for s in range(fields.shape[0]):
        oscillator = lo[s if lo.size > 1 else 0]
        for k in range(ports):
            signal = fields[s, k] * facet[k]
            other = size[k] * oscillator
            base = 0.5 * (
                signal.real * signal.real
                + signal.imag * signal.imag
                + other.real * other.real
                + other.imag * other.imag
            )
            mixed = signal.real * other.real + signal.imag * other.imag
            powers[s, k] = base + mixed
            powers[s, ports + k] = base - mixed
