"""What is known of a song: its annotation, or an estimate from a recording.

A truth has the keys of a training record: key, beats, downbeats, beats_per_bar, chords, notes. An
estimate has `estimated_from`; what a source cannot tell is left empty, and measures that need it
are not given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from fastsag.errors import UserError, require
from fastsag.evaluation.chroma import SAMPLE_RATE, harmonic_chroma
from fastsag.evaluation.harmony import estimate_chords, estimate_key
from fastsag.evaluation.rhythm import onset_strength, track_beats

Source = Literal["annotation", "band", "mix", "voice"]
SOURCES: tuple[str, ...] = get_args(Source)
NEEDED = ("key", "beats", "downbeats", "beats_per_bar", "chords", "notes")
_PITCH_HOP = 512
_PITCH_HZ = (65.0, 1_000.0)
_SHORTEST_NOTE_SECONDS = 0.1


def read(path: Path) -> dict[str, Any]:
    """An annotation, KEY.truth.json.

    Raises:
        UserError: unreadable, or a key is missing.
    """
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in NEEDED if name not in truth]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); write it again") from None
    if missing:
        raise UserError(
            f"{path}: has no {', '.join(missing)}; delete it, and truth is estimated "
            "(--truth band or voice)"
        )
    return truth


def estimate(source: Source, voice: np.ndarray, band: np.ndarray | None) -> dict[str, Any]:
    """Truth from sound alone.

    Args:
        source: "band" (the reference accompaniment), "mix" (it and the voice) or "voice".
        voice, band: (N,) at 22,050 Hz; the band is not used for "voice".

    Returns:
        Beats and key from the source; chords from band or mix (none from a voice); notes from the
        voice. Bars are not estimated: every beat is a downbeat's equal.

    Raises:
        UserError: no band where one is needed.
    """
    if source == "voice":
        heard = voice
    elif band is None:
        raise UserError(f"truth from the {source} needs the song's own accompaniment")
    else:
        count = min(len(voice), len(band))
        heard = band if source == "band" else band[:count] + voice[:count]
    beats = track_beats(onset_strength(heard))
    chroma, times = harmonic_chroma(heard)
    return {
        "estimated_from": source,
        "key": estimate_key(chroma),
        "beats": beats.tolist(),
        "downbeats": beats[:1].tolist() or [0.0],
        "beats_per_bar": 4,
        "chords": [] if source == "voice" else estimate_chords(chroma, times, beats),
        "notes": sung_notes(voice),
        "duration": len(heard) / SAMPLE_RATE,
    }


def sung_notes(voice: np.ndarray) -> list[dict[str, Any]]:
    """Notes of a voice (N,) at 22,050 Hz: {"start", "end", "pitch"}, by pYIN, rounded to semitones.

    A note lasts while the rounded pitch stays; shorter ones than 0.1 s are passed over.
    """
    librosa = require("librosa", extra="eval")
    hz, voiced, _ = librosa.pyin(
        voice,
        fmin=_PITCH_HZ[0],
        fmax=_PITCH_HZ[1],
        sr=SAMPLE_RATE,
        hop_length=_PITCH_HOP,
        resolution=0.25,
    )
    pitch = np.where(voiced, np.round(69 + 12 * np.log2(np.where(voiced, hz, 440.0) / 440)), -1)
    edges = np.flatnonzero(np.diff(pitch, prepend=-2, append=-2))
    seconds = _PITCH_HOP / SAMPLE_RATE
    return [
        {"start": start * seconds, "end": end * seconds, "pitch": int(pitch[start])}
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist())
        if pitch[start] >= 0 and (end - start) * seconds >= _SHORTEST_NOTE_SECONDS
    ]


def keys(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys of a song within its span, one after the other: {"start", "end", "key"}.

    A truth that tells none but the first key stays in it.
    """
    start, end = span(truth)
    told = truth.get("keys") or [{"start": start, "end": end, "key": truth["key"]}]
    return [
        {**part, "start": max(part["start"], start), "end": min(part["end"], end)} for part in told
    ]


def span(truth: dict[str, Any]) -> tuple[float, float]:
    """From the first downbeat to the end of the last chord, or of the recording."""
    ends = [chord["end"] for chord in truth["chords"]] or [truth.get("duration", np.inf)]
    return truth["downbeats"][0], ends[-1]
