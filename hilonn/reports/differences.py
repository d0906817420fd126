"""What differs between a run and those it is compared with: settings, chip, record, what was found."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hilonn.reports.story import Story

Row = tuple[str, list[str]]
"""What, and its value in every run."""
NOTHING = "-"


def differences(stories: Sequence[Story]) -> list[Row]:
    """Rows in which not all runs agree, settings first, then what was found."""
    tables = [{**_settings(s), **_found(s)} for s in stories]
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = [(name, [table.get(name, NOTHING) for table in tables]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _settings(story: Story) -> dict[str, str]:
    header = story.header
    named = {
        "experiment": str(header["experiment"]),
        "rule": str(header["rule"]),
        "chip": f"{header['chip']} ({header['architecture']})",
        "record": header["record"][:16],
        "record's source": str(header["record_source"]),
        "seed": str(header["seed"]),
        "chip seed": str(header.get("chip_seed", NOTHING)),
        "hilonn": str(header["hilonn"]),
    }
    for title, key in (("experiment", "experiment_text"), ("bench", "bench_text")):
        for path, value in _flat(_parsed(header.get(key))).items():
            named[f"{title} file: {path}"] = value
    return named


def _found(story: Story) -> dict[str, str]:
    found: dict[str, str] = {}
    if story.heaters is not None:
        found["heaters that did not answer"] = _numbers(story.heaters["silent"])
        found["heaters masked in the record"] = _numbers(story.heaters.get("masked", []))
    if story.mapping is not None:
        for index, error in enumerate(story.mapping["layers"]):
            found[f"products of layer {index} away by"] = f"{error:.0%}"
    for key in sorted({k for e in story.epochs for k in e if k.startswith("snr_")}):
        values = [v for v in story.column(key) if np.isfinite(v)]
        if values:
            found[f"signal-to-noise of hidden layer {key[4:]}, end"] = f"{values[-1]:.1f}"
    found["epochs taken back"] = _numbers([e["epoch"] for e in story.epochs if e.get("taken_back")])
    losses = [v for v in story.column("loss") if np.isfinite(v)]
    if losses:
        found["training loss at the end"] = f"{losses[-1]:.3g}"
    if story.result is not None:
        found["test accuracy"] = f"{story.result['test_accuracy']:.2%}"
        found["passes"] = f"{story.result['passes']:,}"
        found["passes taken again"] = f"{story.result['retakes']:,}"
    return found


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(str(n) for n in numbers) or "none"


def _parsed(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        return {}
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a header that was given in Python
        return {}


def _flat(value: object, path: str = "") -> dict[str, str]:
    """Leaves of nested tables by their dotted paths."""
    if isinstance(value, dict):
        parts = [(f"{path}.{k}" if path else str(k), v) for k, v in value.items()]
    elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
        parts = [(f"{path}[{i}]", v) for i, v in enumerate(value)]
    else:
        return {path: str(value)}
    flat: dict[str, str] = {}
    for name, part in parts:
        flat.update(_flat(part, name))
    return flat
