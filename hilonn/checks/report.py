"""What a check finds, in lines for a person and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hilonn.bench_file import BenchFile
from hilonn.chips import MatrixChip
from hilonn.clock import Clock
from hilonn.devices import Device, Identity
from hilonn.safety import SafetyGate

State = Literal["ok", "warn", "BAD"]


class CheckedBench(Protocol):
    """What a check needs of a bench."""

    name: str
    backend: str
    identities: dict[str, Identity]
    file: BenchFile
    gate: SafetyGate
    clock: Clock

    @property
    def devices(self) -> Mapping[str, Device]: ...

    @property
    def chips(self) -> Mapping[str, MatrixChip]: ...

    def light_on(self) -> None: ...

    def safe_state(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One thing that was checked: what it was, how it is, what was found, and what to do next where it is not well.

    A "warn" does not stand in the way of a run.
    """

    name: str
    state: State
    found: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.state != "BAD"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All steps; ``go`` where none is bad."""

    bench: str
    backend: str
    steps: tuple[CheckStep, ...]

    @property
    def go(self) -> bool:
        return all(step.good for step in self.steps)

    def step(self, name: str) -> CheckStep:
        """The step called ``name``; KeyError where there is none."""
        return {s.name: s for s in self.steps}[name]

    def and_then(self, step: CheckStep) -> CheckReport:
        """This report with one more ``step``."""
        return CheckReport(self.bench, self.backend, (*self.steps, step))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bench": self.bench,
            "backend": self.backend,
            "go": self.go,
            "warnings": sum(s.state == "warn" for s in self.steps),
            "steps": [
                {
                    "name": s.name,
                    "good": s.good,
                    "state": s.state,
                    "found": s.found,
                    "next": s.advice,
                    **s.values,
                }
                for s in self.steps
            ],
        }

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            lines.append(f"{step.state:4}  {step.name}: {step.found}")
            if step.advice:
                lines.append(f"      -> {step.advice}")
        verdict = "GO" if self.go else "NO-GO"
        warnings = sum(s.state == "warn" for s in self.steps)
        more = f", {warnings} to look at" if warnings else ""
        return "\n".join([*lines, f"{verdict}: bench {self.bench} ({self.backend}){more}"])


def not_opened(bench: str, error: Exception) -> CheckReport:
    """The report of a bench that did not open: everything else depends on that."""
    step = CheckStep(
        "opening",
        "BAD",
        str(error),
        "opening switches nothing on; mend what is named and check again (`hilonn discover` finds boxes, their "
        "addresses and serial numbers)",
        {"error": type(error).__name__},
    )
    return CheckReport(bench, "not opened", (step,))


def numbered(what: str, numbers: list[int], most: int = 8) -> str:
    """ "detector 3", "detectors 3, 17 and 5 more"."""
    shown = ", ".join(str(n) for n in numbers[:most])
    rest = len(numbers) - most
    return f"{what}{'s' if len(numbers) > 1 else ''} {shown}" + (
        f" and {rest} more" if rest > 0 else ""
    )
