"""What products miss of what was asked, told apart: what comes again at every reading, and the noise of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilonn.typing import FloatArray

LEAST = 1e-30
QUIET = 0.1
"""Of what is missed: noise below it hides nothing."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Relative to what was asked, rms: ``whole`` of one reading, of which ``lasting`` comes again at every reading (the record,
    drift, leaked light) and ``noise`` does not. ``lasting`` is never below what so many readings can tell."""

    whole: float
    lasting: float
    noise: float

    @classmethod
    def of(cls, trips: Sequence[FloatArray], wanted: FloatArray) -> Missed:
        """From what each of two or more ``trips`` missed (samples, outputs) of ``wanted`` (samples, outputs).

        The noise of two trips has nothing in common, so that the mean of their product is what lasts; its own standard
        error is noise^2 sqrt(2 / (n (n - 1) N)) for n trips of N numbers.
        """
        read = np.stack([np.asarray(t, dtype=float) for t in trips])
        n, size = len(read), max(float(np.sqrt((wanted**2).mean())) if wanted.size else 0.0, LEAST)
        if not read.size:
            return cls(0.0, 0.0, 0.0)
        every = float((read**2).mean())
        spread = float(read.var(axis=0, ddof=1).mean())
        least = spread * np.sqrt(2.0 / (n * (n - 1) * read[0].size))
        lasting = max(every - spread, least)
        return cls(*(float(np.sqrt(v)) / size for v in (every, lasting, spread)))

    @property
    def quiet(self) -> bool:
        """Whether more readings would say nothing new."""
        return self.noise < QUIET * self.whole
