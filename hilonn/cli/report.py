"""``report``: one HTML page of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from hilonn.reports import report


def report_command(run: Path, compare: list[Path], out: Path | None) -> None:
    """Write the page and print its path."""
    path = report(run, compare=compare, out=out)
    sys.stdout.write(f"{path}\n")
