"""In which order a bench's boxes are made safe, and how one that hangs holds up none of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from hilonn.devices import Device, Laser, Modulators
from hilonn.errors import DeviceTimeout
from hilonn.workers import Task, Worker

GRACE = 0.25
"""s of wall time that a stage may take before the next one begins beside it: light goes off before heat where the light's
box answers, and heat goes off in time where it does not."""
Steps = Callable[[Device], Iterable[Callable[[], None]]]


def stages(devices: Mapping[str, Device], order: Sequence[str]) -> list[list[Device]]:
    """Open devices in stages: those of ``order``, one after another, then lasers, modulators, and the rest. A bank stands
    for its members, which are made safe themselves."""
    named: list[list[Device]] = [[devices[name], *devices[name].members] for name in order]
    told = {device.name for stage in named for device in stage}
    rest = [d for d in devices.values() if d.name not in told]
    lasers = [d for d in rest if isinstance(d, Laser)]
    modulators = [d for d in rest if isinstance(d, Modulators)]
    others = [d for d in rest if not isinstance(d, (Laser, Modulators))]
    found: list[list[Device]] = []
    done: set[str] = set()
    last: list[list[Device]] = [list(lasers), list(modulators), others]
    for stage in (*named, *last):
        own = [d for d in stage if d.is_open and not d.members and d.name not in done]
        done |= {d.name for d in own}
        if own:
            found.append(own)
    return found


def make_safe(
    staged: Sequence[Sequence[Device]],
    steps: Steps,
    worker_of: Callable[[Device], Worker | None],
    longest: float,
) -> list[Exception]:
    """Take ``steps`` of every device, each connection's in its own thread, and return what failed, in order.

    Every step is tried even where another fails. Returns when all are through, or ``longest`` s after the last was begun: a box
    that hangs takes its own timeouts, and nobody else's time; one that is not through then is a failure (DeviceTimeout).
    """
    failures: dict[str, list[Exception]] = {}
    running: list[tuple[Device, Task]] = []
    for stage in staged:
        here: list[Callable[[], None]] = []
        tasks: list[tuple[Device, Task]] = []
        for device in stage:
            failures[device.name] = []

            def take(device: Device = device) -> None:
                for step in steps(device):
                    try:
                        step()
                    except Exception as error:  # noqa: BLE001 - collected
                        failures[device.name].append(error)

            worker = worker_of(device)
            if worker is None:
                here.append(take)
            else:
                tasks.append((device, worker.give(take)))
        for take_here in here:
            take_here()
        deadline = time.monotonic() + GRACE
        for _, task in tasks:
            task.wait(max(deadline - time.monotonic(), 0.0))
        running += tasks
    end = time.monotonic() + longest
    for device, task in running:
        if not task.wait(max(end - time.monotonic(), 0.0)):
            hangs = DeviceTimeout(f"{device.name} is not through with it after {longest:.3g} s")
            failures[device.name] = [*failures[device.name], hangs]
    return [error for found in failures.values() for error in found]
