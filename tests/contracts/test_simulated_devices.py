"""The shipped suites against every simulated device; and against devices that break the contract."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hilonn.devices import Actuators, ChannelSpec, Identity
from hilonn.simulators import Plant, resolve
from hilonn.simulators.devices import (
    SimulatedModulators,
    SimulatedPhaseShifters,
    SimulatedPhotodetectors,
)
from hilonn.simulators.sources import (
    SimulatedLaser,
    SimulatedSwitch,
    SimulatedTemperatureController,
)
from hilonn.testing import (
    ActuatorsContract,
    LaserContract,
    ModulatorsContract,
    PhotodetectorsContract,
    SwitchContract,
    TemperatureControllerContract,
)
from hilonn.typing import FloatArray


@pytest.fixture(params=["svd_mesh", "crossbar"])
def plant(request: pytest.FixtureRequest) -> Plant:
    return Plant(request.param, 4, resolve("typical"))


class TestSimulatedPhaseShifters(ActuatorsContract):
    @pytest.fixture
    def device(self, plant: Plant) -> Iterator[SimulatedPhaseShifters]:
        with SimulatedPhaseShifters("heaters", plant) as opened:
            yield opened


class TestSimulatedModulators(ModulatorsContract):
    @pytest.fixture
    def device(self, plant: Plant) -> Iterator[SimulatedModulators]:
        with SimulatedModulators("inputs", plant) as opened:
            yield opened


class TestSimulatedPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self, plant: Plant) -> Iterator[SimulatedPhotodetectors]:
        with SimulatedPhotodetectors("meter", plant) as opened:
            yield opened


class TestSimulatedLaser(LaserContract):
    @pytest.fixture
    def device(self, plant: Plant) -> Iterator[SimulatedLaser]:
        with SimulatedLaser("laser", plant) as opened:
            yield opened


class TestSimulatedTemperatureController(TemperatureControllerContract):
    @pytest.fixture
    def device(self, plant: Plant) -> Iterator[SimulatedTemperatureController]:
        with SimulatedTemperatureController("temperature", plant) as opened:
            yield opened


class TestSimulatedSwitch(SwitchContract):
    @pytest.fixture
    def device(self) -> Iterator[SimulatedSwitch]:
        with SimulatedSwitch("shutter", Plant("svd_mesh", 4, resolve("typical"))) as opened:
            yield opened


class Shelf(Actuators):
    """A bank in memory, which breaks its contract as it is told to."""

    def __init__(self, fault: str) -> None:
        super().__init__("shelf", 3, ChannelSpec(unit="V", low=0.0, high=5.0))
        self.fault = fault
        self.held = np.zeros(3)

    def identity(self) -> Identity:
        return Identity("hilonn", "shelf", "" if self.fault == "nameless" else "1")

    def _open(self) -> None:
        self.held = self.held.copy()

    def _close(self) -> None:
        self.held = self.held.copy()

    def _safe_state(self) -> None:
        if self.fault != "stays hot":
            self.held = np.zeros(3)

    def _write(self, drive: FloatArray) -> None:
        self.held = drive[::-1].copy() if self.fault == "mirrored" else drive.copy()
        if self.fault == "weak":
            self.held *= 0.9

    def _read_back(self) -> FloatArray:
        return self.held


CAUGHT = {
    "nameless": "test_says_who_it_is_and_says_it_again",
    "stays hot": "test_safe_state_is_nearest_to_zero",
    "weak": "test_reads_back_what_was_written",
}


@pytest.mark.parametrize("fault", CAUGHT)
def test_the_suite_catches_a_device_that_breaks_it(fault: str) -> None:
    with Shelf("") as good:
        getattr(ActuatorsContract(), CAUGHT[fault])(good)
    with Shelf(fault) as bad, pytest.raises(AssertionError):
        getattr(ActuatorsContract(), CAUGHT[fault])(bad)
