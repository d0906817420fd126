"""``twin``: how well the twin of a calibrated chip predicts it."""

from __future__ import annotations

import sys
from pathlib import Path

from hilonn import registry
from hilonn.cli.train import print_json
from hilonn.errors import ConfigError


def twin_command(folder: Path, *, json: bool) -> None:
    """Score the record in ``folder`` on its held-out readings."""
    if not (folder / "calibration.json").is_file():
        raise ConfigError(
            f"{folder} is no folder of a calibration{'' if folder.exists() else ': it does not exist'}; give what "
            "`hilonn calibrate BENCH --out FOLDER` made"
        )
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
