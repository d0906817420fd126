"""Go or no-go: is everything there, dark when it should be, and does a known pattern come out?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hilonn.chips import Batch, MatrixChip
from hilonn.devices import Actuators, Device, Identity, Laser
from hilonn.errors import HilonnError

SAMPLES = 64
AVERAGES = 16
LEAST_CORRELATION = 0.5
"""Between wanted and measured values of the known pattern. Swapped wires or a dark input give about
0; a chip of the harsh preset, programmed from a poor record, gives 0.8."""


class CheckedBench(Protocol):
    """What a check needs of a bench."""

    name: str
    backend: str
    identities: dict[str, Identity]

    @property
    def devices(self) -> Mapping[str, Device]: ...

    @property
    def chips(self) -> Mapping[str, MatrixChip]: ...

    def light_on(self) -> None: ...

    def safe_state(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One thing that was checked: what it was, whether it is good, what was found."""

    name: str
    good: bool
    found: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All steps; ``go`` where every one is good."""

    bench: str
    backend: str
    steps: tuple[CheckStep, ...]

    @property
    def go(self) -> bool:
        return all(step.good for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bench": self.bench,
            "backend": self.backend,
            "go": self.go,
            "steps": [
                {"name": s.name, "good": s.good, "found": s.found, **s.values} for s in self.steps
            ],
        }

    def __str__(self) -> str:
        lines = [f"{'ok ' if s.good else 'BAD'}  {s.name}: {s.found}" for s in self.steps]
        verdict = "GO" if self.go else "NO-GO"
        return "\n".join([*lines, f"{verdict}: bench {self.bench} ({self.backend})"])


def check_bench(bench: CheckedBench) -> CheckReport:
    """Identities, dark, light, one known pattern a chip, and a safe state at the end.

    A step that fails tells why and leaves out what depends on it; the bench is made safe in any
    case.
    """
    steps = [
        CheckStep(f"identity of {name}", True, str(identity))
        for name, identity in bench.identities.items()
    ]
    try:
        for chip in bench.chips.values():
            steps += _chip_steps(bench, chip)
    finally:
        bench.safe_state()
    steps.append(_safe_step(bench))
    return CheckReport(bench.name, bench.backend, tuple(steps))


def _chip_steps(bench: CheckedBench, chip: MatrixChip) -> list[CheckStep]:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((chip.outputs, chip.inputs))
    inputs = rng.uniform(-0.5, 0.5, (SAMPLES, chip.inputs))
    wanted = inputs @ matrix.T
    readout = chip.signed_readout or "power"
    if readout == "power":
        wanted = wanted**2
    batch = Batch(inputs, readout, averages=AVERAGES)
    steps = []
    try:
        (settings,) = chip.compile(matrix[None], [None])
        dark = chip.run(settings, batch).values
        bench.light_on()
        chip.forget()
        first = chip.run(settings, batch)
        again = chip.run(settings, batch)
    except HilonnError as error:
        return [CheckStep(f"chip {chip.id}", False, str(error))]
    lit = float(np.sqrt((first.values**2).mean()))
    ratio = float(np.sqrt((dark**2).mean())) / max(lit, 1e-300)
    steps.append(
        CheckStep(
            f"light through {chip.id}",
            ratio < 0.5,
            f"with the laser off the readings are {ratio:.1%} of those with it on",
            {"dark_ratio": ratio},
        )
    )
    noise = float(np.sqrt(((first.values - again.values) ** 2).mean() / 2.0)) / max(lit, 1e-300)
    correlation = float(np.corrcoef(wanted.ravel(), first.values.ravel())[0, 1])
    relative = float(np.linalg.norm(first.values - wanted) / np.linalg.norm(wanted))
    steps.append(
        CheckStep(
            f"known pattern through {chip.id}",
            bool(correlation >= LEAST_CORRELATION),
            f"read by {readout}: correlation {correlation:.3f} with what was wanted, relative "
            f"error {relative:.1%}, noise {noise:.1%} of the signal at {AVERAGES} averages",
            {"correlation": correlation, "relative_error": relative, "noise": noise},
        )
    )
    steps.append(
        CheckStep(
            f"local oscillator of {chip.id}",
            first.locked and again.locked,
            "in lock" if first.locked and again.locked else "lost its lock",
        )
    )
    return steps


def _safe_step(bench: CheckedBench) -> CheckStep:
    left = [d.name for d in bench.devices.values() if isinstance(d, Laser) and d.emission()]
    for device in bench.devices.values():
        if isinstance(device, Actuators):
            grain = np.maximum(device.spec.bound("resolution", device.channels), 1e-9)
            if (np.abs(device.read_back()) > grain).any():
                left.append(device.name)
    found = "light off, heaters at zero" if not left else f"still on: {', '.join(left)}"
    return CheckStep("safe state", not left, found)
