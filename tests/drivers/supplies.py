"""What every driver of a voltage source is tried with: the fault list, and noise for answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hilonn.devices import PhaseShifters
from hilonn.simulators.emulators.server import Server
from hilonn.transports import Transport
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import wired

AFTER = (0, 1, 2)
"""Answers before the fault strikes."""


def weathers(
    server: Server,
    make: Callable[[Transport], PhaseShifters],
    kind: str,
    after: int,
    volts: tuple[float, float, float] = (1.0, 3.0, 2.0),
    connect: Callable[[Server], object] = wired,
) -> None:
    """Under a fault, what is read back is what was written or a named error comes; the next command is right again."""
    first, during, then = volts
    with connect(server) as transport:  # type: ignore[attr-defined]
        device = make(transport)
        device.open()
        device.write(np.full(device.channels, first))
        grain = device.spec.bound("resolution", device.channels) + 1e-9

        def act() -> np.ndarray:
            device.write(np.full(device.channels, during))
            return device.read_back()

        survives(
            server,
            replace(FAULTS[kind], after=after),
            act,
            lambda back: bool((np.abs(back - during) <= grain).all()),
        )
        server.faults.clear()
        if kind == "silence":
            return
        for _ in range(3):  # what was left on the wire may spend a command
            if transport.lost:
                transport.reconnect(1.0)
            try:
                device.write(np.full(device.channels, then))
                break
            except NAMED:
                continue
        back = device.read_back()
        assert (np.abs(back - then) <= grain).all()
