"""``estimate``: what a run will take, before it is begun."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from hilonn.cli.display import TrainingDisplay
from hilonn.cli.train import print_json
from hilonn.estimate import Estimate, estimate
from hilonn.experiment import load_experiment
from hilonn.workflow import RunOptions


def estimate_command(
    experiment: str,
    bench: str,
    *,
    seed: int,
    chip_seed: int,
    data: Path | None,
    json: bool,
    imports: tuple[str, ...],
) -> None:
    """Rehearse on the bench, then print the estimate."""
    loaded = load_experiment(experiment)
    options = RunOptions(
        seed=seed,
        chip_seed=chip_seed,
        data=None if data is None else str(data),
        imports=imports,
    )
    with TrainingDisplay(f"rehearsing {loaded.name} on {bench}", epochs=False) as display:
        found = estimate(loaded, bench, options, display.update)
    if json:
        print_json(asdict(found))
        return
    sys.stdout.write(_text(found))


def duration(seconds: float) -> str:
    """As a person says it: 42 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _text(found: Estimate) -> str:
    lines = [
        f"{found.experiment} on {found.bench} ({found.backend}), from a rehearsal of its first steps",
        f"passes         {found.whole.passes:,.0f} in {found.steps:,} steps over {found.tiles} tiles",
        f"chip time      {duration(found.whole.chip_seconds)}",
        f"wall time      {duration(found.whole.wall_seconds)} (training "
        f"{duration(found.training.wall_seconds)}, {1e3 * found.step.wall_seconds:.3g} ms a step)",
        f"disk           {found.checkpoint / 1e6:.1f} MB a checkpoint",
        f"averages       {found.averages}"
        + ("" if found.feedback_scale is None else f", feedback scale {found.feedback_scale:.3g}"),
    ]
    for layer, (begins, ends) in enumerate(zip(found.snr, found.snr_end, strict=True)):
        lines.append(
            f"signal/noise   of X - X' in hidden layer {layer}: {begins:.1f} as it begins, near "
            f"{ends:.1f} at the end"
        )
    if found.unused:
        lines.append(f"not used       {found.unused}")
    lines += [f"advice         {line}" for line in found.advice]
    return "\n".join(lines) + "\n"
