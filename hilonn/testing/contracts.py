"""One suite an interface. Each test asserts what hilonn relies on; none takes real time."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest

from hilonn.devices import (
    Actuators,
    Bank,
    Device,
    Laser,
    Modulators,
    Photodetectors,
    Switch,
    TemperatureController,
    Timing,
    put_behind,
)
from hilonn.devices.gate import Plans
from hilonn.errors import ConfigError, DeviceError, LimitError
from hilonn.typing import FloatArray

TIMING = Timing(sample_period=1e-4)


class RecordingGate:
    """A gate that notes what it is asked and told, and refuses when told to."""

    generation = 0

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.refuses = False
        self.plans = Plans()

    def ask(self, device: Device, verb: str, value: FloatArray) -> None:
        return None

    def look_ahead(self) -> None:
        return None

    def admit(self, device: Device, verb: str, value: FloatArray) -> None:
        self.asked.append(verb)
        if self.refuses:
            raise LimitError("refused by the test")

    def accepted(self, device: Device, verb: str, value: FloatArray) -> None:
        self.told.append(verb)

    def bring(self, device: Actuators, drive: FloatArray) -> None:
        device.write(drive)

    def passed(self, plan: int) -> AbstractContextManager[None]:
        return self.plans.made(plan)

    def unknown(self, device: Device, verb: str) -> None:
        self.told.append(f"unknown after {verb}")


class DeviceContract:
    """What every device does. Subclasses give the fixture ``device``."""

    def test_says_who_it_is_and_says_it_again(self, device: Device) -> None:
        identity = device.identity()
        assert identity.vendor
        assert identity.model
        assert identity.serial
        assert device.identity() == identity

    def test_closes_twice_and_opens_again(self, device: Device) -> None:
        device.close()
        device.close()
        states = [device.is_open]
        device.open()
        states.append(device.is_open)
        assert states == [False, True]
        assert device.identity().serial

    def test_safe_state_is_never_refused(self, device: Device) -> None:
        gate = RecordingGate()
        gate.refuses = True
        put_behind(device, gate)
        device.safe_state()
        assert gate.told == ["safe_state"]

    def test_its_checked_verbs_cannot_be_overridden(self, device: Device) -> None:
        for verb in sorted(type(device).final_verbs):
            with pytest.raises(TypeError, match=verb):
                type("Reckless", (type(device),), {verb: lambda self, *rest: None})

    def test_all_verbs_that_change_hardware_are_final(self, device: Device) -> None:
        assert "safe_state" in type(device).final_verbs


def bad_drives(device: Bank, good: FloatArray) -> dict[str, FloatArray]:
    """Drives that every bank must refuse, made from one that it takes."""
    span = float((device.spec.bound("high", device.channels) - device._low).max()) + 1.0
    drives = {}
    for name, value in (("nan", np.nan), ("infinite", np.inf), ("minus infinite", -np.inf)):
        drives[name] = good.copy()
        drives[name][..., -1] = value
    drives["too high"] = good.copy()
    drives["too high"][..., 0] = device.spec.bound("high", device.channels)[0] + span
    drives["too low"] = good.copy()
    drives["too low"][..., 0] = device.spec.bound("low", device.channels)[0] - span
    drives["too few channels"] = good[..., :-1]
    drives["too many channels"] = np.concatenate([good, good[..., :1]], axis=-1)
    return drives


def middle(device: Bank) -> FloatArray:
    """A drive (channels,) a tenth of the way up from what is nearest to zero, or a step of coarser banks."""
    zero = device.nearest_to_zero()
    up = 0.1 * (device.spec.bound("high", device.channels) - zero)
    return zero + np.maximum(up, device.spec.bound("resolution", device.channels))


def uneven(device: Bank) -> FloatArray:
    """A drive (channels,) as ``middle``, but another one on every channel, and no round number on any: rising from a third of
    it, so that what lands on the wrong channel, or is rounded, reads back as something else."""
    zero, top = device.nearest_to_zero(), middle(device)
    share = np.linspace(0.3137, 0.9871, device.channels) if device.channels > 1 else 0.7351
    return zero + share * (top - zero)


def assert_holds(device: Actuators, drive: FloatArray, when: str) -> None:
    """``device`` reads back ``drive`` (channels,), to its resolution."""
    back = device.read_back()
    assert back.shape == (device.channels,)
    grain = device.spec.bound("resolution", device.channels)
    off = np.abs(back - drive)
    worst = int(np.argmax(off - grain))
    assert (off <= grain + 1e-9).all(), (
        f"{when}: channel {worst} was set to {drive[worst]:g} and reads back {back[worst]:g} {device.spec.unit}; the spec "
        f"states a resolution of {grain[worst]:g}"
    )


class ActuatorsContract(DeviceContract):
    """Banks that hold a value."""

    def test_reads_back_what_was_written(self, device: Actuators) -> None:
        drive = middle(device)
        device.write(drive)
        assert_holds(device, drive, "all alike")

    def test_every_channel_holds_its_own_drive(self, device: Actuators) -> None:
        """Channels are in order, none is coupled to another, and nothing is rounded further than the spec says."""
        drive = uneven(device)
        device.write(drive)
        assert_holds(device, drive, "another drive on every channel")
        device.write(drive[::-1].copy())
        assert_holds(device, drive[::-1], "the same drives from the last channel to the first")

    def test_opening_changes_no_output(self, device: Actuators) -> None:
        """What it drives, it drives still when it was opened again, or it is off: some boxes switch off when they are let go."""
        if not device.tells:
            pytest.skip("the box cannot tell what it drives before it was written to")
        drive = uneven(device)
        device.write(drive)
        before = device.read_back()
        device.close()
        device.open()
        grain = device.spec.bound("resolution", device.channels) + 1e-9
        after, off = device.read_back(), device.nearest_to_zero()
        as_before = np.abs(after - before) <= grain
        assert (as_before | (np.abs(after - off) <= grain)).all(), (
            f"it drove {before}, and {after} {device.spec.unit} after it was opened again"
        )
        device.safe_state()
        device.close()
        device.open()
        assert (np.abs(device.read_back() - off) <= grain).all(), "opening it drove what was off"

    def test_refused_drives_leave_it_as_it_was(self, device: Actuators) -> None:
        device.write(middle(device))
        before = device.read_back()
        for name, drive in bad_drives(device, middle(device)).items():
            with pytest.raises(LimitError):
                device.write(drive)
            np.testing.assert_array_equal(device.read_back(), before, err_msg=name)

    def test_asks_the_gate_before_and_tells_it_after(self, device: Actuators) -> None:
        gate = RecordingGate()
        put_behind(device, gate)
        device.write(middle(device))
        assert gate.asked == ["write"]
        assert gate.told == ["write"]

    def test_what_the_gate_refuses_is_not_written(self, device: Actuators) -> None:
        before = device.read_back()
        gate = RecordingGate()
        gate.refuses = True
        put_behind(device, gate)
        with pytest.raises(LimitError, match="refused by the test"):
            device.write(middle(device))
        np.testing.assert_array_equal(device.read_back(), before)
        assert gate.told == []

    def test_safe_state_is_nearest_to_zero(self, device: Actuators) -> None:
        device.write(middle(device))
        device.safe_state()
        grain = device.spec.bound("resolution", device.channels)
        assert (np.abs(device.read_back() - device.nearest_to_zero()) <= grain + 1e-9).all()


class ModulatorsContract(DeviceContract):
    """Banks that play samples."""

    def test_loads_and_plays(self, device: Modulators) -> None:
        samples = min(3, device.max_samples)
        gate = RecordingGate()
        put_behind(device, gate)
        device.load(np.tile(middle(device), (samples, 1)), TIMING)
        device.play()
        assert gate.asked == ["load", "play"]
        assert gate.told == ["load", "play"]

    def test_refuses_bad_patterns(self, device: Modulators) -> None:
        good = np.tile(middle(device), (min(2, device.max_samples), 1))
        gate = RecordingGate()
        put_behind(device, gate)
        for drive in bad_drives(device, good).values():
            with pytest.raises(LimitError):
                device.load(drive, TIMING)
        for shape in ((0, device.channels), (device.max_samples + 1, device.channels)):
            with pytest.raises(LimitError):
                device.load(np.broadcast_to(middle(device), shape), TIMING)
        assert gate.told == []

    def test_what_the_gate_refuses_is_not_loaded(self, device: Modulators) -> None:
        gate = RecordingGate()
        gate.refuses = True
        put_behind(device, gate)
        with pytest.raises(LimitError, match="refused by the test"):
            device.load(np.tile(middle(device), (1, 1)), TIMING)
        with pytest.raises(LimitError, match="refused by the test"):
            device.play()
        assert gate.told == []


class PhotodetectorsContract(DeviceContract):
    """Banks that read. What is dark and what is light is the bench's business, not the box's."""

    def read(self, device: Photodetectors, samples: int, averages: int = 1) -> FloatArray:
        """One armed reading. A subclass whose box waits for a trigger plays something here."""
        device.arm(samples, averages, TIMING)
        return device.fetch().signal

    def test_reads_what_was_armed(self, device: Photodetectors) -> None:
        samples = min(4, device.max_samples)
        device.arm(samples, 1, TIMING)
        readings = device.fetch()
        assert readings.signal.shape == (samples, device.channels)
        assert readings.saturated.shape == (samples, device.channels)
        assert readings.saturated.dtype == bool
        assert np.isfinite(readings.signal).all()

    def test_takes_averages(self, device: Photodetectors) -> None:
        assert self.read(device, 1, averages=4).shape == (1, device.channels)

    def test_reads_nothing_that_was_not_armed(self, device: Photodetectors) -> None:
        with pytest.raises(DeviceError, match="armed"):
            device.fetch()
        self.read(device, 1)
        with pytest.raises(DeviceError, match="armed"):
            device.fetch()

    def test_refuses_senseless_readings(self, device: Photodetectors) -> None:
        for samples, averages in ((0, 1), (device.max_samples + 1, 1), (1, 0)):
            with pytest.raises(ConfigError):
                device.arm(samples, averages, TIMING)

    def test_has_ranges_smallest_first_and_keeps_to_them(self, device: Photodetectors) -> None:
        assert list(device.ranges) == sorted(device.ranges)
        for index in range(len(device.ranges)):
            device.set_range(index)
            assert device.range == index
            assert self.read(device, 1).shape == (1, device.channels)
        for index in (-1, len(device.ranges)):
            with pytest.raises(ConfigError):
                device.set_range(index)
        assert device.range == len(device.ranges) - 1


class LaserContract(DeviceContract):
    """Light sources."""

    def test_light_goes_on_and_off(self, device: Laser) -> None:
        device.set_power(device.max_power / 2)
        device.set_emission(True)
        assert device.emission()
        device.set_emission(False)
        assert not device.emission()

    def test_power_is_set_and_limited(self, device: Laser) -> None:
        device.set_power(device.max_power / 2)
        assert device.power() == pytest.approx(device.max_power / 2, rel=0.05)
        for power in (np.nan, np.inf, -1e-3, device.max_power * 1.01 + 1e-6):
            with pytest.raises(LimitError):
                device.set_power(power)
        assert device.power() == pytest.approx(device.max_power / 2, rel=0.05)

    def test_wavelength_is_limited(self, device: Laser) -> None:
        low, high = device.wavelengths
        device.set_wavelength(low)
        assert device.wavelength() == pytest.approx(low)
        for wavelength in (np.nan, low * 0.9, high * 1.1):
            with pytest.raises(LimitError):
                device.set_wavelength(wavelength)
        assert device.wavelength() == pytest.approx(low)

    def test_light_stays_off_where_the_box_is_set_above_the_limit(self, device: Laser) -> None:
        """An earlier program set it, or somebody at its front panel."""
        most = device.max_power
        device.set_power(most / 2)
        try:
            device.max_power = most / 4
            with pytest.raises(LimitError, match="is set to"):
                device.set_emission(True)
        finally:
            device.max_power = most
        assert not device.emission()

    def test_safe_state_is_dark(self, device: Laser) -> None:
        device.set_power(device.max_power / 2)
        device.set_emission(True)
        device.safe_state()
        assert not device.emission()

    def test_what_the_gate_refuses_does_not_light_up(self, device: Laser) -> None:
        gate = RecordingGate()
        gate.refuses = True
        device.set_power(device.max_power / 2)
        put_behind(device, gate)
        with pytest.raises(LimitError, match="refused by the test"):
            device.set_emission(True)
        assert not device.emission()


class TemperatureControllerContract(DeviceContract):
    """Temperature controllers."""

    def test_setpoint_is_limited(self, device: TemperatureController) -> None:
        device.set_setpoint((device.low + device.high) / 2)
        for temperature in (np.nan, np.inf, device.low - 1.0, device.high + 1.0):
            with pytest.raises(LimitError):
                device.set_setpoint(temperature)

    def test_measures(self, device: TemperatureController) -> None:
        assert np.isfinite(device.temperature())
        assert isinstance(device.stable(), bool)


class SwitchContract(DeviceContract):
    """Optical switches."""

    def test_goes_where_it_is_told(self, device: Switch) -> None:
        for position in range(device.positions):
            device.select(position)
            assert device.position() == position

    def test_refuses_positions_it_does_not_have(self, device: Switch) -> None:
        device.select(0)
        for position in (-1, device.positions, 0.5, np.nan, np.inf):
            with pytest.raises(LimitError):
                device.select(position)  # type: ignore[arg-type]
        assert device.position() == 0

    def test_tells_whether_it_is_locked(self, device: Switch) -> None:
        assert isinstance(device.locked(), bool)
