"""Figures on paper and on screen: one style, colours that colour-blind people tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hilonn.comparison import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, the most distinct first."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "hilonn",
}


def figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    """A figure of ``columns`` axes side by side, in inches; drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, list(np.atleast_1d(made.subplots(1, columns)))


def save(made: Figure, path: Path) -> None:
    """Write ``made`` as SVG and PNG beside one another (``path`` without its ending)."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        made.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        made.savefig(path.with_suffix(".png"), dpi=150)


def line(index: int) -> dict[str, Any]:
    """How the curve number ``index`` is drawn: colours and markers, then the same dashed, with open markers."""
    again, of = divmod(index, len(COLOURS))
    style = {"color": COLOURS[of], "marker": MARKERS[of]}
    return style if again == 0 else {**style, "linestyle": "--", "markerfacecolor": "white"}


def comparison(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy against passes, and against chip time: mean over seeds, and the spread."""
    from matplotlib import rc_context

    rules = list(dict.fromkeys(o.rule for o in outcomes))
    with rc_context(STYLE):
        made, axes = figure(11, 4, 2)
        for axis, column, title in zip(axes, (0, 1), ("passes", "chip time (s)"), strict=True):
            for index, rule in enumerate(rules):
                curves = [np.array(o.curve) for o in outcomes if o.rule == rule and o.curve]
                if not curves:
                    continue
                shortest = min(len(c) for c in curves)
                where = np.mean([c[:shortest, column] for c in curves], axis=0)
                values = 100 * np.array([c[:shortest, 2] for c in curves])
                style = line(index)
                often = max(1, shortest // 10)
                axis.plot(where, values.mean(axis=0), markevery=often, label=rule, **style)
                low, high = values.min(axis=0), values.max(axis=0)
                axis.fill_between(where, low, high, color=style["color"], alpha=0.15, lw=0)
            axis.set_xlabel(title)
            axis.set_ylabel("validation accuracy (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        made.legend(handles, labels, frameon=False, loc="outside right upper")
    return made


def curves(
    series: Mapping[str, tuple[Sequence[float], np.ndarray]],
    *,
    across: str,
    up: str,
    logarithmic: bool = False,
) -> Figure:
    """Mean over seeds with the spread: ``series`` name -> (x, values (seeds, x))."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        made, (axis,) = figure(6, 4)
        for index, (name, (where, values)) in enumerate(series.items()):
            style = line(index)
            axis.plot(where, np.nanmean(values, axis=0), label=name, **style)
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            axis.fill_between(where, low, high, color=style["color"], alpha=0.15, lw=0)
        if logarithmic:
            axis.set_xscale("log")
        axis.set_xlabel(across)
        axis.set_ylabel(up)
        if len(series) > 1:
            axis.legend(frameon=False)
    return made
