"""Beats and bar lines from the planner's phasors, what is known already, and where notes begin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastsag.chords import key_name
from fastsag.conditioning.planner import METRES
from fastsag.conditioning.tempo import BPM_RANGE, count_beats
from fastsag.lead_sheet import Hints, LeadSheet

_RARER_THREE = 0.03  # by how much three beats a bar must fit better: songs in four are many more
_ENDS = 24  # tokens, two seconds, that tell the tempo before and behind what is heard
_NUDGES = np.arange(-20, 21) * 0.005  # seconds by which beats may move to where notes begin
_EXPECTED_NUDGE, _NUDGE_SPREAD = 0.01, 0.06  # seconds
_LEAST_BEATS = 8  # to judge it by
# So far before the place where most notes begin is the beat: singers come late, and trackers hear a
# band late (librosa's by 33 ms, of true bands too), so that early is the better side to err on.
_AHEAD_SECONDS = 0.03


class Onsets(NamedTuple):
    """How strongly a note begins at each semantic frame (S,), and those frames a second."""

    strength: np.ndarray
    rate_hz: float


def find_beats(
    phasor: np.ndarray,
    rate_hz: float,
    duration: float,
    hints: Hints,
    confidence: dict[str, float],
    onsets: Onsets | None = None,
) -> np.ndarray:
    """Beat times covering 0..duration as given or estimated, one of them at a given downbeat."""
    if hints.beats is not None:
        return covering(np.asarray(hints.beats, dtype=np.float64), duration)
    if hints.bpm is not None:
        start = hints.downbeat
        if start is None:
            start, confidence["beat"] = _phase_at(phasor, rate_hz, hints.bpm)
        beats = steady(start, 60 / hints.bpm, duration)
    else:
        beats, confidence["beat"] = beat_times(phasor, rate_hz, duration)
    if hints.downbeat is not None:
        shift = hints.downbeat - beats[np.argmin(np.abs(beats - hints.downbeat))]
    else:
        shift = 0.0 if onsets is None else nudge(beats, onsets)
    if shift == 0:
        return beats
    moved = beats + shift
    return covering(moved[np.searchsorted(moved, -0.01) :], duration)


def steady(time: float, step: float, duration: float) -> np.ndarray:
    """Beats every `step` seconds that cover 0..duration, one of them at `time`."""
    start = time - step * np.floor(time / step + 0.01)
    return start + step * np.arange(max(2, int(np.ceil((duration - start) / step)) + 1))


def covering(beats: np.ndarray, duration: float) -> np.ndarray:
    """Ascending beat times (two or more) continued at their ends to cover 0..duration."""
    first, last = beats[1] - beats[0], beats[-1] - beats[-2]
    before = np.arange(int(np.floor(max(0.0, beats[0]) / first + 0.01)), 0, -1)
    after = np.arange(1, max(0, int(np.ceil((duration - beats[-1]) / last))) + 1)
    return np.concatenate([beats[0] - first * before, beats, beats[-1] + last * after])


def _phase_at(phasor: np.ndarray, rate_hz: float, bpm: float) -> tuple[float, float]:
    """Time of a beat at a given tempo, and a confidence.

    The planner counts within an octave of tempo: slower and faster ones are looked up there.
    """
    counted = bpm
    while counted < BPM_RANGE[0]:
        counted *= 2
    while counted > BPM_RANGE[1]:
        counted /= 2
    times = (np.arange(len(phasor)) + 0.5) / rate_hz
    mean = (phasor * np.exp(-2j * np.pi * counted / 60 * times)).mean()
    turn = -float(np.angle(mean)) / (2 * np.pi) % 1
    return turn * 60 / counted, min(1.0, float(np.abs(mean)))


def beat_times(phasor: np.ndarray, rate_hz: float, duration: float) -> tuple[np.ndarray, float]:
    """Beat times from 0 to just past `duration` from the beat phasor (L,), and a confidence."""
    turns, fit = count_beats(phasor, rate_hz)
    times = (np.arange(len(phasor)) + 0.5) / rate_hz
    start, end = _speed(turns[:_ENDS], rate_hz), _speed(turns[-_ENDS:], rate_hz)
    grid = np.arange(0.0, duration + 2 / end, 0.01)
    passed = np.interp(grid, times, turns)
    passed += start * np.minimum(grid - times[0], 0) + end * np.maximum(grid - times[-1], 0)
    passed = np.maximum.accumulate(passed + 1e-9 * np.arange(len(passed)))
    beats = np.interp(np.arange(np.ceil(passed[0]), np.ceil(passed[-1])), passed, grid)
    return beats[: max(2, int(np.searchsorted(beats, duration)) + 1)], fit


def _speed(turns: np.ndarray, rate_hz: float) -> float:
    """Beats a second, on the average of a stretch; never as slow as no music is."""
    passed = float(turns[-1] - turns[0]) * rate_hz / max(1, len(turns) - 1)
    return max(passed, BPM_RANGE[0] / 120)


def bar_lines(
    bars: np.ndarray, times: np.ndarray, beats: np.ndarray, metre: int | None = None
) -> tuple[int, int, float]:
    """Metre, index of the first downbeat and confidence from the bar phasors (L, metres)."""
    sheet = LeadSheet(beats, 4, 0, key_name(0), ("N",))
    position = sheet.beat_position(times)
    scores: dict[tuple[int, int], float] = {}
    for column, beats_per_bar in enumerate(METRES):
        if metre not in (None, beats_per_bar):
            continue
        for offset in range(beats_per_bar):
            expected = np.exp(-2j * np.pi * (position - offset) / beats_per_bar)
            scores[beats_per_bar, offset] = float((bars[:, column] * expected).real.mean())
    best = max(scores, key=lambda choice: scores[choice] - (choice[0] == 3) * _RARER_THREE)
    return *best, float(np.clip(scores[best], 0, 1))


def nudge(beats: np.ndarray, onsets: Onsets) -> float:
    """Seconds by which `beats` should move to just before notes begin: a tenth or so at most.

    The planner reads phases from seconds of singing, which tell the tempo better than the moment:
    swing and consonants draw it away by some hundredths of a second.
    """
    from scipy.ndimage import gaussian_filter1d  # slow to import

    strength = gaussian_filter1d(onsets.strength.astype(np.float64), 1.0)
    times = (np.arange(len(strength)) + 0.5) / onsets.rate_hz
    heard = beats[(beats > 0) & (beats < len(strength) / onsets.rate_hz)]
    mean = strength.mean()
    if len(heard) < _LEAST_BEATS or mean <= 0:
        return 0.0
    fits = np.array([np.interp(heard + each, times, strength).mean() for each in _NUDGES])
    prior = -0.5 * ((_NUDGES - _EXPECTED_NUDGE) / _NUDGE_SPREAD) ** 2
    return float(_NUDGES[np.argmax(2 * np.log(fits / mean + 0.1) + prior)]) - _AHEAD_SECONDS
