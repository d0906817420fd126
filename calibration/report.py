"""One self-contained page of a calibration: the fringe of every heater, what was masked and why, what is known how well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hilonn.atomic import write_bytes
from hilonn.calibration.engine import Folder
from hilonn.records import Records, load_records
from hilonn.typing import FloatArray

WIDTH, HEIGHT = 120, 54
"""px of one fringe."""


def write_report(folder: Folder) -> Path:
    """Write ``report.html`` from what the folder holds, and return its path."""
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("hilonn.calibration") / "page.html.j2").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    records = load_records(folder.path / "record.json")
    fits = dict(_fits(folder.path / "fits"))
    page = environment.from_string(text).render(
        head=folder.head,
        result=folder.found,
        records=records,
        failures=[(name, f) for name, (fit, _) in fits.items() for f in fit["failures"]],
        figures=[
            (name, key, f"{value:.4g}")
            for name, (fit, _) in fits.items()
            for key, value in fit["figures"].items()
        ],
        quantities=list(_quantities(records)),
        sheets=list(_sheets(fits, records)),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    path = folder.path / "report.html"
    write_bytes(path, page.encode())
    return path


def _fits(folder: Path) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, np.ndarray]]]]:
    from hilonn.calibration.engine import ORDER

    rank = {name: i for i, name in enumerate(ORDER)}
    paths = sorted(folder.glob("*.json"), key=lambda p: (rank.get(p.stem, len(ORDER)), p.stem))
    for path in paths:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            yield path.stem, (json.loads(path.read_text("utf-8")), dict(arrays))


def _quantities(records: Records) -> Iterator[tuple[str, str, int, str, str, int]]:
    """Record, name, how many, median, median uncertainty, how many are masked."""
    for role in ("chip", "modulators", "photodetectors"):
        for name, q in sorted(getattr(records, role).quantities.items()):
            size = np.abs(q.value[np.isfinite(q.value)])
            middle = f"{float(np.median(size)):.4g}" if size.size else ""
            doubt = q.uncertainty[np.isfinite(q.uncertainty)]
            unsure = f"{float(np.median(doubt)):.2g}" if doubt.size else ""
            yield role, name, q.value.size, middle, unsure, int((~q.accepted).sum())


def _sheets(
    fits: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]], records: Records
) -> Iterator[tuple[str, list[tuple[str, Any, bool]]]]:
    """Title, and every heater's caption, drawing and whether it is masked."""
    from markupsafe import Markup

    for name, (fit, arrays) in fits.items():
        if "swept" not in arrays or "line" not in arrays:
            continue
        masked = {f["channel"] for f in fit["failures"] if f["kind"] == "heater"}
        drawn = []
        per_pi = records.chip.value("heater_power_per_pi")
        doubt = records.chip.uncertainty("heater_power_per_pi")
        for heater in (int(h) for h in arrays["swept"]):
            svg = _fringe(arrays["cold"][heater], arrays["line"][heater], arrays["own"][heater])
            caption = f"{heater}: {1e3 * per_pi[heater]:.2f} +- {1e3 * doubt[heater]:.2f} mW"
            drawn.append((caption, Markup(svg), heater in masked))
        yield name, drawn


def _fringe(cold: FloatArray, line: np.ndarray, own: FloatArray) -> str:
    """Readings as dots, and the cosine that was fitted, over power."""
    there = np.isfinite(cold)
    if not there.any() or not np.abs(line[there]).any():
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="fringe"></svg>'
    power, value, phase = cold[there], line[there].real, own[there]
    top = max(1.2, float(np.abs(value).max()))
    order = np.argsort(power)

    def across(p: FloatArray) -> FloatArray:
        return np.asarray(4 + (WIDTH - 8) * p / power.max())

    def up(v: FloatArray) -> FloatArray:
        return np.asarray(HEIGHT / 2 - (HEIGHT / 2 - 3) * v / top)

    fine = np.linspace(power.min(), power.max(), 40)
    curve = np.cos(np.interp(fine, power[order], phase[order]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across(fine), up(curve), strict=True))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.4"/>'
        for x, y in zip(across(power), up(value), strict=True)
    )
    title = escape(f"up to {1e3 * power.max():.0f} mW")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="fringe"><title>{title}</title>'
        f'<polyline points="{path}"/>{dots}</svg>'
    )
