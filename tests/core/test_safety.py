"""The gate: every refused write leaves everything as it was, and interlocks hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.bench import Bench
from hilonn.clock import VirtualClock
from hilonn.devices import Switch, Timing
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, LimitError
from hilonn.safety import Interlock, SafetyGate
from hilonn.typing import FloatArray
from tests.exits.small_bench import (
    HEATERS,
    PORTS,
    bench_file,
    controller_of,
    heaters_of,
    laser_of,
    modulators_of,
    plant_of,
    state,
)

TIMING = Timing(1e-5)


def level(volts: float) -> FloatArray:
    """Every heater at ``volts``."""
    return np.full(HEATERS, volts)


def one(volts: float, channel: int = 5) -> FloatArray:
    """Every heater at 1 V but one."""
    drive = level(1.0)
    drive[channel] = volts
    return drive


@dataclass(frozen=True)
class Refused:
    """A drive that must be refused with ``words``, and one just inside that must pass."""

    name: str
    drive: FloatArray
    words: str
    limits: str = ""
    total_power: float = 25.0
    inside: FloatArray | None = None


HEATER_WRITES = [
    Refused("nan", one(np.nan), "channel 5"),
    Refused("infinity", one(np.inf), "channel 5"),
    Refused("minus infinity", one(-np.inf), "channel 5"),
    Refused("below zero", one(-0.01), "channel 5", inside=one(0.0)),
    Refused("above the device's limit", one(6.51), "channel 5", inside=one(6.5)),
    Refused("above the file's limit", one(3.01), "channel 5", "limits.high = 3.0", inside=one(3.0)),
    Refused("over total power", level(4.0), "total_power", total_power=1.0, inside=level(3.6)),
    Refused("over current", one(4.6), "current", "limits.current = 9e-3", inside=one(4.4)),
    Refused("over power", one(4.6), "power", "limits.max_power = 0.04", inside=one(4.4)),
    Refused(
        "over power by the file's resistance",
        one(2.1),
        "power",
        "limits.max_power = 0.04\nlimits.resistance = 100.0",
        inside=one(1.9),
    ),
    Refused("too fast", one(1.2), "slew rate", "limits.slew_rate = 10.0", inside=one(1.005)),
    Refused("one short", level(1.0)[:-1], "shape"),
    Refused("two-dimensional", level(1.0)[None], "shape"),
    Refused("a number", np.array(1.0), "shape"),
    Refused("empty", np.zeros(0), "shape"),
]


def open_for(case: Refused, folder: Path) -> Bench:
    """A bench with the case's limits, its heaters at 1 V."""
    added = {"safety": f"total_power = {case.total_power}", "devices.heaters": case.limits}
    bench = Bench.open(bench_file(folder, added))
    bench.light_on()
    if "slew_rate" in case.limits:
        bench.gate.ramp(heaters_of(bench), level(1.0))
    else:
        heaters_of(bench).write(level(1.0))
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Lit, its heaters at 1 V, a pattern loaded."""
    with Bench.open(bench_file(tmp_path)) as opened:
        opened.light_on()
        heaters_of(opened).write(level(1.0))
        modulators_of(opened).load(np.full((2, PORTS), 0.5), TIMING)
        yield opened


@pytest.mark.parametrize("case", HEATER_WRITES, ids=lambda case: case.name)
def test_refused_write_moves_nothing(case: Refused, tmp_path: Path) -> None:
    with open_for(case, tmp_path) as bench:
        if case.name == "too fast":
            bench.clock.sleep(1e-3)
        before = state(bench)
        with pytest.raises(LimitError, match=case.words) as caught:
            heaters_of(bench).write(case.drive)
        assert "heaters.write" in str(caught.value)
        assert state(bench) == before
        if case.inside is not None:
            heaters_of(bench).write(case.inside)
            np.testing.assert_allclose(plant_of(bench).heaters.drive, case.inside, atol=1e-3)
            np.testing.assert_array_equal(bench.gate.last(heaters_of(bench)), case.inside)


@pytest.mark.parametrize("case", HEATER_WRITES[:9], ids=lambda case: case.name)
def test_refused_ramp_ends_within_limits(case: Refused, tmp_path: Path) -> None:
    """A ramp may go as far as the limits let it, and no further."""
    with open_for(case, tmp_path) as bench:
        seen: list[FloatArray] = []
        record_writes(bench, seen)
        with pytest.raises(LimitError):
            bench.gate.ramp(heaters_of(bench), case.drive)
        inside = case.inside if case.inside is not None else level(6.5)
        for drive in seen:
            assert (drive <= np.maximum(inside, 4.5) + 1e-12).all()
            assert (drive >= np.minimum(inside, 1.0) - 1e-12).all()


def test_writes_of_what_is_no_number_are_refused(bench: Bench) -> None:
    before = state(bench)
    with pytest.raises(LimitError, match="not an array of numbers"):
        heaters_of(bench).write(np.array(["dark"] * HEATERS))
    assert state(bench) == before


MODULATOR_LOADS = [
    ("nan", np.full((2, PORTS), np.nan), ""),
    ("infinity", np.full((2, PORTS), np.inf), ""),
    ("over the device's limit", np.full((2, PORTS), 1e3), ""),
    ("over the file's limit", np.full((2, PORTS), 1.1), "limits.high = 1.0"),
    ("under the file's limit", np.full((2, PORTS), -1.1), "limits.low = -1.0"),
    ("over current", np.full((2, PORTS), 1.1), "limits.current = 0.02\nlimits.resistance = 50.0"),
    ("over power", np.full((2, PORTS), 1.1), "limits.max_power = 0.02\nlimits.resistance = 50.0"),
    ("too few channels", np.zeros((2, PORTS - 1)), ""),
    ("no samples axis", np.zeros(PORTS), ""),
    ("no samples", np.zeros((0, PORTS)), ""),
    ("too many samples", np.zeros((65537, PORTS)), ""),
]


@pytest.mark.parametrize(
    ("name", "drive", "limits"), MODULATOR_LOADS, ids=[c[0] for c in MODULATOR_LOADS]
)
def test_refused_load_keeps_the_pattern(
    name: str, drive: FloatArray, limits: str, tmp_path: Path
) -> None:
    with Bench.open(bench_file(tmp_path, {"devices.inputs": limits})) as bench:
        modulators_of(bench).load(np.full((2, PORTS), 0.5), TIMING)
        before = state(bench)
        with pytest.raises(LimitError, match=r"inputs\.load"):
            modulators_of(bench).load(drive, TIMING)
        assert state(bench) == before


KNOBS: dict[str, Callable[[Bench], None]] = {
    "laser power nan": lambda bench: laser_of(bench).set_power(np.nan),
    "laser power infinite": lambda bench: laser_of(bench).set_power(np.inf),
    "laser power too high": lambda bench: laser_of(bench).set_power(10.0),
    "laser power negative": lambda bench: laser_of(bench).set_power(-1e-3),
    "another wavelength": lambda bench: laser_of(bench).set_wavelength(1e-6),
    "setpoint nan": lambda bench: controller_of(bench).set_setpoint(np.nan),
    "setpoint too hot": lambda bench: controller_of(bench).set_setpoint(90.0),
    "switch too far": lambda bench: _shutter(bench).select(2),
    "switch between": lambda bench: _shutter(bench).select(0.5),  # type: ignore[arg-type]
    "switch nan": lambda bench: _shutter(bench).select(np.nan),  # type: ignore[arg-type]
    "switch infinite": lambda bench: _shutter(bench).select(np.inf),  # type: ignore[arg-type]
}


def _shutter(bench: Bench) -> Switch:
    shutter = bench.device("lo_shutter")
    assert isinstance(shutter, Switch)
    return shutter


@pytest.mark.parametrize("name", KNOBS)
def test_refused_knob_moves_nothing(name: str, bench: Bench) -> None:
    before = state(bench)
    with pytest.raises(LimitError):
        KNOBS[name](bench)
    assert state(bench) == before


# -- ramps ------------------------------------------------------------------------------------------


def record_writes(bench: Bench, seen: list[FloatArray], times: list[float] | None = None) -> None:
    """Note every drive that reaches the heaters' hardware."""
    plant = plant_of(bench)
    write = plant.write_heaters

    def noted(drive: FloatArray) -> None:
        seen.append(drive.copy())
        if times is not None:
            times.append(bench.clock.now())
        write(drive)

    plant.write_heaters = noted  # type: ignore[method-assign]


@pytest.mark.parametrize("already", [0.0, 1e6], ids=["young clock", "old clock"])
@pytest.mark.parametrize("rate", [80.0, 100.0, 140.0])
def test_ramp_obeys_the_slew_rate_on_the_clock(already: float, rate: float, tmp_path: Path) -> None:
    """Also where the clock's last bit is no longer small beside a step."""
    path = bench_file(tmp_path, {"devices.heaters": f"limits.slew_rate = {rate}"})
    with Bench.open(path) as bench:
        bench.clock.sleep(already)
        seen: list[FloatArray] = [np.zeros(HEATERS)]
        times = [bench.clock.now()]
        bench.gate.ramp(heaters_of(bench), np.zeros(HEATERS))
        record_writes(bench, seen, times)
        begun = bench.clock.now()
        bench.gate.ramp(heaters_of(bench), level(3.0))
        assert bench.clock.now() - begun == pytest.approx(3.0 / rate, rel=1e-3)
        rates = np.diff(np.array(seen), axis=0).max(axis=1) / np.diff(times)
        assert len(rates) > 2
        assert (rates <= rate * (1 + 1e-5)).all()
        np.testing.assert_array_equal(seen[-1], level(3.0))


def test_closing_ramps_down_after_light_is_off(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"devices.heaters": "limits.slew_rate = 100.0"})
    bench = Bench.open(path)
    bench.light_on()
    bench.gate.ramp(heaters_of(bench), level(3.0))
    seen: list[FloatArray] = []
    lit: list[bool] = []
    plant = plant_of(bench)
    record_writes(bench, seen)
    noted = plant.write_heaters

    def watched(drive: FloatArray) -> None:
        lit.append(plant.emission)
        noted(drive)

    plant.write_heaters = watched  # type: ignore[method-assign]
    begun = bench.clock.now()
    bench.close()
    assert bench.clock.now() - begun >= 0.03
    assert seen[0].max() > 2.5
    assert not seen[-1].any()
    assert lit and not any(lit)


# -- unknown states ---------------------------------------------------------------------------------


def break_wire(bench: Bench) -> Callable[[], None]:
    """Heater writes reach the box and then the answer is lost, until the returned call."""
    plant = plant_of(bench)
    write = plant.write_heaters

    def broken(drive: FloatArray) -> None:
        write(drive)
        raise ConnectionLost("the box does not answer")

    plant.write_heaters = broken  # type: ignore[method-assign]

    def mend() -> None:
        plant.write_heaters = write  # type: ignore[method-assign]

    return mend


def test_failed_write_leaves_the_state_unknown(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"devices.heaters": "limits.slew_rate = 100.0"})
    with Bench.open(path) as bench:
        heaters = heaters_of(bench)
        bench.gate.ramp(heaters, level(1.0))
        generation = bench.gate.generation
        mend = break_wire(bench)
        bench.clock.sleep(1.0)
        with pytest.raises(ConnectionLost):
            heaters.write(level(2.0))
        assert bench.gate.last(heaters) is None
        assert bench.gate.generation == generation + 1
        mend()
        bench.clock.sleep(1.0)
        before = state(bench)
        with pytest.raises(LimitError, match=r"not known.*gate\.ramp"):
            heaters.write(level(2.0))
        assert state(bench) == before
        seen: list[FloatArray] = []
        record_writes(bench, seen)
        bench.gate.ramp(heaters, level(1.0))
        assert seen[0].min() > 1.8, "the ramp starts where the box says that it stands"
        np.testing.assert_array_equal(bench.gate.last(heaters), level(1.0))


def test_a_reconnected_box_is_not_believed(bench: Bench) -> None:
    generation = bench.gate.generation
    bench.gate.reconnected(heaters_of(bench))
    assert bench.gate.last(heaters_of(bench)) is None
    assert bench.gate.generation == generation + 1


@pytest.mark.parametrize("off", [0.002, -0.1, np.nan])
def test_read_back_beyond_the_tolerance_is_told(off: float, tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"safety": "read_back_tolerance = 1e-3"})
    with Bench.open(path) as bench:
        heaters, plant = heaters_of(bench), plant_of(bench)
        heaters.write(level(1.0))
        write, generation = plant.write_heaters, bench.gate.generation

        def bent(drive: FloatArray) -> None:
            write(drive)
            plant.heaters.drive[3] = 2.0 + off

        plant.write_heaters = bent  # type: ignore[method-assign]
        with pytest.raises(LimitError, match="channel 3") as caught:
            heaters.write(level(2.0))
        assert f"{2.0 + off:g}" in str(caught.value), "the message tells what was read"
        assert bench.gate.last(heaters) is None
        assert bench.gate.generation > generation
        plant.write_heaters = write  # type: ignore[method-assign]
        heaters.write(level(1.0))
        np.testing.assert_array_equal(bench.gate.last(heaters), level(1.0))


def test_safe_state_goes_on_where_a_step_fails(bench: Bench) -> None:
    plant = plant_of(bench)
    set_laser = plant.set_laser

    def stuck(*, emission: bool | None = None, power: float | None = None) -> None:
        raise DeviceError("the key is turned off")

    plant.set_laser = stuck  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="the key is turned off") as caught:
        bench.safe_state()
    assert "by hand" in str(caught.value)
    assert not plant.heaters.drive.any()
    assert plant.switch == 0
    plant.set_laser = set_laser  # type: ignore[method-assign]


@pytest.mark.parametrize("limits", ["limits.high = 0.8"])
def test_closing_succeeds_whatever_the_limits(limits: str, tmp_path: Path) -> None:
    """Coming down is safe from a drive that was found above the limit, too."""
    bench = Bench.open(bench_file(tmp_path, {"devices.heaters": limits}))
    plant_of(bench).write_heaters(level(1.0))  # what an earlier process left
    bench.close()
    assert not plant_of(bench).heaters.drive.any()


# -- interlocks --------------------------------------------------------------------------------------

TRIP = """
[[safety.interlocks]]
device = "temperature"
quantity = "temperature"
low = 24.0
high = 26.0
resume_low = 24.9
resume_high = 25.1
"""


@pytest.fixture
def interlocked(tmp_path: Path) -> Iterator[Bench]:
    """Trips when the chip's temperature steps by 5 K at 2 s; it is back with 3 s."""
    faults = {"connections.plant": 'faults = ["temperature_step=5@2.0s"]'}
    with Bench.open(bench_file(tmp_path, faults, TRIP)) as bench:
        bench.light_on()
        _shutter(bench).select(1)
        heaters_of(bench).write(level(1.0))
        yield bench


def test_interlock_trips_and_resumes_with_hysteresis(interlocked: Bench) -> None:
    bench, plant, heaters = interlocked, plant_of(interlocked), heaters_of(interlocked)
    generation = bench.gate.generation
    bench.clock.wait_until(2.5)
    with pytest.raises(LimitError, match=r"temperature\.temperature tripped.*made safe"):
        heaters.write(level(2.0))
    assert not plant.emission
    assert not plant.heaters.drive.any()
    assert plant.switch == 0
    assert bench.gate.generation > generation
    bench.clock.wait_until(2.0 + 3.0 * np.log(5 / 0.5))  # within the trip levels, half a kelvin off
    assert controller_of(bench).temperature() == pytest.approx(25.5, abs=0.2)
    attempts: list[Callable[[], None]] = [
        lambda: heaters.write(level(1.0)),
        lambda: laser_of(bench).set_emission(True),
        lambda: modulators_of(bench).load(np.zeros((1, PORTS)), TIMING),
    ]
    for attempt in attempts:
        before = state(bench)
        with pytest.raises(LimitError, match="not yet within"):
            attempt()
        assert state(bench) == before
    bench.clock.wait_until(20.0)
    heaters.write(level(1.0))
    bench.light_on()
    assert laser_of(bench).emission()
    assert plant.heaters.drive.min() > 0.9


def test_what_takes_heat_and_light_away_passes_a_tripped_interlock(interlocked: Bench) -> None:
    bench = interlocked
    bench.clock.wait_until(2.5)
    with pytest.raises(LimitError):
        heaters_of(bench).write(level(2.0))
    bench.safe_state()
    laser_of(bench).set_emission(False)
    controller_of(bench).set_setpoint(20.0)  # the only way out where the setpoint was wrong
    assert plant_of(bench).temperature.setpoint == 20.0


def test_nothing_lights_up_while_the_temperature_is_off(tmp_path: Path) -> None:
    faults = {"connections.plant": 'faults = ["temperature_step=5@0s"]'}
    with Bench.open(bench_file(tmp_path, faults, TRIP)) as bench:
        with pytest.raises(LimitError, match="tripped"):
            laser_of(bench).set_emission(True)
        assert not plant_of(bench).emission
        bench.clock.sleep(20.0)
        bench.light_on()
        assert plant_of(bench).emission


class Probe:
    """A number that an interlock watches."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self) -> float:
        return self.value


def watched(*probes: Probe) -> SafetyGate:
    """A gate whose interlocks trip outside -2 .. 2 and let go within -1 .. 1."""
    gate = SafetyGate(VirtualClock())
    for number, probe in enumerate(probes):
        gate.watch(Interlock(f"probe {number}", probe, -2.0, 2.0, -1.0, 1.0))
    return gate


@pytest.mark.parametrize("bad", [2.1, -2.1, np.inf, np.nan])
def test_interlock_levels(bad: float) -> None:
    probe = Probe(0.0)
    gate = watched(probe)
    trips: list[int] = []
    gate.on_trip = lambda: trips.append(1)
    gate.check_interlocks()
    for value, held in ((2.0, False), (bad, True), (1.5, True), (np.nan, True), (1.0, False)):
        probe.value = value
        if held:
            with pytest.raises(LimitError, match="probe 0"):
                gate.check_interlocks()
        else:
            gate.check_interlocks()
    assert trips == [1], "made safe once a trip, not at every look"


def test_each_of_two_tripped_interlocks_keeps_its_resume_level() -> None:
    first, second = Probe(0.0), Probe(0.0)
    gate = watched(first, second)
    second.value = 3.0
    with pytest.raises(LimitError, match="probe 1 tripped"):
        gate.check_interlocks()
    first.value = 3.0
    with pytest.raises(LimitError):
        gate.check_interlocks()
    first.value, second.value = 0.0, 1.5
    with pytest.raises(LimitError, match="probe 1"):
        gate.check_interlocks()
    second.value = 0.0
    gate.check_interlocks()


# -- as algebra -------------------------------------------------------------------------------------

LIMITS = {"low": 0.1, "high": 5.0, "current": 9e-3, "max_power": 0.035, "slew_rate": 50.0}
TOTAL = 0.7


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    limits = ", ".join(f"{key} = {value}" for key, value in LIMITS.items() if key != "low")
    added = {
        "devices.heaters": f"limits = {{{limits}}}",
        "safety": f"total_power = {TOTAL}",
    }
    with Bench.open(bench_file(tmp_path_factory.mktemp("strict"), added)) as bench:
        yield bench


def within(
    drive: FloatArray, before: FloatArray, seconds: float, limits: Mapping[str, float]
) -> None:
    """What the hardware may see, in formulas of its own (500 ohm)."""
    assert np.isfinite(drive).all()
    assert drive.min() >= 0.0
    assert drive.max() <= limits["high"]
    assert drive.max() / 500 <= limits["current"]
    assert (drive**2).max() / 500 <= limits["max_power"] * (1 + 1e-12)
    assert (drive**2).sum() / 500 <= TOTAL * (1 + 1e-12)
    # A ramp after a lost link starts from what was read back: what was written, on the DAC's grid.
    grain = 6.5 / 2**12
    assert np.abs(drive - before).max() <= limits["slew_rate"] * seconds * (1 + 1e-6) + grain


volts = st.one_of(
    st.floats(0, 6.5), st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 4.4, 4.2, 3.0, 1e300])
)
calls = st.tuples(
    st.sampled_from(["write", "ramp", "safe_state", "lost"]),
    volts,
    volts,
    st.integers(0, HEATERS - 1),
    st.sampled_from([0.0, 1e-6, 1e-3, 0.05, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, max_size=8))
def test_no_sequence_of_calls_breaks_a_limit_at_the_device(
    strict: Bench, sequence: list[tuple[str, float, float, int, float]]
) -> None:
    heaters, gate, plant = heaters_of(strict), strict.gate, plant_of(strict)
    strict.safe_state()
    seen: list[FloatArray] = [np.zeros(HEATERS)]
    times = [strict.clock.now()]
    write = plant.write_heaters
    record_writes(strict, seen, times)
    accepted = 0
    try:
        for verb, common, other, channel, pause in sequence:
            strict.clock.sleep(pause)
            drive = level(common)
            drive[channel] = other
            before = state(strict)
            try:
                if verb == "write":
                    heaters.write(drive)
                elif verb == "ramp":
                    gate.ramp(heaters, drive)
                elif verb == "safe_state":
                    strict.safe_state()
                else:
                    gate.reconnected(heaters)
            except LimitError:
                if verb == "write":
                    assert state(strict) == before
                assert verb != "safe_state"
            else:
                accepted += 1
                if verb in ("write", "ramp"):
                    np.testing.assert_allclose(plant.heaters.drive, drive, atol=1e-3)
    finally:
        plant.write_heaters = write  # type: ignore[method-assign]
    for k in range(1, len(seen)):
        within(seen[k], seen[k - 1], times[k] - times[k - 1], LIMITS)


# -- limits of the file -----------------------------------------------------------------------------


def test_the_stricter_limit_holds(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"devices.heaters": "limits.high = 100.0"})
    with Bench.open(path) as bench, pytest.raises(LimitError, match=r"6\.5"):
        heaters_of(bench).write(level(6.6))


def test_a_current_limit_needs_a_resistance(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"devices.inputs": "limits.current = 0.02"})
    with pytest.raises(ConfigError, match=r"lab\.toml: devices\.inputs.*resistance"):
        Bench.open(path)


@pytest.mark.parametrize(
    ("section", "lines"),
    [
        ("devices.heaters", "limits.high = nan"),
        ("devices.heaters", "limits.low = nan"),
        ("devices.heaters", "limits.current = nan"),
        ("devices.heaters", "limits.slew_rate = 0.0"),
        ("devices.heaters", "limits.max_power = -1.0"),
        ("devices.heaters", "limits.low = 3.0\nlimits.high = 2.0"),
        ("devices.laser", "limits.high = 1.0"),
        ("safety", "total_power = nan"),
        ("safety", "total_power = 0.0"),
        ("safety", "read_back_tolerance = -1.0"),
    ],
)
def test_senseless_limits_are_refused_at_open(section: str, lines: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lab\.toml: .*") as caught:
        Bench.open(bench_file(tmp_path, {section: lines})).close()
    key = lines.split("\n")[0].split("=")[0].strip().split(".")[0]
    assert f"{section}.{key}" in str(caught.value)


@pytest.mark.parametrize(
    ("device", "line"), [("meter", "limits.high = 1.0"), ("inputs", "limits.slew_rate = 1.0")]
)
def test_limits_that_could_not_be_kept_are_refused(device: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"lab\.toml: devices\.{device}"):
        Bench.open(bench_file(tmp_path, {f"devices.{device}": line}))
