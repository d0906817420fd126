"""``lab-4``: the boxes of ``lab-16`` around a chip of four ports, so that a run takes seconds.

Run as ``python -m tests.lab.lab_4 FOLDER [BOX=PORT ...]`` it serves until it is killed: a lab in a process of its own, which comes
back on the ports that it is given. Prints READY once ``FOLDER/bench.toml`` is whole.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from hilonn.simulators.emulators.dicon_switch import DiconBox
from hilonn.simulators.emulators.keysight_power_meter import KeysightPowerMeterBox
from hilonn.simulators.emulators.lab import CHIP, NOISES, Lab, LabOptions, in_watts
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.red_pitaya import RedPitayaBox
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.simulators.plant import Plant
from hilonn.simulators.presets import resolve
from tests.exits.small_bench import HEATERS, MESH_HEATERS, PORTS

BOXES = ("q", "rp0", "rp1", "meter0", "santec", "tec", "shutter")
AMPLIFIER, BOOSTER = 8.0, 10.0
TIMEOUT = 1.0
"""s: of every wire, so that a box that hangs is noticed soon, and a busy machine is not taken for one."""
XOR = """
[data]
name = "xor"
[[layers]]
outputs = 8
activation = "saturating_square"
[[layers]]
outputs = 2
[rule]
name = "two_pass"
feedback_scale = 1.0
rate = 0.02
hidden_rate = 0.2
averages = 1
[training]
epochs = {epochs}
batch = 20
checkpoint_seconds = 0.5
"""
WATCHED = """
[[safety.interlocks]]
device = "temperature"
quantity = "stable"
low = 0.5
every = 0.2
"""
"""The controller's window, looked at five times a second."""


def bench_text(safety: str = "# more of safety") -> str:
    """With ``{name}`` for each box's port and ``{record}``; ``safety`` is added to its section."""
    wires = "".join(
        f'[connections.{box}]\ntransport = "tcp"\nhost = "127.0.0.1"\nport = {{{box}}}\ntimeout = {TIMEOUT}\n'
        for box in BOXES
    )
    return f"""backend = "emulated"
{{clock}}
{wires}
[devices.laser]
driver = "santec_tsl"
connection = "santec"
amplifier = {BOOSTER}
patience = 1.0
[devices.temperature]
driver = "meerstetter_tec"
connection = "tec"
[devices.heaters]
driver = "qontrol"
connection = "q"
channels = {HEATERS}
high = 6.5
resistance = 500.0
settling_time = 1e-4
[devices.in0]
driver = "red_pitaya_modulators"
connection = "rp0"
amplifier = {AMPLIFIER}
trigger = "external"
[devices.in1]
driver = "red_pitaya_modulators"
connection = "rp1"
amplifier = {AMPLIFIER}
trigger = "internal"
[devices.inputs]
driver = "bank"
members = ["in0", "in1"]
starts = "in1"
[devices.meter]
driver = "keysight_power_meter"
connection = "meter0"
channels = {2 * PORTS}
[devices.lo_shutter]
driver = "dicon_switch"
connection = "shutter"
positions = 2
[chips.mesh]
architecture = "svd_mesh"
ports = {PORTS}
record = "{{record}}"
[chips.mesh.nominal]
responsivity = 1.0
[chips.mesh.wiring]
phase_shifters = "heaters:0-{MESH_HEATERS - 1}"
local_oscillator = "heaters:{MESH_HEATERS}"
modulators = "inputs"
photodetectors = "meter"
local_oscillator_switch = "lo_shutter"
[safety]
total_power = 25.0
order = ["laser", "inputs", "heaters", "lo_shutter"]
{safety}
[timing]
trigger = "inputs"
sample_period = 1e-5
"""


def build(
    safety: str = "# more of safety",
    *,
    latency: bool = False,
    noise: bool = True,
    lockstep: bool = False,
    chip_seed: int = 0,
) -> Lab:
    """The lab, not yet started; its bench file has ``safety``."""
    options = LabOptions(latency=latency, noise=noise, lockstep=lockstep, chip_seed=chip_seed)
    parameters = resolve("typical", {} if noise else dict.fromkeys(NOISES, False), {})
    plant = Plant("svd_mesh", PORTS, parameters, chip_seed=chip_seed)
    rack = Rack(plant, lockstep=lockstep)
    boxes: list[Any] = [
        QontrolBox("q", rack, modules=-(-HEATERS // 8)),
        RedPitayaBox("rp0", rack, [0, 1], amplifier=AMPLIFIER, master=False),
        RedPitayaBox("rp1", rack, [2, 3], amplifier=AMPLIFIER, master=True),
        KeysightPowerMeterBox("meter0", rack, list(range(2 * PORTS))),
        SantecTslBox("santec", rack, booster=BOOSTER),
        MeerstetterBox("tec", rack),
        DiconBox("shutter", rack),
    ]
    records = plant.records(CHIP, parameters.record_error, splitters=True, crosstalk=True)
    text = bench_text(safety)
    return Lab("lab-4", rack, boxes, text, options, in_watts(records, parameters.responsivity))


def main(folder: str, *ports: str) -> None:
    """Serve until killed."""
    safety = 'on_connection_lost = "wait"\npatience = 60.0'
    lab = build(safety)
    for text in ports:
        name, _, port = text.partition("=")
        lab.servers[name]._wanted = int(port)  # type: ignore[attr-defined]
    with lab:
        lab.write_bench(Path(folder) / "bench.toml")
        sys.stdout.write(
            "READY " + " ".join(f"{n}={s.port}" for n, s in lab.servers.items()) + "\n"  # type: ignore[attr-defined]
        )
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
