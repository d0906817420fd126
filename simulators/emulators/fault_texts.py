"""``--fault`` of ``hilonn emulate``: what goes wrong on a box's wire, with the box itself, or with the chip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hilonn.errors import ConfigError
from hilonn.simulators.emulators.faults import KINDS, Fault
from hilonn.simulators.emulators.server import Server
from hilonn.simulators.faults import parse_faults

CHIP = "chip"
"""In place of a box's name: what follows is a fault of the simulated chip."""
_TEXT = re.compile(r"([^:]+):([a-z_]+)(?:=([-+.\de]+))?(?:@(\d+))?(?:x(\d+))?")
USAGE = (
    "give BOX:KIND[@AFTER][xCOUNT] with whole numbers for its wire, BOX:KIND[=VALUE][@AFTER][xCOUNT] for the box itself, or "
    "chip:KIND[:CHANNEL][=VALUE][@SECONDS]"
)


@dataclass(frozen=True, slots=True)
class FaultText:
    """``value``, ``after`` and ``count`` None where nothing is said."""

    text: str
    box: str
    kind: str
    value: float | None
    after: int
    count: int | None


def chip_faults(texts: Sequence[str]) -> list[str]:
    """Those of the chip, as a plant takes them. ConfigError for one that no plant knows."""
    found = [t.removeprefix(f"{CHIP}:") for t in texts if t.startswith(f"{CHIP}:")]
    for text in found:
        try:
            parse_faults([text])
        except ConfigError as error:
            raise ConfigError(f"--fault {CHIP}:{text}: {error}") from None
    return found


def inject(servers: dict[str, Server], texts: Sequence[str]) -> None:
    """Put in what ``texts`` say of boxes; those of the chip are the plant's. ConfigError for a box or a kind that is not there."""
    for text in texts:
        if text.startswith(f"{CHIP}:"):
            continue
        asked = read(text)
        server = servers.get(asked.box)
        if server is None:
            raise ConfigError(
                f"--fault {text}: no box {asked.box!r}; there are {CHIP}, {', '.join(servers)}"
            )
        if asked.kind in KINDS:
            server.faults.inject(parse_fault(text)[1])
            continue
        own = server.instrument.mishaps()
        if asked.kind not in own:
            raise ConfigError(
                f"--fault {text}: {asked.box} knows no {asked.kind!r}; its wire has {', '.join(KINDS)}, the box itself "
                f"{', '.join(own) or 'nothing'}"
            )
        mishap = own[asked.kind]
        if asked.value is not None and mishap.value is None:
            raise ConfigError(f"--fault {text}: {asked.kind} takes no value")
        value = asked.value if asked.value is not None else mishap.value or 0.0
        server.mishaps.schedule(asked.kind, mishap, value, asked.after, asked.count)


def read(text: str) -> FaultText:
    """``BOX:KIND[=VALUE][@AFTER][xCOUNT]``. ConfigError otherwise."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ConfigError(f"--fault {text}: {USAGE}")
    box, kind, value, after, count = found.groups()
    try:
        number = None if value is None else float(value)
    except ValueError:
        raise ConfigError(f"--fault {text}: {value!r} is no number") from None
    return FaultText(
        text, box, kind, number, int(after or 0), None if count is None else int(count)
    )


def parse_fault(text: str) -> tuple[str, Fault]:
    """``BOX:KIND[@AFTER][xCOUNT]``: a wire fault of one box, after so many good answers. ConfigError otherwise."""
    asked = read(text)
    if asked.kind not in KINDS or asked.value is not None or asked.count == 0:
        raise ConfigError(f"--fault {text}: {USAGE}; a wire has {', '.join(KINDS)}")
    return asked.box, Fault(asked.kind, asked.after, 1 if asked.count is None else asked.count)  # type: ignore[arg-type]
