"""Bench files of small simulated meshes."""

from __future__ import annotations

from hilonn.mesh import UNITARY_MESHES, SvdMesh

QUIET = [
    "detector_noise",
    "thermal_noise",
    "shot_noise",
    "rin",
    "adc",
    "lo_wander",
    "input_phase_drift",
    "heater_drift",
    "modulator_bias_drift",
    "detector_gain_drift",
    "drive_resolution",
    "heater_lag",
    "temperature",
    "thermo_optic_nonlinearity",
    "saturation",
]
"""What a record's forward model does not hold."""

TEXT = """
backend = "simulated"
[connections.plant]
transport = "plant"
architecture = "{architecture}"
ports = {ports}
preset = "{preset}"
{more}
[connections.plant.effects]
{effects}
[devices.laser]
driver = "simulated_laser"
connection = "plant"
[devices.heaters]
driver = "simulated_phase_shifters"
connection = "plant"
[devices.inputs]
driver = "simulated_modulators"
connection = "plant"
[devices.meter]
driver = "simulated_photodetectors"
connection = "plant"
[devices.lo_shutter]
driver = "simulated_switch"
connection = "plant"
[chips.mesh]
architecture = "{architecture}"
ports = {ports}
record = "connection:plant"
{chip}
[chips.mesh.wiring]
phase_shifters = "heaters:0-{last}"
local_oscillator = "heaters:{oscillator}"
modulators = "inputs"
photodetectors = "meter"
local_oscillator_switch = "lo_shutter"
"""


def bench_text(
    architecture: str,
    ports: int,
    *,
    preset: str = "typical",
    effects: list[str] | tuple[str, ...] = (),
    more: str = "",
    chip: str = "",
) -> str:
    """A bench of one mesh; ``effects`` are switched off."""
    mesh = UNITARY_MESHES.get(architecture, SvdMesh)(ports)
    return TEXT.format(
        architecture=architecture,
        ports=ports,
        preset=preset,
        more=more,
        effects="\n".join(f"{name} = false" for name in effects),
        chip=chip,
        last=mesh.phases - 1,
        oscillator=mesh.phases,
    )
