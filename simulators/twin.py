"""A plant whose truth is a record: the twin of a chip that was calibrated.

What the record knows is true of the twin, exactly (but for the rounding of ``CoherentOptics``) and in the record's own conventions; what no record
holds (drifts, temperature, the heaters' lag, converters) is absent, the drive's steps excepted. Its detectors are as noisy
as the record says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.errors import ConfigError
from hilonn.records import Records, load_records
from hilonn.simulators.detection import CHARGE
from hilonn.simulators.presets import IDEAL, PlantParameters
from hilonn.simulators.truth import Architecture, Truth, geometry
from hilonn.typing import FloatArray

ARCHITECTURES: dict[str, Architecture] = {
    "svd_mesh": "svd_mesh",
    "unitary_mesh": "unitary_mesh",
    "triangular_mesh": "triangular_mesh",
}


@dataclass(frozen=True)
class Twin:
    """All that makes a plant, drawn from ``records``."""

    records: Records
    truth: Truth
    parameters: PlantParameters
    kernel: FloatArray


def twin_of(path: Path) -> Twin:
    """The twin of the records at ``path``. ConfigError for an architecture that has none, CalibrationError where the
    records cannot be read."""
    records = load_records(path)
    chip, detectors, modulators = records.chip, records.photodetectors, records.modulators
    if chip.architecture not in ARCHITECTURES:
        raise ConfigError(
            f"{path} is the record of a {chip.architecture}; twins are made of "
            f"{' and '.join(ARCHITECTURES)} records"
        )
    architecture = ARCHITECTURES[chip.architecture]
    layout, mzis, _ = geometry(architecture, chip.ports)
    heaters = len(layout) + 1
    rise = chip.value("heater_resistance_rise")
    if chip.value("splitter_errors").shape != (mzis, 2) or rise.shape != (heaters,):
        raise ConfigError(
            f"{path}: a {chip.architecture} of {chip.ports} ports has {heaters} heaters and {mzis} interferometers; "
            f"the record has {len(rise)} and {len(chip.value('splitter_errors'))}"
        )
    field = chip.value("input_field")
    power_gain, gain = chip.value("output_power_gain"), chip.value("output_gain")
    launched = float(np.sqrt(np.mean(np.abs(field) ** 2)))
    lo = gain / (2 * np.sqrt(power_gain))
    usable = chip.accepted("heater_phase_offset") & chip.accepted("heater_power_per_pi")
    # A reading is (|E| + |LO|)^2 / 2 at most, and a passive mesh sends all light of one input to an output.
    largest = float(np.max((np.sqrt(power_gain) * launched + lo) ** 2 / 2))
    truth = Truth(
        architecture=architecture,
        ports=chip.ports,
        layout=layout,
        splitter_errors=chip.value("splitter_errors"),
        mzi_transmission=np.minimum(chip.value("mzi_transmission"), 1.0),
        resistance=chip.value("heater_resistance"),
        resistance_rise=rise,
        power_per_pi=chip.value("heater_power_per_pi"),
        phase_offset=chip.value("heater_phase_offset"),
        temperature_phase=np.zeros(heaters),
        dead=~usable,
        launched_field=launched,
        input_facet=np.asarray(field / launched, np.complex128),
        output_facet=np.sqrt(power_gain) * np.exp(1j * chip.value("output_phase")),
        lo_field=lo,
        v_pi=modulators.value("v_pi"),
        bias=modulators.value("bias"),
        leak=modulators.value("extinction_leak"),
        gain=detectors.value("gain"),
        dark=detectors.value("dark"),
        largest_power=largest,
    )
    return Twin(records, truth, IDEAL, chip.value("crosstalk_kernel"))


def as_noisy(twin: Twin, full_scale: float, period: float) -> PlantParameters:
    """Parameters with the record's noise at readings of ``period`` s, ``full_scale`` (A) the largest range."""
    detectors = twin.records.photodetectors
    v0, v1, v2 = (np.median(detectors.value(f"noise_{v}")) for v in ("v0", "v1", "v2"))
    gain = float(np.median(twin.truth.gain))
    bandwidth = 0.5 / period
    rin = float(v2) / (gain**2 * bandwidth)
    return replace(
        twin.parameters,
        resistance_rise=max(float(np.abs(twin.truth.resistance_rise).max()), 1e-12),
        responsivity=gain,
        detector_noise=float(np.sqrt(max(float(v0), 0.0))) / full_scale,
        shot_noise=max(float(v1), 0.0) / (2 * CHARGE * gain * bandwidth),
        rin=10 * float(np.log10(rin)) if rin > 0 else -np.inf,
    )


def bench_of(folder: str) -> str:
    """The bench file of the twin of a calibration's ``folder``, or of a record's JSON file.

    Limits, ranges and periods are those of the boxes that the calibration saw, where its folder says.
    """
    path = Path(folder)
    record = (path / "record.json" if path.is_dir() else path).absolute()
    if not record.exists():
        raise ConfigError(
            f"twin:{folder}: no record at {record}; give a calibration's folder or a record's JSON file"
        )
    records = load_records(record)
    ports = records.chip.ports
    layout = geometry(ARCHITECTURES.get(records.chip.architecture, "svd_mesh"), ports)[0]
    lines = [
        "# The twin of a calibrated chip: what its record says is true.",
        'backend = "twin"',
        "[connections.plant]",
        'transport = "plant"',
        f"architecture = {json.dumps(records.chip.architecture)}",
        f"ports = {ports}",
        'preset = "ideal"',
        f"records = {json.dumps(str(record))}",
    ]
    setup = _setup(record.parent)
    period = float(setup.get("sample_period", 1e-5))
    lines += [f"{key} = {value!r}" for key, value in _boxes(setup).items()]
    devices = {
        "laser": "laser",
        "heaters": "phase_shifters",
        "inputs": "modulators",
        "meter": "photodetectors",
        "lo_shutter": "switch",
    }
    for name, driver in devices.items():
        lines += [f"[devices.{name}]", f'driver = "simulated_{driver}"', 'connection = "plant"']
    lines += [
        "[chips.mesh]",
        f"architecture = {json.dumps(records.chip.architecture)}",
        f"ports = {ports}",
        f"record = {json.dumps(str(record))}",
        "[chips.mesh.wiring]",
        f'phase_shifters = "heaters:0-{len(layout) - 1}"',
        f'local_oscillator = "heaters:{len(layout)}"',
        'modulators = "inputs"',
        'photodetectors = "meter"',
        'local_oscillator_switch = "lo_shutter"',
        "[safety]",
        'order = ["laser", "inputs", "heaters", "lo_shutter"]',
        "[timing]",
        'trigger = "inputs"',
        f"sample_period = {period!r}",
    ]
    return "\n".join(lines) + "\n"


def _setup(folder: Path) -> dict[str, Any]:
    """What a calibration's folder says of the boxes; empty where it is no such folder."""
    path = folder / "calibration.json"
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))["setup"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return found


def _boxes(setup: dict[str, Any]) -> dict[str, float]:
    """Options of the plant for what the boxes can do."""
    found: dict[str, float] = {}
    if setup:
        found["drive_high"] = float(np.max(setup["drive_high"]))
        found["drive_step"] = float(setup["drive_step"])
        found["modulator_high"] = float(np.max(np.abs(setup["modulator_high"])))
        found["full_scale"] = float(np.max(setup["ranges"]))
        found["noise_period"] = float(setup["sample_period"])
    return found
