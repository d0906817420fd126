"""What is plugged in: entry points, listed without being loaded, and loose modules by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hilonn.devices import Device
from hilonn.errors import ConfigError
from hilonn.transports.contract import Connection, TransportType
from hilonn.typing import IntArray

__all__ = [
    "GROUPS",
    "ChipType",
    "Driver",
    "TransportType",
    "Wire",
    "import_module",
    "load",
    "names",
    "register",
]
GROUPS = (
    "hilonn.devices",
    "hilonn.transports",
    "hilonn.chips",
    "hilonn.rules",
    "hilonn.benches",
    "hilonn.bench_schemes",
    "hilonn.emulators",
    "hilonn.calibrations",
    "hilonn.calibrators",
    "hilonn.monitors",
)


@dataclass(frozen=True, slots=True)
class Driver:
    """What an entry point of ``hilonn.devices`` yields. ``build(name, options, connection)``; a driver that is made of
    other devices of the bench (its options' ``members``) has ``join(name, options, members)``. ``answers_to``: a regular
    expression that finds, in what an instrument says when it is asked who it is, that this driver is for it."""

    options: type[BaseModel]
    build: Callable[[str, Any, Connection | None], Device]
    join: Callable[[str, Any, Sequence[Device]], Device] | None = None
    answers_to: str | None = None


@dataclass(frozen=True, slots=True)
class ChipType:
    """What an entry point of ``hilonn.chips`` yields: ``build(name, options, wiring, records, clock,
    timing)``."""

    options: type[BaseModel]
    build: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """Channels of one device, in the order in which a chip counts them."""

    device: Device
    channels: IntArray


LISTED = 12
"""More names are not listed in an error."""
_BROUGHT = (
    " What is your own comes in with `--import FILE.py` or `--import MODULE` (pytest: `-p MODULE`)."
)
_added: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def names(group: str) -> list[str]:
    """Everything plugged into ``group``; nothing is imported."""
    return sorted({*_installed(group), *_added[group]})


def register(group: str, name: str, thing: Any) -> None:
    """Plug ``thing`` in for this process: what a module given by ``--import`` calls."""
    if group not in GROUPS:
        raise ConfigError(f"no group {group!r}; the groups are {', '.join(GROUPS)}")
    _added[group][name] = thing


def load(group: str, name: str) -> Any:
    """The thing called ``name``; ConfigError names what there is, and the nearest of it."""
    if name in _added[group]:
        return _added[group][name]
    point = _installed(group).get(name)
    if point is None:
        known = names(group)
        what = "driver" if group == "hilonn.devices" else group.removeprefix("hilonn.")
        raise ConfigError(f"no {what} called {name!r}{_nearest(name, known)}{_BROUGHT}")
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{name!r} of {group} ({point.value}) cannot be imported: {error}. Is its extra installed?"
        ) from error


def _nearest(name: str, known: Sequence[str]) -> str:
    """What was meant, perhaps; all there is, unless that is too much to read."""
    close = difflib.get_close_matches(name, known, n=3)
    if len(known) <= LISTED:
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"{hint} There are: {', '.join(known) or 'none'}."
    if close:
        return f"; of {len(known)}, did you mean {' or '.join(repr(c) for c in close)}?"
    return f", and none of the {len(known)} that there are is like it."


def import_module(source: str) -> None:
    """Run a lab's own module, a file or a dotted name; it calls ``register`` for what it brings."""
    try:
        if source.endswith(".py"):
            path = Path(source).resolve()
            spec = importlib.util.spec_from_file_location(f"hilonn_import_{path.stem}", path)
            if spec is None or spec.loader is None or not path.exists():
                raise ConfigError(f"--import {source}: no such file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            importlib.import_module(source)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--import {source}: {type(error).__name__}: {error}") from error
