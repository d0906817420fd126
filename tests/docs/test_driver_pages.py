"""Every driver has a page, the pages are the code's, and each driver keeps to what all of them promise."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from hilonn import registry
from hilonn.bench_file import BenchSource, options, parse

ROOT = Path(__file__).parents[2]


def generator() -> ModuleType:
    path = ROOT / "docs/reference/make_driver_pages.py"
    spec = importlib.util.spec_from_file_location("make_driver_pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


PAGES = generator()
INSTRUMENTS = PAGES.instruments()
every_instrument = pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)


def test_the_pages_are_the_code_s() -> None:
    wanted = PAGES.pages()
    stale = [p.name for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    extra = [p.name for p in PAGES.FOLDER.glob("*.md") if p not in wanted]
    assert not stale + extra, "run python docs/reference/make_driver_pages.py"


def test_the_walk_finds_the_drivers_and_leaves_out_what_has_no_wire() -> None:
    found = {name for one in INSTRUMENTS for name in one.drivers}
    assert {"qontrol", "qcodes", "pymeasure", "nidaqmx_outputs", "dmd", "camera"} <= found
    assert "bank" not in found
    assert not any(name.startswith("simulated_") for name in found)
    installed = {point.name for point in entry_points(group="hilonn.devices")}
    left = installed - found  # other tests may have registered devices of their own besides
    for name in left:
        driver = registry.load("hilonn.devices", name)
        assert driver.join is not None or name.startswith("simulated_"), name


@every_instrument
def test_it_says_what_it_is_for_and_where_that_comes_from(instrument: Any) -> None:
    documented = inspect.getdoc(instrument.module)
    assert documented
    assert re.search("Sources?: ", documented), "the module's docstring names the manual"
    page = instrument.page
    assert page.instruments
    assert page.wiring
    assert all(what and source for what, source in page.quirks)
    assert instrument.interfaces(), "no device class in the module"


@every_instrument
def test_its_options_forbid_what_they_do_not_know(instrument: Any) -> None:
    for driver in instrument.drivers.values():
        for model in sections(driver.options):
            assert model.model_config.get("extra") == "forbid", model.__name__
            with pytest.raises(ValidationError, match="Extra inputs"):
                model.model_validate({"nobody_knows_this": 1})


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """``model`` and the models of its fields."""
    found = [model]
    for field in model.model_fields.values():
        for part in PAGES._parts(field.annotation):
            if inspect.isclass(part) and issubclass(part, BaseModel):
                found += sections(part)
    return found


@every_instrument
def test_it_has_tests_of_its_own(instrument: Any) -> None:
    assert (ROOT / f"tests/drivers/test_{instrument.name}.py").exists()


@every_instrument
def test_its_bench_file_lines_are_taken(instrument: Any) -> None:
    text = f'backend = "lab"\n\n{PAGES.bench_lines(instrument)}\n'
    tomllib.loads(text)
    file = parse(BenchSource(instrument.name, text, None))
    for name, connection in file.connections.items():
        transport = registry.load("hilonn.transports", connection.transport)
        options(connection, transport.options, "page", f"connections.{name}", {})
    assert {device.driver for device in file.devices.values()} <= set(instrument.drivers)
    for name, device in file.devices.items():
        driver = instrument.drivers[device.driver]
        options(device, driver.options, "page", f"devices.{name}", {})
