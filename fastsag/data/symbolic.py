"""Scores -> voice semantics without audio: thousands of songs for the planner in seconds.

The features imitate what `MelodicEncoder` gives for a singer of the score: chroma bumps that
glide and waver, consonants that break voicing, early and late entries, leaks into the fifth.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from fastsag.chords import key_index
from fastsag.conditioning.encoders.melodic import SIZE
from fastsag.data.features import Song, chord_track
from fastsag.lead_sheet import STYLES, from_record


def symbolic_song(record: dict, rate_hz: float, rng: np.random.Generator) -> Song:
    """Semantics and truth of a score.

    Args:
        record: the JSON of a training record (its audio is not needed).
        rate_hz: of the semantics.
        rng: of the singer's liberties.
    """
    times = (np.arange(int(record["duration"] * rate_hz)) + 0.5) / rate_hz
    sheet = from_record(record)
    position = sheet.beat_position(times)
    empty = np.zeros((0, 0), dtype=np.float16)
    return Song(
        voice=sing(record["notes"], times, rng).astype(np.float16),
        accompaniment=empty,
        mel=empty,
        plan=empty,
        beat=(position % 1).astype(np.float16),
        bar=((position - sheet.first_downbeat) / sheet.beats_per_bar % 1).astype(np.float16),
        chord=chord_track(record, times),
        metre=int(record["beats_per_bar"]),
        key=key_index(record["key"]),
        style=STYLES.index(record["style"]),
        song=str(record["song"]),
        split="train",
    )


def sing(notes: list[dict], times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Melodic semantics (S, D) of `notes` at `times` (S,)."""
    chroma = np.zeros((len(times), 36))
    scalars = np.zeros((len(times), SIZE - 36))
    rate = 1 / (times[1] - times[0])
    style = {
        "late": rng.normal(0, 0.02),
        "jitter": abs(rng.normal(0, 0.02)),
        "detune": rng.normal(0, 0.15),
        "consonant": rng.uniform(0, 0.8),
        "width": rng.uniform(0.35, 0.9),
        "fifth": rng.uniform(0, 0.35),
        "loud": rng.uniform(0.6, 0.72),
        "rough": rng.uniform(0, 3),
    }
    previous = None
    for note in notes:
        shift = style["late"] + style["jitter"] * rng.standard_normal()
        start, end = note["start"] + shift, note["end"] + shift * rng.random()
        inside = np.flatnonzero((times >= start) & (times < end))
        if len(inside) == 0:
            continue
        pitch = _pitch(note["pitch"], previous, times[inside] - start, style["detune"], rng)
        chroma[inside] = _bumps(pitch, style["width"], style["fifth"] * rng.random())
        voiced = np.ones(len(inside))
        gap = int(rng.uniform(0, 0.12) * rate) if rng.random() < style["consonant"] else 0
        voiced[:gap] = rng.uniform(0, 0.3)
        scalars[inside, 2] = voiced
        fade = 1 - 0.25 * np.linspace(0, 1, len(inside)) ** 3
        scalars[inside, 0] = style["loud"] * fade * rng.uniform(0.9, 1.05)
        _strike(scalars, inside[0] + gap // 2, rng.uniform(0.05, 0.85))
        for frame in rng.integers(inside[0], inside[-1] + 1, size=rng.poisson(style["rough"])):
            _strike(scalars, int(frame), rng.uniform(0, 0.4))
        previous = note["pitch"]
    soft = rng.integers(1, 5)  # frames over which rooms and the analysis blur level and voicing
    scalars[:, [0, 2]] = uniform_filter1d(scalars[:, [0, 2]], soft, axis=0)
    chroma *= scalars[:, 2:3]
    scalars[:, :2] = np.clip(scalars[:, :2] + 0.02 * rng.standard_normal((len(times), 2)), 0, 1)
    return np.concatenate([chroma, scalars], axis=1)


def _pitch(
    target: float,
    previous: float | None,
    since: np.ndarray,
    detune: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """MIDI pitch `since` seconds into a note: glide, vibrato, detune."""
    origin = previous if previous is not None and rng.random() < 0.6 else target
    if rng.random() < 0.15:
        origin = target - rng.uniform(0.5, 2)  # a scoop
    glide = np.exp(-since / rng.uniform(0.01, 0.05))
    depth = rng.uniform(0, 0.5) * np.clip((since - 0.25) / 0.3, 0, 1)
    vibrato = depth * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * since)
    return target + (origin - target) * glide + vibrato + detune + 0.1 * rng.standard_normal()


def _bumps(pitch: np.ndarray, width: float, fifth: float) -> np.ndarray:
    """Chroma (len(pitch), 36): a bump at each pitch, a weaker one a fifth above."""
    bins = np.arange(36)[None]
    chroma = np.zeros((len(pitch), 36))
    for interval, weight in ((0, 1.0), (7, fifth)):
        distance = (bins - 3 * (pitch[:, None] + interval) + 18) % 36 - 18
        chroma = np.maximum(chroma, weight * np.exp(-0.5 * (distance / width) ** 2))
    return chroma


def _strike(scalars: np.ndarray, frame: int, strength: float) -> None:
    """An onset two frames wide."""
    frame = min(frame, len(scalars) - 1)
    scalars[frame, 1] = max(scalars[frame, 1], strength)
    if frame + 1 < len(scalars):
        scalars[frame + 1, 1] = max(scalars[frame + 1, 1], 0.6 * strength)
