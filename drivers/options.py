"""What the options of drivers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from hilonn.devices import Device
from hilonn.registry import Driver
from hilonn.transports import Transport, transport_of


class Options(BaseModel):
    """A driver's own keys of ``[devices.NAME]``; anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def on_a_wire(
    options: type[Options],
    make: Callable[[str, Transport, Any], Device],
    answers_to: str | None = None,
) -> Driver:
    """A driver whose device is made from its name, its wire and its options; ``answers_to`` as in ``Driver``."""

    def build(name: str, chosen: Any, connection: object) -> Device:
        return make(name, transport_of(name, connection), chosen)

    return Driver(options=options, build=build, answers_to=answers_to)
