"""``discover``: who is out there, and the lines of a bench file for them."""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import asdict
from pathlib import Path

from hilonn import discovery, registry
from hilonn.atomic import write_bytes
from hilonn.errors import ConfigError


def discover_command(
    tcp: tuple[str, ...],
    serial: tuple[str, ...],
    visa: tuple[str, ...],
    *,
    library: str,
    timeout: float,
    ask: bool,
    out: Path | None,
    json: bool,
    imports: tuple[str, ...],
) -> int:
    """One line for each place on stdout, then the bench file's lines; remarks go to stderr. Where nothing is named, all
    serial ports and VISA resources are asked. The exit code is 1 where a place that was named by itself could not be opened:
    whoever names it knows that it is there."""
    if out is not None and out.exists():
        raise ConfigError(f"--out {out} is there already; it is not overwritten")
    for module in imports:
        registry.import_module(module)
    named = {*tcp, *serial, *visa}  # patterns are no addresses
    if not (tcp or serial or visa):
        serial = visa = ("*",)
    notes: list[str] = []
    places = [*discovery.tcp_places(tcp), *discovery.serial_places(serial)]
    ports = {place.address for place in places}
    places += [
        place
        for place in (discovery.visa_places(visa, library, notes) if visa else [])
        if place.address.removeprefix("ASRL").removesuffix("::INSTR") not in ports
    ]
    if ask:
        drivers = discovery.drivers_by_answer(notes)
        found = discovery.ask_all(places, drivers, timeout)
    else:
        found = [
            discovery.Found(p.address, "silent", note=p.note or "not asked", lines=p.lines)
            for p in places
        ]
    bench = discovery.bench_lines(found)
    if json:
        answer = {"found": [asdict(one) for one in found], "bench": bench, "notes": notes}
        sys.stdout.write(json_module.dumps(answer) + "\n")
    else:
        for one in found:
            sys.stdout.write(f"{one}\n" if ask else f"{one.address}: {one.note}\n")
        if not found:
            sys.stdout.write("no serial port and no VISA resource; name sockets by --tcp\n")
        sys.stdout.write(f"\n{bench}" if bench else "")
        for note in notes:
            sys.stderr.write(f"{note}\n")
    if out is not None:
        write_bytes(out, bench.encode())
        lines = "the lines above" if bench else "nothing: no driver is for what was found"
        sys.stderr.write(f"wrote {out}: {lines}\n")
    shut = [f.address for f in found if f.outcome == "closed" and f.address in named]
    if shut:
        sys.stderr.write(f"could not be opened: {', '.join(shut)}\n")
    return 1 if shut else 0
