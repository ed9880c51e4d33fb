"""Which chord follows which, counted bar by bar."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastsag.chords import CHORDS, MODES, moved
from fastsag.data.features import Song

_UNSEEN = 0.5  # pseudo-count of every pair


def count_progressions(songs: Iterable[Song]) -> np.ndarray:
    """Log probabilities (2, 25, 25) of the next bar's chord given this bar's, songs moved to C.

    First axis: `MODES`. A bar's chord is the one that fills most of it, of equals the first.
    """
    counts = np.full((len(MODES), len(CHORDS), len(CHORDS)), _UNSEEN)
    for song in songs:
        chords = [moved(chord, -song.key) for chord in bar_chords(song)]
        np.add.at(counts[song.key // 12], (chords[:-1], chords[1:]), 1)
    return np.log(counts / counts.sum(-1, keepdims=True)).astype(np.float32)


def bar_chords(song: Song) -> list[int]:
    """Index in `CHORDS` of each bar that has one."""
    turns = np.unwrap(song.bar.astype(np.float64), period=1.0)
    bars = np.floor(turns).astype(int)
    chords = []
    for bar in np.unique(bars):
        inside = song.chord[(bars == bar) & (song.chord >= 0)]
        if len(inside):
            # Half a bar each may differ by a frame: a tenth more is needed to beat the first.
            counts = np.bincount(inside, minlength=len(CHORDS)).astype(float)
            counts[inside[0]] *= 1.1
            chords.append(int(counts.argmax()))
    return chords
