"""What is plugged in is listed without being loaded, and found by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hilonn import registry
from hilonn.errors import ConfigError

MODULE = """
from pydantic import BaseModel
from hilonn.registry import Driver, register

class Options(BaseModel):
    port: str

def build(name, options, connection):
    return None

register("hilonn.devices", "{name}", Driver(options=Options, build=build))
"""


def test_a_loose_module_registers_its_driver(tmp_path: Path) -> None:
    path = tmp_path / "my_daq.py"
    path.write_text(MODULE.format(name="daq_of_a_file"), "utf-8")
    assert "daq_of_a_file" not in registry.names("hilonn.devices")
    registry.import_module(str(path))
    assert "daq_of_a_file" in registry.names("hilonn.devices")
    driver = registry.load("hilonn.devices", "daq_of_a_file")
    assert isinstance(driver, registry.Driver)
    assert set(driver.options.model_fields) == {"port"}


def test_a_module_by_its_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dotted_daq.py").write_text(MODULE.format(name="daq_of_a_name"), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.import_module("dotted_daq")
    assert "daq_of_a_name" in registry.names("hilonn.devices")


@pytest.mark.parametrize("source", ["nowhere/none.py", "no_such_module_at_all"])
def test_a_module_that_is_not_there(source: str) -> None:
    with pytest.raises(ConfigError, match="--import"):
        registry.import_module(source)


@pytest.mark.parametrize("text", ["def broken(:\n", "1 / 0\n", "import no_such_thing\n"])
def test_a_module_that_cannot_run_is_bad_input(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spoilt_daq.py"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"--import .*spoilt_daq\.py"):
        registry.import_module(str(path))


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'simulated_lasr'.*did you mean 'simulated_laser'"):
        registry.load("hilonn.devices", "simulated_lasr")
    with pytest.raises(
        ConfigError, match=r"'qqq', and none of the \d+ that there are is like it\. What"
    ):
        registry.load("hilonn.devices", "qqq")


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'hilonn\.lasers'.*hilonn\.devices"):
        registry.register("hilonn.lasers", "x", object())


@pytest.mark.parametrize("group", registry.GROUPS)
def test_everything_listed_loads(group: str) -> None:
    for name in registry.names(group):
        assert registry.load(group, name) is not None


LISTING = """
import sys
from hilonn import registry
from hilonn.errors import ConfigError
names = registry.names("hilonn.devices")
assert "simulated_laser" in names and "half_installed" in names and "moved" in names, names
assert "hilonn.simulators.devices" not in sys.modules, "listing imported a driver"
for name in ("half_installed", "moved"):
    try:
        registry.load("hilonn.devices", name)
    except ConfigError as error:
        print(error)
"""


def test_listing_imports_nothing_and_a_missing_extra_is_told(tmp_path: Path) -> None:
    info = tmp_path / "vendor_box-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-box\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hilonn.devices]\nhalf_installed = vendor_sdk_that_is_missing:driver\n"
        "moved = json:no_such_driver\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{LISTING}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    for word in ("half_installed", "vendor_sdk_that_is_missing", "extra"):
        assert word in first
    for word in ("moved", "no_such_driver"):
        assert word in second


def test_an_unknown_driver_is_answered_by_the_nearest_and_by_how_own_ones_come() -> None:
    with pytest.raises(
        ConfigError, match=r"no driver called 'qontrl'; of \d+, did you mean 'qontrol'"
    ) as e:
        registry.load("hilonn.devices", "qontrl")
    assert "`--import FILE.py`" in str(e.value)
    assert "santec_tsl" not in str(e.value)
