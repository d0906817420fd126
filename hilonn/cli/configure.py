"""``configure``: a matrix on a chip without a record."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hilonn import registry
from hilonn.cli.train import print_json
from hilonn.training import Interrupted


def configure_command(
    bench: str,
    matrix: Path,
    out: Path | None,
    *,
    method: str,
    record: Path | None,
    chip: str | None,
    seed: int,
    chip_seed: int,
    json: bool,
    imports: tuple[str, ...],
) -> None:
    """Bring a chip of ``bench`` to ``matrix`` into the folder ``out``."""
    session = registry.load("hilonn.calibrators", "configure")
    folder = out or _free_folder(bench)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("opening", total=None)

    def progress(what: str, done: int, count: int) -> None:
        bar.update(task, description=what, completed=done, total=count)

    def ahead(passes: int, seconds: float) -> None:
        console.print(
            f"ahead: at most {passes:,} passes, {seconds:,.0f} s of light and settling, what the boxes' wires take besides",
            highlight=False,
        )

    try:
        with bar:
            result = session.configure(
                bench,
                matrix,
                folder,
                method=method,
                record=record,
                chip=chip,
                seed=seed,
                chip_seed=chip_seed,
                imports=imports,
                progress=progress,
                ahead=ahead,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the bench was made safe and what was found is in {folder}. Go on with: hilonn configure "
            f"{bench} --matrix {matrix} --method {method} --out {folder}"
        ) from None
    _print(result, json)


def _print(result: dict[str, Any], json: bool) -> None:
    if json:
        print_json(result)
        return
    passes = ", ".join(f"{part} {count:,}" for part, count in result["passes"].items())
    sys.stdout.write(
        f"fidelity       {result['fidelity']:.5f}, the mean over rows, as read\n"
        f"matrix error   {result['matrix_error']:.2%} as read; {result['known_but_for']} is not told\n"
        f"passes         {sum(result['passes'].values()):,} ({passes}), {result['seconds']:.1f} s\n"
        f"settings       {Path(result['folder']) / 'settings.json'}\n"
    )


def _free_folder(bench: str) -> Path:
    stem = Path(bench).stem if bench.endswith(".toml") else bench
    return Path("configurations") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
