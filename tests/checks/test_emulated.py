"""`hilonn check` on an emulated lab: what goes wrong with boxes, wires and the chip is named through real drivers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hilonn.bench import Bench
from hilonn.checks import CheckReport
from hilonn.cli.main import app
from hilonn.errors import ConfigError, DeviceTimeout
from hilonn.simulators.emulators import TcpServer
from hilonn.simulators.emulators.lab import Lab
from hilonn.simulators.emulators.lab_16 import build


def served(folder: Path, *faults: str) -> tuple[Lab, Path]:
    return build(latency=False, faults=faults), folder / "lab.toml"


def checked(folder: Path, *faults: str) -> CheckReport:
    lab, path = served(folder, *faults)
    with lab:
        lab.write_bench(path)
        with Bench.open(path) as bench:
            return bench.check()


def result_of(path: Path) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, ["check", str(path), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_lab_is_go_without_a_warning(tmp_path: Path) -> None:
    report = checked(tmp_path)
    assert {s.state for s in report.steps} == {"ok"}, str(report)
    assert "MY49000029" in report.step("record of meter").found


def test_what_is_wrong_with_the_chip(tmp_path: Path) -> None:
    report = checked(tmp_path, "chip:dead_detector:3")
    assert report.step("detectors of meter").values["dead"] == [3]
    assert not report.go


def test_an_interlock_that_is_open(tmp_path: Path) -> None:
    report = checked(tmp_path, "santec:interlock@3")
    step = report.step("light on")
    assert step.state == "BAD"
    assert "interlock" in step.found
    assert report.step("safe state").good


def test_a_mount_that_was_touched_is_waited_for(tmp_path: Path) -> None:
    report = checked(tmp_path, "tec:disturb=0.2@5")
    assert report.step("temperature of temperature").state == "ok"


def test_a_controller_that_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilonn.checks.boxes.PATIENCE", 0.2)
    report = checked(tmp_path, "tec:fail@6")
    assert not report.go
    assert "light on" not in [s.name for s in report.steps]


def test_a_wire_that_breaks_during_the_check(tmp_path: Path) -> None:
    lab, path = served(tmp_path, "meter2:reset@30")
    with lab:
        lab.write_bench(path)
        code, report = result_of(path)
    assert code == 1
    assert report["go"] is False
    assert "meter2" in json.dumps(report)


def test_a_wrong_serial_number_does_not_open(tmp_path: Path) -> None:
    lab, path = served(tmp_path)
    with lab:
        lab.write_bench(path)
        line = 'driver = "santec_tsl"'
        text = path.read_text()
        path.write_text(text.replace(line, f'{line}\nidentity = {{ serial = "21020002" }}'))
        code, report = result_of(path)
    assert code == 1
    (step,) = report["steps"]  # type: ignore[misc]
    assert step["name"] == "opening"
    assert "21020002" in step["found"]
    assert "21020001" in step["found"]


def test_a_right_serial_number_is_said_to_be_compared(tmp_path: Path) -> None:
    lab, path = served(tmp_path)
    with lab:
        lab.write_bench(path)
        line = 'driver = "santec_tsl"'
        text = path.read_text()
        path.write_text(text.replace(line, f'{line}\nidentity = {{ serial = "21020001" }}'))
        with Bench.open(path) as bench:
            report = bench.check()
    assert "as the file expects" in report.step("identity of laser").found


def test_two_connections_to_one_box(tmp_path: Path) -> None:
    lab, path = served(tmp_path)
    with lab:
        lab.write_bench(path)
        text = path.read_text()
        ports = {name: str(lab.servers[name].port) for name in ("meter0", "meter1")}  # type: ignore[attr-defined]
        path.write_text(text.replace(f"port = {ports['meter1']}", f"port = {ports['meter0']}"))
        with pytest.raises(
            ConfigError, match=r"connections\.meter0 and connections\.meter1 both lead to"
        ):
            Bench.open(path)
        # The same box at another address is found by what it says.
        with TcpServer(lab.servers["meter0"].instrument) as other:
            path.write_text(text.replace(f"port = {ports['meter1']}", f"port = {other.port}"))
            with Bench.open(path) as bench:
                report = bench.check()
    assert "two connections lead to one box" in report.step("identity of det1").found
    assert not report.go


def test_a_lab_that_is_not_there(tmp_path: Path) -> None:
    lab, path = served(tmp_path)
    with lab:
        lab.write_bench(path)
    code, report = result_of(path)
    assert code == 1
    assert report["steps"][0]["error"] == "ConnectionLost"  # type: ignore[index]


def test_a_record_that_is_missing(tmp_path: Path) -> None:
    lab, path = served(tmp_path)
    with lab:
        lab.write_bench(path)
        (tmp_path / "lab-chip.npz").unlink()
        code, report = result_of(path)
    assert code == 1
    assert report["steps"][0]["error"] == "CalibrationError"  # type: ignore[index]
    assert "lab-chip" in report["steps"][0]["found"]  # type: ignore[index]


def test_a_file_that_is_wrong_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text("backend = 3\n")
    result = CliRunner().invoke(app, ["check", str(path), "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_lab_that_stops_during_the_check_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found stays in the report, and nobody is told that nothing was switched on."""
    lab, path = served(tmp_path)
    settling = "hilonn.checks.pattern._settling"

    def stopped(*rest: object) -> None:
        lab.__exit__(None, None, None)
        raise DeviceTimeout("gone")

    monkeypatch.setattr(settling, stopped)
    with lab:
        lab.write_bench(path)
        code, report = result_of(path)
    assert code == 1
    steps = {s["name"]: s for s in report["steps"]}  # type: ignore[attr-defined]
    assert steps["detectors of meter"]["good"]
    assert steps["safe state"]["state"] == "BAD"
    assert "by hand" in steps["safe state"]["next"]
    assert "opening" not in steps
