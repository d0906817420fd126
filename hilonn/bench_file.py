"""Bench files: the frame first, then each named driver's own section."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilonn import registry
from hilonn.chips.nominal import Nominal
from hilonn.config_errors import describe_validation_error
from hilonn.errors import ConfigError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
RAREST = 1e4
"""s: an interlock that is looked at less often guards nothing."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """Limits of every channel of one device, in its unit; the stricter of these and its own hold.
    ``resistance`` (ohm) turns drives into the power that ``max_power`` and the total refer to; of this one and the driver's
    the one holds by which more power is counted. ``low`` .. ``high`` leave room for off."""

    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    current: Positive | None = None
    max_power: Positive | None = None
    resistance: Positive | None = None
    slew_rate: Positive | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low lies above high")
        return self


class DeviceFrame(BaseModel):
    """What every ``[devices.NAME]`` has; the rest belongs to its driver. ``power``: of a laser, W that it is set to before its
    light goes on."""

    model_config = ConfigDict(extra="allow", frozen=True)
    driver: str
    connection: str | None = None
    power: Positive | None = None
    limits: Limits = Limits()
    identity: dict[Literal["vendor", "model", "serial"], str] = {}


class ConnectionFrame(BaseModel):
    """What every ``[connections.NAME]`` has; the rest belongs to its transport."""

    model_config = ConfigDict(extra="allow", frozen=True)
    transport: str


class ChipFrame(BaseModel):
    """What every ``[chips.NAME]`` has; the rest belongs to its architecture.

    ``record``: a record's file, ``connection:NAME``, or "nominal" for a chip that is yet to be calibrated.
    ``accept_records``: what is wrong with a record and may be: past its date, of other boxes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    architecture: str
    record: str
    wiring: dict[str, str | list[str]]
    nominal: Nominal = Nominal()
    accept_records: list[Literal["expired", "foreign"]] = []


class MonitorFrame(BaseModel):
    """What every ``[monitors.NAME]`` has; the rest belongs to its kind.

    ``monitor``: the kind; ``every``: s of the bench's clock between two looks; ``chip``: which chip it watches, by
    default the only one."""

    model_config = ConfigDict(extra="allow", frozen=True)
    monitor: str
    every: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    chip: str | None = None


class InterlockSection(_Section):
    """``[[safety.interlocks]]``: trips outside low .. high, lets go inside resume_low .. resume_high. Read before every
    write, but not more often than ``every`` seconds. At least one of ``low`` and ``high`` is given."""

    device: str
    quantity: Literal["temperature", "stable", "power", "emission"]
    low: float = -np.inf
    high: float = np.inf
    resume_low: float | None = None
    resume_high: float | None = None
    every: Annotated[float, Field(ge=0, le=RAREST)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not np.isfinite(self.low) and not np.isfinite(self.high):
            raise ValueError(
                "an interlock guards nothing without `low` or `high`: give at least one"
            )
        low = self.low if self.resume_low is None else self.resume_low
        high = self.high if self.resume_high is None else self.resume_high
        if not self.low <= low <= high <= self.high:
            raise ValueError("low <= resume_low <= resume_high <= high is asked")
        return self


class SafetySection(_Section):
    """``order``: devices in the order in which they are made safe; those not named come last.

    ``on_connection_lost`` "wait": where a box is lost, answers nothing or reports an error, the others are made safe,
    and for ``patience`` seconds the run waits until it is back and has said who it is. ``on_interlock`` "wait": the
    same where an interlock trips or a laser goes off by itself; light then goes on again unasked, so "stop" is the
    default.
    """

    total_power: Positive = np.inf
    order: list[str] = []
    on_connection_lost: Literal["stop", "wait"] = "stop"
    on_interlock: Literal["stop", "wait"] = "stop"
    patience: Positive = 3600.0
    read_back_tolerance: Positive | None = None
    interlocks: list[InterlockSection] = []

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = sorted({name for name in self.order if self.order.count(name) > 1})
        if twice:
            raise ValueError(f"order names {', '.join(twice)} twice: each device is made safe once")
        return self


class TimingSection(_Section):
    """``trigger``: the device that starts a play, or "internal"; ``sample_period`` in s."""

    trigger: str = "internal"
    sample_period: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-5


class BenchFile(_Section):
    """The frame of a bench file."""

    backend: str
    connections: dict[str, ConnectionFrame] = {}
    devices: Annotated[dict[str, DeviceFrame], Field(min_length=1)]
    chips: dict[str, ChipFrame] = {}
    monitors: dict[str, MonitorFrame] = {}
    safety: SafetySection = SafetySection()
    timing: TimingSection = TimingSection()


@dataclass(frozen=True, slots=True)
class BenchSource:
    """A bench file's text and where it came from. ``path`` is None for a built-in one."""

    name: str
    text: str
    path: Path | None


def read_source(source: str | Path) -> BenchSource:
    """A built-in bench by name, SCHEME:WHAT for a bench that is made (``twin:FOLDER``), or a TOML file."""
    text = str(source)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in registry.names("hilonn.bench_schemes"):
        return BenchSource(text, registry.load("hilonn.bench_schemes", scheme)(rest), None)
    if text.startswith("replay:"):
        raise ConfigError(f"{text}: a replayed bench is opened by hilonn.ReplayBench.of(RUN)")
    known = registry.names("hilonn.benches")
    if text in known:
        return BenchSource(text, registry.load("hilonn.benches", text)(), None)
    path = Path(source)
    if path.suffix != ".toml" and not path.exists():
        beside = Path(f"{text}.toml")
        hint = f"; did you mean {str(beside)!r}?" if beside.exists() else ""
        raise ConfigError(
            f"no bench {text!r}: built in are {', '.join(known)}; anything else is the path of a "
            f"TOML file{hint}"
        )
    try:
        return BenchSource(path.stem, path.read_text("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the bench file {path}: {error}") from None


def parse(source: BenchSource) -> BenchFile:
    """The frame, with every cross reference checked."""
    where = str(source.path or f"bench {source.name}")
    try:
        raw = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    try:
        file = BenchFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, where, BenchFile)) from None
    for name, device in file.devices.items():
        if device.connection is not None and device.connection not in file.connections:
            raise ConfigError(
                f"{where}: devices.{name}.connection = {device.connection!r} is no connection of "
                f"this file; there are {', '.join(file.connections) or 'none'}"
            )
    for name, monitor in file.monitors.items():
        if monitor.chip is None and len(file.chips) != 1:
            raise ConfigError(
                f"{where}: monitors.{name}: which chip? This file has {', '.join(file.chips) or 'none'}; say chip = ..."
            )
        if monitor.chip is not None and monitor.chip not in file.chips:
            raise ConfigError(
                f"{where}: monitors.{name}.chip = {monitor.chip!r} is no chip of this file; there are "
                f"{', '.join(file.chips) or 'none'}"
            )
    named = [("safety.order", n) for n in file.safety.order]
    named += [("safety.interlocks", lock.device) for lock in file.safety.interlocks]
    if file.timing.trigger != "internal":
        named.append(("timing.trigger", file.timing.trigger))
    for key, name in named:
        if name not in file.devices:
            raise ConfigError(
                f"{where}: {key} names {name!r}, which is no device of this file; there are "
                f"{', '.join(file.devices)}"
            )
    return file


def options(
    frame: BaseModel, model: type[BaseModel], where: str, key: str, changes: dict[str, Any]
) -> BaseModel:
    """The driver's own part of a section, validated by the driver's model."""
    own = dict(frame.model_extra or {})
    own |= {name: value for name, value in changes.items() if name in model.model_fields}
    try:
        return model.model_validate(own)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, where, model, key)) from None


_WIRE = re.compile(r"(?P<device>[^:\s]+)(:(?P<first>\d+)(-(?P<last>\d+))?)?")


def parse_wire(text: str, where: str) -> tuple[str, range | None]:
    """ "heaters", "heaters:528" or "heaters:0-527" -> device and channels (None: all)."""
    found = _WIRE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{where} = {text!r}: write DEVICE, DEVICE:CHANNEL or DEVICE:FIRST-LAST (channels "
            "count from 0)"
        )
    if found["first"] is None:
        return found["device"], None
    first = int(found["first"])
    last = first if found["last"] is None else int(found["last"])
    if last < first:
        raise ConfigError(f"{where} = {text!r}: the last channel lies before the first")
    return found["device"], range(first, last + 1)
