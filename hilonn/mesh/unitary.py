"""Meshes of Mach-Zehnder interferometers that realise any unitary matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from hilonn.errors import ConfigError
from hilonn.mesh import correcting, kernels, nulling
from hilonn.mesh.phases import MeshPhases
from hilonn.mesh.sincos import sincos
from hilonn.mesh.topology import Topology, light_cone, rectangular, triangular
from hilonn.typing import ComplexArray, FloatArray

_CHUNK = 64  # samples walked through the mesh together: long enough for vector units
_VECTORS = 16  # samples that the compiled walk takes at a time
_SEEN = 1 << 23  # numbers kept at a time by the adjoint, 64 MB
_UNITARY = {np.dtype(np.complex128): 1e-6, np.dtype(np.complex64): 1e-4}


class UnitaryMesh:
    """Interferometers between neighbouring ports, and one output phase a port.

    ``splitter_errors`` (mzis, 2) in rad are the angle errors a and b of the first and the second
    coupler, ``mzi_transmission`` (mzis,) the power transmission of each interferometer, in [0, 1].
    The matrix is D_output @ (columns in the order of the light); the matrix of an interferometer
    is stated in ``hilonn.mesh.kernels``.

    Attributes: ``ports``; ``mzis``; ``phases``, their number 2 * mzis + ports; ``top`` and
    ``column`` (mzis,), the upper port and the column of each interferometer, ordered by column and
    then port; ``depth``, the number of columns; ``layout`` (phases, 2), the (column, row) position
    of each phase shifter in flat order, in heater pitches. ``matrix_flat`` and ``decompose_flat``
    are for hot paths: they trust shapes, finiteness and unitarity.

    Raises ConfigError for ports < 2, arrays of another shape, values that are not finite or out of
    range, or a dtype other than complex128 and complex64.
    """

    def __init__(
        self,
        ports: int,
        topology: Topology,
        *,
        splitter_errors: ArrayLike | None = None,
        mzi_transmission: ArrayLike | None = None,
        dtype: DTypeLike = np.complex128,
    ) -> None:
        self.ports = ports
        self.topology = topology
        self.top, self.column = topology.top, topology.column
        self.depth = topology.depth
        self.mzis = int(self.top.size)
        self.phases = 2 * self.mzis + ports
        self.dtype: np.dtype[Any] = checked_dtype(dtype)
        self.splitter_errors = checked_errors(splitter_errors, self.mzis)
        self.mzi_transmission = checked_transmission(mzi_transmission, self.mzis)
        self.layout = self._positions()
        self.real_dtype: np.dtype[Any] = np.empty(0, self.dtype).real.dtype
        self._exact = coupler_products(self.splitter_errors, self.mzi_transmission)
        angle = np.pi / 4 + self.splitter_errors
        self._halves = np.stack((np.cos(angle), np.sin(angle)), axis=2).reshape(self.mzis, 4)
        self._couplers = self._exact.astype(self.real_dtype)
        self._cone = light_cone(topology, ports)
        self._leaks = leaks(self.splitter_errors)

    def _positions(self) -> FloatArray:
        theta = np.stack((2 * self.column + 1, self.top), axis=1)
        phi = np.stack((2 * self.column, self.top), axis=1)
        output = np.stack((np.full(self.ports, 2 * self.depth), np.arange(self.ports)), axis=1)
        return np.concatenate((theta, phi, output)).astype(np.float64)

    def flat(self, phases: MeshPhases | ArrayLike) -> FloatArray:
        """``phases`` as one vector (phases,) in rad. Raises ConfigError if wrong or not finite."""
        values = phases.flat() if isinstance(phases, MeshPhases) else phases
        return checked_phases(values, self.phases, f"a mesh of {self.ports} ports")

    def matrix(self, phases: MeshPhases | ArrayLike) -> ComplexArray:
        """Transfer matrix (ports, ports) of the fields. Raises ConfigError for bad phases."""
        return self.matrix_flat(self.flat(phases))

    def matrix_flat(self, flat: FloatArray) -> ComplexArray:
        """``matrix`` of a flat vector (phases,) of floats, without checks."""
        matrix: ComplexArray = np.empty((self.ports, self.ports), self.dtype)
        sine, cosine = self._sincos(flat)
        kernels.build(cosine, sine, self._couplers, self.top, self._cone, matrix)
        return matrix

    def turned_flat(
        self, matrix: ComplexArray, flat: FloatArray, index: int, angle: float
    ) -> ComplexArray:
        """``matrix_flat`` after phase ``index`` has turned by ``angle`` (rad), from ``matrix``, that of
        ``flat``: an update of rank one. Without checks."""
        turned: ComplexArray = matrix.copy()
        sine, cosine = sincos(np.asarray(flat, np.float64))
        factor = complex(np.expm1(1j * angle))
        kernels.turned(cosine, sine, self._exact, self._halves, self.top, index, factor, turned)
        return turned

    def _sincos(self, flat: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of angles in double precision: rounded first, angles of some turns would be off by a part in a million."""
        return sincos(np.asarray(flat, np.float64), self.real_dtype)

    def walk_flat(self, flat: FloatArray, fields: FloatArray) -> None:
        """Take ``fields`` through the mesh in place, without checks (see ``split_rows``)."""
        sine, cosine = self._sincos(flat)
        kernels.walk(cosine, sine, self._couplers, self.top, fields)

    def propagate_flat(self, flat: FloatArray, inputs: ComplexArray) -> ComplexArray:
        """``propagate`` by walking, without checks: cheaper than the matrix for few samples."""
        fields = split_rows(inputs, self.real_dtype)
        self.walk_flat(flat, fields)
        return whole_rows(fields, len(inputs), self.dtype)

    def propagate(self, phases: MeshPhases | ArrayLike, inputs: ArrayLike) -> ComplexArray:
        """Output fields (samples, ports) of input fields (samples, ports): matrix @ each row."""
        fields = self._batch(inputs, "inputs")
        outputs: ComplexArray = fields @ self.matrix(phases).T
        return outputs

    def decompose(self, unitary: ArrayLike) -> MeshPhases:
        """Phases in [0, 2 pi) at which the mesh, its splitters ideal and lossless, is ``unitary``.

        An interferometer that carries no light is set to the bar state. Computed in complex128.
        Raises ConfigError if the array (ports, ports) is not finite or not unitary (largest
        element of U U^dagger - 1 above 1e-6, or 1e-4 for complex64).
        """
        given = np.asarray(unitary)
        if given.shape != (self.ports, self.ports):
            raise ConfigError(
                f"A mesh of {self.ports} ports was asked for a matrix of shape {given.shape}. "
                f"Give a unitary of shape {(self.ports, self.ports)}."
            )
        matrix = given.astype(np.complex128)
        tolerance = _UNITARY.get(given.dtype, 1e-4 if given.dtype == np.float32 else 1e-6)
        departure = np.abs(matrix @ matrix.conj().T - np.eye(self.ports)).max()
        if not departure <= tolerance:
            raise ConfigError(
                f"A mesh of {self.ports} ports was asked for a matrix that is not unitary: the "
                f"largest element of U U^dagger - 1 is {departure:.3g}, allowed is {tolerance:g}. "
                "Use an SvdMesh for general matrices."
            )
        flat = self.decompose_flat(matrix[np.newaxis])[0]
        return MeshPhases.from_flat(flat, self.mzis, self.ports)

    def decompose_flat(self, unitaries: ComplexArray) -> FloatArray:
        """Flat phases (k, phases) of unitaries (k, ports, ports), without checks.

        What is not finite gives phases that are not finite.
        """
        if unitaries.dtype != np.complex128 or not unitaries.flags.c_contiguous:
            unitaries = np.ascontiguousarray(unitaries, np.complex128)
        flat = np.empty((unitaries.shape[0], self.phases))
        t = self.topology
        nulling.decompose(unitaries, t.side, t.bounds, t.step_mzi, t.step_top, t.step_pivot, flat)
        return flat

    def corrected_flat(self, ideal: FloatArray) -> FloatArray:
        """Flat phases (k, phases) that bring this mesh, its splitters as they are, nearest to what one of
        ideal splitters is at ``ideal`` (k, phases) in [0, 2 pi). Without checks.

        Exact but for losses where no interferometer is wanted to pass less than it leaks; what leaks
        otherwise is left in the quadrature that is not read (``hilonn.mesh.correcting``).
        """
        if not self.splitter_errors.any():
            return ideal
        flat = np.empty_like(ideal)
        correcting.correct(ideal, self._exact, self._leaks, self.topology.top, flat)
        return flat

    def gradient(
        self, phases: MeshPhases | ArrayLike, inputs: ArrayLike, output_gradient: ArrayLike
    ) -> tuple[MeshPhases, ComplexArray]:
        """Gradients of a real loss L at the phases, and dL/d conj(inputs) (samples, ports).

        ``output_gradient`` (samples, ports) is dL/d conj(E) at the outputs E = propagate(phases,
        inputs), so that dL = 2 Re sum(conj(output_gradient) dE); for L = sum |E - T|^2 it is
        E - T. Phase gradients are dL/dphase per rad, summed over samples. Splitter errors and
        losses are in the derivative. Computed in complex128. Raises ConfigError for bad shapes.
        """
        flat = self.flat(phases)
        fields = self._batch(inputs, "inputs")
        arriving = self._batch(output_gradient, "output_gradient")
        if fields.shape != arriving.shape:
            raise ConfigError(
                f"inputs have shape {fields.shape} and output_gradient {arriving.shape}; "
                "give one row of gradients for each row of inputs."
            )
        if fields.shape[0] > self.ports:
            # dL = 2 Re sum(conj(W) dU) with W = sum_k g_k x_k^dagger: the cost of a large batch
            # is one matrix product, and the walk through the mesh is that of ports samples.
            start, seed = np.eye(self.ports, dtype=np.complex128), arriving.T @ fields.conj()
        else:
            start, seed = fields.T.astype(np.complex128), arriving.T.astype(np.complex128)
        total = self._walk(flat, start, seed)
        backward: ComplexArray = (arriving @ self.matrix_flat(flat).conj()).astype(self.dtype)
        return MeshPhases.from_flat(total, self.mzis, self.ports), backward

    def matrix_gradient(
        self, phases: MeshPhases | ArrayLike, weight_gradient: ArrayLike
    ) -> MeshPhases:
        """Gradients of a real loss L whose dL/d conj(matrix) (ports, ports) is given."""
        seed = self._batch(weight_gradient, "weight_gradient").astype(np.complex128)
        if seed.shape[0] != self.ports:
            raise ConfigError(f"weight_gradient has shape {seed.shape}, not square.")
        total = self._walk(self.flat(phases), np.eye(self.ports, dtype=np.complex128), seed)
        return MeshPhases.from_flat(total, self.mzis, self.ports)

    def _walk(self, flat: FloatArray, start: ComplexArray, seed: ComplexArray) -> FloatArray:
        flat = flat.astype(np.float64)
        sine, cosine = sincos(flat)
        total = np.zeros(self.phases)
        samples = start.shape[1]
        chunk = max(1, min(samples, _CHUNK, max(8, _SEEN // (4 * self.mzis))))
        seen = np.empty((4 * self.mzis, chunk))
        for first in range(0, samples, chunk):
            fields = _split(start[:, first : first + chunk])
            gradients = _split(seed[:, first : first + chunk])
            kernels.adjoint(cosine, sine, self._exact, self.top, fields, gradients, seen, total)
        return total

    def _batch(self, values: ArrayLike, name: str) -> ComplexArray:
        batch: ComplexArray = np.asarray(values, self.dtype)
        if batch.ndim != 2 or batch.shape[1] != self.ports:
            raise ConfigError(
                f"{name} of a mesh of {self.ports} ports must have shape (samples, {self.ports}); "
                f"an array of shape {batch.shape} was given."
            )
        return batch


class RectangularMesh(UnitaryMesh):
    """The rectangular mesh of Clements et al., Optica 3, 1460 (2016): ``ports`` columns."""

    def __init__(
        self,
        ports: int,
        *,
        splitter_errors: ArrayLike | None = None,
        mzi_transmission: ArrayLike | None = None,
        dtype: DTypeLike = np.complex128,
    ) -> None:
        super().__init__(
            checked_ports(ports),
            rectangular(ports),
            splitter_errors=splitter_errors,
            mzi_transmission=mzi_transmission,
            dtype=dtype,
        )


class TriangularMesh(UnitaryMesh):
    """The triangular mesh of Reck et al., Phys. Rev. Lett. 73, 58 (1994): 2 * ports - 3 columns."""

    def __init__(
        self,
        ports: int,
        *,
        splitter_errors: ArrayLike | None = None,
        mzi_transmission: ArrayLike | None = None,
        dtype: DTypeLike = np.complex128,
    ) -> None:
        super().__init__(
            checked_ports(ports),
            triangular(ports),
            splitter_errors=splitter_errors,
            mzi_transmission=mzi_transmission,
            dtype=dtype,
        )


UNITARY_MESHES: Mapping[str, type[RectangularMesh] | type[TriangularMesh]] = {
    "unitary_mesh": RectangularMesh,
    "triangular_mesh": TriangularMesh,
}
"""Chips' architectures that are one unitary mesh, as records name them."""


def _split(fields: ComplexArray) -> FloatArray:
    """Fields (ports, batch) as alternating real and imaginary rows (2 * ports, batch)."""
    rows = np.empty((2 * fields.shape[0], fields.shape[1]))
    rows[0::2], rows[1::2] = fields.real, fields.imag
    return rows


def coupler_products(splitter_errors: FloatArray, transmission: FloatArray) -> FloatArray:
    """The four products A, B, C, D (mzis, 4) of ``hilonn.mesh.kernels``."""
    angle = np.pi / 4 + splitter_errors
    (ca, cb), (sa, sb) = np.cos(angle).T, np.sin(angle).T
    products: FloatArray = np.stack((cb * ca, sb * sa, cb * sa, sb * ca), axis=1)
    return np.ascontiguousarray(products * np.sqrt(transmission)[:, np.newaxis])


def leaks(splitter_errors: FloatArray) -> FloatArray:
    """|sin(a + b)|, |sin(a - b)| (mzis, 2): the fields that leak at the bar and at the cross port."""
    a, b = splitter_errors.T
    fields: FloatArray = np.abs(np.stack((np.sin(a + b), np.sin(a - b)), axis=1))
    return fields


def split_rows(fields: ComplexArray, dtype: DTypeLike) -> FloatArray:
    """Fields (samples, ports) as (2 * ports, samples): each mode's real part, then its imaginary
    part; filled up with dark samples to whole vectors."""
    split = np.zeros((2 * fields.shape[1], -(-len(fields) // _VECTORS) * _VECTORS), dtype)
    split[0::2, : len(fields)], split[1::2, : len(fields)] = fields.real.T, fields.imag.T
    return split


def whole_rows(split: FloatArray, samples: int, dtype: DTypeLike) -> ComplexArray:
    """The inverse of ``split_rows`` for the first ``samples``."""
    fields: ComplexArray = np.empty((samples, len(split) // 2), dtype)
    fields.real, fields.imag = split[0::2, :samples].T, split[1::2, :samples].T
    return fields


def checked_ports(ports: int) -> int:
    if isinstance(ports, bool) or not isinstance(ports, (int, np.integer)) or ports < 2:
        raise ConfigError(f"A mesh of {ports!r} ports was asked for; give a whole number >= 2.")
    return int(ports)


def checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise ConfigError(f"{dtype!r} is no dtype; give complex128 or complex64.") from error
    if checked not in _UNITARY:
        raise ConfigError(f"A mesh computes in complex128 or complex64, not in {checked}.")
    return checked


def checked_errors(splitter_errors: ArrayLike | None, mzis: int) -> FloatArray:
    if splitter_errors is None:
        return np.zeros((mzis, 2))
    errors = np.array(splitter_errors, np.float64)
    if errors.shape != (mzis, 2) or not np.isfinite(errors).all():
        raise ConfigError(
            f"splitter_errors of {mzis} interferometers must be finite angles in rad of shape "
            f"({mzis}, 2); an array of shape {errors.shape} was given."
        )
    return errors


def checked_transmission(transmission: ArrayLike | None, mzis: int) -> FloatArray:
    if transmission is None:
        return np.ones(mzis)
    powers = np.array(transmission, np.float64)
    if powers.shape != (mzis,) or not ((powers >= 0) & (powers <= 1)).all():
        raise ConfigError(
            f"mzi_transmission of {mzis} interferometers must be power transmissions in [0, 1] of "
            f"shape ({mzis},); an array of shape {powers.shape} was given."
        )
    return powers


def checked_phases(phases: ArrayLike, count: int, owner: str) -> FloatArray:
    flat: FloatArray = np.asarray(phases, np.float64)
    if flat.shape != (count,):
        raise ConfigError(
            f"Phases of shape {flat.shape} were given to {owner}, which has {count}. "
            "Give one flat vector in the order of its layout."
        )
    wrong = np.flatnonzero(~np.isfinite(flat))
    if wrong.size:
        raise ConfigError(
            f"Phases given to {owner} are not finite at flat index {wrong[0]} "
            f"({wrong.size} in all). Every phase needs a value in rad."
        )
    return flat
