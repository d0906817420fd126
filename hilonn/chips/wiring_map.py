"""Which channel moves what: every heater and every input moved a little, all outputs watched.

What moves is compared with what the record expects of every heater: a heater that moves what another should
is on the wrong wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hilonn.chips.chip import Batch, Settings
from hilonn.chips.heater_chip import HeaterChip
from hilonn.errors import ConfigError, LimitError
from hilonn.typing import BoolArray, FloatArray, IntArray

SAMPLES = 32
AVERAGES = 4
AMPLITUDE = 0.4
"""Of the modulators' full scale."""
TURN = np.pi / 4
"""rad that a heater is turned by."""
SILENT = 1.3
"""Changes below this many times what noise changes are none."""
CLEAR = 0.5
"""Correlation with another heater's expected answer from which a heater may be on its wire ..."""
MARGIN = 0.25
"""... if it exceeds that with its own by so much: neighbours in one arm answer nearly alike."""

Tell = Callable[[str, int, int], None]
"""What is moved, how many of it are done, how many there are."""


@dataclass(frozen=True, slots=True)
class WiringMap:
    """``response`` (heaters,): change of all readings in units of noise; ``own`` and ``best`` (heaters,): correlation
    with what the record expects of it, and the best over all heaters, which is that of ``acts_as``;
    ``inputs`` (inputs,) and ``outputs`` (outputs,): change when an input is turned off, the largest change seen
    by an output. ``masked`` (heaters,): not tried, since the record does not accept them."""

    response: FloatArray
    own: FloatArray
    best: FloatArray
    acts_as: IntArray
    inputs: FloatArray
    outputs: FloatArray
    masked: BoolArray
    passes: int

    @property
    def silent(self) -> IntArray:
        """Heaters that moved nothing."""
        return np.flatnonzero((self.response < SILENT) & ~self.masked)

    @property
    def misplaced(self) -> IntArray:
        """Heaters that move what another should."""
        other = self.acts_as != np.arange(len(self.acts_as))
        clear = (self.best > CLEAR) & (self.best > self.own + MARGIN)
        return np.flatnonzero(other & clear & (self.response >= SILENT) & ~self.masked)

    @property
    def swapped(self) -> list[tuple[int, int]]:
        """Pairs of heaters that each move what the other should."""
        found = set(self.misplaced.tolist())
        return [
            (int(i), int(self.acts_as[i]))
            for i in sorted(found)
            if i < self.acts_as[i]
            and int(self.acts_as[i]) in found
            and self.acts_as[self.acts_as[i]] == i
        ]

    @property
    def dark_inputs(self) -> IntArray:
        """Inputs that change nothing."""
        return np.flatnonzero(self.inputs < SILENT)

    @property
    def dark_outputs(self) -> IntArray:
        """Outputs at which nothing ever changed."""
        return np.flatnonzero(self.outputs < SILENT)

    @property
    def good(self) -> bool:
        """Whether every wire is where the record says."""
        return not (
            len(self.silent)
            or len(self.misplaced)
            or len(self.dark_inputs)
            or len(self.dark_outputs)
        )


def map_wiring(chip: HeaterChip, seed: int = 0, tell: Tell | None = None) -> WiringMap:
    """Move every heater by ``TURN`` and every input to zero, from one random setting; light must be on.

    Raises ConfigError for a chip whose record has no forward model, LimitError where the gate forbids a
    drive.
    """
    say = tell or (lambda what, done, count: None)
    rng = np.random.default_rng([seed, 40])
    left, _, right = np.linalg.svd(
        rng.standard_normal((chip.outputs, chip.inputs)), full_matrices=False
    )
    (settings,) = chip.compile((left @ right)[np.newaxis], [None])
    inputs = rng.choice([-AMPLITUDE, AMPLITUDE], (SAMPLES, chip.inputs))
    readout = chip.signed_readout
    if readout is None:
        raise ConfigError(f"{chip.id} has no signed readout: its wires cannot be told apart")
    first = chip.run(settings, Batch(inputs, readout, averages=AVERAGES))
    batch = Batch(inputs, readout, averages=AVERAGES, range=first.range)
    before, again = chip.run(settings, batch).values, chip.run(settings, batch).values
    scatter = np.maximum(_rms(again - before, axis=0), 1e-12 * np.abs(before).max())
    noise = float(np.sqrt((scatter**2).mean()))
    count = len(chip.layout)
    masked = ~chip.usable
    measured = np.zeros((count, before.size))
    outputs = np.zeros(chip.outputs)
    signs = np.zeros(count)
    passes = 3
    for heater in range(count):
        if masked[heater]:
            continue
        turned, signs[heater] = _turned(chip, settings, heater)
        change = chip.run(turned, batch).values - before
        outputs = np.maximum(outputs, _rms(change, axis=0) / scatter)
        measured[heater] = change.ravel()
        passes += 1
        if heater % 16 == 15:
            before = chip.run(settings, batch).values  # drift is no answer
            passes += 1
        say("heaters", heater + 1, count)
    darkened = np.zeros(chip.inputs)
    for port in range(chip.inputs):
        without = inputs.copy()
        without[:, port] = 0.0
        read = chip.run(settings, replace(batch, inputs=without)).values
        darkened[port] = _rms(read - before) / noise
        passes += 1
        say("inputs", port + 1, chip.inputs)
    expected = _expected(chip, settings, inputs, signs)
    likeness = _unit(measured) @ _unit(expected).T
    own = np.diagonal(likeness).copy()
    acts_as = likeness.argmax(axis=1)
    return WiringMap(
        _rms(measured, axis=1) / noise,
        own,
        likeness.max(axis=1),
        acts_as,
        darkened,
        outputs,
        masked,
        passes,
    )


def _turned(chip: HeaterChip, settings: Settings, heater: int) -> tuple[Settings, float]:
    """``settings`` with one heater turned, up or down where its range ends; and which way."""
    own = settings.self_phase.copy()
    sign = 1.0 if own[heater] + TURN <= chip.largest_phases[heater] else -1.0
    own[heater] += sign * TURN
    if own[heater] < 0.0:
        raise LimitError(f"{chip.id}: heater {heater} has no room for {TURN:.2f} rad either way")
    return replace(settings, drive=chip.drives_of(own), self_phase=own), sign


def _expected(
    chip: HeaterChip, settings: Settings, inputs: FloatArray, signs: FloatArray
) -> FloatArray:
    """What the record says of every heater's turn: (heaters, readings)."""
    rest = chip.forward(settings.self_phase)
    expected = np.zeros((len(signs), SAMPLES * chip.outputs))
    for heater in range(len(signs)):
        own = settings.self_phase.copy()
        own[heater] += (signs[heater] or 1.0) * TURN
        expected[heater] = (inputs @ (chip.forward(own) - rest).T).ravel()
    return expected


def _rms(values: FloatArray, axis: int | None = None) -> FloatArray:
    return np.asarray(np.sqrt((values**2).mean(axis=axis)))


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
