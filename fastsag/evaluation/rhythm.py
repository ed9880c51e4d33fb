"""Rhythm of a band: tracked beats, pulse, tempo, and note starts against known ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsag.errors import require
from fastsag.evaluation.chroma import HOP, SAMPLE_RATE

WINDOW_SECONDS = 0.07  # how far a tracked beat may be off
ONSET_SECONDS = 0.05  # how far a note's start may be off
FEWEST_BEATS = 4


def onset_strength(samples: np.ndarray) -> np.ndarray:
    """How much starts in each frame (L,)."""
    librosa = require("librosa", extra="eval")
    return librosa.onset.onset_strength(y=samples, sr=SAMPLE_RATE, hop_length=HOP)


def track_beats(strength: np.ndarray) -> np.ndarray:
    """Beat times in seconds, by librosa's dynamic programming; empty where nothing starts."""
    librosa = require("librosa", extra="eval")
    if not strength.any():
        return np.zeros(0)
    _, beats = librosa.beat.beat_track(
        onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP, units="time"
    )
    return np.asarray(beats)


def onsets(strength: np.ndarray) -> np.ndarray:
    """Start times in seconds of what is heard to start."""
    librosa = require("librosa", extra="eval")
    if not strength.any():
        return np.zeros(0)
    return librosa.onset.onset_detect(
        onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP, units="time"
    )


def beat_match(tracked: np.ndarray, truth: dict[str, Any]) -> float:
    """F-measure of tracked beats at the best metrical level; nothing is trimmed.

    The same tempo; double, within 35 ms; half, or in three-time every third beat from the
    downbeat on. NaN where the song's beats are not known.
    """
    mir_eval = require("mir_eval.beat", extra="eval")
    beats = np.asarray(truth["beats"], dtype=np.float64)
    if len(beats) < FEWEST_BEATS:
        return float("nan")
    if len(tracked) == 0:
        return 0.0
    doubled = np.sort(np.concatenate([beats, (beats[:-1] + beats[1:]) / 2]))
    levels = [(beats, WINDOW_SECONDS), (doubled, WINDOW_SECONDS / 2)]
    if truth["beats_per_bar"] == 3:
        first = int(np.abs(beats - truth["downbeats"][0]).argmin())
        levels.append((beats[first % 3 :: 3], WINDOW_SECONDS))
    else:
        levels += [(beats[::2], WINDOW_SECONDS), (beats[1::2], WINDOW_SECONDS)]
    return float(max(mir_eval.f_measure(grid, tracked, window) for grid, window in levels))


def pulse(strength: np.ndarray, beats: np.ndarray) -> float:
    """1 - off/on: mean strength elsewhere over that within 50 ms of a beat; no tracker."""
    if len(beats) < FEWEST_BEATS:
        return float("nan")
    times = np.arange(len(strength)) * HOP / SAMPLE_RATE
    inside = (times >= beats[0] - ONSET_SECONDS) & (times <= beats[-1] + ONSET_SECONDS)
    near = np.abs(times[:, None] - beats[None]).min(1) <= ONSET_SECONDS
    if not (inside & near).any() or not (inside & ~near).any():
        return 0.0
    on, off = strength[inside & near].mean(), strength[inside & ~near].mean()
    return float(np.clip(1 - off / on, 0, 1)) if on > 1e-9 else 0.0


def onset_match(found: np.ndarray, known: np.ndarray) -> float:
    """F-measure of note starts within 50 ms."""
    mir_eval = require("mir_eval.onset", extra="eval")
    if len(found) == 0 or len(known) == 0:
        return 0.0
    return float(mir_eval.f_measure(known, found, window=ONSET_SECONDS)[0])


def tempo_ratio(tracked: np.ndarray, beats: np.ndarray) -> float:
    """|log2| of the tracked tempo over the song's: 0 the same, 1 double or half.

    Tempo is the median distance of beats. NaN where either has too few.
    """
    if len(tracked) < FEWEST_BEATS or len(beats) < FEWEST_BEATS:
        return float("nan")
    return float(abs(np.log2(np.median(np.diff(tracked)) / np.median(np.diff(beats)))))
