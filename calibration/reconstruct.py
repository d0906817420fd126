"""From the rows of fields that reach each heater to the phases and couplers between them: linear algebra, column by column.

The fringe of a heater tells the field that every input sends to it, up to a factor. Walking with the light, the rows
at the entrance of a column are known; a phase shifter behind a coupler then sees a sum of two of them, and the ratio
of the two shares is the phase between them and the coupler's angle:

    inside an interferometer     cos(A) e^{i phi} R_m + i sin(A) R_{m+1},            A = pi/4 + a
    at its lower output          i sin(B) e^{i theta} W + cos(B) W',                 B = pi/4 + b
    at its upper output          cos(B) e^{i theta} W + i sin(B) W',

W and W' being the fields inside. No search, and no local minimum. Conventions (gauges): inputs carry no phase, the
output heaters of an SVD chip's right mesh have no offset, outputs carry no phase beyond their heaters'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.calibration.stages import Layout, Optics, Stage, attenuation, transfer
from hilonn.typing import BoolArray, ComplexArray, FloatArray

FAINT = 1e-4
"""Of a ratio's weight: below, it tells nothing."""
DOUBT = 0.03
"""rad: what a coupler's error is before it is seen (sd) ..."""
NOISE = 0.004
"""... and how well a share of 1 is seen: together they say how much of a faint coupler is believed."""


@dataclass(frozen=True, eq=False)
class Seen:
    """``y`` (heaters, ports): the row that each heater saw, of unit length; ``alive`` (heaters,) those that did."""

    y: ComplexArray
    alive: BoolArray


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """``psi`` (heaters,) rad: total phases at the background; ``optics`` with the couplers found and the outputs'
    gains; ``sure`` (heaters,): phases that some row told."""

    psi: FloatArray
    optics: Optics
    sure: BoolArray


def input_output_sizes(
    matrices: ComplexArray, inputs: BoolArray, outputs: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """|gains| of the fields into and out of a chip that loses alike on all paths: (ports,) each, from matrices
    (s, ports, ports). T^H diag(1/out^2) T is diagonal for a unitary; where outputs are missing the same holds of
    T diag(1/in^2) T^H. Unusable ports get the median.
    """
    ports = matrices.shape[1]
    if not outputs.all() and inputs.all():
        out, into = input_output_sizes(matrices.swapaxes(1, 2), outputs, inputs)
        return into, out
    used = np.flatnonzero(outputs)
    rows = matrices[:, used]
    powers = np.abs(rows) ** 2
    cross = np.abs(rows @ rows.conj().swapaxes(1, 2)) ** 2
    form = (cross - powers @ powers.swapaxes(1, 2)).sum(axis=0)
    _, vectors = np.linalg.eigh(form)
    weight = np.abs(vectors[:, 0])
    weight /= weight.mean()
    square = np.einsum("k,skj->j", weight, powers) / len(matrices)
    into = np.full(ports, np.sqrt(np.median(square[inputs])))
    into[inputs] = np.sqrt(square[inputs])
    out = np.full(ports, 1.0 / np.sqrt(np.median(weight)))
    out[used] = 1.0 / np.sqrt(weight)
    return into, out


Notes = dict[int, list[tuple[complex, float, float]]]
"""By an interferometer's upper port, what was seen of it: e^{i theta}, its weight, log tan B; of one whose own heater saw
nothing: e^{i phi}, its weight, log tan(theta / 2)."""


def reconstruct(
    layout: Layout,
    seen: Seen,
    optics: Optics,
    psi: FloatArray,
    background: ComplexArray,
    inputs: BoolArray,
    outputs: BoolArray,
) -> Reconstruction:
    """All phases and couplers from what every heater saw.

    ``optics``: sizes of the gains into the chip, losses, and the attenuators' couplers; ``psi`` (heaters,): what
    phases are where nothing tells (those of the right mesh's output heaters and of the attenuators are taken from
    it); ``background`` (ports, ports): the matrix with every heater at its background; ``inputs``, ``outputs``
    (ports,): those of use.
    """
    walker = _Walker(layout, seen, optics, psi, inputs)
    stages = list(layout.stages)
    while stages:
        if len(stages) > 3 and stages[1].kind == "coupler":
            walker.column(stages[:4])
            del stages[:4]
        elif stages[0].kind == "attenuator":
            walker.attenuate(stages.pop(0))
        else:
            behind = stages[1] if len(stages) > 1 else None
            walker.output(stages.pop(0), behind)
    rows = walker.rows
    length = np.maximum((np.abs(rows) ** 2).sum(axis=1), 1e-300)
    gain = np.einsum("kj,kj->k", rows.conj(), background) / length
    last = layout.stages[-1].index
    walker.psi[last] += np.angle(gain)
    walker.sure[last] = outputs & seen.alive[last]
    out = np.abs(gain)
    out[~outputs] = np.median(out[outputs])
    found = Optics(walker.errors, optics.transmission, optics.into, out.astype(complex))
    return Reconstruction(walker.psi, found, walker.sure)


TRIALS = 24
"""Values at which a phase that no row tells is tried."""


def resolved(
    layout: Layout,
    seen: Seen,
    optics: Optics,
    psi: FloatArray,
    background: ComplexArray,
    inputs: BoolArray,
    outputs: BoolArray,
) -> Reconstruction:
    """``reconstruct``; inner phases that no row tells are those of ``TRIALS`` that explain the background best.

    A dead heater at the edge of a mesh leaves the interferometer before it unseen: whatever is built on it would be
    wrong.
    """

    def built(start: FloatArray) -> tuple[float, Reconstruction]:
        found = reconstruct(layout, seen, optics, start, background, inputs, outputs)
        model = transfer(layout, found.psi[np.newaxis], found.optics)[0]
        used = np.outer(outputs, inputs)
        return float((np.abs(model - background)[used] ** 2).sum()), found

    misfit, best = built(psi)
    attenuators = layout.phi < 0
    unseen = layout.theta[~attenuators & ~best.sure[layout.theta]]
    start = psi.copy()
    for theta in unseen:
        for value in np.arange(TRIALS) * (2 * np.pi / TRIALS):
            trial = start.copy()
            trial[theta] = value
            now, found = built(trial)
            if now < misfit:
                misfit, best, start = now, found, trial
    return best


class _Walker:
    """The rows at one place of the chip; ``inside`` by its upper port each interferometer whose outputs are not
    known yet, with the fields W and W' in it."""

    def __init__(
        self, layout: Layout, seen: Seen, optics: Optics, psi: FloatArray, inputs: BoolArray
    ) -> None:
        self.layout, self.seen = layout, seen
        self.errors, self.transmission = optics.errors.copy(), optics.transmission
        self.psi = psi.copy()
        self.sure = np.zeros(layout.heaters, bool)
        self.rows = np.diag(np.where(inputs, np.abs(optics.into), 0.0)).astype(complex)
        self.inside: dict[int, tuple[int, ComplexArray, ComplexArray]] = {}
        self.blind: set[int] = set()
        """Upper ports of interferometers whose inner heater is dead: W and W' are not told, and its two inputs stand
        in ``inside`` in their place."""

    def column(self, stages: list[Stage]) -> None:
        """One column of interferometers: phi, first coupler, theta, second coupler."""
        phi, first, theta, _ = stages
        self._leave([*_pairs(phi)], [*_pairs(theta)])
        for k, m, before, within in zip(
            first.mzis, first.rows, phi.index, theta.index, strict=True
        ):
            self._enter(int(k), int(m), int(before), int(within))

    def output(self, stage: Stage, behind: Stage | None) -> None:
        """The heaters on all paths behind the last column: every output is seen alone, by what stands behind too."""
        attenuators = behind is not None and behind.kind == "attenuator"
        self._leave([*_pairs(stage), *(_pairs(behind) if attenuators and behind else ())], [])
        if behind is None:
            self.psi[stage.index] = 0.0  # the reconstruction's end finds them
        self.rows[stage.rows] *= np.exp(1j * self.psi[stage.index])[:, np.newaxis]

    def attenuate(self, stage: Stage) -> None:
        k = stage.mzis
        field = attenuation(self.psi[stage.index], self.errors[k], self.transmission[k])
        self.rows[stage.rows] *= field[:, np.newaxis]
        self.sure[stage.index] = self.seen.alive[stage.index]

    def _enter(self, k: int, m: int, before: int, within: int) -> None:
        """phi and the first coupler from what theta's heater saw."""
        upper, lower = self.rows[m], self.rows[m + 1]
        self.blind.discard(m)
        if not self.seen.alive[within]:
            self.blind.add(m)
            self.inside[m] = (k, upper.copy(), lower.copy())
            return
        a, b = _shares(self.seen.y[within], np.stack((upper, lower)))
        weight = _weight(a, b)
        if weight > FAINT and not _alike(upper, lower):
            ratio = 1j * a / b
            self.psi[before] = np.angle(ratio)
            self.sure[before] = True
            # |ratio| = cos A / sin A = tan(pi / 4 - a)
            self.errors[k, 0] = _believed(np.pi / 4 - np.arctan(abs(ratio)), weight)
        angle = np.pi / 4 + self.errors[k, 0]
        c, s = np.cos(angle), np.sin(angle)
        turned = np.exp(1j * self.psi[before]) * upper
        self.inside[m] = (k, c * turned + 1j * s * lower, 1j * s * turned + c * lower)

    def _leave(self, alone: list[tuple[int, int]], summed: list[tuple[int, int]]) -> None:
        """theta and the second coupler of the interferometers behind which the walk stands, from heaters that see one
        of their outputs ``alone`` ((port, heater)), and from those that see a sum of two ((upper port, heater))."""
        notes: Notes = {m: [] for m in self.inside}
        for port, heater in alone:
            for m in (port - 1, port):
                if m in self.inside and self.seen.alive[heater]:
                    _, w, v = self.inside[m]
                    a, b = _shares(self.seen.y[heater], np.stack((w, v)))
                    self._take(notes, m, a, b, lower=m == port - 1)
        for port, heater in summed:
            if self.seen.alive[heater]:
                self._note_sum(notes, port, self.seen.y[heater])
        for m, (k, w, v) in self.inside.items():
            theta = int(self.layout.theta[k])
            if m in self.blind:
                w, v = self._blind(k, notes[m], w, v)
            elif notes[m]:
                phases, weights, logs = (np.array(column) for column in zip(*notes[m], strict=True))
                self.psi[theta] = np.angle((weights * phases).sum())
                self.sure[theta] = True
                # log tan(pi / 4 + b) = 2 b + O(b^3)
                size = float((weights * logs).sum() / weights.sum()) / 2
                self.errors[k, 1] = _believed(size, float(weights.sum()))
            angle = np.pi / 4 + self.errors[k, 1]
            c, s = np.cos(angle), np.sin(angle)
            z, size = np.exp(1j * self.psi[theta]), float(np.sqrt(self.transmission[k]))
            self.rows[m] = size * (c * z * w + 1j * s * v)
            self.rows[m + 1] = size * (1j * s * z * w + c * v)
        self.inside = {}

    def _blind(
        self,
        k: int,
        notes: list[tuple[complex, float, float]],
        upper: ComplexArray,
        lower: ComplexArray,
    ) -> tuple[ComplexArray, ComplexArray]:
        """phi and theta of an interferometer whose inner heater is dead, from what was seen behind it, and W and W'.
        (phi + pi, -theta) would do as well, for good: theta never moves."""
        before, within = int(self.layout.phi[k]), int(self.layout.theta[k])
        if notes:
            phases, weights, logs = (np.array(column) for column in zip(*notes, strict=True))
            self.psi[before] = np.angle((weights * phases).sum())
            self.psi[within] = 2 * np.arctan(np.exp(-(weights * logs).sum() / weights.sum()))
            self.sure[[before, within]] = True
        c = s = np.sqrt(0.5)
        turned = np.exp(1j * self.psi[before]) * upper
        return c * turned + 1j * s * lower, 1j * s * turned + c * lower

    def _note_sum(self, notes: Notes, port: int, y: ComplexArray) -> None:
        """A heater within the interferometer on ``port`` and the next sees the lower output of the one before on the
        first, and the upper output of the one before on the second."""
        basis: list[ComplexArray] = []
        where: list[int | None] = []
        for m, row in ((port - 1, port), (port + 1, port + 1)):
            if m in self.inside:
                basis += self.inside[m][1:]
                where += [m, m]
            else:
                basis.append(self.rows[row])
                where.append(None)
        found = _shares(y, np.stack(basis))
        for m in (port - 1, port + 1):
            if m in self.inside:
                at = where.index(m)
                self._take(notes, m, found[at], found[at + 1], lower=m == port - 1)

    def _take(self, notes: Notes, m: int, a: complex, b: complex, lower: bool) -> None:
        if _alike(*self.inside[m][1:]):
            return
        if m in self.blind:
            # Ideal couplers: a / b is tan(theta/2) e^{i phi} at the upper output, -cot(theta/2) e^{i phi} at the lower.
            turned = (1j * b.conjugate(), a.conjugate()) if lower else (a, 1j * b)
            _note(notes[m], turned[0], turned[1], lower=False)
        else:
            _note(notes[m], a, b, lower)


def _pairs(stage: Stage) -> list[tuple[int, int]]:
    return [(int(r), int(h)) for r, h in zip(stage.rows, stage.index, strict=True)]


def _shares(y: ComplexArray, rows: ComplexArray) -> ComplexArray:
    """Coefficients (n,) of ``y`` on ``rows`` (n, ports), times each row's length: shares of light."""
    length = np.linalg.norm(rows, axis=1)
    unit = rows / np.maximum(length, 1e-300)[:, np.newaxis]
    found: ComplexArray = np.linalg.lstsq(unit.T, y, rcond=0.05)[0]
    scaled: ComplexArray = found * (length > 0) / np.maximum(length, 1e-300)
    return scaled


def _alike(first: ComplexArray, second: ComplexArray) -> bool:
    """Whether two rows point the same way, or one has no light: their shares are not told apart. So it is behind an
    input that is not lit."""
    sizes = float(np.linalg.norm(first) * np.linalg.norm(second))
    return bool(sizes == 0.0 or abs(np.vdot(first, second)) > ALIKE * sizes)


ALIKE = 0.97


def _weight(a: complex, b: complex) -> float:
    """How well the ratio of two shares is told: their squares in parallel."""
    p, q = abs(a) ** 2, abs(b) ** 2
    return p * q / (p + q) if p > 0 and q > 0 else 0.0


def _believed(error: float, weight: float) -> float:
    """A coupler's error drawn towards 0 by how faintly it was seen."""
    return error / (1 + (NOISE / DOUBT) ** 2 / max(weight, 1e-12))


def _note(notes: list[tuple[complex, float, float]], a: complex, b: complex, lower: bool) -> None:
    """Shares ``a`` of W and ``b`` of W' at the lower output, or the upper one."""
    weight = _weight(a, b)
    if weight < FAINT:
        return
    ratio = a / b / 1j if lower else 1j * a / b  # tan(B) e^{i theta}; e^{i theta} / tan(B)
    size = float(np.log(abs(ratio)))
    notes.append((ratio / abs(ratio), weight, size if lower else -size))
