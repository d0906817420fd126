"""A matrix on a chip of which nothing is known but what stands at its ends: light itself finds every phase.

Detectors stand behind the chip only, so that an interferometer is seen through all that follow it. First every one of
them is made a mirror (bar state; see ``shutters``). Then they are set
in the order of the light, each by nulling: a superposition is sent that the wanted matrix brings to the lower port of an
interferometer, and its phi and theta are turned until its upper port is dark, which is read at that port's own output,
behind mirrors.

- ``progressive`` (Miller, Opt. Express 21, 6360, 2013), triangular meshes: the superposition is a row of the matrix, and the
  interferometers of the row's diagonal are nulled one after another. Nothing but the matrix itself is computed with.
- ``parallel`` (Pai et al., arXiv:1909.06179), any mesh: a column at a time, all of its interferometers at once, with
  superpositions that a model of the wanted mesh gives; as many steps as columns, not as interferometers.

A mirror leaks a few per cent of its neighbour's field, which would displace the null by as much. The leak turns its sign with
phi of the next interferometer on the nulled port; each reading is taken at two phi half a turn apart, and their sum is
least where the port is dark.

What heaters set later warm is made good at the end: every phase in turn is moved to where the light of all rows of the
matrix, sent one after another, leaves most by its own output. That corrects what splitters are off, too (local correction).

Powers do not tell the phase of an output: the matrix is reached but for one phase, its sign say, a row. Where an oscillator is
wired, output heaters are turned until every row is positive against it. Inputs carry phases that nobody knows; they are
taken up by the phases that are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from hilonn.calibration import shutters
from hilonn.calibration.drives import background, nominal_ohm, on_grid, top_of
from hilonn.calibration.fringes import fit_fringe
from hilonn.calibration.nulls import Job, jobs, nodes_of, prepared
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Parameters, Progress
from hilonn.calibration.stages import layout_of
from hilonn.calibration.superpositions import SETTINGS, Superpositions
from hilonn.errors import CalibrationError, ResumeError
from hilonn.records import Records
from hilonn.typing import FloatArray, IntArray

POINTS, TURNS = 8, 1.15
"""Of a sweep over a whole turn, by the datasheet."""
NEAR = 0.8
"""rad to either side, of a sweep about the present phase."""
POLISH, CAREFUL = 4, 32
"""Times as many averages as a null takes: of polishing, which looks at small changes of bright light; of what is stated."""


class Options(Parameters):
    """``averages`` of each play; ``rounds`` of polishing at most, fewer where a round gains less than ``enough`` of
    fidelity."""

    averages: int = 16
    rounds: int = 6
    enough: float = 2e-4


DEFAULT = Options()


@dataclass(frozen=True)
class Configured:
    """``volts`` (heaters,) at which the chip is ``wanted`` (ports, ports), a row's sign apart unless ``matrix`` is there.

    ``fidelity``: mean over rows of |<row wanted, row there>| of unit rows, from readings: the share of each row's light that
    leaves by its own output, ``shares`` (outputs, rows). ``sizes`` (ports, ports): |elements| as read with one input at a
    time, rows of unit length. ``matrix`` (ports, ports): signed elements, a gain a row apart, where an oscillator is wired; ``matrix_error``: their
    relative error (Frobenius), of ``sizes`` without one. ``history``: fidelity after nulling and after each round.
    ``passes`` by part; ``seconds`` on the bench's clock."""

    method: str
    wanted: FloatArray
    volts: FloatArray
    fidelity: float
    shares: FloatArray
    sizes: FloatArray
    matrix: FloatArray | None
    matrix_error: float
    history: tuple[float, ...]
    passes: dict[str, int]
    seconds: float


def progressive(
    rig: Rig,
    known: Records,
    matrix: ArrayLike,
    raw: Raw,
    options: Options = DEFAULT,
    progress: Progress = lambda what, done, count: None,
) -> Configured:
    """Configure the triangular mesh of ``rig``, row by row, to ``matrix``; light is on.

    ``matrix``: real, orthogonal (ports, ports), or any (m, n) of up to half the ports, which is scaled to a spectral norm of 1
    and becomes the upper left corner. ``known``: records of modulators and detectors. ``raw`` keeps every step: a second call
    goes on from there. Raises ConfigError for another mesh or matrix, ResumeError for a ``raw`` of another, CalibrationError for a heater without effect, Interrupted where
    somebody asked to stop, and what devices raise.
    """
    wanted = prepared("progressive", rig.setup, matrix)
    return _configured("progressive", rig, known, wanted, raw, options, progress)


def parallel(
    rig: Rig,
    known: Records,
    matrix: ArrayLike,
    raw: Raw,
    options: Options = DEFAULT,
    progress: Progress = lambda what, done, count: None,
) -> Configured:
    """As ``progressive``, column by column, on a rectangular or triangular mesh."""
    wanted = prepared("parallel", rig.setup, matrix)
    return _configured("parallel", rig, known, wanted, raw, options, progress)


def passes(method: str, setup: Setup, options: Options) -> dict[str, int]:
    """What each part takes at most."""
    count = len(nodes_of(setup))
    eye = np.eye(setup.ports)
    sweep = 2 * (2 * POINTS + 2 * 3)  # two settings of what is behind, phi and theta, wide and near
    return {
        "balance": SETTINGS,
        "mirrors": shutters.passes(setup),
        "nulls": sum(sweep for _ in jobs(method, setup, eye)),
        "polish": options.rounds * (2 * count * 3 + 2),
        "outputs": POINTS + 3 + 2 if setup.oscillator else 1,
    }


def _configured(
    method: str,
    rig: Rig,
    known: Records,
    wanted: FloatArray,
    raw: Raw,
    options: Options,
    progress: Progress,
) -> Configured:
    started, spent = rig.clock.now(), {}

    def counted(part: str, action: Callable[[], None]) -> None:
        before = rig.tally.passes
        action()
        spent[part] = rig.tally.passes - before

    run = _Run(method, rig, known, wanted, raw, options, progress)
    counted("balance", run.balance)
    counted("mirrors", run.mirrors)
    counted("nulls", run.null)
    counted("polish", run.polish)
    counted("outputs", run.outputs)
    return run.result(spent, rig.clock.now() - started)


@dataclass
class _Run:
    """One configuration on its way; ``volts`` and ``turn`` (heaters,): where every heater stands, and the V^2 / R (W) of half a
    turn of each, the datasheet's until its fringe was seen."""

    method: str
    rig: Rig
    known: Records
    wanted: FloatArray
    raw: Raw
    options: Options
    progress: Progress
    history: list[float] = field(default_factory=list)
    matrix: FloatArray | None = None

    def __post_init__(self) -> None:
        setup = self.rig.setup
        self.light = Superpositions(self.rig, self.known, self.options.averages)
        self.volts: FloatArray = np.zeros(setup.heaters)
        self.turn: FloatArray = np.full(setup.heaters, setup.nominal.power_per_pi)
        self.even: dict[int, float] = {}
        self.nodes = nodes_of(setup)

    # -- the five parts -----------------------------------------------------------------------------

    def balance(self) -> None:
        if not self.raw.has("balance"):
            self.light.balance()
            self.raw.save(
                "balance",
                into=self.light.into,
                out=self.light.out,
                wanted=self.wanted,
                chip=self.rig.setup.chip,
                method=self.method,
            )
        block = self.raw.load("balance")
        for what, same in (
            ("chip", str(block["chip"]) == self.rig.setup.chip),
            ("method", str(block["method"]) == self.method),
            ("matrix", np.allclose(block["wanted"], self.wanted)),
        ):
            if not same:
                raise ResumeError(
                    f"{self.raw.folder} holds what was found for another {what}; give another folder"
                )
        self.light.into, self.light.out = block["into"], block["out"]

    def mirrors(self) -> None:
        """Every interferometer to its bar state; and where each divides evenly."""
        setup = self.rig.setup
        theta = layout_of(setup.architecture, setup.ports).theta
        if not self.raw.has("mirrors"):
            found = shutters.find(self.light, lambda i, n: self.progress("mirrors", i, n))
            dark = theta[~found.lit]
            if dark.size:
                raise CalibrationError(
                    f"{setup.chip} cannot be configured: nothing changes with heater {dark[0]} ({dark.size} of "
                    f"{theta.size} inner heaters): is it wired, and its supply on?"
                )
            self.raw.save("mirrors", bar=found.bar, half=found.half)
        block = self.raw.load("mirrors")
        self.volts = background(setup)
        for k, h in enumerate(theta.tolist()):
            bar, half = float(block["bar"][k]), float(block["half"][k])
            self.turn[h] = half
            self.volts[h] = self._volts(h, bar)
            self.even[h] = bar - half / 2 if bar > half / 2 else bar + half / 2

    def null(self) -> None:
        ahead = list(jobs(self.method, self.rig.setup, self.wanted))
        for i, job in enumerate(ahead):
            name = f"null-{i:04d}"
            if not self.raw.has(name):
                self._nulled(job)
                self.raw.save(name, volts=self.volts, turn=self.turn)
            block = self.raw.load(name)
            self.volts, self.turn = block["volts"], block["turn"]
            self.progress("nulling", i + 1, len(ahead))

    def polish(self) -> None:
        self.history.append(self._fidelity(self._shares(self.volts)))
        for i in range(self.options.rounds):
            name = f"polish-{i}"
            if not self.raw.has(name):
                whole = self.light.powers(self.volts, self.wanted, CAREFUL).sum(axis=1)

                def own(volts: FloatArray, whole: FloatArray = whole) -> FloatArray:
                    powers = self.light.powers(volts, self.wanted, POLISH)
                    return np.array([(np.diagonal(powers) / whole).sum()])

                for k, n in enumerate(reversed(self.nodes)):
                    for h in (n.theta, n.phi):
                        self._near([h], own, 1.0)
                    self.progress(f"polishing, round {i + 1}", k + 1, len(self.nodes))
                reached = self._fidelity(self._shares(self.volts))
                self.raw.save(name, volts=self.volts, fidelity=reached)
            block = self.raw.load(name)
            self.volts = block["volts"]
            self.history.append(float(block["fidelity"]))
            if self.history[-1] - self.history[-2] < self.options.enough:
                return

    def outputs(self) -> None:
        """What there is, as read; against an oscillator with every row's sign, output heaters turned for it."""
        setup = self.rig.setup
        self.shares = self._shares(self.volts)
        self.sizes = np.sqrt(
            np.maximum(self.light.powers(self.volts, np.eye(setup.ports), CAREFUL).T, 0.0)
        )
        self.sizes /= np.maximum(np.linalg.norm(self.sizes, axis=1, keepdims=True), 1e-12)
        if setup.oscillator:
            heaters = [int(h) for h in layout_of(setup.architecture, setup.ports).stages[-1].index]

            def rows(volts: FloatArray) -> FloatArray:
                return np.diagonal(self.light.fields(volts, self.wanted))

            self._whole(heaters, rows, 1.0)
            self._near(heaters, rows, 1.0)
            read = self.light.fields(self.volts, np.eye(setup.ports), CAREFUL).T
            gain = (read * self.wanted).sum(axis=1) / (self.wanted**2).sum(axis=1)
            self.matrix = read / gain[:, np.newaxis]

    def result(self, spent: dict[str, int], seconds: float) -> Configured:
        found = self.sizes if self.matrix is None else self.matrix
        wanted = np.abs(self.wanted) if self.matrix is None else self.wanted
        return Configured(
            self.method,
            self.wanted,
            self.volts.copy(),
            self._fidelity(self.shares),
            self.shares,
            self.sizes,
            self.matrix,
            float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)),
            tuple(self.history),
            spent,
            seconds,
        )

    # -- moves --------------------------------------------------------------------------------------

    def _nulled(self, job: Job) -> None:
        """phi and theta of all of ``job``: first over a whole turn, then near."""
        thetas, phis = [n.theta for n in job.nodes], [n.phi for n in job.nodes]
        tops: IntArray = np.array([n.top for n in job.nodes])
        behind = [n.behind for n in job.nodes if n.behind is not None]
        for h in thetas:
            self.volts[h] = self._volts(h, self.even[h])

        def dark(volts: FloatArray) -> FloatArray:
            flipped = volts.copy()
            for h in behind:
                flipped[h] = self._half_a_turn_off(h, volts[h])
            return np.asarray(
                sum(
                    self.light.powers(v, job.sent)[np.arange(len(tops)), tops]
                    for v in (volts, flipped)
                )
            )

        self._whole(phis, dark, -1.0)
        self._whole(thetas, dark, -1.0)
        self._near(phis, dark, -1.0)
        self._near(thetas, dark, -1.0)

    def _whole(
        self, heaters: Sequence[int], read: Callable[[FloatArray], FloatArray], sign: float
    ) -> None:
        """Sweep ``heaters`` together over a turn; each to where its own of ``read`` is largest (``sign`` 1) or least (-1)."""
        setup = self.rig.setup
        tops = top_of(setup, TURNS)
        cold, found = np.empty((POINTS, len(heaters))), np.empty((POINTS, len(heaters)))
        for k, share in enumerate(np.linspace(0.0, 1.0, POINTS)):
            trial = self.volts.copy()
            for i, h in enumerate(heaters):
                trial[h] = self._volts(h, share * tops[h])
                cold[k, i] = trial[h] ** 2 / nominal_ohm(setup)
            found[k] = read(trial)
        for i, h in enumerate(heaters):
            about = np.pi / self.turn[h]
            fringe = fit_fringe(cold[:, i], sign * found[:, i], 0.8 * about, 1.25 * about)
            self.turn[h] = np.pi / fringe.frequency
            self.volts[h] = self._volts(h, np.mod(-fringe.phase, 2 * np.pi) / fringe.frequency)

    def _near(
        self, heaters: Sequence[int], read: Callable[[FloatArray], FloatArray], sign: float
    ) -> None:
        """As ``_whole``, by three readings about where they stand: mean, cosine and sine of a fringe of known length."""
        ohm = nominal_ohm(self.rig.setup)
        middle = {h: max(self.volts[h] ** 2 / ohm, NEAR * self.turn[h] / np.pi) for h in heaters}
        found, angle = np.empty((3, len(heaters))), np.empty((3, len(heaters)))
        for k, step in enumerate((-NEAR, 0.0, NEAR)):
            trial = self.volts.copy()
            for i, h in enumerate(heaters):
                trial[h] = self._volts(h, middle[h] + step * self.turn[h] / np.pi)
                angle[k, i] = (trial[h] ** 2 / ohm - middle[h]) * np.pi / self.turn[h]
            found[k] = read(trial)
        for i, h in enumerate(heaters):
            basis = np.stack((np.ones(3), np.cos(angle[:, i]), np.sin(angle[:, i])), axis=1)
            _, cosine, sine = np.linalg.solve(basis, sign * found[:, i])
            step = float(np.clip(np.arctan2(sine, cosine), -NEAR, NEAR))
            self.volts[h] = self._volts(h, middle[h] + step * self.turn[h] / np.pi)

    def _volts(self, heater: int, cold: float) -> float:
        """Volts at ``cold`` W (V^2 / R), a whole turn off where it is out of range."""
        setup = self.rig.setup
        ohm, high = nominal_ohm(setup), float(setup.drive_high[heater])
        if cold < 0:
            cold += 2 * self.turn[heater]
        elif cold > high**2 / ohm:
            cold -= 2 * self.turn[heater]
        volts = float(np.sqrt(max(cold, 0.0) * ohm))
        return float(on_grid(setup, np.array(min(volts, high))))

    def _half_a_turn_off(self, heater: int, volts: float) -> float:
        cold = volts**2 / nominal_ohm(self.rig.setup)
        more = cold + self.turn[heater]
        top = float(self.rig.setup.drive_high[heater]) ** 2 / nominal_ohm(self.rig.setup)
        return self._volts(heater, more if more < top else cold - self.turn[heater])

    # -- what is read -------------------------------------------------------------------------------

    def _shares(self, volts: FloatArray) -> FloatArray:
        """Of each row's light the share that leaves by each output (outputs, rows)."""
        powers = self.light.powers(volts, self.wanted, CAREFUL).T
        return np.asarray(powers / powers.sum(axis=0))

    def _fidelity(self, shares: FloatArray) -> float:
        return float(np.sqrt(np.clip(np.diagonal(shares), 0.0, 1.0)).mean())
