"""Pictures of tables: a panel for each metric, a bar for each system, circles for the paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsag.errors import UserError, require
from fastsag.plots import save

if TYPE_CHECKING:
    from fastsag.evaluation.tables import Table

_MOST_COLUMNS = 4
_NOTHING = 1e-6  # of the largest: a distance of a set from itself, but for rounding
_WIDE = 20.0  # largest over smallest bar from which on an axis is logarithmic


def bars(path: Path, table: Table) -> None:
    """Draw a table of systems and metrics.

    Raises:
        UserError: matplotlib is missing, nothing was computed, or it cannot be written.
    """
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    shown = [
        column
        for column in table.columns
        if any(_number(row["ours"].get(column)) is not None for row in table.rows)
    ]
    if not shown:
        raise UserError(f"{table.name}: nothing was computed; see its notes")
    rows = [row for row in table.rows if row["ours"]]
    across = min(_MOST_COLUMNS, len(shown))
    down = math.ceil(len(shown) / across)
    figure = figure_module.Figure(
        figsize=(2.2 + 2.6 * across, down * (0.34 * len(rows) + 1.1)), layout="constrained"
    )
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axis, column in zip(axes, shown):
        _panel(axis, rows, column)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.suptitle(f"{table.name}, {table.songs} clips (grey: anchors)", fontsize=11)
    save(figure, path)


def _panel(axis: Any, rows: list[dict[str, Any]], column: str) -> None:
    ours = [_number(row["ours"].get(column)) for row in rows]
    places = np.arange(len(rows))[::-1]
    largest = max((value for value in ours if value), default=0.0)
    positive = [value for value in ours if value and value > _NOTHING * largest]
    wide = bool(positive) and largest > _WIDE * min(positive)
    colours = ["#b4b4b4" if row["anchor"] else "#1f5a8a" for row in rows]
    axis.barh(places, [value or 0.0 for value in ours], color=colours, height=0.7)
    published = [
        (row["paper"][column], place) for row, place in zip(rows, places) if column in row["paper"]
    ]
    if published:
        axis.plot(*zip(*published), "o", mfc="none", mec="#c4561a", label="paper")
        axis.legend(fontsize=7, loc="lower right")
    if wide:
        axis.set_xscale("log")
        axis.set_xlim(min(positive) / 3, largest * 8)
    for value, place in zip(ours, places):
        seen = value in positive
        axis.annotate(
            "-" if value is None else f"{value:.3g}" if seen else "0",
            (value if seen else axis.get_xlim()[0] if wide else 0.0, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    if not wide:
        axis.margins(x=0.2)
    axis.set_yticks(places, [row["system"] for row in rows], fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(column, fontsize=9)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
