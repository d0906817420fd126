"""Drawings for the page: static SVG, whose text and lines follow the page's colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from hilonn import plots
from hilonn.reports.story import Story
from hilonn.typing import FloatArray, IntArray

RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""viridis: dark to bright, told apart without colour too."""


def learning(stories: Sequence[Story], keys: Sequence[tuple[str, str]], up: str) -> str:
    """Curves over epochs: each of ``keys`` (key, name) for every story."""
    from matplotlib import rc_context

    with rc_context(plots.STYLE):
        made, (axis,) = plots.figure(6.4, 3.2)
        drawn = 0
        for index, story in enumerate(stories):
            for line, (key, name) in enumerate(keys):
                values = np.array(story.column(key))
                if not np.isfinite(values).any():
                    continue
                scale = 100.0 if "accuracy" in key else 1.0
                axis.plot(
                    np.arange(1, len(values) + 1),
                    scale * values,
                    color=plots.COLOURS[(index * len(keys) + line) % len(plots.COLOURS)],
                    marker=plots.MARKERS[(index * len(keys) + line) % len(plots.MARKERS)],
                    markevery=max(1, len(values) // 8),
                    linestyle="-" if index == 0 else "--",
                    label=name if len(stories) == 1 else f"{name}, {story.name}",
                )
                drawn += 1
        if not drawn:
            return ""
        axis.set_xlabel("epoch")
        axis.set_ylabel(up)
        axis.legend(frameon=False, fontsize=8)
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return themed(buffer.getvalue())


def themed(svg: str) -> str:
    """matplotlib's black becomes the colour of the page's text."""
    svg = svg[svg.index("<svg") :]
    for black in ("#000000", "black"):
        svg = svg.replace(f"stroke: {black}", "stroke: currentColor")
        svg = svg.replace(f"fill: {black}", "fill: currentColor")
    return svg.replace("<text ", '<text fill="currentColor" ')


def confusion(matrix: IntArray) -> str:
    """Rows are labels, columns what was read; shares of a row by shade, counts as text."""
    n, cell, left = len(matrix), 34, 46
    size = left + n * cell + 8
    parts = [
        f'<svg viewBox="0 0 {size} {size}" class="grid" role="img" aria-label="confusion matrix">'
    ]
    for i in range(n):
        centre = left + i * cell + cell / 2
        parts.append(f'<text x="{centre}" y="{left - 8}" class="mid">{i}</text>')
        parts.append(f'<text x="{left - 12}" y="{centre + 4}" class="mid">{i}</text>')
        total = max(int(matrix[i].sum()), 1)
        for j in range(n):
            share = matrix[i, j] / total
            x, y = left + j * cell, left + i * cell
            kind = "right" if i == j else "wrong"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" class="{kind}" '
                f'fill-opacity="{0.08 + 0.85 * share:.2f}"/>'
            )
            if matrix[i, j]:
                shade = "on" if share > 0.45 else "off"
                parts.append(
                    f'<text x="{x + cell / 2 - 1}" y="{y + cell / 2 + 4}" class="mid {shade}">'
                    f"{int(matrix[i, j])}</text>"
                )
    parts.append(f'<text x="{left + n * cell / 2}" y="14" class="mid">read as</text>')
    parts.append(
        f'<text x="12" y="{left + n * cell / 2}" class="mid" '
        f'transform="rotate(-90 12 {left + n * cell / 2})">label</text></svg>'
    )
    return "".join(parts)


def images(story: Story, largest: int = 24) -> list[tuple[str, int, int]]:
    """Wrongly read test images: (PNG as a data address, label, what was read)."""
    if story.predictions is None or story.dataset is None:
        return []
    test = story.dataset.test
    side = round(test.inputs.shape[1] ** 0.5)
    if side * side != test.inputs.shape[1] or len(test) != len(story.predictions):
        return []
    wrong = np.flatnonzero(story.predictions != test.targets)[:largest]
    return [
        (_png(test.inputs[i].reshape(side, side)), int(test.targets[i]), int(story.predictions[i]))
        for i in wrong
    ]


def _png(image: FloatArray) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, cmap="gray", format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def heater_map(
    layout: FloatArray,
    values: FloatArray,
    silent: Sequence[int],
    masked: Sequence[int],
    unit: str,
    label: str,
    logarithmic: bool = False,
) -> str:
    """Every heater in its place on the chip, shaded by ``values``; silent ones crossed and numbered."""
    shades = np.log10(values) if logarithmic else values
    place = np.asarray(layout, dtype=float)
    columns, rows = place.max(axis=0) + 1
    cell = 14.0 if rows <= 20 else max(3.0, 1100.0 / columns)
    width, height = columns * cell + 16, rows * cell + 44
    low, high = float(np.nanmin(shades)), float(np.nanmax(shades))
    span = max(high - low, 1e-12)
    ends = [float(np.nanmin(values)), float(np.nanmax(values))]
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" class="chip" role="img" '
        f'aria-label="{escape(label)}">'
    ]
    for index, (column, row) in enumerate(place):
        x, y = 8 + column * cell, 8 + row * cell
        share = (shades[index] - low) / span if np.isfinite(shades[index]) else 0.0
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 1.5:.1f}" height="{cell - 1.5:.1f}" '
            f'fill="{_ramp(share)}"><title>heater {index}: {values[index]:.3g} {unit}</title></rect>'
        )
    for index in [*silent, *masked]:
        x, y = 8 + place[index, 0] * cell, 8 + place[index, 1] * cell
        reach = max(cell, 9.0)
        kind = "silent" if index in silent else "masked"
        parts.append(
            f'<g class="{kind}"><path d="M{x - 3:.1f} {y - 3:.1f} l{reach + 4:.1f} {reach + 4:.1f} '
            f'm0 {-(reach + 4):.1f} l{-(reach + 4):.1f} {reach + 4:.1f}"/>'
            f'<text x="{x + reach + 3:.1f}" y="{y + reach:.1f}">{index}</text></g>'
        )
    for step in range(40):
        parts.append(
            f'<rect x="{8 + 3 * step}" y="{height - 24:.0f}" width="3.2" height="8" '
            f'fill="{_ramp(step / 39)}"/>'
        )
    parts.append(
        f'<text x="8" y="{height - 4:.0f}">{ends[0]:.3g}</text>'
        f'<text x="{8 + 112}" y="{height - 4:.0f}">{ends[1]:.3g} {escape(unit)}</text></svg>'
    )
    return "".join(parts)


def _ramp(share: float) -> str:
    position = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(position), len(RAMP) - 2)
    part = position - index
    one, two = ([int(RAMP[index + k][1 + 2 * c : 3 + 2 * c], 16) for c in range(3)] for k in (0, 1))
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in zip(one, two, strict=True))


def bars(parts: dict[str, float], unit: str) -> str:
    """One stacked bar with its legend, patterns beside colours."""
    total = sum(parts.values()) or 1.0
    x, out, legend = 0.0, [], []
    for index, (name, value) in enumerate(parts.items()):
        width = 600 * value / total
        colour = plots.COLOURS[index % len(plots.COLOURS)]
        out.append(
            f'<rect x="{x:.1f}" y="0" width="{max(width, 0.0):.1f}" height="22" fill="{colour}" '
            f'stroke="var(--page)" stroke-width="2"/>'
        )
        legend.append(
            f'<g><rect x="{8 + 200 * index}" y="32" width="12" height="12" fill="{colour}"/>'
            f'<text x="{26 + 200 * index}" y="43">{escape(name)} {value:.1f} {unit}</text></g>'
        )
        x += width
    return f'<svg viewBox="0 0 620 52" class="bar" role="img">{"".join(out)}{"".join(legend)}</svg>'
