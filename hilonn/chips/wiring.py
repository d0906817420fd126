"""Which channels of which device a chip hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from hilonn.devices import Bank
from hilonn.errors import ConfigError
from hilonn.registry import Wire
from hilonn.typing import IntArray

B = TypeVar("B", bound=Bank)


def require(
    wiring: Mapping[str, Wire], role: str, kind: type[B], count: int, chip: str
) -> tuple[B, IntArray]:
    """Device and channels of ``role``, checked for kind and number. ConfigError otherwise."""
    where = f"chips.{chip}.wiring.{role}"
    if role not in wiring:
        raise ConfigError(f"{where} is missing: {count} channels of {kind.__name__} are needed")
    wire = wiring[role]
    if not isinstance(wire.device, kind):
        raise ConfigError(
            f"{where}: {wire.device.name} is a {type(wire.device).__name__}, not {kind.__name__}"
        )
    if len(wire.channels) != count:
        raise ConfigError(
            f"{where}: {len(wire.channels)} channels of {wire.device.name} are wired, {count} are "
            "needed"
        )
    return wire.device, wire.channels


def allow(wiring: Mapping[str, Wire], roles: set[str], chip: str) -> None:
    """ConfigError for a role that the chip does not have."""
    unknown = sorted(set(wiring) - roles)
    if unknown:
        raise ConfigError(
            f"chips.{chip}.wiring: unknown role {unknown[0]!r}; this chip has "
            f"{', '.join(sorted(roles))}"
        )
