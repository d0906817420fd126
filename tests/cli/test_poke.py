"""``hilonn poke`` as a person at a bench uses it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from hilonn import registry
from hilonn.cli.main import app


def bench_with(tmp_path: Path, old: str, new: str) -> str:
    text = registry.load("hilonn.benches", "simulated")()
    assert old in text
    path = tmp_path / "bench.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def test_a_dead_and_a_swapped_heater_are_told_with_their_channels(tmp_path: Path) -> None:
    wires = '["heaters:0-6", "heaters:9", "heaters:8", "heaters:7", "heaters:10-527"]'
    path = bench_with(tmp_path, '"heaters:0-527"', wires)
    text = Path(path).read_text()
    Path(path).write_text(
        text.replace('preset = "typical"', 'preset = "typical"\nfaults = ["dead_heater:37"]')
    )
    result = CliRunner().invoke(app, ["poke", path])
    assert result.exit_code == 1
    assert "7 (heaters:9) and 9 (heaters:7) are swapped" in result.stdout
    assert "37 (heaters:37) changes nothing" in result.stdout
    assert "NO-GO" in result.stdout


def test_json_is_one_object() -> None:
    result = CliRunner().invoke(app, ["poke", "simulated", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["good"] is True
    assert found["heaters"]["count"] == 528


def test_the_console_turns_a_heater_and_refuses_what_the_gate_does() -> None:
    lines = "heater 5\nset 2\n+0.5\nset 99\nheater 528\nnonsense\nquit\n"
    result = CliRunner().invoke(app, ["poke", "simulated", "--console"], input=lines)
    assert result.exit_code == 0
    assert "heater 5: 2.500 V" in result.stderr
    assert "refused" in result.stderr
    assert "99 V" in result.stderr
    assert "heaters are 0 .. 527" in result.stderr
    assert "no such command" in result.stderr
