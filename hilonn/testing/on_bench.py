"""The contract suites on every device of the bench given by ``--bench``.

They write to the hardware, within a tenth of its limits, behind the bench's own gate's limits; light
goes on for moments. The bench is made safe at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hilonn.bench import Bench
from hilonn.devices import (
    Actuators,
    Device,
    Laser,
    Modulators,
    Photodetectors,
    Switch,
    TemperatureController,
    put_behind,
)
from hilonn.testing.contracts import (
    ActuatorsContract,
    LaserContract,
    ModulatorsContract,
    PhotodetectorsContract,
    SwitchContract,
    TemperatureControllerContract,
)


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The bench of ``--bench``, opened once."""
    source = request.config.getoption("--bench")
    if source is None:
        pytest.skip("give --bench BENCH to test the devices of a bench")
    with Bench.open(source) as opened:
        yield opened


def of_kind(bench: Bench, kind: type[Device]) -> Iterator[Device]:
    """The bench's device of ``kind``, with its own gate put back afterwards."""
    found = [device for device in bench.devices.values() if isinstance(device, kind)]
    if not found:
        pytest.skip(f"bench {bench.name} has no {kind.__name__}")
    device = found[0]
    gate = device.gate
    yield device
    put_behind(device, gate)
    device.safe_state()


class TestActuators(ActuatorsContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, Actuators)


class TestModulators(ModulatorsContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, Modulators)


class TestPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, Photodetectors)


class TestLaser(LaserContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, Laser)


class TestTemperatureController(TemperatureControllerContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, TemperatureController)


class TestSwitch(SwitchContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        yield from of_kind(bench, Switch)
