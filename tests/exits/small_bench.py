"""Bench files of a four-port chip: small enough to open in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilonn import registry
from hilonn.bench import Bench
from hilonn.devices import Laser, Modulators, PhaseShifters, TemperatureController
from hilonn.simulators.connection import PlantConnection
from hilonn.simulators.plant import Plant

PORTS = 4
MESH_HEATERS = 2 * (PORTS * (PORTS - 1) + PORTS) + PORTS
HEATERS = MESH_HEATERS + 1
"""The mesh's and the local oscillator's."""


def bench_text(added: Mapping[str, str] | None = None, tail: str = "") -> str:
    """The built-in bench ``simulated`` with four ports; ``added`` maps a section, such as
    ``devices.heaters``, to lines put at its start (replacing its own line of the same key);
    ``tail`` goes to the end."""
    text: str = registry.load("hilonn.benches", "simulated")()
    text = text.replace("ports = 16", f"ports = {PORTS}")
    text = text.replace("heaters:0-527", f"heaters:0-{MESH_HEATERS - 1}")
    text = text.replace("heaters:528", f"heaters:{MESH_HEATERS}")
    for section, lines in (added or {}).items():
        head = f"[{section}]\n"
        assert text.count(head) == 1, section
        before, after = text.split(head)
        own, bracket, rest = after.partition("\n[")
        keys = {line.split("=")[0].strip() for line in lines.splitlines()}
        kept = [line for line in own.splitlines() if line.split("=")[0].strip() not in keys]
        text = before + head + lines + "\n" + "\n".join(kept) + "\n" + bracket + rest
    return text + "\n" + tail


def bench_file(folder: Path, added: Mapping[str, str] | None = None, tail: str = "") -> Path:
    """``bench_text`` in a file."""
    path = folder / "lab.toml"
    path.write_text(bench_text(added, tail), "utf-8")
    return path


def journalled(folder: Path, added: Mapping[str, str] | None = None) -> tuple[Path, Path]:
    """A bench file whose plant keeps a journal, and the journal."""
    journal = folder / "journal.jsonl"
    lines = {"connections.plant": f"journal = '{journal}'"}
    return bench_file(folder, lines | dict(added or {})), journal


def plant_of(bench: Bench) -> Plant:
    """What is really there, behind the devices."""
    connection = bench.connections["plant"]
    assert isinstance(connection, PlantConnection)
    return connection.plant


def heaters_of(bench: Bench) -> PhaseShifters:
    device = bench.device("heaters")
    assert isinstance(device, PhaseShifters)
    return device


def modulators_of(bench: Bench) -> Modulators:
    device = bench.device("inputs")
    assert isinstance(device, Modulators)
    return device


def laser_of(bench: Bench) -> Laser:
    device = bench.device("laser")
    assert isinstance(device, Laser)
    return device


def controller_of(bench: Bench) -> TemperatureController:
    device = bench.device("temperature")
    assert isinstance(device, TemperatureController)
    return device


def state(bench: Bench) -> dict[str, Any]:
    """Everything that a refused write must leave as it was."""
    plant = plant_of(bench)
    last = bench.gate.last(heaters_of(bench))
    return {
        "drive": plant.heaters.drive.tolist(),
        "target": plant.heaters.target.tolist(),
        "read_back": heaters_of(bench).read_back().tolist(),
        "pattern": None if plant.pattern is None else plant.pattern.tolist(),
        "emission": plant.emission,
        "laser_power": plant.laser_power,
        "switch": plant.switch,
        "setpoint": plant.temperature.setpoint,
        "last": None if last is None else last.tolist(),
        "generation": bench.gate.generation,
        "now": bench.clock.now(),
    }
