"""Pictures: a song as a piano roll with its waveforms, and what a corpus is made of."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.chords import written
from fastsag.errors import require
from fastsag.songs.lyrics import MELISMA

_BAND_COLOURS = {"bass": "tab:brown", "chords": "tab:green", "drums": "tab:gray"}


def song_picture(
    meta: dict[str, Any], sounds: dict[str, np.ndarray], parts: dict[str, Any], path: Path
) -> None:
    """Melody over chords and the band's notes, then waveforms.

    Args:
        meta: a training record's JSON.
        sounds: (N,) by name, drawn from top to bottom.
        parts: lists of (start, end, MIDI pitch) in seconds by track of the band.
        path: PNG to write.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = 2 + len(sounds)
    figure, axes = _figure(
        rows, (16, 3.5 + 3.5 + 1.1 * len(sounds)), [3.5, 3.5] + [1] * len(sounds)
    )
    _melody(axes[0], meta)
    for name, notes in parts.items():
        if name != "drums":
            pairs = np.array([(start, pitch, end) for start, end, pitch in notes]).reshape(-1, 3)
            axes[1].hlines(pairs[:, 1], pairs[:, 0], pairs[:, 2], _BAND_COLOURS[name], lw=2,
                           label=name)  # fmt: skip
    drums = np.array([(start, pitch) for start, _, pitch in parts.get("drums", [])]).reshape(-1, 2)
    axes[1].plot(drums[:, 0], drums[:, 1] - 20, "|", color="black", ms=4, label="drums")
    axes[1].set_ylabel("band (MIDI)")
    axes[1].legend(loc="upper right", fontsize=7)
    for axis, (name, sound) in zip(axes[2:], sounds.items(), strict=True):
        step = max(1, len(sound) // 8_000)
        framed = sound[: len(sound) // step * step].reshape(-1, step)
        times = np.arange(len(framed)) * step / meta["sample_rate"]
        axis.fill_between(times, framed.min(1), framed.max(1), lw=0)
        axis.set_ylabel(name, rotation=0, ha="right", fontsize=8)
        axis.set_yticks([])
    for axis in axes:
        for time in meta["barlines"]:
            axis.axvline(time, color="0.8", lw=0.5, zorder=0)
        axis.set_xlim(0, meta["duration"])
    axes[-1].set_xlabel("time (s)")
    _save(figure, path)


def _melody(axis: Any, meta: dict[str, Any]) -> None:
    """Notes with their syllables, chords above, sections below."""
    for note in meta["notes"]:
        axis.hlines(note["pitch"], note["start"], note["end"], "tab:blue", lw=5)
        axis.hlines(note["pitch"], *note.get("sung", (0, 0)), "tab:orange", lw=1.5)
        if note["lyric"] != MELISMA:
            axis.text(note["start"], note["pitch"] + 0.5, note["lyric"], fontsize=6)
    pitches = [note["pitch"] for note in meta["notes"]]
    low, high = min(pitches) - 3, max(pitches) + 4
    for chord in meta["chords"]:
        axis.text(chord["start"], high - 0.8, written(chord["harte"], meta["key"]), fontsize=6)
    for section in meta["sections"]:
        axis.text(section["start"], low + 0.2, section["name"], fontsize=8, color="tab:red")
        axis.axvline(section["start"], color="tab:red", lw=0.7)
    axis.set_ylim(low, high)
    axis.set_yticks(range(low, high, 3))
    axis.set_ylabel("melody (MIDI)")
    axis.set_title(
        f"{meta['song']}: {meta['family']}, {meta['meter']}, {meta['tempo']:.0f} BPM,"
        f" {meta['key'].split()[0]} {meta['mode']}, {meta['voice_type']}, {meta['groove']}"
    )


def check_picture(rows: list[dict[str, Any]], result: dict[str, Any], path: Path) -> None:
    """Histograms of what was measured and of what a corpus is made of.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    matplotlib = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    figure = matplotlib.Figure(figsize=(17, 14), layout="constrained")
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(4, 4).ravel()
    measured = {
        "in_tune": "notes within 50 cents",
        "chords": "chords among the best three",
        "chords_first": "chords heard as written",
        "beats": "beats within 70 ms",
    }
    for axis, (name, title) in zip(axes, measured.items(), strict=False):
        axis.hist([row[name] for row in rows], bins=np.linspace(0, 1, 26))
        axis.set_title(title)
    steady = [row for row in rows if not row["free_tempo"]]
    ratios = [np.clip(row["tempo_heard"] / row["tempo"], 0, 4) for row in steady]
    axes[4].hist(ratios, bins=np.linspace(0, 3, 61))
    axes[4].set_title("tempo heard / true")
    numbers = {"tempo": "tempo (BPM)", "duration": "length (s)", "notes_a_second": "notes a second"}
    for axis, (name, title) in zip(axes[5:], numbers.items(), strict=False):
        axis.hist([row[name] for row in rows], bins=20)
        axis.set_title(title)
    for row in sorted(rows, key=lambda row: row["lowest"]):
        axes[8].plot([row["lowest"], row["highest"]], [len(axes[8].lines)] * 2, "tab:blue", lw=1)
    axes[8].set_title("vocal ranges (MIDI)")
    counted = ("key", "mode", "meter", "family", "language", "voice_type")
    for axis, name in zip(axes[9:], counted, strict=False):
        _bars(axis, Counter(str(row[name]) for row in rows), name)
    _bars(axes[15], Counter(result["spread"]["conditions"]), "conditions")
    _save(figure, path)


def _bars(axis: Any, counts: Counter[str], title: str) -> None:
    names = sorted(counts)
    axis.barh(names, [counts[name] for name in names])
    axis.tick_params(axis="y", labelsize=6)
    axis.set_title(title)


def _figure(rows: int, size: tuple[float, float], heights: list[float]) -> tuple[Any, Any]:
    matplotlib = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    figure = matplotlib.Figure(figsize=size, layout="constrained")
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=100, format="png")
    os.replace(temporary, path)
