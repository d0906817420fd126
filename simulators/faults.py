"""Faults on order: what breaks, where, and when."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hilonn.errors import ConfigError

WHERE = {
    "stuck_heater": "heater",
    "dead_heater": "heater",
    "dead_detector": "detector",
    "saturated_detector": "detector",
    "stuck_modulator": "modulator",
    "drift_step": "heater or none",
    "laser_trip": "none",
    "lock_loss": "none",
    "temperature_step": "none",
}
"""Kinds of fault, and what their channel counts."""

_DEFAULT = {"drift_step": 0.3, "temperature_step": 1.0}  # rad, K
_VALUED = {"drift_step", "temperature_step", "stuck_heater", "stuck_modulator"}
_TEXT = re.compile(r"(?P<kind>\w+)(:(?P<channel>\d+))?(=(?P<value>[^@=:]+))?(@(?P<at>[^@=:]+?)s?)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``at`` in s on the plant's clock; 0 is from the start.

    ``value``: rad of a drift_step (on all heaters without a channel), K of a temperature_step, W
    that a stuck_heater keeps (None: what it had), V that a stuck_modulator stands at (None: 0).
    """

    kind: str
    channel: int | None
    value: float | None
    at: float


def parse_faults(entries: Sequence[str | Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Faults in order of time, from ``"kind:channel=value@2.0s"`` or tables of the same words.

    Raises ConfigError that names the entry and what is allowed.
    """
    faults = [_from_text(e) if isinstance(e, str) else _from_table(e) for e in entries]
    return tuple(sorted(faults, key=lambda fault: fault.at))


def check_channels(faults: Sequence[Fault], heaters: int, detectors: int) -> None:
    """Raise ConfigError for a fault on a channel that the plant does not have."""
    for fault in faults:
        count = {"detector": detectors, "modulator": detectors // 2}.get(WHERE[fault.kind], heaters)
        if fault.channel is not None and fault.channel >= count:
            raise ConfigError(
                f"fault {fault.kind} is on channel {fault.channel}; channels are 0 to {count - 1}"
            )


def _from_text(text: str) -> Fault:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"fault {text!r} cannot be read; write kind, kind:channel, kind=value or "
            "kind:channel=value, and @seconds for a time, such as 'stuck_heater:17@2.0s'"
        )
    return _checked(text, {k: v for k, v in match.groupdict().items() if v is not None})


def _from_table(table: Mapping[str, Any]) -> Fault:
    extra = set(table) - {"kind", "channel", "value", "at"}
    if extra or "kind" not in table:
        wrong = f"unknown key {sorted(extra)[0]!r}" if extra else "no kind"
        raise ConfigError(f"fault {dict(table)!r}: {wrong}; keys are kind, channel, value, at")
    return _checked(repr(dict(table)), table)


def _checked(entry: str, words: Mapping[str, Any]) -> Fault:
    kind = str(words["kind"])
    if kind not in WHERE:
        close = difflib.get_close_matches(kind, WHERE, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"fault {entry}: unknown kind {kind!r}{hint}; known: {', '.join(WHERE)}")
    channel = _number(entry, "channel", words.get("channel"))
    value = _number(entry, "value", words.get("value"))
    at = _number(entry, "at", words.get("at", 0.0))
    if channel is not None and (channel < 0 or channel != int(channel)):
        raise ConfigError(f"fault {entry}: a channel is a whole number from 0")
    if at is None or at < 0:
        raise ConfigError(f"fault {entry}: a time is in seconds from 0")
    if WHERE[kind] in ("heater", "detector", "modulator") and channel is None:
        raise ConfigError(f"fault {entry}: {kind} needs a channel, such as '{kind}:3'")
    if WHERE[kind] == "none" and channel is not None:
        raise ConfigError(f"fault {entry}: {kind} has no channel")
    if value is not None and kind not in _VALUED:
        raise ConfigError(f"fault {entry}: {kind} takes no value")
    if kind == "stuck_heater" and value is not None and value < 0:
        raise ConfigError(f"fault {entry}: a heater's power is at least 0 W")
    return Fault(
        kind,
        None if channel is None else int(channel),
        _DEFAULT.get(kind) if value is None else value,
        at,
    )


def _number(entry: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"fault {entry}: {name} = {value!r} is not a finite number")
    return number
