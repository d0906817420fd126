"""Two unitary meshes around a row of attenuators: any matrix of spectral norm up to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from hilonn.errors import ConfigError
from hilonn.mesh import correcting
from hilonn.mesh.sincos import sincos
from hilonn.mesh.unitary import (
    RectangularMesh,
    checked_dtype,
    checked_errors,
    checked_phases,
    checked_ports,
    checked_transmission,
    coupler_products,
    leaks,
    split_rows,
    whole_rows,
)
from hilonn.typing import ComplexArray, FloatArray

_ROUNDING = 1e-9  # a spectral norm above 1 by less than this is 1, rounded


class SvdMesh:
    """Light passes the ``right`` mesh, a row of attenuators, then the ``left`` mesh.

    An attenuator is an interferometer without phi, used from its upper input to its upper output:
    its field transmission is A e^{i theta} - B (products of ``hilonn.mesh.kernels``), which for
    ideal couplers is i e^{i theta/2} sin(theta/2). The matrix is left @ diag(attenuators) @ right.

    Flat order of phases: right mesh (theta, phi, output), attenuators (ports,), left mesh.
    ``splitter_errors`` (2 * mzis + ports, 2) in rad and ``mzi_transmission`` (2 * mzis + ports,)
    come in the same order: right mesh, attenuators, left mesh. Attributes: ``ports``; ``mzis`` of
    one mesh; ``phases``, the number of phases; ``layout`` (phases, 2) as in ``UnitaryMesh``, the
    parts one after another in columns; ``right`` and ``left``, the two meshes.

    Raises ConfigError as ``UnitaryMesh`` does.
    """

    def __init__(
        self,
        ports: int,
        *,
        splitter_errors: ArrayLike | None = None,
        mzi_transmission: ArrayLike | None = None,
        dtype: DTypeLike = np.complex128,
    ) -> None:
        self.ports = checked_ports(ports)
        self.mzis = self.ports * (self.ports - 1) // 2
        count = 2 * self.mzis + self.ports
        self.dtype = checked_dtype(dtype)
        self.splitter_errors = errors = checked_errors(splitter_errors, count)
        self.mzi_transmission = powers = checked_transmission(mzi_transmission, count)
        before, row, behind = (
            slice(self.mzis),
            slice(self.mzis, self.mzis + self.ports),
            slice(self.mzis + self.ports, count),
        )
        self.right = RectangularMesh(
            self.ports,
            splitter_errors=errors[before],
            mzi_transmission=powers[before],
            dtype=self.dtype,
        )
        self.left = RectangularMesh(
            self.ports,
            splitter_errors=errors[behind],
            mzi_transmission=powers[behind],
            dtype=self.dtype,
        )
        products = coupler_products(errors, powers)
        self._every = products, leaks(errors)
        self._rotating, self._fixed = products[row, 0].copy(), products[row, 1].copy()
        self._first = self.right.phases
        self._second = self._first + self.ports
        self.phases = self._second + self.left.phases
        self._mzi_split = before, row, behind
        self._split = (
            slice(self._first),
            slice(self._first, self._second),
            slice(self._second, self.phases),
        )
        self.layout = self._positions()

    def _positions(self) -> FloatArray:
        column = 2 * self.right.depth + 1
        row = np.stack((np.full(self.ports, column), np.arange(self.ports)), axis=1)
        behind = self.left.layout + np.array([column + 1.0, 0.0])
        return np.concatenate((self.right.layout, row.astype(np.float64), behind))

    def matrix(self, phases: ArrayLike) -> ComplexArray:
        """Transfer matrix (ports, ports) of the fields. Raises ConfigError for bad phases."""
        return self.matrix_flat(self._checked(phases))

    def matrix_flat(self, flat: FloatArray) -> ComplexArray:
        """``matrix`` of a flat vector (phases,) of floats, without checks."""
        right = self.right.matrix_flat(flat[: self._first])
        left = self.left.matrix_flat(flat[self._second :])
        right *= self.attenuation(flat[self._first : self._second])[:, np.newaxis]
        matrix: ComplexArray = left @ right
        return matrix

    def propagate_flat(self, flat: FloatArray, inputs: ComplexArray) -> ComplexArray:
        """``propagate`` by walking, without checks: cheaper than the matrix for few samples."""
        fields = split_rows(inputs, self.right.real_dtype)
        self.right.walk_flat(flat[: self._first], fields)
        field = self.attenuation(flat[self._first : self._second]).astype(self.dtype)
        real, imaginary = field.real[:, np.newaxis], field.imag[:, np.newaxis]
        upper, lower = fields[0::2].copy(), fields[1::2].copy()
        fields[0::2] = real * upper - imaginary * lower
        fields[1::2] = real * lower + imaginary * upper
        self.left.walk_flat(flat[self._second :], fields)
        return whole_rows(fields, len(inputs), self.dtype)

    def attenuation(self, theta: FloatArray) -> ComplexArray:
        """Field transmission (..., ports) of the attenuators at ``theta`` (..., ports) rad."""
        field: ComplexArray = np.empty(theta.shape, np.complex128)
        sine, cosine = sincos(theta)
        field.real = self._rotating * cosine - self._fixed
        field.imag = self._rotating * sine
        return field

    def propagate(self, phases: ArrayLike, inputs: ArrayLike) -> ComplexArray:
        """Output fields (samples, ports) of input fields (samples, ports): matrix @ each row."""
        outputs: ComplexArray = self._batch(inputs, "inputs") @ self.matrix(phases).T
        return outputs

    def decompose(self, matrix: ArrayLike) -> FloatArray:
        """Flat phases (phases,) at which the mesh, splitters ideal and lossless, is ``matrix``.

        ``matrix`` (ports, ports), real or complex. Raises ConfigError if its shape is another, it
        is not finite, or its largest singular value is above 1 + 1e-9: the mesh has no gain.
        """
        target = np.asarray(matrix)
        if target.shape != (self.ports, self.ports) or not np.isfinite(target).all():
            raise ConfigError(
                f"An SVD mesh of {self.ports} ports was asked for an array of shape "
                f"{target.shape}. Give a finite matrix of shape {(self.ports, self.ports)}."
            )
        wide = np.complex128 if np.iscomplexobj(target) else np.float64
        left, values, right = np.linalg.svd(target.astype(wide))
        return self.compose_phases(left, values, right)

    def compose_phases(
        self, left_unitary: ArrayLike, singular_values: ArrayLike, right_unitary: ArrayLike
    ) -> FloatArray:
        """Flat phases (k, phases) of left_unitary @ diag(singular_values) @ right_unitary.

        Unitaries (k, ports, ports) and values (k, ports) in [0, 1], or one of each without the
        leading axis. theta = 2 arcsin(value); the phase of an attenuator, pi/2 + theta/2, is taken
        out of the output phase of the right mesh in front of it. A value above 1 by rounding, up to
        1e-9, counts as 1. Unitarity is not checked. Raises ConfigError if shapes disagree or a
        value is below 0 or above 1 + 1e-9.
        """
        values = np.asarray(singular_values, np.float64)
        single = values.ndim == 1
        values = np.atleast_2d(values)
        square = (values.shape[0], self.ports, self.ports)
        left, right = np.asarray(left_unitary), np.asarray(right_unitary)
        if single:
            left, right = left[np.newaxis], right[np.newaxis]
        if values.shape != square[:2] or left.shape != square or right.shape != square:
            raise ConfigError(
                f"An SVD mesh of {self.ports} ports was given factors of shapes {left.shape}, "
                f"{values.shape} and {right.shape}; expected {square}, {square[:2]} and {square}."
            )
        if not ((values >= 0) & (values <= 1 + _ROUNDING)).all():
            raise ConfigError(
                f"An SVD mesh of {self.ports} ports was asked for singular values from "
                f"{values.min():.12g} to {values.max():.12g}. It has no gain: divide the matrix "
                "by its spectral norm and carry the scale outside the chip."
            )
        flat = np.empty((values.shape[0], self.phases))
        theta = 2 * np.arcsin(np.minimum(values, 1.0))
        flat[:, : self._first] = self.right.decompose_flat(right)
        flat[:, self._first : self._second] = theta
        flat[:, self._second :] = self.left.decompose_flat(left)
        output = flat[:, self._first - self.ports : self._first]
        output -= np.pi / 2 + theta / 2
        output[output < 0] += 2 * np.pi
        output[output >= 2 * np.pi] = 0.0  # a phase just below zero rounds to a full turn
        return flat[0] if single else flat

    def corrected_flat(self, ideal: FloatArray) -> FloatArray:
        """As ``UnitaryMesh.corrected_flat``, the attenuators included: (k, phases) of (k, phases)."""
        if not self.splitter_errors.any():
            return ideal
        flat = np.empty_like(ideal)
        first, row, second = self._split
        before, between, behind = self._mzi_split
        theta = (ideal[:, first][:, : self.mzis], ideal[:, row], ideal[:, second][:, : self.mzis])
        # All interferometers at once: a few long calls leave more to other threads than many short ones.
        found = correcting.corrected(np.concatenate(theta, axis=1), *self._every)
        for mesh, part, mzis in ((self.right, first, before), (self.left, second, behind)):
            turned, crossing, staying = (each[:, mzis] for each in found)
            correcting.carry(
                ideal[:, part], turned, crossing, staying, mesh.topology.top, flat[:, part]
            )
        turned, _, staying = (each[:, between] for each in found)
        owed = correcting.attenuators(ideal[:, row], turned, staying, flat[:, row])
        output = flat[:, self._first - self.ports : self._first]
        output += owed
        np.mod(output, 2 * np.pi, out=output)
        output[output >= 2 * np.pi] = 0.0
        return flat

    def gradient(
        self, phases: ArrayLike, inputs: ArrayLike, output_gradient: ArrayLike
    ) -> tuple[FloatArray, ComplexArray]:
        """Flat gradients (phases,) of a real loss, and dL/d conj(inputs) (samples, ports).

        Convention of ``UnitaryMesh.gradient``: output_gradient is dL/d conj(E) at the outputs E.
        """
        fields = self._batch(inputs, "inputs")
        arriving = self._batch(output_gradient, "output_gradient")
        if fields.shape != arriving.shape:
            raise ConfigError(
                f"inputs have shape {fields.shape} and output_gradient {arriving.shape}; "
                "give one row of gradients for each row of inputs."
            )
        flat = self._checked(phases)
        backward: ComplexArray = arriving @ self.matrix_flat(flat).conj()
        return self.matrix_gradient(flat, arriving.T @ fields.conj()), backward

    def matrix_gradient(self, phases: ArrayLike, weight_gradient: ArrayLike) -> FloatArray:
        """Flat gradients (phases,) of a real loss whose dL/d conj(matrix) is given."""
        flat = self._checked(phases)
        seed = self._batch(weight_gradient, "weight_gradient")
        if seed.shape[0] != self.ports:
            raise ConfigError(f"weight_gradient has shape {seed.shape}, not square.")
        theta = flat[self._first : self._second]
        right = self.right.matrix_flat(flat[: self._first])
        left = self.left.matrix_flat(flat[self._second :])
        field = self.attenuation(theta)
        inward = left.conj().T @ seed
        row = np.einsum("ij,ij->i", inward, right.conj())
        turning = 1j * self._rotating * np.exp(1j * theta)
        return np.concatenate(
            (
                self.right.matrix_gradient(
                    flat[: self._first], field.conj()[:, np.newaxis] * inward
                ).flat(),
                2 * np.real(row.conj() * turning),
                self.left.matrix_gradient(
                    flat[self._second :], seed @ (field[:, np.newaxis] * right).conj().T
                ).flat(),
            )
        )

    def _checked(self, phases: ArrayLike) -> FloatArray:
        return checked_phases(phases, self.phases, f"an SVD mesh of {self.ports} ports")

    def _batch(self, values: ArrayLike, name: str) -> ComplexArray:
        batch: ComplexArray = np.asarray(values, self.dtype)
        if batch.ndim != 2 or batch.shape[1] != self.ports:
            raise ConfigError(
                f"{name} of an SVD mesh of {self.ports} ports must have shape "
                f"(samples, {self.ports}); an array of shape {batch.shape} was given."
            )
        return batch
