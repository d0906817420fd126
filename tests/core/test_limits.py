"""What limits a bench: the stricter always, before light and heat, for every device that could go around them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from hilonn import registry
from hilonn.bench import Bench
from hilonn.checks import check_bench
from hilonn.cli.console import Turning
from hilonn.devices import ChannelSpec, Identity, OpenGate, PhaseShifters, Timing
from hilonn.errors import ConfigError, LimitError
from hilonn.registry import Driver
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.typing import FloatArray
from tests.exits.small_bench import (
    HEATERS,
    bench_file,
    heaters_of,
    laser_of,
    modulators_of,
    plant_of,
    state,
)

HEATER = "devices.heaters"


class BoxOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    resistance: float | None = None
    unit: str = "V"
    terminals: tuple[str, ...] | None = None


class Box(PhaseShifters):
    """Two heaters of a library, left at 1 by an earlier program."""

    def __init__(self, name: str, options: BoxOptions) -> None:
        spec = ChannelSpec(options.unit, 0.0, 5.0, resistance=options.resistance)
        super().__init__(name, 2, spec)
        self.terminals = options.terminals
        self.drive: FloatArray = np.ones(2)

    def identity(self) -> Identity:
        return Identity("Lab", "Box", self.name)

    def _open(self) -> None:
        return None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        self.drive = drive.copy()

    def _read_back(self) -> FloatArray:
        return self.drive.copy()

    def _safe_state(self) -> None:
        self.drive = np.zeros(2)


@pytest.fixture(autouse=True)
def driver() -> Iterator[None]:
    def build(name: str, options: Any, connection: object) -> Box:
        return Box(name, options)

    registry.register("hilonn.devices", "limits_box", Driver(BoxOptions, build))
    yield


def boxes(folder: Path, devices: dict[str, str], rest: str = "") -> Path:
    sections = [f'[devices.{n}]\ndriver = "limits_box"\n{lines}' for n, lines in devices.items()]
    path = folder / "boxes.toml"
    path.write_text("\n".join(['backend = "hardware"', *sections, rest]), "utf-8")
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bench.open(path).close()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


# -- lasers -----------------------------------------------------------------------------------------


def test_light_stays_off_where_an_earlier_program_left_too_much(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        plant, laser = plant_of(bench), laser_of(bench)
        plant.set_laser(power=2 * laser.max_power)
        by_hand: Callable[[], None] = partial(laser.set_emission, True)
        for switch_on in (bench.light_on, by_hand):
            with pytest.raises(
                LimitError, match=r"laser\.set_emission: the box is set to .* are allowed"
            ):
                switch_on()
            assert not plant.emission
        report = check_bench(bench)
        assert not report.go
        assert "is set to" in str(report)
        assert not plant.emission
        laser.set_power(laser.max_power)
        bench.light_on()
        assert plant.emission


def test_the_power_of_the_file_is_set_before_light_goes_on(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        most = laser_of(bench).max_power
        assert "as it was found set" in str(check_bench(bench))
    with Bench.open(bench_file(tmp_path, {"devices.laser": f"power = {most / 2}"})) as bench:
        plant_of(bench).set_laser(power=2 * most)
        assert "as the file states" in str(check_bench(bench))
        bench.light_on()
        assert plant_of(bench).laser_power == pytest.approx(most / 2)
        laser_of(bench).set_power(most / 4)  # dimmed, and dark for a while
        with bench.darkness():
            pass
        assert plant_of(bench).laser_power == pytest.approx(most / 4)
    refused(
        bench_file(tmp_path, {"devices.laser": f"power = {2 * most}"}),
        "devices.laser.power",
        "limit",
    )
    refused(bench_file(tmp_path, {"devices.laser": "power = -1.0"}), "devices.laser.power")
    refused(bench_file(tmp_path, {HEATER: "power = 1.0"}), "devices.heaters.power", "no laser")
    refused(bench_file(tmp_path, {"devices.laser": "limits.high = 1.0"}), "`high` or `max_power`")


# -- powers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "file"), [(500.0, 50000.0), (50000.0, 500.0)])
def test_the_resistance_counts_by_which_more_power_is_taken(
    own: float, file: float, tmp_path: Path
) -> None:
    limits = f"resistance = {own}\nlimits = {{ resistance = {file}, max_power = 8.5e-3 }}"
    path = boxes(tmp_path, {"a": limits}, "[safety]\ntotal_power = 0.012")
    with Bench.open(path) as bench:
        box = bench.device("a")
        assert isinstance(box, Box)
        ohm = bench.gate.resistance(box)
        assert ohm is not None
        np.testing.assert_allclose(ohm, 500.0)
        with pytest.raises(LimitError, match="power"):
            box.write(np.array([2.1, 0.0]))
        with pytest.raises(LimitError, match="total_power"):
            box.write(np.array([2.0, 2.0]))
        box.write(np.array([2.0, 1.0]))
        assert bench.gate.power == pytest.approx(5.0 / 500.0)
        assert bench.gate.admitted(box)[1].max() == pytest.approx(np.sqrt(8.5e-3 * 500.0))


def test_of_currents_the_larger_resistance_counts(tmp_path: Path) -> None:
    limits = 'unit = "mA"\nresistance = 100.0\nlimits = { resistance = 500.0, max_power = 4.6e-3 }'
    with Bench.open(boxes(tmp_path, {"a": limits})) as bench:
        box = bench.device("a")
        assert isinstance(box, Box)
        with pytest.raises(LimitError, match="power"):
            box.write(np.array([3.1, 0.0]))
        box.write(np.array([3.0, 0.0]))
        assert bench.gate.power == pytest.approx(9e-6 * 500.0)


def test_powers_that_nothing_could_count_are_refused(tmp_path: Path) -> None:
    total = "[safety]\ntotal_power = 1.0"
    refused(boxes(tmp_path, {"a": "resistance = 100.0", "b": ""}, total), "devices.b", "resistance")
    with Bench.open(boxes(tmp_path, {"a": "limits.resistance = 100.0"}, total)):
        pass
    refused(boxes(tmp_path, {"a": 'unit = "mm"\nlimits.resistance = 9.0'}), "devices.a", "mm")
    for line in ("limits.max_power = inf", "limits.current = inf", "limits.slew_rate = inf"):
        refused(bench_file(tmp_path, {HEATER: line}), HEATER, "finite")
    for line in ("total_power = inf", "read_back_tolerance = inf"):
        refused(bench_file(tmp_path, {"safety": line}), "safety", "finite")


@pytest.mark.parametrize("line", ["limits.high = -5.0", "limits.low = 1.0"])
def test_limits_that_leave_no_room_for_off_are_refused(line: str, tmp_path: Path) -> None:
    refused(bench_file(tmp_path, {HEATER: line}), "lab.toml", HEATER, "off")


# -- interlocks and the order -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "`low` or `high`"),
        ("low = -inf", "`low` or `high`"),
        ("resume_low = 20.0", "`low` or `high`"),
        ("high = 30.0\nevery = 1e9", "every"),
        ("high = 30.0\nevery = inf", "every"),
    ],
)
def test_interlocks_that_guard_nothing_are_refused(lines: str, words: str, tmp_path: Path) -> None:
    head = '[[safety.interlocks]]\ndevice = "temperature"\nquantity = "temperature"\n'
    refused(bench_file(tmp_path, tail=head + lines + "\n"), "safety.interlocks", words)


def test_a_device_is_named_once_in_the_order(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"safety": 'order = ["laser", "heaters", "laser"]'})
    refused(path, "safety", "laser twice")


# -- two ways to one box ----------------------------------------------------------------------------


def test_two_devices_never_drive_the_same(tmp_path: Path) -> None:
    second = '[devices.heatersb]\ndriver = "simulated_phase_shifters"\nconnection = "plant"\n'
    refused(bench_file(tmp_path, tail=second), "devices.heaters", "devices.heatersb", "'plant'")
    one, other = 'terminals = ["ao0", "ao1"]', 'terminals = ["ao1", "ao2"]'
    refused(boxes(tmp_path, {"a": one, "b": other}), "devices.a", "devices.b", "ao1")
    with Bench.open(boxes(tmp_path, {"a": one, "b": 'terminals = ["ao2", "ao3"]'})):
        pass


def lasing(path: Path, port: int, *, twice: bool = False) -> Path:
    wire = 'transport = "tcp"\nhost = "{}"\nport = {}\n'
    text = 'backend = "emulated"\n[connections.santec]\n' + wire.format("127.0.0.1", port)
    text += '[devices.laser]\ndriver = "santec_tsl"\nconnection = "santec"\n'
    if twice:
        text += "[connections.again]\n" + wire.format("LocalHost", port)
        text += '[devices.other]\ndriver = "santec_tsl"\nconnection = "again"\n'
    path.write_text(text, "utf-8")
    return path


def test_one_box_obeys_one_program(tmp_path: Path) -> None:
    with TcpServer(SantecTslBox("santec", Rack())) as server:
        first = lasing(tmp_path / "lab.toml", server.port)
        copy = tmp_path / "copy.toml"
        shutil.copy(first, copy)
        with Bench.open(first):
            refused(copy, f"tcp 127.0.0.1:{server.port}", "in use by this process", "lab.toml")
        with Bench.open(copy):
            pass
        twice = lasing(tmp_path / "twice.toml", server.port, twice=True)
        refused(twice, "connections.santec", "connections.again", f"127.0.0.1:{server.port}")
        with Bench.open(copy):  # a refusal lets go of what it had
            pass


# -- slew rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e6, 1.0])
def test_a_bench_with_a_slew_rate_is_checked_and_programmed(rate: float, tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path, {HEATER: f"limits.slew_rate = {rate}"})) as bench:
        np.testing.assert_array_equal(bench.gate.last(heaters_of(bench)), np.zeros(HEATERS))
        plant = plant_of(bench)
        seen: list[tuple[float, FloatArray]] = [(0.0, np.zeros(HEATERS))]
        write = plant.write_heaters

        def noted(drive: FloatArray) -> None:
            seen.append((bench.clock.now(), drive.copy()))
            write(drive)

        plant.write_heaters = noted  # type: ignore[method-assign]
        report = check_bench(bench)
        assert report.go, str(report)
        assert max(drive.max() for _, drive in seen) > 1.0
        for (before, a), (after, b) in pairwise(seen):
            if b.any():  # a safe state switches off at once, after it was ramped down
                assert np.abs(b - a).max() <= rate * (after - before) * (1 + 1e-6) + 1e-9


def test_a_slew_rate_begins_where_the_box_was_found(tmp_path: Path) -> None:
    found = "limits.slew_rate = 1000.0"
    tail = '[devices.all]\ndriver = "bank"\nmembers = ["a", "b"]\n'
    with Bench.open(boxes(tmp_path, {"a": found, "b": found}, tail)) as bench:
        box, bank = bench.device("a"), bench.device("all")
        assert isinstance(box, Box)
        assert isinstance(bank, PhaseShifters)
        np.testing.assert_array_equal(bench.gate.last(box), np.ones(2))
        box.write(np.full(2, 1.0))
        with pytest.raises(LimitError, match="slew rate"):
            box.write(np.full(2, 5.0))
        bank.bring(np.full(4, 4.0))
        np.testing.assert_array_equal(bank.read_back(), np.full(4, 4.0))
        bench.gate.ramp(bank, np.full(4, 2.0))
        np.testing.assert_array_equal(bank.read_back(), np.full(4, 2.0))


# -- what a program may touch -----------------------------------------------------------------------


def test_gate_and_spec_are_not_for_the_taking(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        heaters: Any = heaters_of(bench)
        for name, value in (("gate", None), ("gate", OpenGate()), ("spec", None)):
            with pytest.raises(AttributeError):
                setattr(heaters, name, value)


@pytest.mark.parametrize(
    "drive",
    [
        np.full(HEATERS, 1 + 1j),
        [1 + 1j] * HEATERS,
        ["1"] * HEATERS,
        np.ma.MaskedArray(np.zeros(HEATERS), mask=True),
        np.array([None] * HEATERS),
    ],
    ids=["complex", "complex list", "texts", "masked", "nothing"],
)
def test_drives_that_are_no_real_numbers_are_refused(drive: Any, tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench, warnings.catch_warnings():
        warnings.simplefilter("error")
        before = state(bench)
        with pytest.raises(LimitError, match=r"not an array of numbers|not finite"):
            heaters_of(bench).write(drive)
        with pytest.raises(LimitError):
            modulators_of(bench).load(drive, Timing(1e-5))
        assert state(bench) == before


@pytest.mark.parametrize("line", ["set inf", "set nan", "set 1e300", "+inf"])
def test_the_console_refuses_what_is_beyond_limits_in_one_word(line: str, tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path)) as bench, warnings.catch_warnings():
        warnings.simplefilter("error")
        bench.light_on()
        chip: Any = bench.chip()
        turning = Turning(chip)
        assert turning.obey(line)
        assert turning.said.startswith("refused: heaters.write")
        assert not turning.drive.any()
