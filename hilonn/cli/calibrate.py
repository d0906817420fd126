"""``calibrate``: from an unknown chip to a record."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hilonn import registry
from hilonn.cli.train import print_json
from hilonn.errors import ConfigError
from hilonn.training import Interrupted


def calibrate_command(
    bench: str | None,
    out: Path | None,
    *,
    routines: tuple[str, ...],
    parameters: Path | None,
    refit: Path | None,
    seed: int,
    chip_seed: int,
    json: bool,
    imports: tuple[str, ...],
) -> None:
    """Calibrate ``bench`` into ``out``, or fit the raw data of the folder ``refit`` again."""
    session = registry.load("hilonn.calibrators", "session")
    text = _text(parameters)
    with _Display(session) as display:
        if refit is not None:
            if bench is not None:
                raise ConfigError("--refit FOLDER opens no bench; leave BENCH out")
            result = session.refit(
                refit, out, parameters=text, routines=routines, watcher=display.watcher
            )
        else:
            if bench is None:
                raise ConfigError("which bench? Or --refit FOLDER, or --diff FIRST SECOND")
            folder = out or _free_folder(bench)
            try:
                result = session.calibrate(
                    bench,
                    folder,
                    seed=seed,
                    chip_seed=chip_seed,
                    routines=routines,
                    parameters=text,
                    imports=imports,
                    watcher=display.watcher,
                )
            except KeyboardInterrupt:
                raise Interrupted(
                    f"interrupted; the bench was made safe and what was read is in {folder}. Go on with: "
                    f"hilonn calibrate {bench} --out {folder}"
                ) from None
    _print(result, json)


def diff_command(first: Path, second: Path, *, json: bool) -> None:
    """What two records say differently."""
    found = registry.load("hilonn.calibrators", "session").diff(first, second)
    if json:
        print_json({"differences": [str(d) for d in found]})
        return
    for difference in found:
        sys.stdout.write(f"{difference}\n")
    if not found:
        sys.stdout.write("the two say the same\n")


class _Display:
    """One line on stderr a routine, and a bar for the one that runs."""

    def __init__(self, session: Any) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("opening", total=None)
        self.watcher = session.Watcher(self._progress, self._estimate, self._finished)

    def _progress(self, what: str, done: int, count: int) -> None:
        self._bar.update(self._task, description=what, completed=done, total=count)

    def _estimate(self, ahead: Any) -> None:
        names = ", ".join(title for _, title in ahead.routines)
        self._console.print(
            f"ahead: {names}: {ahead.passes:,} passes, {ahead.seconds:,.0f} s of light and settling, what the "
            "boxes' wires take besides",
            highlight=False,
        )

    def _finished(self, name: str, reasons: list[str]) -> None:
        masked = f"; masked: {len(reasons)}" if reasons else ""
        self._console.print(f"{name} done{masked}", highlight=False)
        for reason in reasons[:20]:
            self._console.print(f"  {reason}", highlight=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def _print(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    lines = [f"record         {result['record']}"]
    if result.get("twin_error") is not None:
        lines.append(
            f"twin error     {result['twin_error']:.2%} of the readings of held-out settings (a repeated "
            f"measurement: {result['noise_floor']:.2%})"
        )
    if result.get("matrix_error") is not None:
        lines.append(
            f"matrix error   {result['matrix_error']:.2%} of random real matrices, noise included"
        )
    lines.append(f"passes         {result['passes']:,}, wall time {result['wall_seconds']:.0f} s")
    failed = ", ".join(result["failed_channels"]) or "none"
    lines.append(f"masked         {failed}")
    lines.append(f"report         {Path(result['record']).parent / 'report.html'}")
    sys.stdout.write("\n".join(lines) + "\n")


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the parameters {path}: {error}") from None


def _free_folder(bench: str) -> Path:
    stem = Path(bench).stem if bench.endswith(".toml") else bench
    return Path("calibrations") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
