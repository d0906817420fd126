"""``compare``: rules side by side, one table and one plot."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from hilonn import comparison, workflow
from hilonn.atomic import write_json
from hilonn.cli.display import TrainingDisplay
from hilonn.cli.train import print_json
from hilonn.errors import ConfigError
from hilonn.experiment import load_experiment
from hilonn.training import Interrupted

WIDE = 140


def compare_command(
    experiment: str,
    bench: str,
    rules: str,
    seeds: str,
    out: Path | None,
    *,
    epochs: int | None,
    chip_seed: int,
    data: Path | None,
    json: bool,
    imports: tuple[str, ...],
) -> None:
    """Train every rule on every seed; table on stdout, plot and numbers in ``out``."""
    loaded = load_experiment(experiment)
    folder = out or Path("runs") / f"compare-{loaded.name}"
    options = workflow.RunOptions(
        chip_seed=chip_seed, data=None if data is None else str(data), imports=imports
    )
    names = [r.strip() for r in rules.split(",") if r.strip()]
    if not names:
        raise ConfigError("--rules names no rule")
    chosen = _whole_numbers(seeds)
    with TrainingDisplay(f"{loaded.name} on {bench}") as display:
        try:
            outcomes = comparison.compare(
                loaded,
                bench,
                names,
                chosen,
                folder,
                options,
                epochs=epochs,
                on_run=lambda rule, seed: display.retitle(f"{rule}, seed {seed}"),
                on_progress=display.update,
            )
        except Interrupted:
            raise Interrupted("interrupted; the same command goes on where it stopped") from None
    from hilonn import plots

    plots.save(plots.comparison(outcomes), folder / "compare")
    told = {"experiment": loaded.name, "bench": bench, "outcomes": [asdict(o) for o in outcomes]}
    write_json(folder / "compare.json", told)
    if json:
        print_json(told)
        return
    # A file or a pipe has no width: rules' names are not cut off there.
    width = None if sys.stdout.isatty() else WIDE
    Console(file=sys.stdout, width=width).print(table(outcomes))
    sys.stdout.write(f"plot: {folder / 'compare.svg'}\n")


def table(outcomes: list[comparison.Outcome]) -> Table:
    """A row a rule: mean and spread over its seeds."""
    shown = Table(
        Column("rule", no_wrap=True),
        "accuracy %",
        "seeds",
        "passes",
        "chip time s",
        "wall time s",
        "not finished",
    )
    for rule in dict.fromkeys(o.rule for o in outcomes):
        rows = [o for o in outcomes if o.rule == rule]
        done = [o for o in rows if np.isfinite(o.accuracy)]
        accuracy = "-"
        if done:
            values = 100 * np.array([o.accuracy for o in done])
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            accuracy = f"{values.mean():.2f} +- {spread:.2f}"
        shown.add_row(
            rule,
            accuracy,
            str(len(done)),
            f"{np.mean([o.passes for o in rows]):,.0f}",
            f"{np.mean([o.chip_seconds for o in rows]):.1f}",
            f"{np.mean([o.wall_seconds for o in rows]):.1f}",
            "; ".join(f"seed {o.seed}: {o.ended.split(':')[0]}" for o in rows if o.ended != "done"),
        )
    return shown


def _whole_numbers(text: str) -> list[int]:
    """ "0,1,2" or "0-4"."""
    try:
        numbers: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    except ValueError:
        raise ConfigError(f"--seeds takes numbers like 0,1,2 or 0-4, not {text!r}") from None
    return numbers
