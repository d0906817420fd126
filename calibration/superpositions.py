"""What leaves a chip when a superposition of known amplitudes enters it, in powers: no phase of an output is seen.

Every pattern is played with both signs and compared with darkness on all inputs: what beats with light that leaks
through the modulators, dark currents and the oscillator drop out. Modulators give signed amplitudes, no other phases:
superpositions are real.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hilonn.calibration.drives import random_settings
from hilonn.calibration.rig import Rig
from hilonn.chips.detection import pair_watts
from hilonn.errors import CalibrationError, SaturationError
from hilonn.records import Records
from hilonn.transfer import drive_of_amplitude
from hilonn.typing import FloatArray

RESTS = 4
"""Samples without a pattern in each play."""
DIM, FAINTEST = 0.75, 0.1
SETTINGS = 12
"""Random settings over which inputs and outputs are compared."""
BALANCED = 200


@dataclass
class Superpositions:
    """Plays superpositions and reads what comes of them.

    ``known``: its records of modulators and detectors are used, none of the chip. ``into`` (ports,): how large the field
    of each input is at full drive, ``out`` (ports,): how much of each output's power is read; both relative, 1 until
    ``balance`` has compared them. CalibrationError where a modulator, or a pair of detectors, is not to be used.
    """

    rig: Rig
    known: Records
    averages: int = 16
    into: FloatArray = field(init=False)
    out: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.into = np.ones(self.rig.setup.ports)
        self.out = np.ones(self.rig.setup.ports)
        self._plus, self._minus = pair_watts(self.known.photodetectors)
        lost = np.flatnonzero(~self.known.modulators.accepted("v_pi"))
        blind = np.flatnonzero(self._plus + self._minus == 0)
        for kind, found in (("modulator", lost), ("both detectors of output", blind)):
            if found.size:
                raise CalibrationError(
                    f"{kind} {found[0]} of {self.rig.setup.chip} cannot be used ({found.size} in all): a whole matrix "
                    "needs every input and every output"
                )

    def powers(self, volts: FloatArray, patterns: FloatArray, longer: int = 1) -> FloatArray:
        """Powers (samples, ports), relative, at heaters' ``volts`` (heaters,) for fields ``patterns`` (samples, ports) in
        any unit; each is played as bright as it can be, ``longer`` times as often, and read in its own unit squared."""
        self.rig.let_oscillator(False)
        self._program(volts)
        signal, size = self._played(patterns, longer)
        both = signal[:, : self.rig.setup.ports] * self._plus
        both += signal[:, self.rig.setup.ports :] * self._minus
        count = len(patterns)
        lit = (both[:count] + both[count : 2 * count]) / 2 - both[2 * count :].mean(axis=0)
        return np.asarray(lit / size[:, np.newaxis] ** 2 / self.out)

    def fields(self, volts: FloatArray, patterns: FloatArray, longer: int = 1) -> FloatArray:
        """The part of the fields (samples, ports) that is in phase with the oscillator, relative, each output in a unit of
        its own; as ``powers``."""
        self.rig.let_oscillator(True)
        self._program(volts)
        signal, size = self._played(patterns, longer)
        pairs = signal[:, : self.rig.setup.ports] * self._plus
        pairs -= signal[:, self.rig.setup.ports :] * self._minus
        count = len(patterns)
        return np.asarray((pairs[:count] - pairs[count : 2 * count]) / 2 / size[:, np.newaxis])

    def balance(self) -> None:
        """Compare inputs, and outputs, over random settings. What enters a chip that loses alike on all ways leaves it,
        and the other way about: the mean of its powers, inputs and outputs evened out, has rows and columns of one sum."""
        drives = random_settings(self.rig.setup, SETTINGS, 1.0, 5)
        one_hot = np.eye(self.rig.setup.ports)
        mean = np.mean([self.powers(drive, one_hot).T for drive in drives], axis=0)
        mean = np.maximum(mean, 1e-6 * mean.max())
        out, into = np.ones(len(mean)), np.ones(len(mean))
        for _ in range(BALANCED):
            out = (mean / into).sum(axis=1)
            into = (mean / out[:, np.newaxis]).sum(axis=0)
        self.into = np.sqrt(into / into.mean())
        self.out = out / out.mean()

    def _program(self, volts: FloatArray) -> None:
        """The oscillator's heater, where there is one, stays cold."""
        self.rig.program(np.append(volts, 0.0) if self.rig.setup.oscillator else volts)

    def _played(self, patterns: FloatArray, longer: int) -> tuple[FloatArray, FloatArray]:
        """Currents of patterns, their negatives and of rest, and how large each pattern (samples,) was played."""
        setup, mods = self.rig.setup, self.known.modulators
        asked = patterns / self.into
        whole = 1.0 / np.abs(asked).max(axis=1)
        ignore = np.asarray(~self.known.photodetectors.accepted("gain"))
        while True:
            size = whole * self.rig.dimming
            signed = asked * size[:, np.newaxis]
            amplitudes = np.concatenate((signed, -signed, np.zeros((RESTS, setup.ports))))
            volts = drive_of_amplitude(amplitudes, mods.value("v_pi"), mods.value("bias"))
            volts = np.minimum(np.maximum(volts, setup.modulator_low), setup.modulator_high)
            try:
                return self.rig.ranged(volts, longer * self.averages, ignore)[0], size
            except SaturationError:
                if self.rig.dimming < FAINTEST:
                    raise
                self.rig.dimming *= DIM
