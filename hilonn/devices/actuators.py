"""Banks that hold a value: phase shifters, attenuators, filters, mirrors."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from hilonn.devices.device import Bank
from hilonn.typing import FloatArray


class Actuators(Bank):
    """A bank whose channels hold a drive until the next write."""

    tells: bool = True
    """Whether ``read_back`` says what the outputs do before the first write: some boxes can tell only what they were told."""

    final_verbs: ClassVar[frozenset[str]] = frozenset({"write", "read_back", "safe_state"})

    def write(self, drive: FloatArray) -> None:
        """Set every channel at once; ``drive`` (channels,) in the spec's unit.

        Raises LimitError (shape, NaN, limits, gate) with nothing written; SafeStateTaken where a safe state came first.
        """
        array = self.check_drive(drive, "write", (self.channels,))
        self._do("write", array, lambda: self._write(array))

    def bring(self, drive: FloatArray) -> None:
        """``write`` ``drive`` (channels,), in steps on the bench's clock where a slew rate asks for them. Raises as ``write``."""
        self.gate.bring(self, drive)

    def read_back(self) -> FloatArray:
        """What the instrument says that it drives, (channels,), in the spec's unit."""
        return np.asarray(self._read_back(), dtype=float)

    @abstractmethod
    def _write(self, drive: FloatArray) -> None: ...

    @abstractmethod
    def _read_back(self) -> FloatArray: ...


class PhaseShifters(Actuators):
    """Heaters or other phase shifters: one channel a phase."""
