"""An emulated lab: boxes on their wires around one chip, and the bench file that points at them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hilonn.atomic import write_bytes
from hilonn.errors import ConfigError
from hilonn.records import Records
from hilonn.simulators.emulators.control import ControlPort
from hilonn.simulators.emulators.faults import KINDS, Fault
from hilonn.simulators.emulators.instrument import Instrument
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.server import Latency, Server, TcpServer

CHIP = "mesh"
NOISES = (
    "detector_noise",
    "thermal_noise",
    "shot_noise",
    "rin",
    "heater_drift",
    "modulator_bias_drift",
    "detector_gain_drift",
    "lo_wander",
    "input_phase_drift",
)
"""Effects of the plant that differ from one reading to the next."""


@dataclass(frozen=True, slots=True)
class LabOptions:
    """What ``hilonn emulate`` is asked for."""

    chip_seed: int = 0
    noise_seed: int = 0
    noise: bool = True
    latency: bool = True
    lockstep: bool = False
    faults: tuple[str, ...] = ()


class Lab:
    """Owner of the boxes' servers. ``boxes`` by their names in the bench file; ``bench`` is its text with ``{name}`` for
    each box's port, ``{record}`` for its record's file and ``{clock}`` for the lab's clock."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        boxes: Sequence[Instrument],
        bench: str,
        options: LabOptions,
        records: Records,
    ) -> None:
        self.name = name
        self.rack = rack
        self.options = options
        self.records = records
        self._bench = bench
        self._stack = ExitStack()
        self.servers: dict[str, Server] = {}
        for index, box in enumerate(boxes):
            latency = Latency(1000 * options.noise_seed + index) if options.latency else None
            self.servers[box.name] = TcpServer(box, latency)
        for text in options.faults:
            name_of, fault = parse_fault(text)
            if name_of not in self.servers:
                raise ConfigError(
                    f"--fault {text}: no box {name_of!r}; there are {', '.join(self.servers)}"
                )
            self.servers[name_of].faults.inject(fault)
        self.control = TcpServer(ControlPort(rack, self.busy_seconds))

    def busy_seconds(self) -> dict[str, float]:
        """Seconds that each box has been busy, by its latency model."""
        return {name: server.busy_seconds for name, server in self.servers.items()}

    def __enter__(self) -> Self:
        self.rack.warm_up()
        try:
            for server in (*self.servers.values(), self.control):
                self._stack.enter_context(server)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in (*self.servers.values(), self.control):
            server.ask_to_stop()
        self._stack.close()

    def write_bench(self, path: Path) -> None:
        """The bench file at ``path`` and the chip's record beside it, each written whole, once every port listens."""
        record = path.with_name(f"{path.stem}-chip.json")
        self.records.save(record)
        ports = {name: str(server.port) for name, server in self.servers.items()}  # type: ignore[attr-defined]
        clock = ""
        if self.options.lockstep:
            clock = f'[connections.lab]\ntransport = "lab_clock"\nport = {self.control.port}\n'
        text = self._bench.format(**ports, record=record.name, clock=clock)
        write_bytes(path, text.encode())


def in_watts(records: Records, responsivity: float) -> Records:
    """``records`` of detectors that give A, for meters that divide by ``responsivity`` (A/W) and give W."""
    powers = {"gain": 1, "dark": 1, "noise_v0": 2, "noise_v1": 2, "noise_v2": 2}
    known = records.photodetectors
    turned = {
        name: replace(
            q,
            value=q.value / responsivity ** powers[name],
            uncertainty=q.uncertainty / responsivity ** powers[name],
        )
        for name, q in known.quantities.items()
    }
    return replace(records, photodetectors=replace(known, quantities=turned))


def parse_fault(text: str) -> tuple[str, Fault]:
    """``BOX:KIND[@AFTER][xCOUNT]``: a wire fault of one box, after so many good answers. ConfigError otherwise."""
    found = re.fullmatch(r"([^:]+):([a-z_]+)(?:@(\d+))?(?:x(\d+))?", text)
    if found is None or found.group(2) not in KINDS:
        raise ConfigError(
            f"--fault {text}: give BOX:KIND[@AFTER][xCOUNT] with whole numbers, KIND one of {', '.join(KINDS)}"
        )
    box, kind, after, count = found.groups()
    return box, Fault(kind, int(after or 0), int(count or 1))  # type: ignore[arg-type]
