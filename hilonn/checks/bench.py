"""The order of a check: what needs no light first, and a safe bench at the end whatever was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hilonn.checks.boxes import identity_steps, interlock_step, limit_steps, temperature_steps
from hilonn.checks.knowledge import record_steps
from hilonn.checks.light import darken, laser_steps, light_step
from hilonn.checks.pattern import ABOVE, ITSELF, dark_steps, lit_steps
from hilonn.checks.report import CheckedBench, CheckReport, CheckStep
from hilonn.devices import Actuators, Laser
from hilonn.errors import HilonnError

BY_HAND = "switch the laser and the heater supply off by hand before anything else"


def check_bench(bench: CheckedBench) -> CheckReport:
    """Identities, limits, records, temperature, darkness, light, link budget, one known pattern a chip, safe state.

    A step that fails tells why, and leaves out what depends on it; the bench is made safe in any case.
    """
    steps = [*identity_steps(bench), *limit_steps(bench)]
    try:
        steps += record_steps(bench)
        warm = temperature_steps(bench)
        steps += [*warm, *interlock_step(bench)]
        if all(s.good for s in warm):
            steps += darken(bench)
            for step in _chips(bench):
                steps.append(step)  # one by one: what was found before a box is lost is told
    except HilonnError as error:
        steps.append(
            CheckStep("the boxes", "BAD", str(error), "mend what is named, and check again")
        )
    finally:
        steps += _made_safe(bench)
    return CheckReport(bench.name, bench.backend, tuple(_advised(steps)))


def _advised(steps: list[CheckStep]) -> Iterator[CheckStep]:
    """``steps``, of which none points to something bad above it where all is well there."""
    well = True
    for step in steps:
        yield replace(step, advice=ITSELF) if well and step.advice == ABOVE else step
        well = well and step.good


def _chips(bench: CheckedBench) -> Iterator[CheckStep]:
    """All chips in the dark, then light, then all chips lit. Light stays off where no chip is ready for it."""
    ready = []
    for chip in bench.chips.values():
        found, programmed = dark_steps(bench, chip)
        yield from found
        if programmed is not None:
            ready.append(programmed)
    if not ready:
        return
    light = light_step(bench)
    yield light
    if light.good:
        for programmed in ready:
            yield from lit_steps(programmed)
        yield from laser_steps(bench)


def _made_safe(bench: CheckedBench) -> list[CheckStep]:
    try:
        bench.safe_state()
        left = [d.name for d in bench.devices.values() if isinstance(d, Laser) and d.emission()]
        for device in bench.devices.values():
            if isinstance(device, Actuators) and not device.members:
                grain = np.maximum(device.spec.bound("resolution", device.channels), 1e-9)
                off = device.nearest_to_zero()
                if (np.abs(device.read_back() - off) > grain).any():
                    left.append(device.name)
    except HilonnError as error:
        return [CheckStep("safe state", "BAD", str(error), BY_HAND)]
    if left:
        return [CheckStep("safe state", "BAD", f"still on: {', '.join(left)}", BY_HAND)]
    return [CheckStep("safe state", "ok", "light off, heaters at zero")]
