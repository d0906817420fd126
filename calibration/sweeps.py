"""Sweeps of whole columns of heaters: the attenuators of an SVD chip first, then every phase shifter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from hilonn.calibration.columns import ColumnFit, fit_column, own_phase
from hilonn.calibration.drives import background, nominal_ohm, on_grid, top_of
from hilonn.calibration.light import Light, light_of, matrices, rails, read_odd
from hilonn.calibration.raw import Raw
from hilonn.calibration.reconstruct import Seen, input_output_sizes, resolved
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine, whole
from hilonn.calibration.stages import MESHES, Optics, Stage, layout_of
from hilonn.chips.cones import elements_of, seen_heaters
from hilonn.errors import CalibrationError
from hilonn.records import Quantity, Records
from hilonn.transfer import phase_of_power, power_of_voltage
from hilonn.typing import BoolArray, ComplexArray, FloatArray, IntArray

PURE = 0.35
"""A fringe whose second singular value is more of the first than this is no single path's."""


class SweepParameters(Parameters):
    """``amplitude`` of the inputs, of full drive; ``surplus``: settings a column beyond two for each of its heaters;
    ``turns`` of a sweep by the datasheet."""

    amplitude: float = Field(default=0.5, gt=0, le=1)
    surplus: int = Field(default=10, ge=4)
    turns: float = Field(default=1.15, gt=0.5)
    averages: int = Field(default=1, ge=1)


class _Sweep(Routine):
    """What both routines share: columns of heaters swept at a fixed background of all others."""

    parameters = SweepParameters

    @abstractmethod
    def stages(self, setup: Setup) -> list[Stage]:
        """Columns of heaters, in the order in which they are swept."""

    def background(self, setup: Setup, known: Records) -> FloatArray:
        return background(setup)

    def points(self, stage: Stage, parameters: SweepParameters) -> int:
        return 2 * (len(stage.index) + 1) + parameters.surplus

    def turned(
        self, setup: Setup, known: Records, light: Light, stage: Stage, rest: FloatArray
    ) -> FloatArray | None:
        """Another background for ``stage``, of which the same is swept again; None where there is none."""
        return None

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        patterns = 2 * (1 << max(setup.ports - 1, 1).bit_length())
        settings = sum(self.points(s, parameters) for s in self.stages(setup)) + 2 * RESTS
        return Effort(2 * settings, 2 * settings * patterns * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        light = light_of(setup, known, parameters.amplitude)
        rest = self.background(setup, known)
        stages = self.stages(setup)
        jobs: list[tuple[str, Stage | None, FloatArray]] = [("rest-0", None, rest)]
        for i, column in enumerate(stages):
            jobs.append((f"column-{i:03d}", column, rest))
            turned = self.turned(setup, known, light, column, rest)
            if turned is not None:
                jobs.append((f"turned-{i:03d}", column, turned))
        jobs += [("rest-1", None, rest)]
        total = sum(RESTS if s is None else self.points(s, parameters) for _, s, _ in jobs)
        done = 0
        for name, stage, around in jobs:
            count = RESTS if stage is None else self.points(stage, parameters)
            if not raw.has(name):
                drive = np.tile(around, (count, 1))
                if stage is not None:
                    rng = np.random.default_rng([setup.ports, 52, int(stage.index[0])])
                    top = top_of(setup, parameters.turns)[stage.index]
                    cold = _spread(rng, count, len(top)) * top
                    drive[:, stage.index] = on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))
                odd = []
                for k in range(count):
                    odd.append(read_odd(rig, light, drive[k], parameters.averages, rails(known)))
                    progress(self.title, done + k + 1, total)
                swept = drive if stage is None else drive[:, stage.index]
                raw.save(name, drive=swept, rest=around, odd=np.array(odd))
            done += count
            progress(self.title, done, total)

    def columns(
        self, setup: Setup, known: Records, parameters: SweepParameters, raw: Raw
    ) -> tuple[Light, list[tuple[Stage, FloatArray, ColumnFit]], FloatArray]:
        """Every column's fit, twice: the self-heating that all columns agree on is known to the second."""
        light = light_of(setup, known, parameters.amplitude)
        per_pi, rise = setup.nominal.power_per_pi, setup.nominal.resistance_rise
        read, again = [], {}
        for i, stage in enumerate(self.stages(setup)):
            block = raw.load(f"column-{i:03d}")
            cold = block["drive"] ** 2 / nominal_ohm(setup)
            rest = block["rest"]
            read.append((stage, cold, matrices(light, block["odd"].astype(float))))
            if raw.has(f"turned-{i:03d}"):
                again[i] = raw.load(f"turned-{i:03d}")["odd"].astype(float)
        first = [fit_column(cold, m, per_pi, rise, prior=5.0) for _, cold, m in read]
        rises = np.array([f.rise for f in first])
        if len(first) > 2:
            rise = float(np.median(rises))
            spread = 1.4826 * float(np.median(np.abs(rises - rise)))
            prior = max(spread / 3, 1e-3)
            first = [
                fit_column(cold, m, per_pi, rise, prior, start=f.scale)
                for (_, cold, m), f in zip(read, first, strict=True)
            ]
        else:
            prior = 5.0
        for i, odd in again.items():  # at the same drives
            turned = fit_column(read[i][1], matrices(light, odd), per_pi, rise, prior)
            first[i] = _brighter(first[i], turned)
        can = seen(setup, known, light)
        first = [_of_those_seen(f, can[s.index]) for (s, _, _), f in zip(read, first, strict=True)]
        return light, [(s, c, f) for (s, c, _), f in zip(read, first, strict=True)], rest

    def failures(self, fit: Fit) -> list[Failure]:
        """Heaters without a fringe, or with one that is not theirs alone. Those that no reading can tell are no failures."""
        alive, second = fit.arrays["alive"], fit.arrays["second"]
        doubt, scale = fit.arrays["scale_uncertainty"], fit.arrays["scale"]
        found = []
        for h in fit.arrays["swept"][fit.arrays["seen"][fit.arrays["swept"]]]:
            if not alive[h]:
                reason = "no fringe: nothing changes with its drive"
            elif second[h] > PURE:
                reason = f"its fringe is no single path's ({second[h]:.0%} of it)"
            elif doubt[h] > 0.05 * scale[h]:
                reason = f"its power per pi is told to {doubt[h] / scale[h]:.0%} only"
            elif not 0.5 < scale[h] < 2.0:
                reason = f"its power per pi is {1 / scale[h]:.2f} times the datasheet's"
            else:
                continue
            found.append(Failure("heater", int(h), reason))
        return found


RESTS = 8
"""Readings of the background before and after."""


def _spread(rng: np.random.Generator, count: int, heaters: int) -> FloatArray:
    """Shares (count, heaters) of the sweep: each heater goes over its whole range evenly, in an order of its own."""
    steps = (np.arange(count) + rng.random((heaters, count))) / count
    return np.asarray(rng.permuted(steps, axis=1).T)


class Attenuators(_Sweep):
    """The row between an SVD chip's meshes: how each is opened, so that all that follows sees light everywhere.

    The matrix without the fringes is -sum_r s_r B_r, s = tan(A) tan(B) e^{-i theta_0} of each attenuator's couplers
    and offset: the fringes' own matrices, being of one path each, tell the factors apart.
    """

    name = "attenuators"
    title = "attenuators"

    def applies(self, setup: Setup) -> bool:
        return setup.architecture == "svd_mesh" and setup.oscillator

    def stages(self, setup: Setup) -> list[Stage]:
        layout = layout_of(setup.architecture, setup.ports)
        return [s for s in layout.stages if s.kind == "attenuator"]

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        light, found, _ = self.columns(setup, known, parameters, raw)
        stage, cold, column = found[0]
        ports = setup.ports
        alive = np.flatnonzero(column.alive)
        terms = np.stack(
            [column.size[r] * np.outer(column.x[r], column.y[r]).ravel() for r in alive], axis=1
        )
        share = np.zeros(ports, complex)
        share[alive] = -np.linalg.lstsq(terms, column.constant.ravel(), rcond=None)[0]
        left = column.constant.ravel() + terms @ share[alive]
        offset = np.where(column.alive, -np.angle(share), 0.0)
        # |s| = tan(pi/4 + a) tan(pi/4 + b): 1 + 2 (a + b) to first order; their order is not told.
        error = np.where(column.alive, np.log(np.maximum(np.abs(share), 1e-3)) / 4, 0.0)
        usual = float(np.median(column.size[alive])) if len(alive) else 1.0
        if len(alive) < ports:
            lost = np.linalg.norm(left) / np.sqrt(ports - len(alive)) / (2 * usual)
            offset[~column.alive] = 2 * np.arcsin(min(float(lost), 1.0))
        told = np.sqrt(2.0) * column.noise / np.maximum(column.size, 1e-300)
        errors = known.chip.value("splitter_errors").copy()
        doubts = known.chip.uncertainty("splitter_errors").copy()
        errors[stage.mzis] = np.clip(error, -0.2, 0.2)[:, np.newaxis]
        doubts[stage.mzis] = np.maximum(told, 0.02)[:, np.newaxis]
        quantities = heater_quantities(
            setup, known, stage.index, column, offset, np.where(column.alive, told, np.pi)
        )
        quantities["splitter_errors"] = Quantity(
            errors, doubts, known.chip.accepted("splitter_errors")
        )
        return Fit(
            chip=quantities,
            arrays=_report_arrays(setup, [(stage, cold, column)])
            | {"seen": seen(setup, known, light)},
            figures={"power_per_pi": float(np.median(setup.nominal.power_per_pi / column.scale))},
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        found = self.failures(fit)
        if len(found) > setup.ports // 2:
            raise CalibrationError(
                f"{len(found)} of {setup.ports} attenuators show no usable fringe (the first: {found[0]}): is the "
                "heaters' supply on, and wired as the bench file says?"
            )
        return found


class Phases(_Sweep):
    """All phase shifters of the meshes, column by column, with the attenuators open; then the phases and couplers
    between them by linear algebra."""

    name = "phases"
    title = "phases"

    def applies(self, setup: Setup) -> bool:
        return setup.architecture in MESHES and setup.oscillator

    def stages(self, setup: Setup) -> list[Stage]:
        layout = layout_of(setup.architecture, setup.ports)
        return [s for s in layout.stages if s.kind == "phase"]

    def background(self, setup: Setup, known: Records) -> FloatArray:
        rest = background(setup)
        layout = layout_of(setup.architecture, setup.ports)
        for stage in layout.stages:
            if stage.kind == "attenuator":
                rest[stage.index] = open_drives(setup, known, stage.index)
        return rest

    def turned(
        self, setup: Setup, known: Records, light: Light, stage: Stage, rest: FloatArray
    ) -> FloatArray | None:
        """The last interferometer before an output that is not read may send all that passes its outer phase there: with
        its inner one half a turn on, it sends it to the other output."""
        layout = layout_of(setup.architecture, setup.ports)
        _, outputs = usable_ports(known, light)
        last: dict[int, int] = {}
        for mzi in np.flatnonzero(layout.phi >= 0):  # in the order of the light
            last[int(layout.top[mzi])] = last[int(layout.top[mzi]) + 1] = int(mzi)
        there = {last[int(port)] for port in np.flatnonzero(~outputs)}
        mzis = np.array([k for k in sorted(there) if layout.phi[k] in stage.index], int)
        if not len(mzis):
            return None
        inner = layout.theta[mzis]
        cold = rest[inner] ** 2 / nominal_ohm(setup)
        half = setup.nominal.power_per_pi
        cold = np.where(cold > half, cold - half, cold + half)
        other = rest.copy()
        other[inner] = on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))
        return other

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        layout = layout_of(setup.architecture, setup.ports)
        light, found, rest = self.columns(setup, known, parameters, raw)
        heaters, ports = layout.heaters, layout.ports
        y, alive = np.zeros((heaters, ports), complex), np.zeros(heaters, bool)
        quantities: dict[str, Quantity] = {}
        offset = known.chip.value("heater_phase_offset").copy()
        scale = np.full(heaters, np.nan)
        chip = known
        for stage, _, column in found:
            y[stage.index], alive[stage.index] = column.y, column.alive
            scale[stage.index] = column.scale
            told = np.where(column.alive, 2 * column.noise / np.maximum(column.size, 1e-300), np.pi)
            quantities = heater_quantities(
                setup, chip, stage.index, column, offset[stage.index], told
            )
            chip = Routine.update(self, chip, Fit(chip=quantities), [])
        own = _own(setup, chip, rest)
        psi = offset[:heaters] + own
        seen_matrices = np.concatenate(
            [matrices(light, raw.load(f"rest-{i}")["odd"].astype(float)) for i in range(2)]
        )
        rested = mean_turned(seen_matrices)
        inputs = known.modulators.accepted("v_pi")
        outputs = np.abs(light.plus) + np.abs(light.minus) > 0
        into, out = input_output_sizes(rested[np.newaxis], inputs, outputs)
        optics = Optics(
            known.chip.value("splitter_errors"),
            known.chip.value("mzi_transmission"),
            into.astype(complex),
            out.astype(complex),
        )
        built = resolved(layout, Seen(y, alive), optics, psi, rested, inputs, outputs)
        total = offset.copy()
        total[:heaters] = np.mod(built.psi - own, 2 * np.pi)
        told = chip.chip.uncertainty("heater_phase_offset").copy()
        told[:heaters] = np.where(built.sure, told[:heaters], np.pi / np.sqrt(3.0))
        quantities = dict(chip.chip.quantities)
        quantities["heater_phase_offset"] = Quantity(
            total, told, known.chip.accepted("heater_phase_offset")
        )
        quantities["splitter_errors"] = Quantity.of(built.optics.errors, 0.01)
        quantities |= gains(setup, known, built.optics)
        arrays = _report_arrays(setup, found)
        arrays |= {"sure": built.sure, "seen": seen(setup, known, light)}
        drift = float(np.abs(np.angle(np.vdot(seen_matrices[0], seen_matrices[-1]))))
        misfit = float(
            np.linalg.norm(_turned_to(seen_matrices[-1], seen_matrices[0]) - seen_matrices[0])
            / np.linalg.norm(seen_matrices[0])
        )
        return Fit(
            chip=quantities,
            arrays=arrays,
            figures={
                "power_per_pi": float(np.nanmedian(setup.nominal.power_per_pi / scale)),
                "resistance_rise": float(found[0][2].rise),
                "repeatability": misfit,
                "oscillator_drift": drift,
            },
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        found = self.failures(fit)
        if len(found) > len(fit.arrays["swept"]) // 2:
            raise CalibrationError(
                f"{len(found)} of {len(fit.arrays['swept'])} heaters show no usable fringe (the first: {found[0]}); "
                "is the heaters' supply on, and wired as the bench file says?"
            )
        return found


def open_drives(setup: Setup, known: Records, heaters: IntArray) -> FloatArray:
    """Volts at which attenuators pass most: theta = pi."""
    chip = known.chip
    wanted = np.mod(np.pi - chip.value("heater_phase_offset")[heaters], 2 * np.pi)
    power = wanted * chip.value("heater_power_per_pi")[heaters] / np.pi
    ohm = chip.value("heater_resistance")[heaters]
    volts = np.sqrt(power * ohm * (1 + chip.value("heater_resistance_rise")[heaters] * power))
    return on_grid(setup, np.minimum(volts, setup.drive_high[heaters]))


def gains(setup: Setup, known: Records, optics: Optics) -> dict[str, Quantity]:
    """The record's gains from the sizes of the fields into and out of a chip, whose product alone is told: by
    convention the inputs' mean power is the datasheet's."""
    into, out = np.abs(optics.into), np.abs(optics.out)
    usable = known.modulators.accepted("v_pi")
    wanted = np.abs(known.chip.value("input_field")).mean()
    factor = wanted / float(np.sqrt((into[usable] ** 2).mean()))
    doubt = 0.01
    return {
        "input_field": Quantity.of((factor * into).astype(complex), doubt * wanted, usable),
        "output_gain": Quantity.of(out / factor, doubt * out / factor),
        "output_phase": Quantity.of(np.zeros(setup.ports)),
    }


def _own(setup: Setup, known: Records, volts: FloatArray) -> FloatArray:
    """Own phases (heaters,) at ``volts`` by ``known``; 0 for heaters that do not answer."""
    n = setup.heaters
    chip = known.chip
    power = power_of_voltage(
        volts, chip.value("heater_resistance")[:n], chip.value("heater_resistance_rise")[:n]
    )
    return phase_of_power(power, chip.value("heater_power_per_pi")[:n])


def _turned_to(matrix: ComplexArray, reference: ComplexArray) -> ComplexArray:
    """``matrix`` turned by one phase to lie nearest to ``reference``."""
    overlap = complex(np.vdot(matrix, reference))
    turned: ComplexArray = matrix * (overlap / max(abs(overlap), 1e-300))
    return turned


def mean_turned(found: ComplexArray) -> ComplexArray:
    """The mean of matrices (s, ports, ports) that differ by a phase each."""
    mean: ComplexArray = np.mean([_turned_to(m, found[0]) for m in found], axis=0)
    return mean


def heater_quantities(
    setup: Setup,
    known: Records,
    heaters: IntArray,
    column: ColumnFit,
    offset: FloatArray,
    offset_doubt: FloatArray,
) -> dict[str, Quantity]:
    """``known``'s heater quantities with one column's values."""
    chip = known.chip
    per_pi = setup.nominal.power_per_pi / column.scale
    doubt = np.where(
        np.isfinite(column.scale_uncertainty),
        per_pi * column.scale_uncertainty / column.scale,
        per_pi,
    )
    values = {
        "heater_power_per_pi": (per_pi, doubt),
        "heater_resistance_rise": (column.rise, column.rise_uncertainty),
        "heater_phase_offset": (np.mod(offset, 2 * np.pi), offset_doubt),
    }
    return {
        name: Quantity(
            whole(chip.value(name), heaters, value),
            whole(chip.uncertainty(name), heaters, error),
            chip.accepted(name),
        )
        for name, (value, error) in values.items()
    }


def _report_arrays(
    setup: Setup, found: Sequence[tuple[Stage, FloatArray, ColumnFit]]
) -> dict[str, np.ndarray]:
    """What the report and the gates need of every heater swept: fringes (heaters, points), NaN where there are fewer."""
    n = setup.heaters
    longest = max(len(cold) for _, cold, _ in found)
    arrays: dict[str, np.ndarray] = {
        "cold": np.full((n, longest), np.nan),
        "line": np.full((n, longest), np.nan + 0j),
        "own": np.full((n, longest), np.nan),
        "alive": np.zeros(n, bool),
        "second": np.zeros(n),
        "scale": np.ones(n),
        "scale_uncertainty": np.full(n, np.inf),
        "noise": np.zeros(n),
    }
    swept: list[int] = []
    for stage, cold, column in found:
        k, index = len(cold), stage.index
        swept += [int(h) for h in index]
        arrays["cold"][index, :k] = cold.T
        arrays["line"][index, :k] = column.line.T
        arrays["own"][index, :k] = own_phase(
            cold, column.scale, column.rise, setup.nominal.power_per_pi
        ).T
        arrays["alive"][index] = column.alive
        arrays["second"][index] = column.second
        arrays["scale"][index] = column.scale
        arrays["scale_uncertainty"][index] = column.scale_uncertainty
        arrays["noise"][index] = column.noise / np.maximum(column.size, 1e-300)
    return arrays | {"swept": np.array(sorted(swept))}


def seen(setup: Setup, known: Records, light: Light) -> BoolArray:
    """Heaters (heaters,) that the readings can tell."""
    inputs, outputs = usable_ports(known, light)
    return seen_heaters(
        elements_of(setup.architecture, setup.ports), setup.heaters, inputs, outputs
    )


def _brighter(first: ColumnFit, second: ColumnFit) -> ColumnFit:
    """Of two sweeps of a column, each heater's larger fringe."""
    more = np.where(second.alive, second.size, 0.0) > np.where(first.alive, first.size, 0.0)
    names = ("scale", "scale_uncertainty", "x", "y", "size", "second", "alive", "line")
    taken = {}
    for name in names:
        one, other = getattr(first, name), getattr(second, name)
        chosen = more[:, np.newaxis] if name in ("x", "y") else more
        taken[name] = np.where(chosen, other, one)
    return replace(first, **taken)


def _of_those_seen(column: ColumnFit, can: BoolArray) -> ColumnFit:
    """``column`` with what the datasheet says of heaters that no reading tells."""
    return replace(
        column,
        alive=column.alive & can,
        scale=np.where(can, column.scale, 1.0),
        scale_uncertainty=np.where(can, column.scale_uncertainty, UNSEEN),
    )


UNSEEN = 0.1
"""Of the power per pi: how far it may be from the datasheet's."""


def usable_ports(known: Records, light: Light) -> tuple[BoolArray, BoolArray]:
    """Inputs and outputs that say something."""
    return known.modulators.accepted("v_pi"), np.abs(light.plus) + np.abs(light.minus) > 0
