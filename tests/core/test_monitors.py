"""Monitors between steps of training: when they look, what a new record changes, and that runs go on exactly."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from pydantic import BaseModel

from hilonn import registry
from hilonn.bench import Bench
from hilonn.chips import Batch, HeaterChip
from hilonn.cli.schema import bench_schema
from hilonn.cli.show import summary
from hilonn.errors import CalibrationError, ConfigError
from hilonn.monitors import Look, MonitorType
from hilonn.records import Quantity, Records
from hilonn.runs import Run
from hilonn.training import Progress, Schedule, Trainer
from tests.core.test_training import NETWORK, RULE, centred_xor


class Options(BaseModel):
    model_config = {"extra": "forbid"}
    shift: float = 0.0
    broken: bool = False


class Shifter:
    """Plays something of its own, and moves all offsets of the record by the same phase at every look."""

    def __init__(self, options: Options) -> None:
        self.options, self.looks = options, 0

    def look(self, bench: Any, chip: str) -> Look:
        found = bench.chip(chip)
        heaters = found.heaters_of
        heaters.write(np.full(heaters.channels, 0.5 + 0.01 * self.looks))
        self.looks += 1
        records = None
        if self.options.shift:
            records = shifted(found.records, self.options.shift)
        fault = "something broke" if self.options.broken else None
        return Look(f"look {self.looks}", {"looks": self.looks}, records, fault)

    def snapshot(self) -> dict[str, Any]:
        return {"looks": self.looks}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.looks = snapshot["looks"]


registry.register("hilonn.monitors", "shifter", MonitorType(Options, Shifter))


def shifted(records: Records, phase: float) -> Records:
    q = records.chip.quantities["heater_phase_offset"]
    moved = Quantity(q.value + phase * np.cos(np.arange(len(q.value))), q.uncertainty, q.accepted)
    chip = {**records.chip.quantities, "heater_phase_offset": moved}
    return replace(records, chip=replace(records.chip, quantities=chip, source="shifted"))


def bench_file(folder: Path, monitors: dict[str, Any], programming: str = "decompose") -> Path:
    bench = tomllib.loads(registry.load("hilonn.benches", "simulated")())
    bench["monitors"] = monitors
    for chip in bench["chips"].values():
        chip["programming"] = programming
    path = folder / "bench.toml"
    path.write_text(tomli_w.dumps(bench))
    return path


def trained(path: Path, out: Path | None = None, cut: tuple[int, int] | None = None) -> str:
    class Cut(Exception):
        pass

    def note(progress: Progress) -> None:
        if (progress.epoch, progress.step) == cut and progress.kind == "step":
            raise Cut

    train, _, _ = centred_xor()
    with Bench.open(path, seed=1) as bench:
        trainer = Trainer(bench.chip(), NETWORK, RULE, seed=1, on_progress=note)
        try:
            trainer.fit(train, epochs=2, batch=20, out=out, checkpoint_seconds=1e-6)
        except Cut:
            return ""
        return trainer.weights_sha256


def test_without_monitors_nothing_is_looked_at(tmp_path: Path) -> None:
    trained(bench_file(tmp_path, {}), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert [e for e in run.events() if e["kind"] == "monitor"] == []
    saved = run.load_checkpoint()
    assert (saved["monitors"], saved["new_records"]) == ({}, None)
    assert summary(tmp_path / "run")["monitors"] == {}


def test_a_monitor_looks_before_the_first_step(tmp_path: Path) -> None:
    once = {"shifter": {"monitor": "shifter", "every": 1e9, "shift": 0.1}}
    assert trained(bench_file(tmp_path, {})) != trained(bench_file(tmp_path, once))


@pytest.mark.parametrize(
    "programming", ["decompose", pytest.param("descend", marks=pytest.mark.slow)]
)
def test_a_run_with_changing_records_goes_on_exactly(tmp_path: Path, programming: str) -> None:
    path = bench_file(
        tmp_path,
        {"shifter": {"monitor": "shifter", "every": 0.02, "shift": 0.01}},
        programming,
    )
    whole = trained(path, tmp_path / "whole")
    events = [e for e in Run.open(tmp_path / "whole").events() if e["kind"] == "monitor"]
    assert len(events) > 2
    assert all(e["recalibrated"] and e["fault"] is None for e in events)
    assert [e["found"]["looks"] for e in events] == list(range(1, len(events) + 1))
    assert trained(path, tmp_path / "cut", (1, 3)) == ""
    train, _, _ = centred_xor()
    with Bench.open(path, seed=1) as bench, Run.open(tmp_path / "cut", write=True) as run:
        trainer = Trainer(bench.chip(), NETWORK, RULE, seed=1)
        trainer.resume(run, train, validation=None, schedule=Schedule(2, 20))
        assert trainer.weights_sha256 == whole
        assert trainer.chip.records.chip.source == "shifted"
    again = [e["found"] for e in Run.open(tmp_path / "cut").events() if e["kind"] == "monitor"]
    assert again == [e["found"] for e in events]
    seen = summary(tmp_path / "cut")["monitors"]["shifter"]
    assert (seen["looks"], seen["recalibrations"], seen["faults"]) == (len(events), len(events), 0)


def test_faults_are_events(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"watch": {"monitor": "shifter", "every": 1e9, "broken": True}})
    trained(path, tmp_path / "run")
    (event,) = [e for e in Run.open(tmp_path / "run").events() if e["kind"] == "monitor"]
    assert event["fault"] == "something broke"
    assert event["monitor"] == "watch"
    assert not event["recalibrated"]
    from hilonn.reports.findings import findings
    from hilonn.reports.story import read

    story = read(tmp_path / "run")
    assert any("what no drift explains" in f.text for f in findings(story, []))


def test_a_log_of_passes_and_a_monitor_exclude_one_another(tmp_path: Path) -> None:
    path = bench_file(tmp_path, {"shifter": {"monitor": "shifter", "every": 1.0}})
    train, _, _ = centred_xor()
    with Bench.open(path) as bench:
        trainer = Trainer(bench.chip(), NETWORK, RULE)
        with pytest.raises(ConfigError, match="cannot be replayed"):
            trainer.fit(train, epochs=1, out=tmp_path / "run", log_passes=True)


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ({"monitor": "nobody", "every": 1.0}, "no monitors called 'nobody'"),
        ({"monitor": "shifter"}, "every"),
        ({"monitor": "shifter", "every": -1.0}, "every"),
        ({"monitor": "shifter", "every": 1.0, "shaft": 1.0}, "shaft"),
        ({"monitor": "shifter", "every": 1.0, "chip": "other"}, "no chip of this file"),
        ({"monitor": "drift", "every": 60.0, "settings": 1}, "settings"),
    ],
)
def test_sections_are_checked_before_anything_opens(
    tmp_path: Path, section: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        Bench.open(bench_file(tmp_path, {"one": section}))


def test_the_schema_has_the_monitors(tmp_path: Path) -> None:
    schema = bench_schema()
    assert "monitors" in schema["properties"]
    assert "gate" in schema["x-options"]["monitors"]["drift"]["properties"]


@pytest.mark.parametrize("name", ["simulated", "simulated-crossbar"])
def test_a_chip_that_takes_a_record_is_as_one_opened_with_it(name: str) -> None:
    with Bench.open(name, seed=0) as bench:
        bench.light_on()
        chip = bench.chip()
        assert isinstance(chip, HeaterChip)
        assert chip.signed_readout is not None
        new = shifted(chip.records, 0.1)
        fresh = bench.rewire(None, new)
        wanted = np.random.default_rng(0).standard_normal((1, 5, 6))
        chip.run(chip.compile(wanted, [None])[0], Batch(np.eye(6), chip.signed_readout))
        chip.take(new)
        assert np.isnan(chip.written).all()
        mine, theirs = chip.compile(wanted, [None])[0], fresh.compile(wanted, [None])[0]
        assert np.array_equal(mine.drive, theirs.drive)
        assert mine.scale == theirs.scale
        other = replace(new, chip=replace(new.chip, chip="another"))
        with pytest.raises(CalibrationError, match="another"):
            chip.take(other)


def test_records_go_through_a_checkpoint() -> None:
    with Bench.open("simulated") as bench:
        records = bench.chip().records
    assert Records.unpack(records.pack()).hash() == records.hash()


def test_going_back_programs_nothing_of_an_old_record(tmp_path: Path) -> None:
    """After a loss training goes back to what it trusted; settings found with a record that a monitor has replaced since are
    no more than where to look for new ones."""
    train, _, _ = centred_xor()
    with Bench.open(bench_file(tmp_path, {}), seed=1) as bench:
        bench.light_on()
        trainer = Trainer(bench.chip(), NETWORK, RULE, seed=1)
        trainer.read(train.inputs[:4])
        trainer._trusted = trainer._reached(bench)
        trainer._go_back()
        assert all(p.weights is not None for p in trainer.runner.programmed())
        old = [s.drive for p in trainer.runner.programmed() for s in p.settings]
        trainer._trusted = trainer._reached(bench)
        trainer._take(shifted(bench.chip().records, 0.3))
        trainer._go_back()
        assert all(p.weights is None for p in trainer.runner.programmed())
        trainer.read(train.inputs[:4])
        new = [s.drive for p in trainer.runner.programmed() for s in p.settings]
        assert all(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))
