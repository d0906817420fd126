"""What the entry points of the package name: transport, devices and built-in benches."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict

from hilonn.devices import Device
from hilonn.registry import Driver, TransportType
from hilonn.simulators.connection import PlantConnection, PlantOptions, plant_of
from hilonn.simulators.devices import (
    SimulatedModulators,
    SimulatedPhaseShifters,
    SimulatedPhotodetectors,
)
from hilonn.simulators.plant import Plant
from hilonn.simulators.sources import (
    SimulatedLaser,
    SimulatedSwitch,
    SimulatedTemperatureController,
)


class NoOptions(BaseModel):
    """A simulated device takes all it needs from its plant."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _driver(make: Callable[[str, Plant], Device]) -> Driver:
    def build(name: str, options: Any, connection: Any) -> Device:
        return make(name, plant_of(name, connection))

    return Driver(options=NoOptions, build=build)


plant = TransportType(options=PlantOptions, build=PlantConnection)
phase_shifters = _driver(SimulatedPhaseShifters)
modulators = _driver(SimulatedModulators)
photodetectors = _driver(SimulatedPhotodetectors)
laser = _driver(SimulatedLaser)
temperature_controller = _driver(SimulatedTemperatureController)
switch = _driver(SimulatedSwitch)


def _text(name: str) -> str:
    return (resources.files("hilonn.simulators.benches") / f"{name}.toml").read_text("utf-8")


def bench_simulated() -> str:
    """A 16-port SVD mesh, typical."""
    return _text("simulated")


def bench_simulated_64() -> str:
    """A 64-port SVD mesh, typical."""
    return _text("simulated-64")


def bench_simulated_mesh_64() -> str:
    """One unitary mesh of 64 ports, typical: real matrices up to 32 by 32."""
    return _text("simulated-mesh-64")


def bench_simulated_triangle() -> str:
    """One triangular mesh of 8 ports, typical: real matrices up to 4 by 4."""
    return _text("simulated-triangle")


def bench_simulated_crossbar() -> str:
    """A 16 by 16 crossbar, typical."""
    return _text("simulated-crossbar")


def bench_simulated_harsh() -> str:
    """A 16-port SVD mesh, harsh."""
    return _text("simulated-harsh")


def bench_ideal() -> str:
    """A 16-port SVD mesh without a fault."""
    return _text("ideal")
