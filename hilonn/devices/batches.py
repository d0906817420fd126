"""How long a batch may be that modulators play and photodetectors read together."""

from __future__ import annotations

from dataclasses import replace

from hilonn.devices.modulators import Modulators
from hilonn.devices.photodetectors import Photodetectors
from hilonn.devices.spec import Timing


def longest_batch(
    modulators: Modulators, photodetectors: Photodetectors, averages: int, timing: Timing
) -> int:
    """Samples that both boxes take in one go at ``averages`` plays; longer batches are split into so many. 1 where not even
    one fits: the box that it does not fit says so."""
    played = replace(timing, plays=averages)
    return min(modulators.most_samples(played), photodetectors.most_samples(averages, timing))
