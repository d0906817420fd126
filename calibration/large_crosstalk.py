"""Crosstalk of a large mesh, and all its phases again, without a regression on thousands of parameters.

Columns are swept before crosstalk is known. What all other heaters give at the sweeps' background then stands in the
offsets; and while a column is swept, its heat turns the columns beside it, which the fit of fringes takes for its own:
together 78 mrad at 64 ports. Two cheap steps, taken in turn, mend both:

- Shares by distance, six numbers, are fitted to random settings, offsets moving so that phases at the background stay.
- The model then says what a column's heat did to the others at every setting of its sweep. That is taken off the
  readings, and the columns are fitted and walked through again. The model is wrong by some of its matrix, but what
  is taken off is a few percent, so that each turn leaves a small part of the last one's error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from hilonn.calibration.columns import ColumnFit, fit_column
from hilonn.calibration.reconstruct import Seen, resolved
from hilonn.calibration.stages import Layout, Optics, Stage
from hilonn.errors import CalibrationError
from hilonn.mesh import RectangularMesh, SvdMesh
from hilonn.typing import BoolArray, ComplexArray, FloatArray

PROBE = 1e-3
"""Of a share: how far its slope is taken."""
ROUNDS = 8
HALVINGS = 6
ENOUGH = 1e-3
"""Relative fall of the misfit below which the shares are found."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """One column's sweep: ``cold`` (k, n) W of its heaters, by the nominal resistance, and the ``matrices`` (k, ports, ports)."""

    stage: Stage
    cold: FloatArray
    matrices: ComplexArray


@dataclass(frozen=True, eq=False)
class Chip:
    """What is known of the chip. ``resting`` (heaters,) total phases at the sweeps' background, ``rest`` (heaters,) W there;
    ``scale`` (heaters,) of the nominal frequency, 0 where a heater does not answer; ``rise`` (heaters,) 1/W; ``share`` (d,) by
    distance of ``pairs`` (d,) of heaters."""

    layout: Layout
    rest: FloatArray
    per_pi: float
    pairs: tuple[csr_array, ...]
    resting: FloatArray
    scale: FloatArray
    rise: FloatArray
    share: FloatArray
    optics: Optics

    def own(self, cold: FloatArray) -> FloatArray:
        """Own phases (..., heaters) rad at ``cold`` (..., heaters) W."""
        power = 2 * cold / (1 + np.sqrt(1 + 4 * self.rise * cold))
        return np.asarray(np.pi * self.scale * power / self.per_pi)

    @property
    def crosstalk(self) -> csr_array:
        """(heaters, heaters): what each takes of the others' own phases."""
        total = self.share[0] * self.pairs[0]
        for share, pairs in zip(self.share[1:], self.pairs[1:], strict=True):
            total = total + share * pairs
        return csr_array(total)

    @property
    def offset(self) -> FloatArray:
        """Phases (heaters,) rad with all heaters cold."""
        own = self.own(self.rest)
        return np.asarray(self.resting - own - self.crosstalk @ own)

    def phases(self, cold: FloatArray) -> FloatArray:
        """Total phases (s, heaters) at ``cold`` (s, heaters)."""
        moved = self.own(cold) - self.own(self.rest)
        return np.asarray(self.resting + moved + (self.crosstalk @ moved.T).T)

    def model(self) -> Callable[[FloatArray], ComplexArray]:
        """From total phases (heaters,) to the matrix (ports, ports)."""
        svd = bool((self.layout.phi < 0).any())
        kind = SvdMesh if svd else RectangularMesh
        optics = self.optics
        mesh = kind(
            self.layout.ports,
            splitter_errors=optics.errors,
            mzi_transmission=optics.transmission,
        )
        ends = np.outer(optics.out, optics.into)

        def matrix(phases: FloatArray) -> ComplexArray:
            found: ComplexArray = mesh.matrix_flat(phases) * ends
            return found

        return matrix


def with_shares(
    chip: Chip, cold: FloatArray, found: ComplexArray, used: FloatArray
) -> tuple[Chip, FloatArray, float]:
    """``chip`` with the shares that explain ``found`` (s, ports, ports) at ``cold`` (s, heaters) best, each setting turned by
    its oscillator's phase; their standard deviations; what is left, relative. ``used`` (ports, ports): 0 where
    nothing can be read. CalibrationError where no step leaves less.
    """
    model = chip.model()
    moved = chip.own(cold) - chip.own(chip.rest)
    heat = np.stack([(pairs @ moved.T).T for pairs in chip.pairs])
    found = found * used

    def left(share: FloatArray) -> tuple[ComplexArray, ComplexArray]:
        phases = chip.resting + moved + np.tensordot(share, heat, 1)
        said = np.stack([model(p) for p in phases]) * used
        return _turned(found, said) - said, said

    share = chip.share.copy()
    missing, said = left(share)
    misfit = _square(missing)
    inverse: FloatArray = np.eye(len(share))
    for _ in range(ROUNDS):
        slopes = []
        size = np.sqrt((np.abs(said) ** 2).sum(axis=(1, 2), keepdims=True))
        along = 1j * said / size  # the oscillator's phase is free
        for d in range(len(share)):
            probe = share.copy()
            probe[d] += PROBE
            slope = (left(probe)[1] - said) / PROBE
            slope -= along * (along.conj() * slope).real.sum(axis=(1, 2), keepdims=True)
            slopes.append(slope.ravel())
        every = np.array(slopes)
        inverse = np.linalg.inv((every.conj() @ every.T).real)
        step = inverse @ (every.conj() @ missing.ravel()).real
        before = misfit
        for _ in range(HALVINGS):
            trial, there = left(share + step)
            if _square(trial) < before:
                share, missing, said, misfit = share + step, trial, there, _square(trial)
                break
            step = step / 2
        if before - misfit < ENOUGH * before:
            break
    variance = misfit / (2 * used.sum() * len(found))
    told = np.sqrt(variance * np.diagonal(inverse))
    size_of_all = _square(found)
    if not np.isfinite(share).all() or misfit > size_of_all:
        raise CalibrationError(
            f"crosstalk: random settings are explained by nothing: {np.sqrt(misfit / size_of_all):.0%} of their matrices are "
            "left; were the columns swept on this chip, with these boxes?"
        )
    return replace(chip, share=share), told, float(np.sqrt(misfit / size_of_all))


def cooled(chip: Chip, sweep: Sweep) -> ComplexArray:
    """The sweep's matrices (k, ports, ports) as they would be if the column's heat stayed with each heater: less what the
    model says that it did to all others, and to each other."""
    index, model = sweep.stage.index, chip.model()
    cold = np.tile(chip.rest, (len(sweep.cold), 1))
    cold[:, index] = sweep.cold
    phases = chip.phases(cold)
    alone = np.tile(chip.resting, (len(cold), 1))
    alone[:, index] += chip.own(cold)[:, index] - chip.own(chip.rest)[index]
    found = np.empty_like(sweep.matrices)
    for k in range(len(cold)):
        there = model(phases[k])
        turn = np.vdot(there, sweep.matrices[k])
        found[k] = sweep.matrices[k] + (model(alone[k]) - there) * (turn / abs(turn))
    return found


def walked_again(
    chip: Chip,
    sweeps: Sequence[Sweep],
    background: ComplexArray,
    inputs: BoolArray,
    outputs: BoolArray,
    prior: float,
) -> tuple[Chip, list[ColumnFit], BoolArray]:
    """``chip`` by the sweeps, their heat taken off: frequencies, phases at the background and couplers; every column's fit;
    which phases (heaters,) some row told. ``prior`` (1/W) of a column's self-heating."""
    ports = chip.layout.ports
    y, alive = np.zeros((chip.layout.heaters, ports), complex), np.zeros(chip.layout.heaters, bool)
    scale, rise, fits = chip.scale.copy(), chip.rise.copy(), []
    for sweep in sweeps:
        index = sweep.stage.index
        heating = float(np.median(chip.rise[index]))
        start = np.where(chip.scale[index] > 0, chip.scale[index], 1.0)
        fit = fit_column(sweep.cold, cooled(chip, sweep), chip.per_pi, heating, prior, start)
        y[index], alive[index] = fit.y, fit.alive
        scale[index] = np.where(chip.scale[index] > 0, fit.scale, 0.0)
        rise[index] = fit.rise
        fits.append(fit)
    optics = replace(chip.optics, into=np.abs(chip.optics.into).astype(complex))
    built = resolved(chip.layout, Seen(y, alive), optics, chip.resting, background, inputs, outputs)
    new = replace(chip, resting=built.psi, scale=scale, rise=rise, optics=built.optics)
    return new, fits, built.sure


def _turned(found: ComplexArray, said: ComplexArray) -> ComplexArray:
    overlap = (found.conj() * said).sum(axis=(1, 2), keepdims=True)
    turned: ComplexArray = found * (overlap / np.maximum(np.abs(overlap), 1e-300))
    return turned


def _square(missing: ComplexArray) -> float:
    return float((missing.real**2).sum() + (missing.imag**2).sum())
