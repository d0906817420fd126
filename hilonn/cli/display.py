"""What a person sees on stderr while a network trains."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hilonn import training
from hilonn.datasets import Dataset
from hilonn.runs import Run

INTERVAL = 0.25
"""Seconds between redraws."""
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"
WARM_UP = 3
"""Steps that do not count for the time left: kernels are compiled, gains and ranges found."""
LEARNED_LAYERS = 8


class TimeLeft:
    """Seconds until the last epoch's end, from what whole epochs took, evaluations included; from
    steps alone while there is no whole epoch yet."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None
        self._epoch_began: float | None = None
        self._an_epoch: float | None = None

    def update(self, progress: training.Progress, now: float) -> float | None:
        """None while nothing is known. ``now`` in s on any clock that does not jump."""
        if progress.kind == "epoch":
            if self._epoch_began is not None:
                self._an_epoch = now - self._epoch_began
            self._epoch_began = now
            if self._an_epoch is None and self._began is None:
                return None
        done = progress.epoch * progress.steps + progress.step
        if self._began is None:
            if progress.step >= WARM_UP:
                self._began = (now, done)
            return None
        total = progress.epochs * progress.steps
        if self._an_epoch is not None:
            assert self._epoch_began is not None
            in_epoch = self._an_epoch * (1.0 - progress.step / progress.steps)
            return in_epoch + self._an_epoch * (progress.epochs - progress.epoch - 1)
        seconds, first = self._began
        return (now - seconds) * (total - done) / (done - first) if done > first else None


def sparkline(values: list[float], blocks: str = BLOCKS, width: int = 40) -> str:
    """The last ``width`` of ``values`` as a row of blocks from their smallest to their largest."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((v - low) * scale)] for v in shown)


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TrainingDisplay:
    """A live view on a terminal; a line an epoch where stderr is a file.

    ``epochs`` false leaves the lines out: what runs is a rehearsal.
    """

    def __init__(self, title: str, *, epochs: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._title = title
        self._epochs = epochs
        self._live: Live | None = None
        self._drawn = 0.0
        self._started = time.monotonic()
        self._left = TimeLeft()
        self._curve: list[float] = []
        self._read = ""
        self._signal: dict[str, float] = {}
        self._waited = ""

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._console.is_terminal:
            opening = Text(f"{self._title}: opening", overflow="ellipsis", no_wrap=True)
            self._live = Live(opening, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, dataset: Dataset, trainer: training.Trainer, run: Run | None) -> None:
        """Say what is about to be trained on what."""
        chip = trainer.chip
        tiles = sum(p.tiles for p in trainer.runner.placements)
        readouts = ", ".join(p.readout for p in trainer.runner.placements)
        self._say(
            f"{trainer.network!r} on {chip.architecture} {chip.id}: {tiles} tiles, "
            f"read by {readouts}; {len(dataset.train.targets)} training samples"
        )
        trainer.on_wait, trainer.on_back = self.waiting, self.back
        if self._live is not None and run is None:
            self._live.update(Text(f"{self._title}: asking every heater, then the first step"))

    def waiting(self, text: str) -> None:
        """What the bench waits for; said once."""
        if text != self._waited:
            self._waited = text
            self._say(f"made safe what answers, and waiting (Ctrl-C ends it) {text}")

    def back(self, seconds: float) -> None:
        """What was waited for is there again."""
        self._waited = ""
        self._say(f"all is back after {seconds:.0f} s: light is on again, and the run goes on")

    def retitle(self, title: str) -> None:
        """Another run begins."""
        self._title = title
        self._left, self._curve, self._read, self._signal = TimeLeft(), [], "", {}
        if self._live is None:
            self._say(title)

    def update(self, progress: training.Progress) -> None:
        """Take note of a step or an epoch."""
        now = time.monotonic()
        left = self._left.update(progress, now)
        if progress.kind == "epoch":
            self._curve.append(progress.metrics["accuracy"])
            self._read = _epoch_text(progress.metrics)
            if self._live is None and self._epochs:
                self._say(f"epoch {progress.epoch}/{progress.epochs}: {self._read}")
        found = {k: v for k, v in progress.metrics.items() if k.startswith("snr_")}
        self._signal = found or self._signal
        if self._live is None or (progress.kind == "step" and now - self._drawn < INTERVAL):
            return
        self._drawn = now
        self._live.update(self.view(progress, left, now - self._started))

    def view(
        self, progress: training.Progress, left: float | None, elapsed: float
    ) -> RenderableType:
        """The whole picture at this moment."""
        total = progress.epochs * progress.steps
        done = progress.epoch * progress.steps + progress.step
        head = Table.grid(padding=(0, 1))
        until = (
            "" if left is None else f"left {'at most ' if progress.may_stop else ''}{clock(left)}"
        )
        head.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total, done, width=30),
            f"{done / max(total, 1):.0%}",
            f"epoch {min(progress.epoch + 1, progress.epochs)}/{progress.epochs}",
            f"elapsed {clock(elapsed)}",
            until,
        )
        rows = Table.grid(padding=(0, 2))
        blocks = ASCII_BLOCKS if self._console.options.ascii_only else BLOCKS
        running = progress.running
        if progress.kind == "step" and running:
            curve = [*self._curve, running["accuracy"]]
            rows.add_row(
                "training",
                f"{running['accuracy']:.1%}, loss {running['loss']:.4f} this epoch  "
                f"{sparkline(curve, blocks)}",
            )
        if self._read:
            rows.add_row("last epoch", self._read)
        if self._signal:
            levels = [f"{v:.1f}" for _, v in sorted(self._signal.items())][:LEARNED_LAYERS]
            rows.add_row("signal/noise", f"{', '.join(levels)} of X - X', hidden layer by layer")
        chip = [f"{v:.3f} degC" for k, v in progress.status.items() if k.startswith("temperature")]
        if "heater_power" in progress.status:
            chip.append(f"heaters {progress.status['heater_power']:.3g} W")
        chip += [
            f"{progress.passes:,} passes",
            f"{clock(progress.chip_seconds)} of its time",
            f"{progress.retakes} re-takes",
        ]
        rows.add_row("chip", ", ".join(chip))
        spent = sum(progress.spent.values())
        if spent > 0:
            shares = sorted(progress.spent.items(), key=lambda item: -item[1])
            rows.add_row("waits for", ", ".join(f"{k} {v / spent:.0%}" for k, v in shares))
        return Group(head, rows)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _epoch_text(metrics: dict[str, float]) -> str:
    text = f"loss {metrics['loss']:.4f}, training {metrics['accuracy']:.1%}"
    if "validation_accuracy" in metrics:
        text += f", validation {metrics['validation_accuracy']:.1%}"
    if "followed_accuracy" in metrics:
        text += f", test {metrics['followed_accuracy']:.1%}"
    if "taken_back" in metrics:
        text += ", taken back: it went wrong, rates halved"
    return text
