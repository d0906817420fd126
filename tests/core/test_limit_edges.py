"""A limit of current or power holds to the last digit, in whatever unit a box is driven."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.clock import VirtualClock
from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.errors import LimitError
from hilonn.safety import SafetyGate
from hilonn.typing import FloatArray

SIZES = {"V": 1.0, "mV": 1e-3, "A": 1.0, "mA": 1e-3}


class Box(PhaseShifters):
    """Keeps what it is written; channel 1 has twice the resistance of channel 0."""

    def __init__(self, unit: str, ohm: float, current: float, power: float) -> None:
        limits = {"max_current": current, "max_power": power}
        spec = ChannelSpec(unit, -1e12, 1e12, resistance=(ohm, 2 * ohm), **limits)
        super().__init__("box", 2, spec)
        self.drive: FloatArray = np.zeros(2)

    def identity(self) -> Identity:
        return Identity("Lab", "Box", "1")

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        self.drive = drive.copy()

    def _read_back(self) -> FloatArray:
        return self.drive

    def _safe_state(self) -> None:
        self.drive = np.zeros(2)


def taken(unit: str, drive: float, ohm: float) -> tuple[float, float]:
    """A and W that a channel takes, by hand."""
    size = abs(drive * SIZES[unit])
    if unit.endswith("A"):
        return size, size**2 * ohm
    return size / ohm, size**2 / ohm


@settings(max_examples=300, deadline=None)
@given(
    unit=st.sampled_from(sorted(SIZES)),
    ohm=st.floats(1.0, 1e5),
    current=st.floats(1e-6, 10.0),
    power=st.floats(1e-6, 10.0),
    channel=st.integers(0, 1),
    sign=st.sampled_from([-1.0, 1.0]),
    beyond=st.one_of(
        st.sampled_from([0.0, 1e-16, 1e-14, 1e-12, 1e-10, 1e-9, 1.1e-9, 1e-8]), st.floats(0, 0.5)
    ),
    over=st.booleans(),
)
def test_a_limit_holds_to_the_last_digit(
    unit: str,
    ohm: float,
    current: float,
    power: float,
    channel: int,
    sign: float,
    beyond: float,
    over: bool,
) -> None:
    box = Box(unit, ohm, current, power)
    gate = SafetyGate(VirtualClock())
    gate.guard(box)
    resistance = ohm * (1 + channel)
    if unit.endswith("A"):
        most = min(current, np.sqrt(power / resistance))
    else:
        most = min(current * resistance, np.sqrt(power * resistance))
    drive = np.zeros(2)
    drive[channel] = sign * most / SIZES[unit] * (1 + beyond if over else 1 - beyond)
    amperes, watts = taken(unit, float(drive[channel]), resistance)
    rounding = 1 + 1e-14  # the formulas here and there round apart
    try:
        box.write(drive)
    except LimitError:
        assert amperes * rounding > current or watts * rounding > power
        assert not box.drive.any()
    else:
        assert amperes <= current * rounding
        assert watts <= power * rounding
        np.testing.assert_array_equal(box.drive, drive)
        assert gate.power == pytest.approx(watts, rel=1e-12)


def test_power_is_counted_of_what_is_written() -> None:
    """A drive that was refused, and is another one by the time that it is written."""
    box = Box("V", 10.0, 10.0, 100.0)
    gate = SafetyGate(VirtualClock(), total_power=5.0)
    gate.guard(box)
    box.write(np.array([5.0, 0.0]))
    drive = np.array([8.0, 0.0])
    with pytest.raises(LimitError, match="total_power"):
        box.write(drive)
    drive[:] = 4.0, 0.0
    with gate.making_safe():
        box.write(drive)
    assert gate.power == pytest.approx(1.6)
    last = gate.last(box)
    assert last is not None
    np.testing.assert_array_equal(last, drive)


def test_nobody_changes_a_drive_while_it_is_written() -> None:
    box = Box("V", 10.0, 10.0, 100.0)
    gate = SafetyGate(VirtualClock())
    gate.guard(box)
    drive = np.array([1.0, 0.0])
    write = box._write

    def slow(given: FloatArray) -> None:
        drive[0] = 5.0  # somebody prepares the next one
        write(given)

    box._write = slow  # type: ignore[method-assign]
    box.write(drive)
    np.testing.assert_array_equal(box.drive, [1.0, 0.0])
    assert gate.power == pytest.approx(0.1)


def test_a_bank_of_no_resistance_is_guarded_without_a_warning() -> None:
    for ohm, power in ((0.0, 1.0), (np.inf, 0.0)):
        box = Box("V", ohm, 1.0, power)
        SafetyGate(VirtualClock()).guard(box)
