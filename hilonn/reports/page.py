"""One self-contained HTML page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.atomic import write_bytes
from hilonn.reports import drawings
from hilonn.reports.differences import differences
from hilonn.reports.findings import findings
from hilonn.reports.story import Story, read
from hilonn.runs import Run


def report(
    run: Run | Path | str, *, compare: Sequence[Run | Path | str] = (), out: Path | None = None
) -> Path:
    """Write the report of ``run``, finished or not, and return its path (default: in its folder).

    ``compare``: runs whose curves are drawn beside it. Raises ConfigError where a folder is no run.
    """
    story = read(_folder(run))
    others = [read(_folder(r)) for r in compare]
    path = out or _folder(run) / "report.html"
    write_bytes(path, html(story, others).encode())
    return path


def html(story: Story, others: list[Story]) -> str:
    """The page's text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    text = (resources.files("hilonn.reports") / "page.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    everybody = [story, *others]
    result = story.result or {}
    snr = sorted({k for e in story.epochs for k in e if k.startswith("snr_")})
    pictures = {
        "accuracy": drawings.learning(
            everybody,
            [
                ("accuracy", "training"),
                ("validation_accuracy", "validation"),
                ("followed_accuracy", "test"),
            ],
            "accuracy (%)",
        ),
        "loss": drawings.learning(everybody, [("loss", "training loss")], "loss"),
        "snr": drawings.learning(
            everybody, [(k, f"hidden layer {k[4:]}") for k in snr], "signal / noise of X - X'"
        ),
        "confusion": drawings.confusion(np.array(result["confusion"]))
        if "confusion" in result
        else "",
        "time": drawings.bars(result["breakdown"], "s") if "breakdown" in result else "",
        "drives": _drives(story),
        "responses": _responses(story),
    }
    return environment.from_string(text).render(
        story=story,
        others=others,
        result=result,
        findings=findings(story, others),
        pictures={name: Markup(svg) for name, svg in pictures.items()},
        images=drawings.images(story),
        budget=_budget(result),
        devices=_devices(result),
        facts=_facts(story),
        rows=[(s.name, _accuracy(s)) for s in everybody],
        names=[s.name for s in everybody],
        differing=differences(everybody),
        events=[_event(e) for e in story.others],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        wrong=0
        if story.predictions is None or story.dataset is None
        else int((story.predictions != story.dataset.test.targets).sum()),
    )


def _folder(run: Run | Path | str) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def _drives(story: Story) -> str:
    state = story.chip_state
    if state is None:
        return ""
    values = np.array([np.nan if d is None else d for d in state["drives"]])
    if not np.isfinite(values).any():
        return ""
    heaters = story.heaters or {"silent": [], "masked": []}
    return drawings.heater_map(
        np.array(state["layout"]),
        values,
        heaters["silent"],
        heaters.get("masked", []),
        "V",
        "drive of every heater at the end of the run",
    )


def _responses(story: Story) -> str:
    if story.heaters is None:
        return ""
    return drawings.heater_map(
        np.array(story.heaters["layout"]),
        np.maximum(np.array(story.heaters["response"]), 0.1),
        story.heaters["silent"],
        story.heaters.get("masked", []),
        "times the noise of a reading",
        "answer of every heater before the run",
        logarithmic=True,
    )


def _accuracy(story: Story) -> str:
    return "not finished" if story.accuracy is None else f"{story.accuracy:.2%}"


def _facts(story: Story) -> list[tuple[str, str]]:
    header, result = story.header, story.result or {}
    last: dict[str, Any] = story.epochs[-1] if story.epochs else {}
    known = result or last
    facts = [
        ("experiment", f"{header['experiment']}, data {header.get('data') or 'given in Python'}"),
        ("rule", str(header["rule"])),
        ("bench", f"{header['bench_source']} ({header['backend']})"),
        ("chip", f"{header['chip']}, {header['architecture']}"),
        ("record", f"{header['record'][:16]}, {_age(story)}; {header['record_source']}"),
        ("seeds", f"run {header['seed']}, chip {header.get('chip_seed', 'as the bench says')}"),
        ("epochs", str(len(story.epochs))),
        ("passes", f"{known.get('passes', 0):,}"),
        (
            "taken again",
            f"{known.get('retakes', 0):,} passes, {known.get('pair_retakes', 0):,} pairs of trips (weights "
            "had outgrown the detectors' ranges that were chosen; the readings were taken anew, none was lost)",
        ),
        ("chip time", f"{known.get('chip_seconds', 0.0):.1f} s"),
        ("wall time", f"{known.get('wall_seconds', 0.0):.1f} s"),
        *_climate(story),
        *_monitors(story),
        ("hilonn", str(header["hilonn"])),
    ]
    if "weights_sha256" in result:
        facts.append(("weights", f"sha256 {result['weights_sha256'][:16]}"))
    return facts


def _climate(story: Story) -> list[tuple[str, str]]:
    """Temperature and heater power from epoch to epoch, where they were read."""
    found = []
    for key, name, unit in (
        ("temperature", "temperature", "degC"),
        ("heater_power", "heaters' power", "W"),
    ):
        values = [v for v in story.column(key) if np.isfinite(v)]
        if values:
            low, high = min(values), max(values)
            found.append((name, f"{low:.4g} to {high:.4g} {unit}, read once an epoch or more"))
    return found


def _monitors(story: Story) -> list[tuple[str, str]]:
    """What each monitor did, and what it said last."""
    found = []
    for name in dict.fromkeys(e["monitor"] for e in story.looks):
        looks = [e for e in story.looks if e["monitor"] == name]
        changes = sum(bool(e["recalibrated"]) for e in looks)
        found.append(
            (
                f"monitor {name}",
                f"{len(looks)} looks, {sum(e['took'] for e in looks):.2f} s of chip time, {changes} recalibrations; last: "
                f"{looks[-1]['told']}",
            )
        )
    return found


def _budget(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What a pass takes on the average: (part, ms, share)."""
    parts, passes = result.get("breakdown", {}), result.get("passes", 0)
    whole = sum(parts.values())
    if not (passes and whole > 0):
        return []
    return [(n, _milliseconds(s / passes), f"{s / whole:.0%}") for n, s in parts.items()] + [
        ("all of it", _milliseconds(whole / passes), "100%")
    ]


def _devices(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What each device's verbs take in a pass, the longest first."""
    passes = result.get("passes", 0)
    if not passes:
        return []
    took = sorted(result.get("device_seconds", {}).items(), key=lambda item: -item[1])
    return [(name, _milliseconds(seconds / passes)) for name, seconds in took]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def _age(story: Story) -> str:
    made = story.header.get("record_date")
    if made is None or made.startswith("1970"):
        return "without a date"
    age = (datetime.now(UTC) - datetime.fromisoformat(made)).total_seconds()
    return f"made {made[:10]}, {age / 86400:.1f} days ago"


def _event(event: dict[str, Any]) -> tuple[str, str, str]:
    rest = {k: v for k, v in event.items() if k not in ("time", "kind")}
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    return moment, event["kind"], ", ".join(f"{k} {v}" for k, v in rest.items())
