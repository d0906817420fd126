"""``lab-16``: the plant of the bench ``simulated`` behind a rack of instruments."""

from __future__ import annotations

from importlib import resources
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

PORTS = 16
MODULES = 67
AMPLIFIER = 8.0
"""V at a modulator per volt of a Red Pitaya: its 1 V reaches what the modulators take."""
BOOSTER = 10.0
"""An optical amplifier between the laser's 10 mW and the chip's 100 mW."""
A_METER = 8


def build(**chosen: Any) -> Lab:
    """A Qontrol chain on the heaters and the oscillator's phase, eight Red Pitayas on the modulators, four 8-channel power
    meters on the detectors, a laser, a temperature controller, and a switch as the oscillator's shutter."""
    options = LabOptions(**chosen)
    effects = {} if options.noise else dict.fromkeys(NOISES, False)
    parameters = resolve("typical", effects, {})
    plant = Plant(
        "svd_mesh",
        PORTS,
        parameters,
        chip_seed=options.chip_seed,
        noise_seed=options.noise_seed,
    )
    rack = Rack(plant, lockstep=options.lockstep)
    pitayas = [
        RedPitayaBox(
            f"rp{k}", rack, [2 * k, 2 * k + 1], amplifier=AMPLIFIER, master=k == PORTS // 2 - 1
        )
        for k in range(PORTS // 2)
    ]
    meters = [
        KeysightPowerMeterBox(f"meter{k}", rack, list(range(A_METER * k, A_METER * (k + 1))))
        for k in range(2 * PORTS // A_METER)
    ]
    boxes = [
        QontrolBox("q", rack, modules=MODULES),
        *pitayas,
        *meters,
        SantecTslBox("santec", rack, booster=BOOSTER),
        MeerstetterBox("tec", rack),
        DiconBox("shutter", rack),
    ]
    text = (resources.files("hilonn.simulators.emulators") / "lab-16.toml").read_text("utf-8")
    records = plant.records(CHIP, parameters.record_error, splitters=True, crosstalk=True)
    return Lab("lab-16", rack, boxes, text, options, in_watts(records, parameters.responsivity))
