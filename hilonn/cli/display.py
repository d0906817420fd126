"""What a person sees on stderr while a network trains."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hilonn import training
from hilonn.datasets import Dataset
from hilonn.runs import Run

INTERVAL = 0.2
"""Seconds between redraws."""


class TrainingDisplay:
    """A progress bar over all steps on a terminal; a line an epoch where stderr is a file."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        self._title = title
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._drawn = 0.0
        self._note = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(f"{self._title}: opening", total=None, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, dataset: Dataset, trainer: training.Trainer, run: Run | None) -> None:
        """Say what is about to be trained on what."""
        chip = trainer.chip
        tiles = sum(p.tiles for p in trainer.runner.placements)
        readouts = ", ".join(p.readout for p in trainer.runner.placements)
        self._console.print(
            f"{trainer.network!r} on {chip.architecture} {chip.id}: {tiles} tiles, "
            f"read by {readouts}; {len(dataset.train.targets)} training samples",
            highlight=False,
            soft_wrap=True,
        )

    def retitle(self, title: str) -> None:
        """Another run begins."""
        self._title, self._note = title, ""
        if self._bar is None:
            self._console.print(title, highlight=False, soft_wrap=True)

    def update(self, progress: training.Progress) -> None:
        """Take note of a step or an epoch."""
        if progress.kind == "epoch":
            metrics = progress.metrics
            self._note = f"loss {metrics['loss']:.4f}, training {metrics['accuracy']:.1%}"
            if "validation_accuracy" in metrics:
                self._note += f", validation {metrics['validation_accuracy']:.1%}"
            if "followed_accuracy" in metrics:
                self._note += f", test {metrics['followed_accuracy']:.1%}"
            if self._bar is None:
                self._console.print(
                    f"epoch {progress.epoch}/{progress.epochs}: {self._note}",
                    highlight=False,
                    soft_wrap=True,
                )
        now = time.monotonic()
        if self._bar is None or self._task is None:
            return
        if progress.kind == "step" and now - self._drawn < INTERVAL:
            return
        self._drawn = now
        self._bar.update(
            self._task,
            description=self._title,
            total=progress.epochs * progress.steps,
            completed=progress.epoch * progress.steps + progress.step,
            note=self._note,
        )
