"""What the entry points yield."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from hilonn.devices import Device
from hilonn.simulators import entries
from hilonn.simulators.connection import PlantOptions
from hilonn.transports.contract import ClockSource, RecordSource, Snapshotable

BENCHES = {
    entries.bench_simulated: ("svd_mesh", 16, "typical"),
    entries.bench_simulated_64: ("svd_mesh", 64, "typical"),
    entries.bench_simulated_mesh_64: ("unitary_mesh", 64, "typical"),
    entries.bench_simulated_triangle: ("triangular_mesh", 8, "typical"),
    entries.bench_simulated_crossbar: ("crossbar", 16, "typical"),
    entries.bench_simulated_harsh: ("svd_mesh", 16, "harsh"),
    entries.bench_ideal: ("svd_mesh", 16, "ideal"),
}


@pytest.mark.parametrize(("bench", "expected"), BENCHES.items())
def test_built_in_benches_wire_the_whole_chip(
    bench: Callable[[], str], expected: tuple[str, int, str]
) -> None:
    frame = tomllib.loads(bench())
    options = dict(frame["connections"]["plant"])
    assert options.pop("transport") == "plant"
    connection = entries.plant.build("plant", PlantOptions(**options))
    truth = connection.plant.truth  # type: ignore[attr-defined]
    preset = frame["connections"]["plant"]["preset"]
    assert (truth.architecture, truth.ports, preset) == expected
    chip = frame["chips"]["mesh"]
    assert (chip["architecture"], chip["ports"]) == expected[:2]
    wiring = chip["wiring"]
    if truth.architecture == "crossbar":
        assert wiring["phase_shifters"] == "heaters"
        assert "local_oscillator" not in wiring
    else:
        assert wiring["phase_shifters"] == f"heaters:0-{truth.chip_heaters - 1}"
        assert wiring["local_oscillator"] == f"heaters:{truth.chip_heaters}"
    assert set(frame["safety"]["order"]) <= set(frame["devices"])
    for name, section in frame["devices"].items():
        driver = getattr(entries, section["driver"].removeprefix("simulated_"))
        device = driver.build(name, driver.options(), connection)
        assert isinstance(device, Device)
        assert device.name == name
        assert device.nonblocking, "a simulated device never waits for a wire"


def test_total_power_is_above_half_a_turn_a_heater() -> None:
    for bench in BENCHES:
        frame = tomllib.loads(bench())
        connection = entries.plant.build(
            "plant",
            PlantOptions(
                **{k: v for k, v in frame["connections"]["plant"].items() if k != "transport"}
            ),
        )
        half_turns = connection.plant.truth.power_per_pi.sum()  # type: ignore[attr-defined]
        assert 1.5 * half_turns < frame["safety"]["total_power"] < 3.0 * half_turns


def test_connection_is_clock_records_and_state() -> None:
    connection = entries.plant.build("plant", PlantOptions(ports=4))
    assert isinstance(connection, ClockSource)
    assert isinstance(connection, RecordSource)
    assert isinstance(connection, Snapshotable)


def test_devices_take_no_options() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        entries.laser.options(power=1.0)
