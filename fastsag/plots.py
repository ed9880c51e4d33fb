"""Pictures: spectrogram panels sharing a time axis, the paper's Figure 3."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.errors import Unwritable, require
from fastsag.spool import Array

LONGEST_SECONDS = 60.0  # what a page can show
_MOST_CHORDS = 60
_TICKS_HZ = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)


def mel_panels(
    path: Path,
    panels: Mapping[str, Array],
    hop_seconds: float,
    title: str,
    band_hz: np.ndarray | None = None,
    beats: np.ndarray | None = None,
    chords: Sequence[tuple[float, str]] | None = None,
) -> None:
    """Draw log spectrograms (M, T) above each other, at most the first minute.

    Args:
        path: PNG to write, atomically.
        panels: by title, from top to bottom; log units.
        hop_seconds: between frames.
        title: of the whole picture.
        band_hz: centre frequency of each band, for the axis.
        beats: times in seconds, ticked along the last panel.
        chords: (start in seconds, label), written over the last panel.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    longest = max(panel.shape[1] for panel in panels.values()) * hop_seconds
    shown = min(longest, LONGEST_SECONDS)
    figure = figure_module.Figure(figsize=(12, 2.3 * len(panels) + 0.8), layout="constrained")
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        image = _panel(axis, name, panel, hop_seconds, shown, band_hz)
        figure.colorbar(image, ax=axis, pad=0.01, label="log magnitude")
    axes[-1].set_xlabel("time (s)")
    _mark(axes[-1], shown, beats, chords)
    note = f" (first {shown:.0f} of {longest:.0f} s)" if longest > shown else ""
    figure.suptitle(title + note)
    save(figure, path)


def _panel(
    axis: Any,
    name: str,
    panel: Array,
    hop_seconds: float,
    shown: float,
    band_hz: np.ndarray | None,
) -> Any:
    panel = panel[:, : int(shown / hop_seconds)]
    low, high = np.percentile(panel, [5, 99.8])
    image = axis.imshow(
        panel,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, panel.shape[1] * hop_seconds, -0.5, len(panel) - 0.5),
        vmin=max(low, high - 10),
        vmax=high,
        cmap="magma",
    )
    axis.set_title(name, loc="left", fontsize=10)
    axis.set_xlim(0, shown)
    if band_hz is None:
        axis.set_ylabel("band")
        return image
    ticks = [hz for hz in _TICKS_HZ if band_hz[0] <= hz <= band_hz[-1]]
    axis.set_yticks(np.interp(ticks, band_hz, np.arange(len(band_hz))))
    axis.set_yticklabels([f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])
    axis.set_ylabel("Hz")
    return image


def _mark(
    axis: Any,
    shown: float,
    beats: np.ndarray | None,
    chords: Sequence[tuple[float, str]] | None,
) -> None:
    """Beats as ticks below, chords as text above, where there is room."""
    if beats is not None:
        inside = beats[(beats >= 0) & (beats <= shown)]
        axis.vlines(inside, -0.5, 4, color="cyan", linewidth=0.6)
    labels = [(time, label) for time, label in chords or () if 0 <= time < shown]
    if not 0 < len(labels) <= _MOST_CHORDS:
        return
    axis.set_title(axis.get_title(loc="left"), loc="left", fontsize=10, pad=16)  # room for them
    top = axis.get_ylim()[1]
    for time, label in labels:
        axis.text(time, top, label, fontsize=7)


def save(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG, atomically.

    Raises:
        Unwritable: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, dpi=100, format="png")
        os.replace(temporary, path)
    except OSError as error:
        raise Unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
