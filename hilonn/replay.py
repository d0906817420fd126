"""A run again without its chip: ``--bench replay:RUN``.

Everything but the chip is as it was: the bench file that the run kept is read, its chip built from the
record that the log kept, and phases are found as ever. Only ``run`` is answered from the log, after what
is asked has been compared with what was asked then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from hilonn import registry
from hilonn.bench import Bench
from hilonn.bench_file import BenchSource, ChipFrame, parse
from hilonn.checks import CheckReport
from hilonn.chips import Batch, ChipReadings, MatrixChip, Settings
from hilonn.clock import VirtualClock
from hilonn.errors import ConfigError, ReplayError
from hilonn.monitors import Watched
from hilonn.records import Records, load_records
from hilonn.runs import Run
from hilonn.typing import FloatArray, Snapshot

SAME_INPUT = 1e-5
"""Inputs (of full scale) that differ by more were another request."""
SAME_DRIVE = 1e-5
"""Drives (of the largest one) that differ by more were another programming: below a DAC's step."""


class LoggedPasses:
    """The lines of a run's pass log, one after another; arrays are read a segment at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.position = 0
        self._lines = self._read()
        self._inputs = _Values(run, "pass_inputs")
        self._values = _Values(run, "pass_values")
        self._drives = _Values(run, "pass_drives")
        self._drive: FloatArray = np.zeros(0)

    def next(self) -> tuple[dict[str, Any], FloatArray, FloatArray, np.ndarray]:
        """The next line, its inputs (samples, n), drives (heaters,) and values (samples, m).

        Raises ReplayError at the end of the log.
        """
        line = next(self._lines, None)
        if line is None:
            raise ReplayError(
                f"{self.run.folder} was logged for {self.position} passes, and another one is asked: "
                "the run was shorter or had not ended"
            )
        self.position += 1
        inputs = self._inputs.take(int(np.prod(line["inputs"]))).reshape(line["inputs"])
        if line["programmed"]:
            self._drive = self._drives.take(line["heaters"])
        count = int(np.prod(line["shape"])) * (2 if line["complex"] else 1)
        values = self._values.take(count)
        if line["complex"]:
            values = values.view(complex)
        return line, inputs, self._drive, values.reshape(line["shape"])

    def skip_to(self, position: int) -> None:
        """Go on after ``position`` lines."""
        while self.position < position:
            self.next()

    def _read(self) -> Iterator[dict[str, Any]]:
        with (self.run.folder / "events.jsonl").open(encoding="utf-8") as file:
            for text in file:
                if not text.endswith("\n"):
                    return  # torn by a crash
                line = json.loads(text)
                if line["kind"] == "pass":
                    yield line


class _Values:
    """A run's array in order, without holding more than a segment or two of it."""

    def __init__(self, run: Run, name: str) -> None:
        self._segments = run.segments(name)
        self._rest: FloatArray = np.zeros(0)

    def take(self, count: int) -> FloatArray:
        parts = [self._rest]
        have = self._rest.size
        while have < count:
            segment = next(self._segments, None)
            if segment is None:
                raise ReplayError("the pass log ends before its lines do: it was not flushed")
            parts.append(segment)
            have += segment.size
        joined = np.concatenate([p for p in parts if p.size] or [self._rest])
        self._rest = joined[count:]
        return joined[:count]


class ReplayChip(MatrixChip):
    """Finds phases as ``chip`` does, and answers from ``log``."""

    def __init__(self, chip: MatrixChip, log: LoggedPasses, clock: VirtualClock) -> None:
        self.id, self.architecture = chip.id, chip.architecture
        self.inputs, self.outputs, self.ranges = chip.inputs, chip.outputs, chip.ranges
        self.readouts, self.signed_readout = chip.readouts, chip.signed_readout
        self.records, self.follows = chip.records, chip.follows
        self.clock: VirtualClock = clock
        self._chip = chip
        self._log = log

    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        return self._chip.compile(matrices, near)

    def follow(self, matrices: FloatArray, near: Sequence[Settings]) -> list[Settings]:
        return self._chip.follow(matrices, near)

    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        """What the chip read then. Raises ReplayError, naming the pass, where another is asked."""
        line, inputs, drive, values = self._log.next()
        different = _difference(line, inputs, drive, settings, batch)
        if different:
            raise ReplayError(
                f"pass {self._log.position - 1} of {self._log.run.folder} (layer {line['layer']}, "
                f"tile {line['tile']}) was another one: {different}. Up to there the readings are "
                "the logged ones; experiment, seed, rule and version must be those of that run"
            )
        self.clock.wait_until(line["clock"])
        return ChipReadings(
            values.copy(),
            line["saturated"],
            line["clipped_fraction"],
            line["range"],
            line["seconds"],
            line["locked"],
        )

    def forget(self) -> None:
        return None

    def snapshot(self) -> Snapshot:
        return {}

    def restore(self, snapshot: Snapshot) -> None:
        return None


def _difference(
    line: dict[str, Any], inputs: FloatArray, drive: FloatArray, settings: Settings, batch: Batch
) -> str:
    """What is asked otherwise than ``line`` has it; empty where nothing is."""
    asked = {
        "readout": batch.readout,
        "quadrature": batch.quadrature,
        "asked_range": batch.range,
        "averages": batch.averages,
        "inputs": list(batch.inputs.shape),
        "heaters": len(settings.drive),
    }
    for key, value in asked.items():
        if line[key] != value:
            what = "shape of the inputs" if key == "inputs" else key.replace("_", " ")
            return f"{what} {line[key]} then, {value} now"
    if inputs.size:
        apart = np.abs(inputs - batch.inputs)
        sample, place = np.unravel_index(int(apart.argmax()), apart.shape)
        if not apart[sample, place] <= SAME_INPUT:
            return (
                f"input {place} of sample {sample} was {inputs[sample, place]:.6g} of full scale, "
                f"now it is {batch.inputs[sample, place]:.6g}"
            )
    if drive.size:
        apart = np.abs(drive - settings.drive)
        heater = int(apart.argmax())
        if not apart[heater] <= SAME_DRIVE * float(np.abs(drive).max(initial=1e-30)):
            return (
                f"heater {heater} was driven to {drive[heater]:.6g}, now to "
                f"{settings.drive[heater]:.6g}: another matrix, or found otherwise"
            )
    return ""


class ReplayBench(Bench):
    """The bench of a logged run, nothing of it connected. ``ReplayBench.of(RUN)`` opens one."""

    @classmethod
    def of(cls, folder: Path | str) -> Self:
        """Build what ``folder``'s bench file names; open no device.

        Raises ConfigError where ``folder`` is no run, was not logged, or its bench's driver modules
        are not at hand.
        """
        run = Run.open(folder)
        text = run.header.get("bench_text")
        if text is None or not (run.folder / "record").is_dir():
            raise ConfigError(
                f"{folder} cannot be replayed: it was not logged (train with --log-passes, on a bench)"
            )
        for module in run.header.get("options", {}).get("imports", ()):
            registry.import_module(module)
        source = BenchSource(f"replay:{folder}", text, None)
        bench = cls(source, parse(source))
        bench.backend = "replay"
        bench._open_log(run)
        return bench

    def _open_log(self, run: Run) -> None:
        self.run = run
        self.log = LoggedPasses(run)
        self._build(None, run.header.get("chip_seed"))
        replayed = VirtualClock(float(run.header.get("clock_origin", 0.0)))
        self.clock = replayed
        self._wire()
        for name, chip in self.chips.items():
            self.chips[name] = ReplayChip(chip, self.log, replayed)
            self.chips[name].bench = self

    def monitors(self, chip: MatrixChip) -> dict[str, Watched]:
        """None: nothing is left to look at."""
        return {}

    def light_on(self, asked: Callable[[], None] = lambda: None) -> None:
        """Nothing: there is no light."""

    @property
    def watched(self) -> bool:
        return False

    def make_sure(self) -> None:
        """Nothing: no device is connected."""

    def check_peers(self) -> None:
        """Nothing: no device is connected."""

    def check(self) -> CheckReport:
        raise ConfigError(f"{self.name} has no devices that could be checked")

    def status(self) -> dict[str, float]:
        """Nothing: no device is connected."""
        return {}

    @property
    def exact_resume(self) -> bool:
        return True

    def snapshot(self) -> Snapshot:
        return {"passes": self.log.position, "clock": self.clock.now()}

    def restore(self, snapshot: Snapshot) -> None:
        self.log.skip_to(snapshot["passes"])
        self.clock.wait_until(snapshot["clock"])

    def _records(self, name: str, frame: ChipFrame) -> Records:
        return load_records(self.run.folder / "record" / f"{name}.json")
