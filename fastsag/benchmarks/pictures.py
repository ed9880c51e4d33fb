"""Pictures of speed: the roofline of the plans' stages, and cost against length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastsag.errors import require
from fastsag.plots import save

_MARKS = {"semantics": "o", "projection": "s", "prior": "^", "denoiser": "D", "vocoder": "P"}
_COLOURS = {"published": "#b4b4b4", "fp32": "#1f5a8a", "bf16": "#c4561a", "vocos": "#3c8a4a"}
_WAYS = {"published": "as published", "fp32": "fp32", "bf16": "bf16", "vocos": "Vocos, fp32"}


def roofline(path: Path, record: dict[str, Any]) -> None:
    """Draw every stage of a record of `plans.compare` against what the machine can do.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure, (axis, bars) = _figure((13, 5), 2)
    best = record["ceilings"]
    intensity = np.geomspace(0.5, 2_000, 200)
    for precision, colour in (("fp32", _COLOURS["fp32"]), ("bf16", _COLOURS["bf16"])):
        peak = max(best["gemm_flops"][precision], best["conv_flops"][precision])
        reach = np.minimum(peak, intensity * best["memory_bytes"])
        axis.loglog(intensity, reach / 1e9, color=colour, lw=1, label=f"{precision} ceiling")
    seen = set()
    for plan in record["plans"]:
        for name, stage in plan["stages"].items():
            if (name, stage["way"]) in seen:
                continue
            seen.add((name, stage["way"]))
            axis.plot(
                stage["flops"] / max(stage["bytes"], 1),
                stage["flops_per_second"] / 1e9,
                _MARKS[name],
                color=_COLOURS[stage["way"]],
                ms=7,
            )
    for name, mark in _MARKS.items():
        axis.plot([], [], mark, color="black", label=name)
    for way, label in _WAYS.items():
        axis.plot([], [], "_", color=_COLOURS[way], ms=12, mew=4, label=label)
    axis.set_xlabel("FLOP per byte that operations move")
    axis.set_ylabel("GFLOP/s")
    axis.set_title("stages against the machine", loc="left", fontsize=10)
    axis.legend(fontsize=7, ncols=2, loc="lower right")
    _plan_bars(bars, record["plans"])
    figure.suptitle(
        f"{record['audio_seconds']:.1f} s of audio, networks of the paper's size, "
        f"{record['machine']['threads']} threads, {record['machine']['processor']}",
        fontsize=11,
    )
    save(figure, path)


def _plan_bars(axis: Any, plans: list[dict[str, Any]]) -> None:
    """Seconds of each plan, a colour for each stage, and its compute roofline."""
    places = np.arange(len(plans))[::-1]
    left = np.zeros(len(plans))
    shades = ("#8a8a8a", "#3c8a4a", "#d9b44a", "#1f5a8a", "#c4561a")
    for name, shade in zip(_MARKS, shades, strict=True):
        width = np.array([plan["stages"][name]["seconds"] for plan in plans])
        axis.barh(places, width, left=left, color=shade, height=0.7, label=name)
        left += width
    for plan, place, end in zip(plans, places, left, strict=True):
        axis.plot([plan["roofline_seconds"]] * 2, [place - 0.35, place + 0.35], color="black", lw=2)
        axis.annotate(
            f"{end:.1f} s, {plan['times_faster']:.1f}x",
            (end, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(places, [plan["name"] for plan in plans], fontsize=8)
    axis.margins(x=0.25)
    axis.set_xlabel("seconds (black: FLOPs at the machine's best rate)")
    axis.set_title("plans", loc="left", fontsize=10)
    axis.legend(fontsize=7, loc="lower right")
    _open(axis)


def length(path: Path, record: dict[str, Any]) -> None:
    """Draw real-time factor and peak memory of a record of `length.measure` against length.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure, (speed, memory) = _figure((11, 4), 2)
    rows = record["rows"]
    seconds = [row["audio_seconds"] for row in rows]
    bottom = np.zeros(len(rows))
    shades = ("#3c8a4a", "#1f5a8a", "#c4561a", "#d9b44a", "#8a8a8a")
    for stage, shade in zip(rows[0]["stages"], shades, strict=False):
        part = np.array([row["stages"][stage] / row["audio_seconds"] for row in rows])
        speed.fill_between(seconds, bottom, bottom + part, color=shade, lw=0, label=stage)
        bottom += part
    speed.plot(seconds, bottom, "o-", color="black", lw=1, ms=4)
    speed.set_ylabel("real-time factor")
    speed.set_ylim(0, None)
    speed.legend(fontsize=7, loc="lower right")
    memory.plot(seconds, [row["peak_mb"] for row in rows], "o-", color="black", ms=4, label="peak")
    memory.plot(
        seconds,
        [row["loaded_mb"] for row in rows],
        color="#8a8a8a",
        lw=1,
        label="before the first sound",
    )
    memory.set_ylabel("MB of main memory")
    memory.set_ylim(0, None)
    memory.legend(fontsize=7, loc="lower right")
    for axis in (speed, memory):
        axis.set_xscale("log")
        axis.set_xticks(seconds, [f"{value:g}" for value in seconds], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel("seconds of audio")
        _open(axis)
    figure.suptitle(
        f"{record['checkpoint']}, {record['machine']['threads']} threads, one process a length",
        fontsize=11,
    )
    save(figure, path)


def _figure(size: tuple[float, float], panels: int) -> tuple[Any, Any]:
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    figure = figure_module.Figure(figsize=size, layout="constrained")
    agg.FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _open(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
