"""``twin``: how well the twin of a calibrated chip predicts it."""

from __future__ import annotations

import sys
from pathlib import Path

from hilonn import registry
from hilonn.cli.train import print_json


def twin_command(folder: Path, *, json: bool) -> None:
    """Score the record in ``folder`` on its held-out readings."""
    found = registry.load("hilonn.calibrators", "twin").twin(folder)
    if json:
        print_json(found)
        return
    sys.stdout.write(
        f"chip           {found['chip']}, record of {found['created']}\n"
        f"predicted      {found['settings']} held-out settings to {found['twin_error']:.2%} of their readings\n"
        f"repeated       the chip repeats itself to {found['noise_floor']:.2%}: {found['ratio']:.2f} times that\n"
        f"bench          --bench {found['bench']}\n"
    )
