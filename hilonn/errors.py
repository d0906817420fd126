"""The short family of errors that hilonn raises.

A message says what was asked, of which device and channel, what came back, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class Interrupted(Exception):
    """A first Ctrl-C: what was under way was finished or left at its last checkpoint. The run can be resumed."""


def tell_too(error: BaseException, text: str) -> None:
    """Add ``text`` to what ``error`` says: what went wrong first stays first."""
    error.args = (f"{error}\n{text}" if str(error) else text, *error.args[1:])


class HilonnError(Exception):
    """Base of every error that hilonn raises on purpose. ``exit_code`` is the command line's."""

    exit_code: int = 1


class ConfigError(HilonnError):
    """Bad input: a bench file, an experiment file, a dataset, an argument. Nothing was touched."""

    exit_code = 2


class LimitError(HilonnError):
    """A write that a limit or an interlock forbids. The hardware is as it was."""

    exit_code = 3


class InterlockError(LimitError):
    """An interlock tripped, or a laser went off by itself: the bench was made safe, or is refused light and heat."""


class SafeStateTaken(LimitError):
    """A safe state was taken since this was planned: it was not done, or is taken back."""


class ConnectionLost(HilonnError):
    """The peer is gone. What it holds is unknown until it is connected and checked again."""


class DeviceTimeout(HilonnError):
    """No answer within the time allowed."""


class DeviceError(HilonnError):
    """The instrument itself reports an error, or answered what its protocol does not allow."""


class NotSafe(DeviceError):
    """Steps of a bench's safe state failed; ``failures`` says which."""

    def __init__(self, bench: str, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            f"bench {bench} may not be safe: {len(failures)} steps failed\n"
            + "\n".join(f"  {failure}" for failure in failures)
            + "\nSwitch the laser and the heater supply off by hand."
        )


class CalibrationError(HilonnError):
    """A record is missing, expired, of another chip, or cannot serve what was asked."""


class ResumeError(ConfigError):
    """A run cannot be continued exactly; the message names the difference."""


class ReplayError(HilonnError):
    """A replayed run asks for something else than the run that was logged."""


class DivergedError(HilonnError):
    """Training ran away: weights or signals are no longer finite. The last checkpoint is whole."""


class SaturationError(HilonnError):
    """A reading stayed above the detector's largest range, or a drive above the modulator's."""


class StorageError(HilonnError):
    """The disk failed, is full or is not writable. What was whole before is whole still."""
