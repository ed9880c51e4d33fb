"""Harmony of a band: on the key's scale, with the sung notes, with the chords, in the same key."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastsag.chords import CHORDS, NO_CHORD, chord_index, chord_tones, key_index, key_name
from fastsag.errors import require
from fastsag.evaluation.chroma import correlation

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))  # major; both minors united
_CONSONANT = (0, 3, 4, 5, 7, 8, 9)
_DISSONANT = (1, 6, 11)
_SHARPNESS = 8.0  # how much a better correlation counts when chords are estimated
# Probe-tone ratings in major and minor (Krumhansl and Kessler 1982).
_PROFILES = np.array(
    [
        [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
        [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
    ]
)
_KEEP_CHORD = 0.7  # probability that the chord of one beat is that of the next


def in_key(chroma: np.ndarray, times: np.ndarray, keys: list[dict[str, Any]]) -> float:
    """Share of chroma energy on the scale of the key in force (minor: natural and harmonic united).

    Args:
        chroma: (12, L) with frame times (L,).
        keys: {"start", "end", "key"}; what is outside them does not count.
    """
    on_scale = total = 0.0
    for part in keys:
        index = key_index(part["key"])
        energy = chroma[:, _inside(times, part)].sum(1)
        on_scale += energy[[(index + step) % 12 for step in SCALES[index // 12]]].sum()
        total += energy.sum()
    return float(on_scale / max(total, 1e-12))


def consonance(chroma: np.ndarray, times: np.ndarray, notes: list[dict[str, Any]]) -> float:
    """Energy at consonant minus dissonant intervals above each sung note.

    Rescaled so that a flat chroma gives 0 and full consonance 1; weighted by note length. NaN
    where no note is known.
    """
    flat = (len(_CONSONANT) - len(_DISSONANT)) / 12
    values, weights = [], []
    for note in notes:
        energy = np.roll(chroma[:, _inside(times, note)].sum(1), -round(note["pitch"]) % 12)
        total = energy.sum()
        if total <= 1e-12:
            values.append(0.0)
        else:
            share = (energy[list(_CONSONANT)].sum() - energy[list(_DISSONANT)].sum()) / total
            values.append((share - flat) / (1 - flat))
        weights.append(note["end"] - note["start"])
    return float(np.average(values, weights=weights)) if values else float("nan")


def chord_scores(
    chroma: np.ndarray, times: np.ndarray, chords: list[dict[str, Any]]
) -> dict[str, float]:
    """Top-3 recognition, mean correlation, and correlation of what changes with the chords.

    NaN where no chord is known.
    """
    templates = _templates()
    played, true, hits = [], [], []
    for chord in chords:
        inside = _inside(times, chord)
        if chord["label"] == NO_CHORD or not inside.any():
            continue
        magnitude = np.sqrt(chroma[:, inside]).mean(1)
        index = chord_index(chord["label"])
        scores = np.array([correlation(magnitude, template) for template in templates])
        hits.append(bool((scores > scores[index]).sum() < 3 and scores[index] > 0))
        norm = np.linalg.norm(magnitude)
        played.append(magnitude / norm if norm > 1e-9 else magnitude)
        true.append(templates[index])
    if not played:
        return dict.fromkeys(("chord", "chord_soft", "chord_move"), float("nan"))
    soft = [correlation(a, b) for a, b in zip(played, true, strict=True)]
    moving, target = (np.array(part) - np.mean(part, axis=0) for part in (played, true))
    return {
        "chord": float(np.mean(hits)),
        "chord_soft": float(np.mean(soft)),
        "chord_move": correlation(moving.ravel(), target.ravel()),
    }


def key_match(chroma: np.ndarray, times: np.ndarray, keys: list[dict[str, Any]]) -> float:
    """Are the band's estimated keys the song's? mir_eval's weighted score, by the length of keys.

    1 the same, 0.5 a fifth up or down, 0.3 the relative, 0.2 the parallel key, otherwise 0; 0 for
    silence. Arguments as of `in_key`.
    """
    scores = [_key_score(chroma[:, _inside(times, part)], part["key"]) for part in keys]
    frames = [_inside(times, part).sum() for part in keys]
    return float(np.average(scores, weights=frames)) if sum(frames) else 0.0


def _key_score(chroma: np.ndarray, key: str) -> float:
    mir_eval = require("mir_eval.key", extra="eval")
    if chroma.sum() <= 1e-9:
        return 0.0
    played = estimate_key(chroma)
    # mir_eval knows fifths upwards only; MIREX has taken both ways since 2017.
    return float(max(mir_eval.weighted_score(key, played), mir_eval.weighted_score(played, key)))


def _inside(times: np.ndarray, part: dict[str, Any]) -> np.ndarray:
    """Which of `times` lie in a note, chord or key."""
    inside: np.ndarray = (times >= part["start"]) & (times < part["end"])
    return inside


def estimate_key(chroma: np.ndarray) -> str:
    """The key whose probe-tone profile the mean of chroma (12, L) follows best."""
    mean = np.sqrt(chroma).mean(1)
    scores = [
        correlation(np.roll(mean, -(index % 12)), _PROFILES[index // 12]) for index in range(24)
    ]
    return key_name(int(np.argmax(scores)))


def estimate_chords(
    chroma: np.ndarray, times: np.ndarray, beats: np.ndarray
) -> list[dict[str, Any]]:
    """Triads from beat to beat by template and Viterbi, equal neighbours united.

    Args:
        chroma: (12, L) with frame times (L,).
        beats: in seconds, ascending.
    """
    templates = _templates()
    spans = [
        (start, end, inside)
        for start, end in pairwise(beats)
        if (inside := (times >= start) & (times < end)).any()
    ]
    if not spans:
        return []
    scores = np.array(
        [
            [correlation(np.sqrt(chroma[:, inside]).mean(1), template) for template in templates]
            for *_, inside in spans
        ]
    )
    likely = np.exp(_SHARPNESS * scores)
    path = _viterbi(np.log(likely / likely.sum(1, keepdims=True)))
    chords: list[dict[str, Any]] = []
    for (start, end, _), index in zip(spans, path):
        if chords and chords[-1]["label"] == CHORDS[index]:
            chords[-1]["end"] = float(end)
        else:
            chords.append({"start": float(start), "end": float(end), "label": CHORDS[index]})
    return chords


def _viterbi(scores: np.ndarray) -> list[int]:
    """Best path through log probabilities (steps, states), staying with `_KEEP_CHORD`."""
    states = scores.shape[1]
    move = np.full((states, states), np.log((1 - _KEEP_CHORD) / (states - 1)))
    np.fill_diagonal(move, np.log(_KEEP_CHORD))
    best, back = scores[0], []
    for row in scores[1:]:
        reached = best[:, None] + move
        back.append(reached.argmax(0))
        best = reached.max(0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]


def _templates() -> np.ndarray:
    """The tones of 24 triads (24, 12)."""
    templates = np.zeros((24, 12))
    for index in range(24):
        templates[index, list(chord_tones(index))] = 1
    return templates
