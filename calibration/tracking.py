"""A Kalman filter over what walks: phase offsets of heaters, gains of detectors, biases of modulators.

State: the drift since the record, and the phases of the input fibres at the reference (constants: readings are compared
with that look's). Fresh at every look, with priors of what they wander by: the oscillator's phase, what it jitters by from
setting to setting, the phases of the input fibres. Derivatives are the record's forward model's, iterated where a
look moves far (an iterated extended Kalman filter). A few thousand readings update hundreds of offsets, each of
which may only have walked so far since the last look: the prior tells what few readings cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hilonn.calibration.normal import Noise
from hilonn.calibration.shots import Shots
from hilonn.chips.forward import ForwardModel, Setting
from hilonn.chips.parameters import Names
from hilonn.errors import CalibrationError
from hilonn.typing import FloatArray, IntArray

WALKING = ("heater_phase_offset", "gain", "bias")
"""What drifts: rad, logarithm, V."""
SURE = 1e-5
"""Standard deviation of what is known exactly: above rounding, below what anything measures."""
ROUNDS = 5
"""Of Newton, at most."""
FEW = 4
"""Every how many-th setting tells where the oscillator is about, before the rest is worked out."""
SHORT = 0.03
"""rad, V, relative: rounds end with a step no longer than that. What is left is of second order, below a reading's noise."""


@dataclass(frozen=True)
class Wander:
    """Standard deviations (rad) of what is new at every look: ``oscillator`` of its phase at the look, ``jitter`` of that from
    setting to setting, ``inputs`` of each input fibre's phase."""

    oscillator: float
    jitter: float
    inputs: float


@dataclass(frozen=True)
class Belief:
    """``mean`` (walking + ports,): drift in the order of ``WALKING``, then the input phases at the reference;
    ``covariance`` of the same."""

    mean: FloatArray
    covariance: FloatArray

    def later(self, rates: FloatArray, seconds: float) -> Belief:
        """After ``seconds`` of a random walk of ``rates`` (walking,) per square root of a second."""
        covariance = self.covariance.copy()
        place = np.arange(len(rates))
        covariance[place, place] += rates**2 * max(seconds, 0.0)
        return replace(self, covariance=covariance)


@dataclass(frozen=True)
class Suspect:
    """The one quantity that explains most of a misfit by itself: its ``title``, by how much it would have ``moved``, and the
    ``share`` of the misfit's square that this explains."""

    title: str
    moved: float
    share: float


@dataclass(frozen=True)
class Update:
    """``belief`` after a look; ``oscillator`` (rad): its phase then. In units of the noise, root mean square over all readings:
    ``misfit`` of the record in use, ``left`` of the belief, and ``surprise``: what the readings differ from all that the
    prior can explain, at the price of its doubts. ``jump``: by how many standard deviations of what a look can change ``jumped``
    went further than it should, ``jumped_by`` in its unit. ``suspect`` as seen from before the look."""

    belief: Belief
    oscillator: float
    misfit: float
    left: float
    surprise: float
    jump: float
    jumped: str
    jumped_by: float
    suspect: Suspect


@dataclass(frozen=True)
class _Round:
    """Residuals (rows,) and derivatives (columns, rows), in units of the noise."""

    left: FloatArray
    slopes: FloatArray

    def normal(self) -> tuple[FloatArray, FloatArray]:
        return (self.slopes @ self.slopes.T).astype(float), self.slopes @ self.left


class Tracker:
    """Updates beliefs for one chip: its ``model`` and the ``vector`` of its record."""

    def __init__(self, model: ForwardModel, vector: FloatArray, wander: Wander) -> None:
        self.model, self.vector, self.wander = model, vector, wander
        names = model.names
        self.walking = places(names)
        part = names.slices["input_phase"]
        self._inputs = np.arange(part.start, part.stop)

    def start(self, doubts: FloatArray, inputs: float) -> Belief:
        """No drift, with ``doubts`` (walking,); ``inputs`` (rad): how far the reference's input phases may be off."""
        sd = np.concatenate((doubts, np.full(self.model.ports, inputs)))
        return Belief(np.zeros(len(sd)), np.diag(np.maximum(sd, SURE) ** 2))

    def oscillator(
        self, shots: Shots, weight: FloatArray, reference: FloatArray, drift: FloatArray
    ) -> float:
        """The oscillator's phase (rad) at a look, by the record moved by ``drift`` (walking,); ``reference`` as in ``update``."""
        vector = self.vector.copy()
        vector[self.walking] += drift
        phase = 0.0
        for _ in range(2):
            pull, stiff = -phase / self.wander.oscillator**2, self.wander.oscillator**-2
            for k in range(len(shots)):
                here = _setting(shots, k, phase)
                slope = self.model.by_wander(vector, here) * weight[k]
                left = shots.signal[k] - reference[k] - self.model.expected(vector, here)
                left *= weight[k]
                pull += float((slope * left).sum())
                stiff += float((slope**2).sum())
            phase += pull / stiff
        return phase

    def expected(self, shots: Shots, oscillator: float) -> FloatArray:
        """(shots, samples, channels): what the record expects."""
        return np.stack(
            [
                self.model.expected(self.vector, _setting(shots, k, oscillator))
                for k in range(len(shots))
            ]
        )

    def update(
        self,
        belief: Belief,
        shots: Shots,
        weight: FloatArray,
        reference: FloatArray,
        given: FloatArray,
    ) -> Update:
        """``belief`` after the readings ``shots``, each ``weight`` (shots, samples, channels) 1 / noise; ``reference`` of the same
        shape is added to what the model expects; ``given`` (walking,): the drift that the record in use accounts for.
        CalibrationError where a reading is not finite."""
        if not np.isfinite(shots.signal).all():
            raise CalibrationError(
                "a sentinel's reading is not finite: is a detector disconnected?"
            )
        known, extra = len(belief.mean), 1 + self.model.ports + len(shots)
        sd = self.wander
        fresh = np.concatenate(
            ([sd.oscillator], np.full(self.model.ports, sd.inputs), np.full(len(shots), sd.jitter))
        )
        precision = np.zeros((known + extra, known + extra))
        precision[:known, :known] = _inverse(belief.covariance)
        place = np.arange(known, known + extra)
        precision[place, place] = np.maximum(fresh, SURE) ** -2.0
        start = np.concatenate((belief.mean, np.zeros(extra)))
        z, suspect = start.copy(), None
        few, drift = slice(None, None, FEW), belief.mean[: len(self.walking)]
        z[known] = self.oscillator(shots.part(few), weight[few], reference[few], drift)
        for _ in range(ROUNDS):
            seen = self._round(z, shots, weight, reference)
            matrix, right = seen.normal()
            if suspect is None:
                suspect = self._suspect(seen, matrix, right)
            matrix += precision
            step = cho_solve(cho_factor(matrix), right - precision @ (z - start))
            z = z + step
            if float(np.abs(step).max()) < SHORT:
                break
        assert suspect is not None
        count = max(int((weight > 0).sum()), 1)
        # The last step's residuals to first order: it was a short one, or the look is a fault anyway.
        left = seen.left - step @ seen.slopes
        away = z - start
        cost = float(left @ left) + float(away @ precision @ away)
        covariance = _inverse(matrix)[:known, :known]
        return Update(
            Belief(z[:known], 0.5 * (covariance + covariance.T)),
            float(z[known]),
            self._misfit(seen, left, z, given, np.diagonal(precision)[known:], count),
            float(np.sqrt(left @ left / count)),
            float(np.sqrt(cost / count)),
            *self._jump(belief, z, covariance),
            suspect,
        )

    def _round(
        self, z: FloatArray, shots: Shots, weight: FloatArray, reference: FloatArray
    ) -> _Round:
        """Residuals and derivatives at ``z``: drift, reference's inputs, oscillator, inputs, jitter."""
        names, ports, walking = self.model.names, self.model.ports, len(self.walking)
        vector = self.vector.copy()
        vector[self.walking] += z[:walking]
        first = walking + ports
        vector[self._inputs] += z[first + 1 : first + 1 + ports] - z[walking:first]
        jitter = z[first + 1 + ports :]
        rows = shots.signal[0].size
        slopes = np.zeros((len(z), len(shots) * rows), np.float32)
        left = np.empty(len(shots) * rows)
        buffer = np.empty((names.size, rows))
        for k in range(len(shots)):
            part = slice(k * rows, (k + 1) * rows)
            here = _setting(shots, k, float(z[first] + jitter[k]))
            readings, turn = self.model.jacobian(vector, here, weight[k], buffer)
            inputs = buffer[self._inputs]
            slopes[:walking, part] = buffer[self.walking]
            slopes[walking:first, part] = -inputs
            slopes[first, part] = turn
            slopes[first + 1 : first + 1 + ports, part] = inputs
            slopes[first + 1 + ports + k, part] = turn
            measured = ((shots.signal[k] - reference[k]) * weight[k]).T.ravel()
            left[part] = measured - readings * weight[k].T.ravel()
        return _Round(left, slopes)

    def _misfit(
        self,
        seen: _Round,
        left: FloatArray,
        z: FloatArray,
        given: FloatArray,
        prior: FloatArray,
        count: int,
    ) -> float:
        """Of the record in use, the oscillator and the input fibres at the look what fits best within their ``prior``
        (fresh,) precisions."""
        walking, known = len(self.walking), len(z) - len(prior)
        fresh = seen.slopes[known:].astype(float)
        unheeded = left + (z[:walking] - given) @ seen.slopes[:walking] + z[known:] @ fresh
        right = fresh @ unheeded
        matrix = fresh @ fresh.T + np.diag(prior)
        explained = float(right @ np.linalg.solve(matrix, right))
        return float(np.sqrt(max(float(unheeded @ unheeded) - explained, 0.0) / count))

    def _jump(
        self, belief: Belief, z: FloatArray, covariance: FloatArray
    ) -> tuple[float, str, float]:
        """The largest change of one quantity over what it should change by at most, in standard deviations; its title, the change."""
        n = len(self.walking)
        before, after = np.diagonal(belief.covariance)[:n], np.diagonal(covariance)[:n]
        change = z[:n] - belief.mean[:n]
        sizes = np.abs(change) / np.sqrt(np.maximum(before - after, 1e-2 * before))
        worst = int(sizes.argmax())
        title = self.model.names.title(int(self.walking[worst]))
        return float(sizes[worst]), title, float(change[worst])

    def _suspect(self, seen: _Round, matrix: FloatArray, right: FloatArray) -> Suspect:
        n = len(self.walking)
        own = np.maximum(np.diagonal(matrix)[:n], 1e-30)
        explained = right[:n] ** 2 / own
        worst = int(explained.argmax())
        total = max(float(seen.left @ seen.left), 1e-30)
        return Suspect(
            self.model.names.title(int(self.walking[worst])),
            float(right[worst] / own[worst]),
            float(explained[worst] / total),
        )


def places(names: Names) -> IntArray:
    """Where what walks stands in a vector."""
    return np.concatenate([np.arange(names.size)[names.slices[name]] for name in WALKING])


def weight_of(noise: Noise, shots: Shots, use: FloatArray, excess: float) -> FloatArray:
    """1 / noise (shots, samples, channels), the noise ``excess`` times what ``noise`` says."""
    weight: FloatArray = noise.weight(shots, use) / excess
    return weight


def _setting(shots: Shots, k: int, oscillator: float) -> Setting:
    return Setting(shots.heaters[k], shots.modulators[k], bool(shots.through[k]), oscillator)


def _inverse(matrix: FloatArray) -> FloatArray:
    return np.asarray(cho_solve(cho_factor(matrix), np.eye(len(matrix))))
