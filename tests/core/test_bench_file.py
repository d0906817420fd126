"""Bench files that are wrong: each is one ConfigError that names file, key and what is allowed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilonn import registry
from hilonn.bench import Bench
from hilonn.bench_file import BenchSource, parse, parse_wire, read_source
from hilonn.cli.main import main
from hilonn.errors import ConfigError, HilonnError
from tests.exits.small_bench import HEATERS, MESH_HEATERS, bench_file, bench_text


@dataclass(frozen=True)
class Wrong:
    """A change that spoils a bench file, and what the message must name besides the file."""

    name: str
    words: tuple[str, ...]
    added: Mapping[str, str] = field(default_factory=dict)
    tail: str = ""


def wiring(line: str) -> dict[str, str]:
    return {"chips.mesh.wiring": line}


INTERLOCK = '[[safety.interlocks]]\ndevice = "{}"\nquantity = "{}"\n'
WRONG = [
    # keys
    Wrong("misspelt section", ("saftey", "unknown key", "'safety'"), tail="[saftey]\n"),
    Wrong("misspelt safety key", ("safety.total_powr", "'total_power'"), {"safety": "total_powr = 1.0"}),
    Wrong("misspelt limit", ("devices.heaters.limits.slew", "slew_rate"), {"devices.heaters": "limits.slew = 1.0"}),
    Wrong("misspelt timing key", ("timing.sampling_period", "'sample_period'"), {"timing": "sampling_period = 1.0"}),
    Wrong("key the driver lacks", ("devices.laser.baud", "unknown key"), {"devices.laser": "baud = 9600"}),
    Wrong("key the plant lacks", ("connections.plant.portz", "'ports'"), {"connections.plant": "portz = 3"}),
    Wrong("key the chip lacks", ("chips.mesh.rows", "allowed here: ports"), {"chips.mesh": "rows = 3"}),
    Wrong("key of identity", ("devices.laser.identity.serail", "'serial'"), {"devices.laser": 'identity.serail = "1"'}),
    Wrong("missing driver", ("devices.extra.driver", "missing"), tail="[devices.extra]\n"),
    Wrong("missing record", ("chips.other.record", "missing"), tail='[chips.other]\narchitecture = "svd_mesh"\n'),
    # values
    Wrong("a word for a number", ("safety.total_power", "'lots'", "number"), {"safety": 'total_power = "lots"'}),
    Wrong("a negative power", ("safety.total_power", "-1.0", "greater than 0"), {"safety": "total_power = -1.0"}),
    Wrong("zero period", ("timing.sample_period", "greater than 0"), {"timing": "sample_period = 0.0"}),
    Wrong("nan period", ("timing.sample_period",), {"timing": "sample_period = nan"}),
    Wrong("infinite period", ("timing.sample_period",), {"timing": "sample_period = inf"}),
    Wrong("unknown preset", ("connections.plant.preset", "'typical'", "'rough'"), {"connections.plant": 'preset = "rough"'}),
    Wrong("too few ports", ("connections.plant.ports", "1", "2"), {"connections.plant": "ports = 1"}),
    Wrong("unknown effect", ("connections.plant", "crostalk", "crosstalk"), {"connections.plant": "effects.crostalk = false"}),
    Wrong("unknown fault", ("connections.plant", "stuck", "stuck_heater"), {"connections.plant": 'faults = ["stuck:3"]'}),
    Wrong("unknown quantity", ("safety.interlocks[0].quantity", "'temperature'"), tail=INTERLOCK.format("laser", "colour")),
    Wrong("quantity of another kind", ("safety.interlocks", "laser", "temperature"), tail=INTERLOCK.format("laser", "temperature")),
    Wrong(
        "levels the wrong way round",
        ("safety.interlocks", "low"),
        tail=INTERLOCK.format("temperature", "temperature") + "low = 30.0\nhigh = 20.0\n",
    ),
    Wrong(
        "resume outside the trip levels",
        ("safety.interlocks", "resume_high"),
        tail=INTERLOCK.format("temperature", "temperature") + "high = 30.0\nresume_high = 31.0\n",
    ),
    # names of things
    Wrong("unknown driver", ("devices.laser.driver", "'simulated_lazer'", "'simulated_laser'"), {"devices.laser": 'driver = "simulated_lazer"'}),
    Wrong("unknown transport", ("connections.plant.transport", "'plnt'", "'plant'"), {"connections.plant": 'transport = "plnt"'}),
    Wrong("unknown architecture", ("chips.mesh.architecture", "'mesh'", "svd_mesh"), {"chips.mesh": 'architecture = "mesh"'}),
    Wrong("unknown connection", ("devices.laser.connection", "'usb'", "plant"), {"devices.laser": 'connection = "usb"'}),
    Wrong("unknown device in order", ("safety.order", "'lazer'", "laser"), {"safety": 'order = ["lazer"]'}),
    Wrong("unknown device in interlock", ("safety.interlocks", "'tec'", "temperature"), tail=INTERLOCK.format("tec", "temperature")),
    Wrong("unknown trigger", ("timing.trigger", "'clock'", "inputs"), {"timing": 'trigger = "clock"'}),
    Wrong("unknown connection of record", ("chips.mesh.record", "'pland'", "plant"), {"chips.mesh": 'record = "connection:pland"'}),
    Wrong("simulated device without plant", ("devices.extra", "plant"), tail='[devices.extra]\ndriver = "simulated_laser"\n'),
    # wiring
    Wrong("unknown device in wiring", ("chips.mesh.wiring.modulators", "'imputs'", "inputs"), wiring('modulators = "imputs"')),
    Wrong("channel out of range", ("chips.mesh.wiring.local_oscillator", f"0 .. {HEATERS - 1}"), wiring(f'local_oscillator = "heaters:{HEATERS}"')),
    Wrong("channels out of range", ("chips.mesh.wiring.phase_shifters", f"0 .. {HEATERS - 1}"), wiring('phase_shifters = "heaters:30-70"')),
    Wrong("absurd channels", ("chips.mesh.wiring.phase_shifters", f"0 .. {HEATERS - 1}"), wiring('phase_shifters = "heaters:0-1000000000000000"')),
    Wrong("more absurd channels", ("chips.mesh.wiring.phase_shifters", f"0 .. {HEATERS - 1}"), wiring(f'phase_shifters = "heaters:{10**30}"')),
    Wrong("channel named twice", ("chips.mesh.wiring.phase_shifters", "twice"), wiring(f'phase_shifters = ["heaters:0-{MESH_HEATERS - 2}", "heaters:7"]')),
    Wrong("channel of two roles", ("chips.mesh.wiring", "heaters", "3"), wiring('local_oscillator = "heaters:3"')),
    Wrong("not a wire", ("chips.mesh.wiring.modulators", "'inputs:a'", "DEVICE:FIRST-LAST"), wiring('modulators = "inputs:a"')),
    Wrong("backwards", ("chips.mesh.wiring.phase_shifters", "'heaters:35-0'"), wiring('phase_shifters = "heaters:35-0"')),
    Wrong("empty", ("chips.mesh.wiring.modulators", "empty"), wiring("modulators = []")),
    Wrong("two devices in one role", ("chips.mesh.wiring.modulators", "inputs", "meter"), wiring('modulators = ["inputs:0-1", "meter:0-1"]')),
    Wrong("wrong kind of device", ("chips.mesh.wiring.modulators", "meter", "Modulators"), wiring('modulators = "meter:0-3"')),
    Wrong("too few channels", ("chips.mesh.wiring.modulators", "3", "4"), wiring('modulators = "inputs:0-2"')),
    Wrong("unknown role", ("chips.mesh.wiring", "'modulatoren'", "modulators"), wiring('modulatoren = "inputs"')),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_message_names_file_key_and_what_is_allowed(case: Wrong, tmp_path: Path) -> None:
    path = bench_file(tmp_path, case.added, case.tail)
    with pytest.raises(ConfigError) as caught:
        Bench.open(path).close()
    text = str(caught.value)
    assert caught.value.exit_code == 2
    for word in (str(path), *case.words):
        assert word in text, text


def test_missing_role_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(bench_text().replace('modulators = "inputs"\n', ""), "utf-8")
    with pytest.raises(ConfigError) as caught:
        Bench.open(path).close()
    for word in (str(path), "chips.mesh.wiring", "modulators", "missing"):
        assert word in str(caught.value)


def test_all_faults_of_the_frame_come_together(tmp_path: Path) -> None:
    added = {"safety": "total_power = -1.0", "timing": "sample_period = 0.0"}
    with pytest.raises(ConfigError, match="2 faults") as caught:
        Bench.open(bench_file(tmp_path, added))
    assert "safety.total_power" in str(caught.value)
    assert "timing.sample_period" in str(caught.value)


@pytest.mark.parametrize("text", ["backend = ", "[devices", "a = 1\na = 2\n", "backend = 'x'\n\0"])
def test_invalid_toml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"lab\.toml: not valid TOML: .*(line|end of document)"):
        Bench.open(path)


def test_empty_and_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"(?s)lab\.toml.*backend.*devices"):
        Bench.open(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot read the bench file .*lab\.toml"):
        Bench.open(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for source in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            Bench.open(source)
        assert str(source) in str(caught.value)
    with pytest.raises(ConfigError, match=r"no bench 'simulatd'.*simulated"):
        Bench.open("simulatd")


def test_a_wiring_fault_is_found_before_anything_is_touched(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    added = {"connections.plant": f"journal = '{journal}'"} | wiring('modulators = "imputs"')
    with pytest.raises(ConfigError):
        Bench.open(bench_file(tmp_path, added))
    assert not journal.exists(), "the plant was opened"


@pytest.mark.parametrize("name", registry.names("hilonn.benches"))
def test_built_in_benches_are_sound(name: str) -> None:
    file = parse(read_source(name))
    assert file.backend == "simulated"
    assert set(file.safety.order) <= set(file.devices)


# -- wires ------------------------------------------------------------------------------------------

names = st.text(
    st.characters(exclude_characters=":", exclude_categories=("Z", "C")), min_size=1, max_size=12
)


@given(names, st.integers(0, 5000), st.integers(0, 5000))
def test_wires_round_trip(name: str, first: int, count: int) -> None:
    assert parse_wire(name, "k") == (name, None)
    device, channels = parse_wire(f"{name}:{first}", "k")
    assert device == name
    np.testing.assert_array_equal(channels, [first])
    device, channels = parse_wire(f"  {name}:{first}-{first + count} ", "k")
    assert device == name
    np.testing.assert_array_equal(channels, np.arange(first, first + count + 1))


@given(names, st.integers(1, 5000), st.data())
def test_backward_wires_are_refused(name: str, first: int, data: st.DataObject) -> None:
    last = data.draw(st.integers(0, first - 1))
    with pytest.raises(ConfigError, match=r"^the file: the key = .*before the first"):
        parse_wire(f"{name}:{first}-{last}", "the file: the key")


@given(st.text(max_size=20))
def test_any_text_is_a_wire_or_a_config_error(text: str) -> None:
    try:
        device, channels = parse_wire(text, "the file: the key")
    except ConfigError as error:
        assert str(error).startswith("the file: the key = ")
    else:
        assert device and ":" not in device
        assert channels is None or (channels[0] >= 0 and (np.diff(channels) == 1).all())


@given(st.text(max_size=200))
def test_any_text_is_a_bench_file_or_a_config_error(text: str) -> None:
    """Nothing but ConfigError leaves the parser."""
    try:
        parse(BenchSource("lab", text, None))
    except HilonnError as error:
        assert isinstance(error, ConfigError)
        assert str(error).startswith("bench lab: ")


# -- at the command line ------------------------------------------------------------------------------

AT_THE_SHELL = [
    case
    for case in WRONG
    if case.name
    in ("misspelt safety key", "unknown driver", "channel out of range", "unknown fault")
]


@pytest.mark.parametrize("case", AT_THE_SHELL, ids=lambda case: case.name)
def test_command_line_exits_2_with_one_message(
    case: Wrong,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = bench_file(tmp_path, case.added, case.tail), tmp_path / "run"
    argv = ["hilonn", "train", "xor", "--bench", str(path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("hilonn: ")
    assert "Traceback" not in printed.err
    for word in case.words:
        assert word in printed.err
    assert not out.exists()


def test_shell_sees_exit_code_2_and_no_traceback(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"safety": "total_powr = 1.0"})
    command = [sys.executable, "-m", "hilonn", "train", "xor", "--bench", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "safety.total_powr" in lines[0]
    assert not (tmp_path / "runs").exists()
