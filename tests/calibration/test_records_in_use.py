"""A record that is too old, or of other boxes, opens no bench unless its file allows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hilonn.bench import Bench
from hilonn.errors import CalibrationError
from hilonn.records import Records
from tests.calibration.benches import bench_file

PAST = "2020-01-01T00:00:00+00:00"


def _bench(folder: Path, allowed: str = "", expires: str | None = None, serial: str = "") -> Path:
    path = bench_file(folder)
    with Bench.open(path) as bench:
        records = bench.chip().records
    source = "measured: by hand" if serial else records.modulators.source
    Records(
        replace(records.chip, expires=expires),
        replace(records.modulators, serial=serial or records.modulators.serial, source=source),
        records.photodetectors,
    ).save(folder / "chip.json")
    text = path.read_text("utf-8").replace(
        'record = "connection:plant"', f'record = "chip.json"\n{allowed}'
    )
    path.write_text(text, "utf-8")
    return path


def test_an_expired_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="expired on 2020"):
        Bench.open(_bench(tmp_path, expires=PAST))
    with Bench.open(_bench(tmp_path, 'accept_records = ["expired"]', expires=PAST)) as bench:
        assert bench.chip().records.chip.expired()


def test_other_boxes_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="measured on the box with serial 4711"):
        Bench.open(_bench(tmp_path, serial="4711"))
    Bench.open(_bench(tmp_path, 'accept_records = ["foreign"]', serial="4711")).close()


def test_another_chips_record_is_refused(tmp_path: Path) -> None:
    path = _bench(tmp_path)
    text = path.read_text("utf-8").replace(
        "[chips.mesh.wiring]", '[chips.mesh.nominal]\nchip = "B7"\n\n[chips.mesh.wiring]'
    )
    path.write_text(text, "utf-8")
    with pytest.raises(CalibrationError, match="says that chip B7 is there"):
        Bench.open(path)


def test_a_chip_nobody_measured_opens_by_its_datasheet(tmp_path: Path) -> None:
    path = bench_file(tmp_path)
    text = path.read_text("utf-8").replace('record = "connection:plant"', 'record = "nominal"')
    path.write_text(text, "utf-8")
    with Bench.open(path) as bench:
        assert bench.chip().records.chip.source.startswith("nominal")
