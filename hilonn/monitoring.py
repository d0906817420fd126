"""What watches a chip while it is trained, through passes of its own."""

from __future__ import annotations

from typing import Any, Protocol

from hilonn.chips import MatrixChip
from hilonn.typing import Snapshot


class Monitor(Protocol):
    """An entry point of ``hilonn.monitors`` makes one (its options are its arguments)."""

    def watch(self, chip: MatrixChip) -> dict[str, Any] | None:
        """Called after every step of learning; decides by the chip's clock whether to look. What it did, for the run's
        record, or None. May change what the chip believes (its records), never its light."""
        ...

    def snapshot(self) -> Snapshot:
        """What later looks depend on."""
        ...

    def restore(self, saved: Snapshot) -> None:
        """The inverse of ``snapshot``."""
        ...
