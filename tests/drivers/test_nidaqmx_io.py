"""NI-DAQmx on a stand-in for its library: contracts, NI's rules, errors; and what of the real library is used is there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hilonn.devices import Device, Timing
from hilonn.drivers import nidaqmx_io
from hilonn.drivers.nidaqmx_io import nidaqmx_inputs, nidaqmx_outputs, nidaqmx_patterns, physical
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.registry import Driver
from hilonn.testing import ActuatorsContract, ModulatorsContract, PhotodetectorsContract
from tests.drivers.fake_daqmx import Bench, DaqError

CLOCK = "/Dev1/ao/SampleClock"
TIMING = Timing(sample_period=1e-4)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(nidaqmx_io, "library", bench.module)
    return bench


def made(driver: Driver, channels: str, **more: Any) -> Any:
    chosen = driver.options.model_validate({"device": "Dev1", "channels": channels, **more})
    return driver.build("box", chosen, None)


@pytest.fixture
def opened(bench: Bench) -> Iterator[list[Device]]:
    devices: list[Device] = []
    yield devices
    for device in devices:
        device.close()
    assert bench.tasks == [], "tasks are left behind"


class TestOutputs(ActuatorsContract):
    @pytest.fixture(params=[True, False])
    def device(self, bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
        with made(nidaqmx_outputs, "ao0:3", high=5.0, measured=request.param) as device:
            yield device
        assert bench.tasks == []


class TestPatterns(ModulatorsContract):
    @pytest.fixture
    def device(self, bench: Bench) -> Iterator[Device]:
        with made(nidaqmx_patterns, "ao0:1", low=-5.0, high=5.0, max_samples=64) as device:
            yield device
        assert bench.tasks == []


class TestInputs(PhotodetectorsContract):
    @pytest.fixture(params=["ai0:3", "ai2"])
    def device(self, bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
        with made(nidaqmx_inputs, request.param, ranges=[0.1, 1.0, 10.0]) as device:
            yield device
        assert bench.tasks == []


def test_opening_changes_no_output_and_what_stands_there_is_known(bench: Bench) -> None:
    bench.outputs["Dev1/ao1"] = 2.5
    device = made(nidaqmx_outputs, "ao0:1", high=5.0)
    device.open()
    np.testing.assert_array_equal(device.read_back(), [0.0, 2.5])
    blind = made(nidaqmx_outputs, "ao2:3", high=5.0, measured=False)
    blind.name = "blind"
    device.close()
    blind.open()
    np.testing.assert_array_equal(blind.read_back(), [5.0, 5.0])  # the worst there can be
    assert bench.played == []
    blind.close()


def test_one_write_sets_all_and_makes_no_task(bench: Bench, opened: list[Device]) -> None:
    device = made(nidaqmx_outputs, "ao0:2", high=5.0)
    device.open()
    opened.append(device)
    tasks = list(bench.tasks)
    device.write(np.array([1.0, 2.0, 3.0]))
    device.write(np.array([1.5, 2.0, 3.0]))
    assert bench.tasks == tasks
    assert [p.shape for p in bench.played] == [(3, 1), (3, 1)]


@pytest.mark.parametrize(("samples", "plays", "each"), [(1, 1, 1), (3, 1, 1), (3, 4, 1), (2, 3, 2)])
def test_a_pattern_is_played_once_and_its_averages_after_it(
    bench: Bench, opened: list[Device], samples: int, plays: int, each: int
) -> None:
    player = made(nidaqmx_patterns, "ao0:1", low=-5.0, high=5.0)
    reader = made(nidaqmx_inputs, "ai0:1", clock=CLOCK)
    player.name, reader.name = "player", "reader"
    for device in (player, reader):
        device.open()
        opened.append(device)
    drive = np.arange(1.0, 1.0 + 2 * samples).reshape(samples, 2) / 4
    reader.arm(samples, plays, Timing(1e-4, samples_per_reading=each))
    player.load(drive, Timing(1e-4, samples_per_reading=each, plays=plays))
    player.play()
    assert bench.played[-1].shape[1] == max(samples * plays * each, 2)  # not NI's 1000
    np.testing.assert_allclose(reader.fetch().signal, drive)


def test_the_longest_batch_is_told_with_its_plays_and_is_taken(
    bench: Bench, opened: list[Device]
) -> None:
    player = made(nidaqmx_patterns, "ao0:1", max_samples=20)
    reader = made(nidaqmx_inputs, "ai0:1", clock=CLOCK, max_samples=14)
    player.name, reader.name = "player", "reader"
    for device in (player, reader):
        device.open()
        opened.append(device)
    timing = Timing(1e-4, samples_per_reading=2, plays=3)
    assert (player.most_samples(timing), reader.most_samples(3, timing)) == (3, 2)
    reader.arm(2, 3, timing)
    with pytest.raises(ConfigError, match="the buffer holds 14"):
        reader.arm(3, 3, timing)
    player.load(np.zeros((3, 2)), timing)
    with pytest.raises(DeviceError, match="the buffer holds 20"):
        player.load(np.zeros((4, 2)), timing)


def test_what_was_not_clocked_is_a_timeout_and_the_next_batch_is_right(
    bench: Bench, opened: list[Device]
) -> None:
    reader = made(nidaqmx_inputs, "ai0:1", clock=CLOCK)
    reader.open()
    opened.append(reader)
    reader.arm(2, 1, TIMING)
    with pytest.raises(DeviceTimeout, match="-200284"):
        reader.fetch()
    player = made(nidaqmx_patterns, "ao0:1")
    player.name = "player"
    player.open()
    opened.append(player)
    reader.arm(2, 1, TIMING)
    player.load(np.full((2, 2), 0.5), TIMING)
    player.play()
    np.testing.assert_allclose(reader.fetch().signal, 0.5)


def test_a_reading_at_full_scale_is_saturated(bench: Bench, opened: list[Device]) -> None:
    bench.outputs |= {"Dev1/ao0": 0.5, "Dev1/ao1": 3.0}
    reader = made(nidaqmx_inputs, "ai0:1", ranges=[1.0, 10.0], factor=1e-3, unit="W")
    reader.open()
    opened.append(reader)
    reader.set_range(0)
    reader.arm(1, 2, TIMING)
    readings = reader.fetch()
    np.testing.assert_allclose(readings.signal, [[0.5e-3, 1e-3]])
    np.testing.assert_array_equal(readings.saturated, [[False, True]])


def test_a_trigger_starts_a_pattern(bench: Bench, opened: list[Device]) -> None:
    player = made(nidaqmx_patterns, "ao0", start_trigger="/Dev1/PFI0")
    player.open()
    opened.append(player)
    player.load(np.array([[1.0], [2.0]]), TIMING)
    player.play()
    assert bench.played == []
    bench.tasks[0].fire()
    assert bench.outputs["Dev1/ao0"] == 2.0


def test_the_safe_state_is_zero_after_a_pattern(bench: Bench, opened: list[Device]) -> None:
    player = made(nidaqmx_patterns, "ao0:1", low=-5.0)
    player.open()
    opened.append(player)
    player.load(np.full((4, 2), 3.0), TIMING)
    player.play()
    assert bench.outputs["Dev1/ao1"] == 3.0
    player.safe_state()
    assert bench.outputs == {"Dev1/ao0": 0.0, "Dev1/ao1": 0.0}
    with pytest.raises(DeviceError, match="nothing is loaded"):
        player.play()
    player.load(np.full((4, 2), 1.0), TIMING)
    player.play()


def test_too_long_a_run_is_refused_before_anything_is_played(
    bench: Bench, opened: list[Device]
) -> None:
    player = made(nidaqmx_patterns, "ao0", max_samples=10)
    player.open()
    opened.append(player)
    with pytest.raises(DeviceError, match="5 samples x 3 plays are 15"):
        player.load(np.zeros((5, 1)), Timing(1e-4, plays=3))
    reader = made(nidaqmx_inputs, "ai0", max_samples=10)
    with pytest.raises(ConfigError, match="are 15, the buffer holds"):
        reader.arm(5, 3, TIMING)


def test_a_device_that_is_gone_or_refuses_is_told(
    bench: Bench, opened: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = made(nidaqmx_outputs, "ao0:1", high=5.0)
    device.open()
    opened.append(device)
    bench.tasks[0].ranges[0] = (0.0, 1.0)
    with pytest.raises(DeviceError, match=r"Dev1.*write.*-200077"):
        device.write(np.array([2.0, 1.0]))
    bench.gone = True
    with pytest.raises(ConnectionLost, match="-201003"):
        device.write(np.array([0.5, 1.0]))
    bench.gone = False
    for task in list(bench.tasks):
        task.close()  # a device that was away knows no tasks
    device.write(np.array([0.5, 1.0]))
    assert bench.outputs["Dev1/ao1"] == 1.0


def test_limits_beyond_the_device_and_senseless_channels_are_refused(bench: Bench) -> None:
    bench.device = lambda name: type(  # type: ignore[method-assign]
        "D", (), {"ao_voltage_rngs": [0.0, 5.0], "product_type": "USB-6001", "serial_num": 1}
    )
    wide = made(nidaqmx_outputs, "ao0", high=10.0)
    with pytest.raises(DeviceError, match=r"0 \.\. 10 V is asked for, Dev1 gives 0 \.\. 5 V"):
        wide.open()
    for channels in ("ai0", "ao3:1", "ao0,ao0:2"):
        with pytest.raises(ConfigError):
            made(nidaqmx_outputs, channels)
    for wrong in ("ao0; import os", "", "port0/line0"):
        with pytest.raises(ValidationError):
            made(nidaqmx_outputs, wrong)
    assert physical(nidaqmx_io.OutputsOptions(device="D", channels="ao0:1,ao4"), "ao") == [
        "D/ao0",
        "D/ao1",
        "D/ao4",
    ]


def test_another_task_on_the_same_outputs_is_told(bench: Bench, opened: list[Device]) -> None:
    first = made(nidaqmx_outputs, "ao0:1")
    first.open()
    opened.append(first)
    second = made(nidaqmx_patterns, "ao1:2")
    second.name = "second"
    with pytest.raises(DeviceError, match="reserved"):
        second.open()
    second._close()


def test_the_real_library_has_what_is_used_and_says_when_its_driver_is_missing() -> None:
    nidaqmx = pytest.importorskip("nidaqmx", reason="the extra `ni` is not installed")
    from nidaqmx import constants, error_codes, errors, system

    used = {
        nidaqmx.Task.write: {"data", "auto_start", "timeout"},
        nidaqmx.Task.read: {"number_of_samples_per_channel", "timeout"},
        nidaqmx.Task.wait_until_done: {"timeout"},
    }
    for call, names in used.items():
        assert names <= set(inspect.signature(call).parameters)
    assert constants.AcquisitionType.FINITE
    assert constants.Edge.RISING
    assert constants.TerminalConfiguration.RSE
    assert issubclass(errors.DaqReadError, errors.DaqError)
    for code in (*nidaqmx_io.GONE, *nidaqmx_io.TIMED_OUT):
        assert code in set(error_codes.DAQmxErrors), code
    for name in ("product_type", "serial_num", "ao_voltage_rngs"):
        assert hasattr(system.Device, name)
    try:
        list(system.System.local().devices)
    except errors.DaqNotFoundError:
        device = made(nidaqmx_outputs, "ao0")
        with pytest.raises(ConnectionLost, match="NI-DAQmx"):
            device.open()


def test_the_stand_in_keeps_ni_s_rules(bench: Bench) -> None:
    nidaqmx = bench.module("nidaqmx", "ni")
    task = nidaqmx.Task("t")
    task.ao_channels.add_ao_voltage_chan("Dev1/ao0", min_val=0.0, max_val=5.0)
    with pytest.raises(DaqError, match="-200846"):
        task.write(1.0)
    with pytest.raises(DaqError, match="-200077"):
        task.write(6.0, auto_start=True)
    task.timing.cfg_samp_clk_timing(1e3)
    task.write([1.0, 2.0], auto_start=False)
    task.start()
    assert bench.played[-1].shape == (1, 1000)  # what is not said is 1000
    with pytest.raises(DaqError, match="-200557"):
        task.timing.cfg_samp_clk_timing(1e3, samps_per_chan=2)
