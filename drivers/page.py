"""What a driver says of itself for its page in the documents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverPage:
    """``connection`` and ``device`` are the lines of a bench file; ``quirks`` (what, source) are known oddities of the
    instrument that the driver allows for; ``unverified`` are facts of the protocol that nobody has checked on a
    real box, and what to do if one is wrong."""

    instruments: str
    wiring: str
    connection: str
    device: str
    quirks: tuple[tuple[str, str], ...] = ()
    unverified: tuple[str, ...] = ()
