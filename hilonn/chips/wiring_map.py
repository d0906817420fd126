"""Which wire leads where: every heater and every input moved a little, every detector watched.

What moves is compared with what the record expects of every channel: a heater that moves what another should is
on the wrong wire. All heaters stand at one and the same drive meanwhile, so that wires which are mixed up do not change what
the chip is set to; only the one that is moved tells where its wire leads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hilonn.chips.chip import NOTHING, Settings
from hilonn.chips.heater_chip import HeaterChip
from hilonn.chips.stillness import changes_of
from hilonn.errors import ConfigError, SaturationError
from hilonn.typing import BoolArray, FloatArray, IntArray

SAMPLES = 48
AMPLITUDE = 0.5
"""Of the modulators' full scale."""
FAINTER = 6
"""How often the light may be halved where the detectors' largest range does not hold it."""
TURN = np.pi / 3
"""rad that a heater is turned by."""
ROUNDS = (4, 16, 64)
"""Averages of a reading. Heaters that did not answer, or not clearly, are asked again, with less noise, at another level."""
SILENT = 1.25
"""A heater whose turn changes less than this many times what noise changes did not answer."""
DARK = 4.0
"""The same of a detector, or an input: all that is turned off is seen at once."""
CLEAR = 0.7
"""Correlation with what is expected of a channel from which it is known to be on its wire."""
SUSPECT = 0.55
"""Correlation with what is expected of another channel from which it may be on that one's wire ..."""
MARGIN = 0.25
"""... if it exceeds that with its own by so much: neighbours in one arm answer nearly alike."""

LEVELS = (0.0, 2 * np.pi / 3, 4 * np.pi / 3)
"""rad at which all heaters stand in one round after the other: one that carries little light in one carries more in another."""

Tell = Callable[[str, int, int], None]
"""What is moved, how many of it are done, how many there are."""


@dataclass(frozen=True, slots=True)
class Found:
    """Channels of one kind. ``response`` (n,): what they change, in units of what noise changes; ``own`` (n,):
    correlation with what the record expects of each, ``best`` (n,) the largest over all, which is that of
    ``acts_as`` (n,). ``tried`` (n,): False where the record does not accept the channel."""

    response: FloatArray
    own: FloatArray
    best: FloatArray
    acts_as: IntArray
    tried: BoolArray
    least: float

    @property
    def silent(self) -> IntArray:
        """Channels that changed nothing."""
        return np.flatnonzero((self.response < self.least) & self.tried)

    @property
    def misplaced(self) -> IntArray:
        """Channels that do what another should."""
        other = self.acts_as != np.arange(len(self.acts_as))
        clear = (self.best > SUSPECT) & (self.best > self.own + MARGIN)
        return np.flatnonzero(other & clear & (self.response >= self.least) & self.tried)

    @property
    def strange(self) -> IntArray:
        """Channels that answer, but neither as they should nor as any other should."""
        answering = (self.response >= self.least) & self.tried & (self.own < SUSPECT)
        return np.setdiff1d(np.flatnonzero(answering), self.misplaced)

    @property
    def swapped(self) -> list[tuple[int, int]]:
        """Pairs that each do what the other should."""
        found = set(self.misplaced.tolist())
        return [
            (i, int(self.acts_as[i]))
            for i in sorted(found)
            if i < self.acts_as[i]
            and int(self.acts_as[i]) in found
            and self.acts_as[self.acts_as[i]] == i
        ]

    def among(self, at: IntArray, count: int) -> Found:
        """The same by the numbers ``at`` which they stand among ``count``, the others not tried."""
        own, best, response = np.zeros(count), np.zeros(count), np.zeros(count)
        own[at], best[at], response[at] = self.own, self.best, self.response
        acts_as, tried = np.arange(count), np.zeros(count, bool)
        acts_as[at], tried[at] = at[self.acts_as], self.tried
        return Found(response, own, best, acts_as, tried, self.least)

    @property
    def good(self) -> bool:
        return not (len(self.silent) or len(self.misplaced) or len(self.strange))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "count": len(self.own),
            "silent": self.silent.tolist(),
            "misplaced": {str(i): int(self.acts_as[i]) for i in self.misplaced},
            "swapped": [list(pair) for pair in self.swapped],
            "strange": self.strange.tolist(),
            "not_tried": np.flatnonzero(~self.tried).tolist(),
            "median_correlation": float(
                np.median(self.own[self.tried] if self.tried.any() else self.own)
            ),
        }


@dataclass(frozen=True, slots=True)
class WiringMap:
    """What was found of ``heaters`` (in the chip's order), ``inputs``, and ``detectors`` (those that add, then those that
    subtract); ``passes`` that it took."""

    heaters: Found
    inputs: Found
    detectors: Found
    passes: int

    @property
    def good(self) -> bool:
        """Whether every wire is where the record says."""
        return self.heaters.good and self.inputs.good and self.detectors.good

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "good": self.good,
            "passes": self.passes,
            "heaters": self.heaters.as_dict(),
            "inputs": self.inputs.as_dict(),
            "detectors": self.detectors.as_dict(),
        }


def map_wiring(chip: HeaterChip, seed: int = 0, tell: Tell | None = None) -> WiringMap:
    """Turn every heater by ``TURN`` and every input off; light must be on.

    Raises ConfigError for a chip whose record has no forward model, LimitError where the gate forbids a
    drive, SaturationError where the detectors hold no light that is faint enough.
    """
    if chip.signed_readout is None:
        raise ConfigError(f"{chip.id} has no signed readout: its wires cannot be told apart")
    chip.forward(np.zeros(len(chip.layout)))  # refuses before anything is moved
    say = tell or (lambda what, done, count: None)
    work = _Work(chip, np.random.default_rng([seed, 40]), say)
    ports = [_read_ports(work, level) for level in LEVELS[:2]]
    rounds: list[_Turns] = []
    tried = chip.usable & chip.seen
    asked = np.flatnonzero(tried)
    found: WiringMap | None = None
    for averages, level in zip(ROUNDS, LEVELS, strict=True):
        if found is not None:
            unclear = (found.heaters.response < SILENT) | (found.heaters.own < CLEAR)
            asked = np.flatnonzero(tried & unclear)
            if not len(asked):
                break
        rounds.append(_read_heaters(work, asked, averages, level))
        found = _explained(work, ports, rounds)
    assert found is not None
    return found


class _Work:
    """What all measurements share: the chip, random numbers, a count of passes."""

    def __init__(self, chip: HeaterChip, rng: np.random.Generator, say: Tell) -> None:
        self.chip, self.rng, self.say = chip, rng, say
        self.passes = 0

    def settings(self, level: float) -> Settings:
        """All heaters at the drive that turns a middling one by ``level`` rad."""
        chip = self.chip
        drive = np.full(
            len(chip.layout), np.median(chip.drives_of(np.full(len(chip.layout), level)))
        )
        shape = (chip.outputs, chip.inputs)
        drive = np.where(chip.usable, drive, 0.0)
        return Settings(drive, chip.phases_of(drive), 1.0, shape, NOTHING, NOTHING, 0)

    def light(self, settings: Settings, averages: int) -> tuple[FloatArray, int]:
        """Inputs (samples, inputs) of random signs that the detectors hold, and the range for them."""
        inputs = self.rng.choice([-AMPLITUDE, AMPLITUDE], (SAMPLES, self.chip.inputs))
        for attempt in range(FAINTER + 1):
            try:
                _, _, index = self.chip.watch(settings, inputs, averages)
                break
            except SaturationError:
                if attempt == FAINTER:
                    raise
                inputs = inputs / np.sqrt(2.0)
        self.passes += 1
        # A turn may send more light to one detector than there was.
        return inputs, min(index + 1, self.chip.ranges - 1)

    def read(self, settings: Settings, inputs: FloatArray, averages: int, index: int) -> FloatArray:
        """(samples, detectors of the outputs that are used)."""
        self.passes += 1
        plus, minus, _ = self.chip.watch(settings, inputs, averages, index)
        return np.concatenate((plus, minus), axis=1)[:, self.chip.at.detectors]


@dataclass(frozen=True, slots=True)
class _Ports:
    """``lost`` (inputs, detectors): what a detector lost of each input's light, per unit of it; ``scatter``
    (detectors,): what noise makes of it."""

    settings: Settings
    lost: FloatArray
    scatter: FloatArray


@dataclass(frozen=True, slots=True)
class _Turns:
    """Heaters ``asked``, turned one by one by TURN: ``changes`` (asked, samples, detectors), as ``changes_of`` scales
    them."""

    settings: Settings
    inputs: FloatArray
    asked: IntArray
    changes: FloatArray
    noise: float


def _read_ports(work: _Work, level: float) -> _Ports:
    """Each input turned off."""
    chip = work.chip
    settings = work.settings(level)
    averages = ROUNDS[1]
    inputs, index = work.light(settings, averages)
    first = work.read(settings, inputs, averages, index)
    again = work.read(settings, inputs, averages, index)
    rest = (first + again) / 2
    lost = np.zeros((chip.inputs, rest.shape[1]))
    for port in range(chip.inputs):
        without = inputs.copy()
        without[:, port] = 0.0
        read = work.read(settings, without, averages, index)
        lost[port] = inputs[:, port] @ (rest - read) / (inputs[:, port] @ inputs[:, port])
        work.say("inputs", port + 1, chip.inputs)
    noise = np.maximum(_rms(again - first, axis=0), 1e-12)
    return _Ports(settings, lost, noise / np.sqrt((inputs[:, 0] ** 2).sum()))


def _read_heaters(work: _Work, asked: IntArray, averages: int, level: float) -> _Turns:
    """Each of the heaters ``asked`` turned."""
    chip = work.chip
    settings = work.settings(level)
    inputs, index = work.light(settings, averages)
    rest = work.read(settings, inputs, averages, index)

    def turned(place: int) -> FloatArray:
        own = settings.self_phase.copy()
        own[asked[place]] += TURN
        there = replace(settings, drive=chip.drives_of(own), self_phase=own)
        values = work.read(there, inputs, averages, index)
        work.say(f"heaters, {averages} averages", place + 1, len(asked))
        return values

    changes, noise, _ = changes_of(
        turned,
        len(asked),
        lambda: work.read(settings, inputs, averages, index),
        rest,
        np.asarray,
    )
    return _Turns(settings, inputs, asked, np.reshape(changes, (len(asked), *rest.shape)), noise)


def _explained(work: _Work, ports: list[_Ports], rounds: list[_Turns]) -> WiringMap:
    """What all that was read says of the wires: heaters that turn nothing first, then ports, then heaters."""
    chip = work.chip
    answered = np.zeros(len(chip.layout))
    for turns in rounds:
        answers = _rms(turns.changes.reshape(len(turns.asked), -1), axis=1) / turns.noise
        answered[turns.asked] = np.maximum(answered[turns.asked], answers)
    alive = chip.usable & ((answered >= SILENT) | ~chip.seen)
    wanted = [chip.forward(np.where(alive, p.settings.self_phase, 0.0)) for p in ports]
    inputs, detectors = _ports(ports, wanted)
    at = chip.at
    return WiringMap(
        _heaters(chip, rounds, answered, alive, inputs, detectors),
        inputs.among(at.inputs, chip.ports),
        detectors.among(at.detectors, 2 * chip.ports),
        work.passes,
    )


def _ports(ports: list[_Ports], wanted: list[FloatArray]) -> tuple[Found, Found]:
    """Inputs and detectors, by the light of which input reaches which detector. A second look allows for what the
    first one found of the others."""
    scatter = np.sqrt(np.mean([p.scatter**2 for p in ports], axis=0))
    by_detector = np.concatenate([p.lost for p in ports]).T
    answered = _rms(by_detector, axis=1) / scatter
    order = np.arange(len(wanted[0]))
    inputs_at: IntArray = np.arange(wanted[0].shape[1])
    for _ in range(2):
        driven = np.concatenate([w[:, inputs_at].T for w in wanted]).T
        detectors = _matched(by_detector, np.concatenate((driven, -driven)), answered, DARK)
        fields = [_fields(p.lost, detectors) for p in ports]
        by_input = np.concatenate(fields, axis=1)
        noise = float(np.sqrt(2 * np.median(scatter**2)))
        inputs = _matched(
            by_input,
            np.concatenate([w[order].T for w in wanted], axis=1),
            _rms(by_input, axis=1) / noise,
            DARK,
        )
        inputs_at = _leading(inputs)
    return inputs, detectors


def _leading(found: Found) -> IntArray:
    """(channels,): the number that each channel leads to."""
    there = np.arange(len(found.own))
    there[found.misplaced] = found.acts_as[found.misplaced]
    return there


def _fields(readings: FloatArray, detectors: Found) -> FloatArray:
    """Difference (..., outputs) of each pair of ``readings`` (..., detectors), wherever its two are."""
    there = np.zeros_like(readings)
    there[..., _leading(detectors)] = readings
    plus, minus = np.split(there, 2, axis=-1)
    return np.asarray(plus - minus)


def _heaters(
    chip: HeaterChip,
    rounds: list[_Turns],
    answered: FloatArray,
    alive: BoolArray,
    inputs: Found,
    detectors: Found,
) -> Found:
    """Every channel's answers in all rounds beside what every heater's would be."""
    count = len(answered)
    product, measured, expected = (
        np.zeros((count, count)),
        np.zeros(count),
        np.zeros((count, count)),
    )
    leading = _leading(inputs)
    for turns in rounds:
        changes = _fields(turns.changes, detectors).reshape(len(turns.asked), -1) / turns.noise
        seen = np.zeros_like(turns.inputs)
        seen[:, leading] = turns.inputs
        there = np.where(alive, turns.settings.self_phase, 0.0)
        wanted = _expected(chip, there, seen) / turns.noise
        measured[turns.asked] += (changes**2).sum(axis=1)
        product[turns.asked] += changes @ wanted.T
        expected[turns.asked] += (wanted**2).sum(axis=1)
    likeness = product / np.maximum(np.sqrt(measured[:, np.newaxis] * expected), 1e-300)
    return _nearest(likeness, answered, chip.usable & chip.seen, SILENT)


def _expected(chip: HeaterChip, own: FloatArray, inputs: FloatArray) -> FloatArray:
    """What the record says of every heater's turn from phases ``own``: (heaters, readings)."""
    rest = chip.forward(own)
    expected = np.zeros((len(own), len(inputs) * chip.outputs))
    for heater in range(len(own)):
        turned = own.copy()
        turned[heater] += TURN
        expected[heater] = (inputs @ (chip.forward(turned) - rest).T).ravel()
    return expected


def _matched(
    measured: FloatArray, expected: FloatArray, response: FloatArray, least: float
) -> Found:
    """Each row of ``measured`` beside the row of ``expected`` that it is most like."""
    likeness = _unit(measured) @ _unit(expected).T
    return _nearest(likeness, response, np.ones(len(measured), bool), least)


def _nearest(likeness: FloatArray, response: FloatArray, tried: BoolArray, least: float) -> Found:
    """``likeness`` (channels, numbers) by channel: with its own number, and the largest."""
    own, best = np.diagonal(likeness).copy(), likeness.max(axis=1)
    return Found(np.asarray(response), own, best, likeness.argmax(axis=1), tried, least)


def _rms(values: FloatArray, axis: int | None = None) -> Any:
    return np.sqrt((values**2).mean(axis=axis))


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
