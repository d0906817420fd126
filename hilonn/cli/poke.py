"""``poke``: which wire leads where; and a console to turn one heater and watch every detector."""

from __future__ import annotations

import json as json_module
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.chips.wiring_map import Found, WiringMap, map_wiring
from hilonn.cli.console import run_console
from hilonn.errors import ConfigError


def poke_command(
    bench: str,
    chip: str | None,
    *,
    console: bool,
    seed: int,
    chip_seed: int,
    imports: tuple[str, ...],
    json: bool,
) -> int:
    """Move every channel a little and say which is where; the exit code is 0 where all are. Light goes on."""
    with Bench.open(bench, seed=seed, chip_seed=chip_seed, imports=imports) as opened:
        wired = opened.chip(chip)
        if not isinstance(wired, HeaterChip):
            raise ConfigError(f"chip {wired.id} has no heaters to poke")
        opened.light_on()
        if console:
            run_console(opened, wired, sys.stdin)
            return 0
        with _Moving() as moving:
            found = map_wiring(wired, seed, moving.tell)
        channels = wired.heater_channels
        name = wired.heaters_of.name
    if json:
        sys.stdout.write(
            json_module.dumps({"bench": bench, "chip": wired.id} | found.as_dict()) + "\n"
        )
    else:
        sys.stdout.write("\n".join(describe(found, name, channels)) + "\n")
    return 0 if found.good else 1


class _Moving:
    """Progress on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Moving:
        self._progress.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._progress.stop()

    def tell(self, what: str, done: int, count: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=count)
        self._progress.update(self._tasks[what], completed=done, total=count)


def describe(found: WiringMap, heaters: str, channels: Any) -> list[str]:
    """Lines for a person: every kind of wire, then what to do."""
    lines = []
    for title, kind, names in (
        ("heaters", found.heaters, [f"{k} ({heaters}:{c})" for k, c in enumerate(channels)]),
        ("inputs", found.inputs, [str(k) for k in range(len(found.inputs.own))]),
        ("detectors", found.detectors, _detector_names(len(found.detectors.own))),
    ):
        lines += _kind(title, kind, names)
    if found.good:
        lines.append(f"GO: every wire is where the record says ({found.passes} passes)")
    else:
        lines.append(
            f"NO-GO ({found.passes} passes): mend the wires, or the wiring of the bench file, and poke again"
        )
    if len(found.heaters.strange) > len(found.heaters.own) // 4:
        lines.append(
            "Many heaters do not answer as the record says: is it this chip's record, is the local oscillator's own "
            "phase shifter on its wire, and is the temperature settled?"
        )
    return lines


def _detector_names(count: int) -> list[str]:
    half = count // 2
    return [f"{k} (output {k % half}, {'plus' if k < half else 'minus'})" for k in range(count)]


def _kind(title: str, found: Found, names: list[str]) -> list[str]:
    good = "ok " if found.good else "BAD"
    tried = int(found.tried.sum())
    lines = [
        f"{good} {title}: {tried} of {len(found.own)} tried, median correlation with the record "
        f"{float(sorted(found.own)[len(found.own) // 2]):.3f}"
    ]
    told = set()
    for i, j in found.swapped:
        told |= {i, j}
        lines.append(f"      {names[i]} and {names[j]} are swapped")
    for i in found.misplaced:
        if int(i) not in told:
            lines.append(f"      {names[i]} does what {names[int(found.acts_as[i])]} should")
    for i in found.silent:
        lines.append(f"      {names[i]} changes nothing: dead, not wired, or in the dark")
    for i in found.strange:
        lines.append(f"      {names[i]} answers, but not as the record says")
    return lines
