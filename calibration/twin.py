"""How good the twin of a calibrated chip is: its score on settings that the calibration never fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hilonn.calibration import held_out
from hilonn.calibration.engine import Folder
from hilonn.errors import CalibrationError
from hilonn.records import load_records


def twin(folder: Path) -> dict[str, Any]:
    """The score of the record in a calibration's ``folder``, computed again from its held-out readings: ``twin_error``,
    ``noise_floor``, their ``ratio``, ``settings``; and ``stored``, what the calibration found itself.

    CalibrationError where the folder holds no calibration, no record, or no held-out readings.
    """
    source = Folder(folder)
    chip = source.head["chip"]
    records = load_records(folder / "record.json")
    raw = source.raw("held-out")
    if raw.finished is None:
        raise CalibrationError(
            f"{folder} holds no held-out readings: its calibration was not finished, or its chip has no local "
            f"oscillator. Go on with: hilonn calibrate {source.head['bench']} --out {folder}"
        )
    scored = held_out.score(source.setup, records, raw, records)
    stored = source.found.get("twin_error")
    return {
        "folder": str(folder),
        "bench": f"twin:{folder}",
        "chip": chip,
        "record": records.hash(),
        "created": records.chip.created,
        "source": records.chip.source,
        "twin_error": scored.twin_error,
        "noise_floor": scored.noise_floor,
        "ratio": scored.twin_error / scored.noise_floor,
        "settings": scored.settings,
        "stored": stored,
    }
