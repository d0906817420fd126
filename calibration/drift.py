"""A monitor of drift: a few sentinel settings, read again and again, tell what every heater's phase has moved by.

At the first look the sentinels' matrices are kept. Later ones differ by what drifted: the oscillator's phase, which is
common to all, and the phases of the heaters, whose slopes are the record's. Between two looks a phase is believed to
walk by ``rate`` times the square root of the time; what readings say beyond that is noise. Where the phases estimated have
moved by more than ``gate``, the record's offsets are moved along: a recalibration of that part alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from scipy.linalg import cho_factor, cho_solve

from hilonn.calibration.light import sign_patterns
from hilonn.calibration.stages import Layout, Optics, layout_of, transfer, walk
from hilonn.chips import Batch, HeaterChip, MatrixChip, Settings
from hilonn.chips.crosstalk import stencil
from hilonn.errors import ConfigError
from hilonn.typing import ComplexArray, FloatArray, Snapshot

HOUR = 3600.0
ROUNDS = 3
"""Of the regression at a look."""


class DriftMonitor(BaseModel):
    """``every`` s on the chip's clock; ``settings``: sentinels; ``averages`` of each reading at ``amplitude`` of full
    drive; ``gate`` (rad, rms over heaters): from which offsets are moved; ``rate`` (rad per square root of an hour) at
    which phases are believed to walk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Annotated[float, Field(gt=0)] = 600.0
    settings: Annotated[int, Field(ge=4)] = 16
    averages: Annotated[int, Field(ge=1)] = 16
    amplitude: Annotated[float, Field(gt=0, le=1)] = 0.4
    gate: Annotated[float, Field(ge=0)] = 0.002
    rate: Annotated[float, Field(gt=0)] = 0.02
    seed: int = 0

    _kept: Snapshot = PrivateAttr(default_factory=dict)

    def watch(self, chip: MatrixChip) -> dict[str, Any] | None:
        """See ``hilonn.monitoring.Monitor``. ConfigError for a chip that is no mesh with homodyne."""
        now = chip.clock.now()
        if self._kept and now < self._kept["due"]:
            return None
        if not isinstance(chip, HeaterChip) or chip.signed_readout != "homodyne":
            raise ConfigError(f"{chip.name}: the drift monitor needs a mesh with a homodyne readout")
        found = self._read(chip)
        if not self._kept:
            again = self._read(chip)  # what a reading's noise is
            noise = float(np.sqrt((np.abs(_turned(again, found) - found) ** 2).mean() / 4))
            self._kept = {
                "due": now + self.every,
                "looked": now,
                "matrices": (found + _turned(again, found)) / 2,
                "noise": noise,
                "moved": np.zeros(len(chip.layout)),
                "applied": np.zeros(len(chip.layout)),
                "offset": chip.records.chip.value("heater_phase_offset")[: len(chip.layout)].copy(),
            }
            return {"monitor": "drift", "did": "kept the sentinels", "noise": noise}
        hours = max(now - self._kept["looked"], 1.0) / HOUR
        moved, common = self._estimate(chip, found, self.rate * np.sqrt(hours))
        self._kept |= {"due": now + self.every, "looked": now, "moved": moved}
        missing = moved - self._kept["applied"]
        size = float(np.sqrt((missing**2).mean()))
        facts: dict[str, Any] = {
            "monitor": "drift",
            "hours": hours,
            "oscillator": common,
            "heaters_rms": float(np.sqrt((moved**2).mean())),
            "heaters_largest": float(np.abs(moved).max()),
            "unapplied_rms": size,
            "did": "looked",
        }
        if size > self.gate:
            chip.shift_offsets(missing)
            self._kept["applied"] = moved.copy()
            facts["did"] = "moved the record's offsets"
        return facts

    def snapshot(self) -> Snapshot:
        kept = dict(self._kept)
        return {k: np.asarray(v) if isinstance(v, np.ndarray) else v for k, v in kept.items()}

    def restore(self, saved: Snapshot) -> None:
        self._kept = dict(saved)

    def _own(self, chip: HeaterChip) -> FloatArray:
        """Own phases (settings, heaters) of the sentinels; the same at every look."""
        rng = np.random.default_rng([self.seed, 60])
        own = rng.uniform(0.1, 2 * np.pi, (self.settings, len(chip.layout)))
        return np.where(chip.usable, np.minimum(own, chip.largest_phases), 0.0)

    def _read(self, chip: HeaterChip) -> ComplexArray:
        """The sentinels' matrices (settings, outputs, inputs), in units of the record's forward model."""
        signs = sign_patterns(chip.ports)
        inputs = self.amplitude * np.concatenate((signs, -signs))
        shape = (chip.ports, chip.ports)
        nothing = np.zeros((0, 0))
        found = np.empty((self.settings, *shape), complex)
        batch = Batch(inputs, "homodyne", averages=self.averages, quadrature="both")
        for k, own in enumerate(self._own(chip)):
            settings = Settings(chip.drives_of(own), own, 1.0, shape, nothing, nothing, 0)
            values = chip.run(settings, batch).values
            half = (values[: len(signs)] - values[len(signs) :]) / 2
            found[k] = half.T @ signs / (len(signs) * self.amplitude)
        return found

    def _estimate(
        self, chip: HeaterChip, found: ComplexArray, walked: float
    ) -> tuple[FloatArray, float]:
        """What every heater's phase has moved by since the sentinels were kept, and the oscillator's, in rad."""
        records = chip.records.chip
        layout = layout_of(chip.architecture, chip.ports)
        own = self._own(chip)
        spread: FloatArray = (stencil(records.value("crosstalk_kernel"), layout.positions) @ own.T).T
        psi = self._kept["offset"] + own + spread
        optics = Optics(
            records.value("splitter_errors"),
            records.value("mzi_transmission"),
            np.exp(1j * np.angle(records.value("input_field"))),
            np.exp(1j * records.value("output_phase")),
        )
        reference, noise = self._kept["matrices"], self._kept["noise"]
        before = transfer(layout, psi, optics)
        size = float((np.abs(before) * np.abs(reference)).sum() / (np.abs(before) ** 2).sum())
        change = _turned(found, reference) - reference
        start = self._kept["moved"]
        moved = start.copy()
        for _ in range(ROUNDS):
            moved = moved + self._step(
                layout, psi, optics, before, size, reference, change, moved, start, noise, walked
            )
        common = float(np.mean(np.angle((found * reference.conj()).sum(axis=(1, 2)))))
        return np.where(np.isfinite(moved), moved, start), common

    def _step(
        self,
        layout: Layout,
        psi: FloatArray,
        optics: Optics,
        before: ComplexArray,
        size: float,
        reference: ComplexArray,
        change: ComplexArray,
        moved: FloatArray,
        start: FloatArray,
        noise: float,
        walked: float,
    ) -> FloatArray:
        """One Gauss-Newton step of the phases; each sentinel's common phase is free."""
        h = layout.heaters
        walk_here = walk(layout, psi + moved, optics)
        normal, downhill = np.zeros((h, h)), np.zeros(h)
        for k in range(len(psi)):
            x, y = size * walk_here.x[k, :h], walk_here.y[k, :h]
            said = size * (_turned(walk_here.matrix[k : k + 1], before[k : k + 1])[0] - before[k])
            turn = 1j * reference[k]
            left = change[k] - said
            left = left - turn * (np.vdot(turn, left).real / np.vdot(turn, turn).real)
            along = ((1j * x).conj() @ turn * y.conj()).sum(axis=1).real
            gram = ((x.conj() @ x.T) * (y.conj() @ y.T)).real
            normal += gram - np.outer(along, along) / float(np.vdot(turn, turn).real)
            downhill += ((1j * x).conj() @ left * y.conj()).sum(axis=1).real
        variance = 1.5 * noise**2  # of a new reading, and of the mean of two that were kept
        normal /= variance
        normal[np.diag_indices(h)] += 1 / walked**2
        pull = (start - moved) / walked**2
        step: FloatArray = cho_solve(cho_factor(normal), downhill / variance + pull)
        return step


def _turned(found: ComplexArray, model: ComplexArray) -> ComplexArray:
    """Each of ``found`` (s, ...) turned by one phase to lie nearest to its ``model``."""
    overlap = (found.conj() * model).sum(axis=(1, 2))
    turned: ComplexArray = (
        found * (overlap / np.maximum(np.abs(overlap), 1e-300))[:, np.newaxis, np.newaxis]
    )
    return turned
