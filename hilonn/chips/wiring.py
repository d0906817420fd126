"""Which channels of which device a chip hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilonn.devices import Bank
from hilonn.errors import ConfigError
from hilonn.registry import Wire

__all__ = ["Wire", "require"]


def require(
    wiring: Mapping[str, Wire], role: str, kind: type[Bank], count: int, chip: str
) -> Wire:
    """The wire of ``role``, checked for its kind and number of channels."""
    if role not in wiring:
        raise ConfigError(
            f"chips.{chip}.wiring: {role} is missing; {count} channels of "
            f"{kind.__name__} are needed"
        )
    wire = wiring[role]
    if not isinstance(wire.device, kind):
        raise ConfigError(
            f"chips.{chip}.wiring.{role}: {wire.device.name} is a "
            f"{type(wire.device).__name__}, not {kind.__name__}"
        )
    if len(wire.channels) != count:
        raise ConfigError(
            f"chips.{chip}.wiring.{role}: {len(wire.channels)} channels of {wire.device.name} are "
            f"wired, {count} are needed"
        )
    return wire
