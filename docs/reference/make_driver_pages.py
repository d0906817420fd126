"""Writes docs/reference/drivers/ and the list in docs/explanation/never-on-real-hardware.md:
``python docs/reference/make_driver_pages.py``.

Everything comes from the code: the entry points of ``hilonn.devices``, each module's docstring, ``DIALECT`` and ``PAGE``, and the
options' models. A test compares, so that no page can drift from its driver.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from hilonn import devices
from hilonn.drivers.options import Options
from hilonn.drivers.page import DriverPage
from hilonn.registry import Driver
from hilonn.transports import Dialect

FOLDER = Path(__file__).with_name("drivers")
NEVER = Path(__file__).parents[1] / "explanation" / "never-on-real-hardware.md"
BEGIN, END = "<!-- unverified: generated -->", "<!-- end of unverified -->"
INTERFACES = {
    "PhaseShifters": ("phase shifters", "heaters"),
    "Modulators": ("modulators", "inputs"),
    "Photodetectors": ("photodetectors", "meter"),
    "Laser": ("laser", "laser"),
    "TemperatureController": ("temperature controller", "temperature"),
    "Switch": ("switch", "switch"),
}
"""By interface: in words, and what a bench file of the pages calls such a device."""


@dataclass(frozen=True)
class Instrument:
    """One module of ``drivers/`` that talks to instruments, with its drivers by entry point."""

    module: ModuleType
    drivers: dict[str, Driver]

    @property
    def name(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    @property
    def page(self) -> DriverPage:
        found = self.module.PAGE
        assert isinstance(found, DriverPage)
        return found

    def interfaces(self) -> list[str]:
        """Which interfaces its devices have, in the order of ``INTERFACES``."""
        rooms = [self.module]
        if hasattr(self.module, "bridge"):
            rooms.append(importlib.import_module("hilonn.drivers.bridged"))
        classes = [
            thing
            for room in rooms
            for thing in vars(room).values()
            if inspect.isclass(thing) and thing.__module__ == room.__name__
        ]
        return [k for k in INTERFACES if any(issubclass(c, getattr(devices, k)) for c in classes)]


def instruments() -> list[Instrument]:
    """Every module with a driver of an instrument. Excluded by rule: what lies outside ``drivers/`` (simulated devices, a lab's
    own), and what is made of other devices (it has ``join`` and no wire)."""
    found: dict[str, dict[str, Driver]] = {}
    for point in sorted(entry_points(group="hilonn.devices")):
        module = point.value.partition(":")[0]
        if not module.startswith("hilonn.drivers."):
            continue
        driver = point.load()
        if driver.join is None:
            found.setdefault(module, {})[point.name] = driver
    return [Instrument(importlib.import_module(m), d) for m, d in sorted(found.items())]


def bench_lines(instrument: Instrument) -> str:
    """A part of a bench file: connections first, then devices."""
    page = instrument.page
    parts = []
    for name in dict.fromkeys(re.findall(r'^connection = "(\w+)"', page.device, re.MULTILINE)):
        parts.append(f"[connections.{name}]\n{page.connection}")
    first = (
        page.device
        if page.device.startswith("[")
        else f"[devices.{_called(instrument)}]\n{page.device}"
    )
    return "\n\n".join([*parts, first])


def _called(instrument: Instrument) -> str:
    """A name for the first device of the page, after what it is."""
    name = re.search(r'^driver = "(\w+)"', instrument.page.device, re.MULTILINE)
    assert name is not None, instrument.name
    made = inspect.getclosurevars(instrument.drivers[name[1]].build).nonlocals.get("make")
    for interface, (_, called) in INTERFACES.items():
        if inspect.isclass(made) and issubclass(made, getattr(devices, interface)):
            return called
    return "box"


def dialect(instrument: Instrument) -> str:
    """How lines end and how fast it can be spoken to, where it has lines."""
    found = [d for d in vars(instrument.module).values() if isinstance(d, Dialect)]
    if not found:
        return ""
    texts = []
    for d in found:
        gap = f"; {1e3 * d.gap:g} ms between commands" if d.gap else ""
        texts.append(f"commands end in {_spelled(d.write)}, answers in {_spelled(d.read)}{gap}")
    return "Lines: " + "; or ".join(dict.fromkeys(texts)) + "."


def _spelled(terminator: str) -> str:
    names = {"\n": "LF", "\r": "CR", "\0": "NUL"}
    return " ".join(names.get(letter, f"`{letter}`") for letter in terminator) or "nothing"


def options(model: type[BaseModel]) -> Iterator[str]:
    """What the options' docstrings say, a row a key, and tables of the sections within."""
    yield from _said(model)
    yield ""
    yield "| key | type | default | allowed |"
    yield "|---|---|---|---|"
    within: list[type[BaseModel]] = []
    for key, field in model.model_fields.items():
        inner = [
            t for t in _parts(field.annotation) if inspect.isclass(t) and issubclass(t, BaseModel)
        ]
        within += [t for t in inner if t not in within]
        default = (
            "required"
            if field.is_required()
            else _shown(field.get_default(call_default_factory=True))
        )
        allowed = ", ".join(_allowed(m) for m in field.metadata if _allowed(m))
        kind = f"section, see `{inner[0].__name__}`" if inner else _type(field.annotation)
        yield f"| `{key}` | {kind} | {default} | {_cell(allowed)} |"
    for part in within:
        yield ""
        yield f"`{part.__name__}`:"
        yield from options(part)


def _said(model: type[BaseModel]) -> Iterator[str]:
    """Docstrings of the model and of those it builds on, the most general last."""
    told = []
    for kind in model.__mro__:
        if kind in (Options, BaseModel, object) or not issubclass(kind, BaseModel):
            continue
        text = _line(kind.__dict__.get("__doc__") or "")
        if text and text not in told:
            told.append(text)
    for text in told:
        yield ""
        yield text.replace("``", "`")


def _parts(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(p for a in inner for p in _parts(a))]


def _type(annotation: Any) -> str:
    if inspect.isclass(annotation) and not getattr(annotation, "__args__", ()):
        return f"`{annotation.__name__}`"
    text = re.sub(r"(typing|pathlib)\.", "", str(annotation))
    return f"`{_cell(text)}`"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'`"{_cell(value)}"`' if value else '`""`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{_cell(str(value))}`"


def _allowed(constraint: Any) -> str:
    words = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    for name, sign in words.items():
        if hasattr(constraint, name):
            return f"{sign} {getattr(constraint, name):g}"
    if getattr(constraint, "pattern", None):
        return f"`{constraint.pattern}`"
    if hasattr(constraint, "min_length"):
        return f"at least {constraint.min_length}"
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(text: str) -> str:
    return " ".join(text.split())


def page(instrument: Instrument) -> str:
    """One driver's page."""
    found = instrument.page
    docs = inspect.getdoc(instrument.module) or ""
    lines = [
        f"# {instrument.name}",
        "",
        f"*Generated from [drivers/{instrument.name}.py](../../../drivers/{instrument.name}.py); never tried on a real box unless "
        "a line says so.*",
        "",
        docs.replace("``", "`"),
        "",
        f"**Instruments**: {found.instruments}. "
        f"**They are**: {', '.join(INTERFACES[i][0] for i in instrument.interfaces())}.",
        "",
        "## Wiring",
        "",
        found.wiring,
        "",
        *([dialect(instrument), ""] if dialect(instrument) else []),
        "```toml",
        bench_lines(instrument),
        "```",
        "",
    ]
    for name, driver in sorted(instrument.drivers.items()):
        lines += [f"## Options of `{name}`", *options(driver.options), ""]
        if driver.answers_to is not None:
            lines += [f"`hilonn discover` finds it by `{driver.answers_to}`.", ""]
    lines += [
        "**Limits**: the stricter of the driver's own and the bench file's `limits` holds "
        "([describe a bench](../../how-to/describe-a-bench.md)); what lies outside is refused, never clipped.",
        "",
    ]
    if found.quirks:
        lines += ["## Quirks that the driver allows for", "", "| what | source |", "|---|---|"]
        lines += [f"| {_cell(what)} | {_cell(source)} |" for what, source in found.quirks]
        lines.append("")
    lines += ["## Not verified on a real box", ""]
    lines += [f"- {fact}" for fact in found.unverified] or ["Nothing of its own."]
    return "\n".join(lines).rstrip() + "\n"


def index(all_of_them: list[Instrument]) -> str:
    """The table of all drivers."""
    lines = [
        "# Drivers",
        "",
        "*Generated by `python docs/reference/make_driver_pages.py`.* What a bench file can name as `driver`, besides the simulated",
        "devices and `bank`. An instrument that is not here may have a QCoDeS or PyMeasure driver "
        "([qcodes](qcodes_bridge.md),",
        "[pymeasure](pymeasure_bridge.md)), or [an afternoon](../../how-to/write-a-driver.md).",
        "",
        "| instruments | `driver` | what they are | page | unverified facts |",
        "|---|---|---|---|---|",
    ]
    for one in all_of_them:
        names = ", ".join(f"`{name}`" for name in sorted(one.drivers))
        kinds = ", ".join(INTERFACES[i][0] for i in one.interfaces())
        lines.append(
            f"| {_cell(one.page.instruments)} | {names} | {kinds} | [{one.name}]({one.name}.md) | {len(one.page.unverified)} |"
        )
    return "\n".join(lines) + "\n"


def never(text: str, all_of_them: list[Instrument]) -> str:
    """``text`` of never-on-real-hardware.md with its list made anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    lines: list[str] = []
    for one in all_of_them:
        if one.page.unverified:
            lines += [
                "",
                f"**[{one.name}](../reference/drivers/{one.name}.md)**: {one.page.instruments}",
                "",
            ]
            lines += [f"- {fact}" for fact in one.page.unverified]
    return f"{before}{BEGIN}" + "\n".join(lines) + f"\n{END}{after}"


def pages() -> dict[Path, str]:
    """Every generated file and what it says."""
    all_of_them = instruments()
    made = {FOLDER / f"{one.name}.md": page(one) for one in all_of_them}
    made[FOLDER / "README.md"] = index(all_of_them)
    made[NEVER] = never(NEVER.read_text("utf-8"), all_of_them)
    return made


if __name__ == "__main__":
    wanted = pages()
    for old in set(FOLDER.glob("*.md")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        path.write_text(text, "utf-8")
