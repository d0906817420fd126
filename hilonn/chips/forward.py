"""The record's forward model: from parameters and drives to expected readings, with all derivatives.

One setting: heater voltages, the oscillator's voltage (or its shutter closed), and a pattern of modulator
voltages. With u = pi (V - bias) / (2 v_pi) an input carries the field F (sin u + i leak cos u); phases are offset +
own + C own, own = pi P(V) / P_pi; the field E = M(phases) e of an output meets the oscillator's, and its two detectors
read, in A,

    r+- = g+- [ (G_p |E|^2 + lo^2) / 2 +- G / 2 Re(E e^{i (phi_out - phi_lo)}) ] + dark+-,     lo^2 = G^2 / (4 G_p),

G = output_gain, G_p = output_power_gain of docs/reference/records.md. Derivatives are exact: every parameter acts
through one element of the chip, so that a row of the Jacobian is what reaches it times what leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hilonn.chips import forward_kernels as kernels
from hilonn.chips.parameters import Estimate, Names, read
from hilonn.errors import ConfigError
from hilonn.mesh import UNITARY_MESHES, SvdMesh, UnitaryMesh
from hilonn.records import Records
from hilonn.transfer import power_of_voltage
from hilonn.typing import BoolArray, ComplexArray, FloatArray, IntArray


@dataclass(frozen=True)
class Setting:
    """``heaters`` (heaters,) V, the oscillator's last; ``modulators`` (samples, ports) V; whether the
    oscillator's light is let ``through``; ``wander`` (rad) of its phase at the time."""

    heaters: FloatArray
    modulators: FloatArray
    through: bool = True
    wander: float = 0.0


@dataclass(frozen=True)
class Walk:
    """What a setting's light does, kept for its derivatives."""

    turns: ComplexArray
    halves: FloatArray
    own: FloatArray
    angle: FloatArray  # u (samples, ports)
    fields: ComplexArray  # at the inputs (samples, ports)
    seen: ComplexArray
    leaving: ComplexArray  # (ports, samples)
    lead: ComplexArray  # e^{i (phi_out - phi_lo)} (ports, 1)

    @property
    def beat(self) -> ComplexArray:
        """The leaving fields, in phase with the oscillator (ports, samples)."""
        return self.leaving * self.lead


class ForwardModel:
    """The model of one chip; parameters come as a vector in the order of ``names``.

    ``usable`` (heaters,): heaters that turn when driven; the others keep their offset. ``moving`` (ports,): modulators that
    modulate, all where it is None; the others stand at 0 V, so that their bias says what they launch. Raises ConfigError for
    an architecture without interfering fields.
    """

    def __init__(
        self,
        architecture: str,
        ports: int,
        resistance: FloatArray,
        usable: BoolArray,
        kernel: FloatArray,
        moving: BoolArray | None = None,
    ) -> None:
        self.ports = ports
        self.moving = np.ones(ports, bool) if moving is None else moving
        if architecture == "svd_mesh":
            svd = SvdMesh(ports)
            self.elements, self.layout = svd_elements(svd), svd.layout
            self.mzis = 2 * svd.mzis + ports
        elif architecture in UNITARY_MESHES:
            mesh = UNITARY_MESHES[architecture](ports)
            self.elements, self.layout = mesh_elements(mesh, 0, 0), mesh.layout
            self.mzis = mesh.mzis
        else:
            raise ConfigError(f"a {architecture} has no forward model of interfering fields")
        self.chip_heaters = len(self.layout)
        self.heaters = self.chip_heaters + 1
        self.resistance = resistance
        self.usable = usable
        self.names = Names.of(ports, self.heaters, self.mzis, kernel)
        self._pairs = _pairs(self.layout, kernel)

    @classmethod
    def of(cls, records: Records, kernel: FloatArray) -> tuple[ForwardModel, Estimate]:
        """The model of ``records``' chip, ``kernel`` (k, 2) the offsets of its crosstalk, and the records' vector."""
        chip = records.chip
        usable = chip.accepted("heater_phase_offset") & chip.accepted("heater_power_per_pi")
        modulators = records.modulators
        moving = modulators.accepted("v_pi") & modulators.accepted("bias")
        resistance = chip.value("heater_resistance")
        model = cls(chip.architecture, chip.ports, resistance, usable, kernel, moving)
        return model, read(records, model.names)

    def phases(self, vector: FloatArray, heaters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Phases (heaters,) on chip and oscillator, and each heater's own, for voltages (heaters,)."""
        v = self.names.split(vector)
        power = power_of_voltage(heaters, self.resistance, v["heater_resistance_rise"])
        own = np.where(self.usable, np.pi * power / np.exp(v["heater_power_per_pi"]), 0.0)
        total = v["heater_phase_offset"] + own
        kernels.spread(*self._pairs, v["crosstalk_kernel"], own, total)
        return total, own

    def crosstalk(self, vector: FloatArray) -> csr_array:
        """(chip heaters, chip heaters): what each takes of the others' own phases."""
        to, of, which = self._pairs
        shares = self.names.split(vector)["crosstalk_kernel"][which]
        n = self.chip_heaters
        return csr_array((shares, (to, of)), shape=(n, n))

    def expected(self, vector: FloatArray, setting: Setting) -> FloatArray:
        """Readings (samples, 2 * ports) in A: plus_0 .. minus_0 .."""
        walk = self.walk(vector, setting)
        plus, minus = self._readings(vector, walk, setting.through)
        return np.concatenate((plus, minus)).T

    def by_wander(
        self, vector: FloatArray, setting: Setting, walk: Walk | None = None
    ) -> FloatArray:
        """d reading (samples, 2 * ports) / d phase of the oscillator."""
        walk = walk or self.walk(vector, setting)
        return -np.concatenate(self._quarter(vector, walk, setting.through)).T

    def jacobian(
        self, vector: FloatArray, setting: Setting, weight: FloatArray, out: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Write d reading / d parameter to ``out`` (size, 2 * ports * samples), each reading times its
        ``weight`` (samples, 2 * ports); returns the readings (2 * ports * samples,) and their derivative by the
        oscillator's wander, weighted too. Readings count channels first, samples last."""
        names, ports = self.names, self.ports
        walk = self.walk(vector, setting)
        readings = np.concatenate(self._readings(vector, walk, setting.through))
        scale = np.ascontiguousarray(weight.T)
        plus, minus = self._slopes(vector, walk, setting.through)
        plus *= scale[:ports]
        minus *= scale[ports:]
        samples = len(setting.modulators)
        part = names.split(out)
        towards = np.eye(ports, dtype=np.complex128)
        sent = np.zeros((len(self.elements), 2, ports), np.complex128)
        kernels.backward(self.elements, walk.turns, walk.halves, towards, sent)
        phases = part["heater_phase_offset"]
        phases[-1] = 0.0
        kernels.inner_rows(
            self.elements,
            walk.turns,
            walk.halves,
            walk.seen,
            sent,
            plus,
            minus,
            phases,
            part["splitter_errors"],
            part["mzi_transmission"],
        )
        for name, change in self._input_changes(vector, walk).items():
            kernels.input_rows(towards, change, plus, minus, part[name])
        self._output_rows(vector, walk, setting.through, readings, scale, part, samples)
        wander = -part["output_phase"].sum(axis=0)
        phases[-1] = wander
        self._heater_rows(vector, setting, walk.own, part)
        return readings.ravel(), wander

    def tangent(
        self, vector: FloatArray, setting: Setting, change: FloatArray, walk: Walk | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Readings (samples, 2 * ports), and their change for a small ``change`` of the parameters (size,). ``walk``: what
        ``walk`` gave for the same vector and setting, if it is at hand."""
        names, ports = self.names, self.ports
        walk = walk or self.walk(vector, setting)
        d = names.split(change)
        turned = self._turned(vector, setting, walk.own, d)
        d_fields = np.zeros((ports, len(setting.modulators)), np.complex128)
        for name, slope in self._input_changes(vector, walk).items():
            d_fields += (slope * d[name]).T
        kernels.tangent(
            self.elements,
            walk.turns,
            walk.halves,
            walk.seen,
            turned[:-1],
            d["splitter_errors"].reshape(-1, 2),
            d["mzi_transmission"],
            d_fields,
        )
        plus, minus = self._slopes(vector, walk, setting.through)
        readings = np.concatenate(self._readings(vector, walk, setting.through))
        moved = np.concatenate(((plus * d_fields).real, (minus * d_fields).real))
        for name, rows in self._output_slopes(vector, walk, setting.through, readings).items():
            moved += rows * np.resize(d[name], 2 * ports)[:, np.newaxis]
        quarter = self._quarter(vector, walk, setting.through)
        moved -= turned[-1] * np.concatenate((quarter[0], quarter[1]))
        return readings.T, moved.T

    def adjoint(
        self, vector: FloatArray, setting: Setting, seed: FloatArray, walk: Walk | None = None
    ) -> tuple[FloatArray, float]:
        """The transpose of ``tangent``: sum over readings of ``seed`` (samples, 2 * ports) times their derivatives by each
        parameter (size,), and by the oscillator's wander."""
        names, ports = self.names, self.ports
        walk = walk or self.walk(vector, setting)
        total = np.zeros(names.size)
        part = names.split(total)
        rows = np.ascontiguousarray(seed.T)
        plus, minus = self._slopes(vector, walk, setting.through)
        seeds = plus * rows[:ports] + minus * rows[ports:]
        phases = np.zeros(self.chip_heaters)
        kernels.adjoint(
            self.elements,
            walk.turns,
            walk.halves,
            walk.seen,
            seeds,
            phases,
            part["splitter_errors"].reshape(-1, 2),
            part["mzi_transmission"],
        )
        for name, slope in self._input_changes(vector, walk).items():
            part[name] += np.einsum("si,is->i", slope, seeds).real
        readings = np.concatenate(self._readings(vector, walk, setting.through))
        for name, slopes in self._output_slopes(vector, walk, setting.through, readings).items():
            summed = (slopes * rows).sum(axis=1)
            part[name] += summed if len(part[name]) > ports else summed[:ports] + summed[ports:]
        quarter = self._quarter(vector, walk, setting.through)
        wander = -float(sum((q * r).sum() for q, r in zip(quarter, np.split(rows, 2), strict=True)))
        self._heater_sums(vector, setting, walk.own, np.append(phases, wander), part)
        return total, wander

    # -- light ----------------------------------------------------------------------------------

    def walk(self, vector: FloatArray, setting: Setting) -> Walk:
        """What a setting's light does, for its derivatives to share."""
        v = self.names.split(vector)
        phases, own = self.phases(vector, setting.heaters)
        a, b = v["splitter_errors"].reshape(-1, 2).T + np.pi / 4
        lost = np.exp(0.5 * v["mzi_transmission"])
        halves = np.stack((np.cos(a), np.sin(a), np.cos(b), np.sin(b), lost), axis=1)
        volts = np.where(self.moving, setting.modulators, 0.0)
        angle = np.pi * (volts - v["bias"]) / (2 * np.exp(v["v_pi"]))
        into = np.exp(v["input_size"] + 1j * v["input_phase"])
        fields = into * (np.sin(angle) + 1j * v["extinction_leak"] * np.cos(angle))
        turns = np.exp(1j * phases)
        leaving = np.ascontiguousarray(fields.T)
        seen = np.zeros((len(self.elements), 2, leaving.shape[1]), np.complex128)
        kernels.forward(self.elements, turns, halves, leaving, seen)
        lead = np.exp(1j * (v["output_phase"] - phases[-1] - setting.wander))
        return Walk(turns, halves, own, angle, fields, seen, leaving, lead[:, np.newaxis])

    def _gains(
        self, vector: FloatArray, through: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """G_p, G (zero without oscillator), lo^2: each (ports, 1)."""
        v = self.names.split(vector)
        power = np.exp(v["output_power_gain"])[:, np.newaxis]
        gain = np.exp(v["output_gain"])[:, np.newaxis] * through
        return power, gain, gain**2 / (4 * power)

    def _readings(
        self, vector: FloatArray, walk: Walk, through: bool
    ) -> tuple[FloatArray, FloatArray]:
        v = self.names.split(vector)
        power, gain, lo = self._gains(vector, through)
        base = 0.5 * (power * (walk.leaving.real**2 + walk.leaving.imag**2) + lo)
        mixed = 0.5 * gain * walk.beat.real
        g, dark = np.exp(v["gain"])[:, np.newaxis], v["dark"][:, np.newaxis]
        n = self.ports
        return g[:n] * (base + mixed) + dark[:n], g[n:] * (base - mixed) + dark[n:]

    def _slopes(
        self, vector: FloatArray, walk: Walk, through: bool
    ) -> tuple[ComplexArray, ComplexArray]:
        """c with d reading = Re(c dE), of plus and minus (ports, samples)."""
        power, gain, _ = self._gains(vector, through)
        g = np.exp(self.names.split(vector)["gain"])[:, np.newaxis]
        base = power * walk.leaving.conj()
        mixed = 0.5 * gain * walk.lead
        n = self.ports
        return g[:n] * (base + mixed), g[n:] * (base - mixed)

    def _quarter(
        self, vector: FloatArray, walk: Walk, through: bool
    ) -> tuple[FloatArray, FloatArray]:
        """d reading / d output phase of plus and minus (ports, samples)."""
        _, gain, _ = self._gains(vector, through)
        g = np.exp(self.names.split(vector)["gain"])[:, np.newaxis]
        slope = -0.5 * gain * walk.beat.imag
        return g[: self.ports] * slope, -g[self.ports :] * slope

    def _input_changes(self, vector: FloatArray, walk: Walk) -> dict[str, ComplexArray]:
        """d field (samples, ports) / d each input parameter."""
        v = self.names.split(vector)
        into = np.exp(v["input_size"] + 1j * v["input_phase"])
        sine, cosine = np.sin(walk.angle), np.cos(walk.angle)
        by_angle = into * (cosine - 1j * v["extinction_leak"] * sine)
        return {
            "input_size": walk.fields,
            "input_phase": 1j * walk.fields,
            "v_pi": -walk.angle * by_angle,
            "bias": -np.pi / (2 * np.exp(v["v_pi"])) * by_angle,
            "extinction_leak": 1j * into * cosine,
        }

    def _output_slopes(
        self, vector: FloatArray, walk: Walk, through: bool, readings: FloatArray
    ) -> dict[str, FloatArray]:
        """d reading (2 * ports, samples) / d its own output's and detector's parameters."""
        v = self.names.split(vector)
        power, gain, lo = self._gains(vector, through)
        g = np.exp(v["gain"])[:, np.newaxis]
        mixed = 0.5 * gain * walk.beat.real
        size = power * (walk.leaving.real**2 + walk.leaving.imag**2)
        through_power = 0.5 * (size - lo)
        n = self.ports
        return {
            "gain": readings - v["dark"][:, np.newaxis],
            "dark": np.ones_like(readings),
            "output_gain": np.concatenate((g[:n] * (lo + mixed), g[n:] * (lo - mixed))),
            "output_power_gain": np.concatenate((g[:n] * through_power, g[n:] * through_power)),
            "output_phase": np.concatenate(self._quarter(vector, walk, through)),
        }

    def _output_rows(
        self,
        vector: FloatArray,
        walk: Walk,
        through: bool,
        readings: FloatArray,
        scale: FloatArray,
        part: dict[str, FloatArray],
        samples: int,
    ) -> None:
        n = self.ports
        for name, slopes in self._output_slopes(vector, walk, through, readings).items():
            rows = part[name]
            rows[:] = 0.0
            blocks = rows.reshape(len(rows), 2 * n, samples)
            channels = np.arange(2 * n)
            blocks[channels % len(rows), channels] = slopes * scale

    # -- heaters --------------------------------------------------------------------------------

    def _bends(self, vector: FloatArray, setting: Setting, own: FloatArray) -> FloatArray:
        """d own phase / d resistance rise (heaters,)."""
        rise = self.names.split(vector)["heater_resistance_rise"]
        power = power_of_voltage(setting.heaters, self.resistance, rise)
        bends: FloatArray = -own * power / (1 + 2 * rise * power)
        return bends

    def _heater_rows(
        self, vector: FloatArray, setting: Setting, own: FloatArray, part: dict[str, FloatArray]
    ) -> None:
        phases = part["heater_phase_offset"]
        felt = part["heater_power_per_pi"]
        felt[:] = phases
        felt[:-1] += (self.crosstalk(vector).T.astype(phases.dtype)) @ phases[:-1]
        part["heater_resistance_rise"][:] = (
            self._bends(vector, setting, own)[:, np.newaxis].astype(phases.dtype) * felt
        )
        felt *= -own[:, np.newaxis].astype(phases.dtype)
        shares = self._shares(own).astype(phases.dtype)
        part["crosstalk_kernel"][:] = shares @ phases[:-1]

    def _shares(self, own: FloatArray) -> csr_array:
        """(k, chip heaters): the own phases that stand at each offset of the kernel."""
        to, of, which = self._pairs
        return csr_array((own[of], (which, to)), shape=(len(self.names.kernel), self.chip_heaters))

    def _turned(
        self, vector: FloatArray, setting: Setting, own: FloatArray, d: dict[str, FloatArray]
    ) -> FloatArray:
        """Change of all phases (heaters,)."""
        moved = -own * d["heater_power_per_pi"]
        moved += self._bends(vector, setting, own) * d["heater_resistance_rise"]
        turned = d["heater_phase_offset"] + moved
        shares = self.names.split(vector)["crosstalk_kernel"]
        kernels.spread(*self._pairs, shares, moved, turned)
        kernels.spread(*self._pairs, d["crosstalk_kernel"], own, turned)
        return turned

    def _heater_sums(
        self,
        vector: FloatArray,
        setting: Setting,
        own: FloatArray,
        phases: FloatArray,
        part: dict[str, FloatArray],
    ) -> None:
        part["heater_phase_offset"] += phases
        felt = phases.copy()
        to, of, which = self._pairs
        kernels.spread(of, to, which, self.names.split(vector)["crosstalk_kernel"], phases, felt)
        part["heater_power_per_pi"] -= own * felt
        part["heater_resistance_rise"] += self._bends(vector, setting, own) * felt
        kernels.shares(to, of, which, own, phases, part["crosstalk_kernel"])


def mesh_elements(mesh: UnitaryMesh, phases: int, mzis: int) -> IntArray:
    """The elements of a mesh whose first phase and interferometer are ``phases`` and ``mzis``."""
    k = np.arange(mesh.mzis)
    kind = np.full(mesh.mzis, kernels.MZI)
    row = np.stack((kind, mesh.top, phases + k, phases + mesh.mzis + k, mzis + k), axis=1)
    port = np.arange(mesh.ports)
    last = phases + 2 * mesh.mzis + port
    zero = np.zeros(mesh.ports, np.int64)
    outputs = np.stack((zero + kernels.PHASE, port, last, zero, zero), axis=1)
    return np.concatenate((row, outputs)).astype(np.int64)


def svd_elements(mesh: SvdMesh) -> IntArray:
    """The elements of an SVD mesh: right mesh, attenuators, left mesh."""
    port = np.arange(mesh.ports)
    theta = mesh.right.phases + port
    zero = np.zeros(mesh.ports, np.int64)
    row = np.stack((zero + kernels.ATTENUATOR, port, theta, zero, mesh.mzis + port), axis=1)
    left = mesh_elements(mesh.left, mesh.right.phases + mesh.ports, mesh.mzis + mesh.ports)
    return np.concatenate((mesh_elements(mesh.right, 0, 0), row, left)).astype(np.int64)


def _pairs(layout: FloatArray, kernel: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Which heater takes of which, and by which offset of the kernel."""
    place = {(float(c), float(r)): i for i, (c, r) in enumerate(layout)}
    found = [
        (i, place[c + dc, r + dr], k)
        for i, (c, r) in enumerate(layout)
        for k, (dc, dr) in enumerate(kernel)
        if (c + dc, r + dr) in place
    ]
    to, of, which = np.array(found, np.int64).reshape(-1, 3).T
    return to, of, which
