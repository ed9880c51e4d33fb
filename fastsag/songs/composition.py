"""Composition: form, harmony and a sung melody, as a score with ground truth.

Composing takes milliseconds, so that thousands of scores can train the planner without audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from fastsag.chords import PITCH_CLASSES, Chord
from fastsag.songs.families import BY_NAME, FAMILIES, Family
from fastsag.songs.form import SECONDS, Section, make_form
from fastsag.songs.harmony import NEAREST, random_mode
from fastsag.songs.lyrics import random_language
from fastsag.songs.melody import Note
from fastsag.songs.rhythm import swung
from fastsag.songs.singing import sung_notes

LEAD_SECONDS = 0.3  # silence before the first downbeat
TAIL_SECONDS = 1.5  # for the last chord to ring
# Lowest and highest MIDI note by kind of voice.
RANGES = {
    "bass": (40, 59),
    "baritone": (43, 62),
    "tenor": (48, 67),
    "alto": (53, 72),
    "mezzo-soprano": (57, 76),
    "soprano": (60, 80),
}
_VOICE_ODDS = (0.1, 0.2, 0.22, 0.2, 0.18, 0.1)
FREE_TEMPO, _RITARDANDO = 0.12, 0.3  # chances


@dataclass(frozen=True)
class Span:
    """A chord over start..end in beats; a new one starts at every bar line."""

    start: float
    end: float
    chord: Chord


@dataclass(frozen=True)
class Score:
    """A composed song.

    Attributes:
        tonic, mode: the key; mode is one of `harmony.SCALES`.
        family: name of a family. tempo: whole BPM, of dotted quarters in 6/8.
        sections: the form. notes: the sung melody in beats from the first downbeat.
        beat_times: seconds of every beat; they wander in songs of free tempo.
        vocal_range: MIDI. voice: kind of voice of `RANGES`. language: of the words.
        free_tempo: the tempo wanders.
    """

    tonic: int
    mode: str
    family: str
    tempo: int
    sections: tuple[Section, ...]
    notes: tuple[Note, ...]
    beat_times: tuple[float, ...]
    vocal_range: tuple[int, int]
    voice: str
    language: str
    free_tempo: bool

    @property
    def style(self) -> str:
        """One of `lead_sheet.STYLES`."""
        return BY_NAME[self.family].style

    @property
    def meter(self) -> str:
        return BY_NAME[self.family].meter

    @property
    def beats_per_bar(self) -> int:
        """Beats of a written bar: 4, 3, or two dotted quarters in 6/8."""
        return BY_NAME[self.family].beats_per_bar

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """All chords in order."""
        return tuple(spans(self.sections, self.beats_per_bar))

    @property
    def bar_count(self) -> int:
        return sum(len(section.bars) for section in self.sections)

    @property
    def end_seconds(self) -> float:
        """End of the last bar."""
        return self.beat_times[-1]

    @property
    def duration(self) -> float:
        """Length of the recording in seconds."""
        return self.end_seconds + TAIL_SECONDS

    def seconds(self, beat: float) -> float:
        """Time of a beat position."""
        step = self.beat_times[-1] - self.beat_times[-2]
        if beat > len(self.beat_times) - 1:
            return self.beat_times[-1] + (beat - len(self.beat_times) + 1) * step
        if beat < 0:
            return self.beat_times[0] + beat * (self.beat_times[1] - self.beat_times[0])
        return float(np.interp(beat, np.arange(len(self.beat_times)), self.beat_times))

    def record(self) -> dict[str, Any]:
        """The ground truth in the form of a training record's JSON.

        The readers of records know bars of three and four beats: two written bars of 6/8 count as
        one of four dotted quarters in `beats_per_bar` and `downbeats`; `barlines` has each.
        """
        count, written = len(self.beat_times) - 1, self.beats_per_bar
        bar = 4 if self.meter == "6/8" else written
        return {
            "song": f"{PITCH_CLASSES[self.tonic]}-{self.mode}-{self.tempo}".replace(" ", "-"),
            "duration": _rounded(self.duration),
            "key": f"{PITCH_CLASSES[self.tonic]} {NEAREST[self.mode]}",
            "mode": self.mode,
            "keys": self._keys(),
            "tempo": round(60 / float(np.median(np.diff(self.beat_times))), 3),
            "free_tempo": self.free_tempo,
            "meter": self.meter,
            "beats_per_bar": bar,
            "beats": [_rounded(time) for time in self.beat_times],
            "downbeats": [_rounded(self.beat_times[beat]) for beat in range(0, count, bar)],
            "barlines": [_rounded(self.beat_times[beat]) for beat in range(0, count, written)],
            "chords": [
                {
                    "start": _rounded(self.seconds(span.start)),
                    "end": _rounded(self.seconds(span.end)),
                    "label": span.chord.triad,
                    "harte": span.chord.harte,
                }
                for span in self.spans
            ],
            "notes": [
                {
                    "start": _rounded(self.seconds(note.start)),
                    "end": _rounded(self.seconds(note.end)),
                    "pitch": note.pitch,
                    "lyric": note.lyric,
                }
                for note in self.notes
            ],
            "sections": self._sections(),
            "style": self.style,
            "family": self.family,
            "language": self.language,
            "voice_type": self.voice,
        }

    def section_starts(self) -> list[int]:
        """First beat of each section."""
        lengths = [len(section.bars) * self.beats_per_bar for section in self.sections]
        return [0, *np.cumsum(lengths)[:-1].tolist()]

    def _sections(self) -> list[dict[str, Any]]:
        starts = [*self.section_starts(), len(self.beat_times) - 1]
        return [
            {
                "start": _rounded(self.seconds(start)),
                "end": _rounded(self.seconds(end)),
                "name": section.name,
            }
            for (start, end), section in zip(pairwise(starts), self.sections, strict=True)
        ]

    def _keys(self) -> list[dict[str, Any]]:
        """Stretches of one key."""
        starts = self.section_starts()
        keys: list[dict[str, Any]] = []
        for start, section in zip(starts, self.sections, strict=True):
            tonic = PITCH_CLASSES[(self.tonic + section.shift) % 12]
            if not keys or keys[-1]["tonic"] != tonic:
                key = f"{tonic} {NEAREST[self.mode]}"
                keys.append({"start": _rounded(self.seconds(start)), "tonic": tonic, "key": key})
        ends = [*(key["start"] for key in keys[1:]), _rounded(self.end_seconds)]
        return [
            {"start": key["start"], "end": end, "key": key["key"]}
            for key, end in zip(keys, ends, strict=True)
        ]


def compose(
    rng: np.random.Generator,
    style: str | None = None,
    family: str | None = None,
    seconds: tuple[float, float] = SECONDS,
) -> Score:
    """A new song of about `seconds`; of a style of the lead sheet, of one family, or of any."""
    kind = _choose_family(rng, style, family)
    tempo = int(rng.integers(kind.tempo[0], kind.tempo[1] + 1))
    tonic, mode = int(rng.integers(12)), random_mode(kind.minor, rng)
    if kind.style == "blues":
        mode = "harmonic minor" if NEAREST[mode] == "minor" else "major"
    sections = make_form(kind, tempo, tonic, mode, rng, seconds)
    voice = str(rng.choice(list(RANGES), p=_VOICE_ODDS))
    language = random_language(rng)
    notes = sung_notes(sections, kind, tempo, (tonic, mode), RANGES[voice], language, rng)
    count = sum(len(section.bars) for section in sections) * kind.beats_per_bar
    free = rng.random() < FREE_TEMPO
    times = _beat_times(count, tempo, kind.beats_per_bar, free, rng)
    notes = [
        Note(swung(note.start, kind.swing), swung(note.end, kind.swing), note.pitch, note.lyric)
        for note in notes
    ]
    return Score(
        tonic, mode, kind.name, tempo, sections, tuple(notes), times, RANGES[voice], voice,
        language, bool(free),
    )  # fmt: skip


def _choose_family(rng: np.random.Generator, style: str | None, family: str | None) -> Family:
    if family is not None:
        return BY_NAME[family]
    options = [one for one in FAMILIES if style in (None, one.style)]
    if not options:
        raise ValueError(f"no family of the style {style!r}")
    return options[rng.integers(len(options))]


def spans(sections: Sequence[Section], beats_per_bar: int) -> list[Span]:
    """Chords of the sections in beats."""
    found = []
    start = 0.0
    for section in sections:
        for bar in section.bars:
            step = beats_per_bar / len(bar)
            for place, chord in enumerate(bar):
                found.append(Span(start + place * step, start + (place + 1) * step, chord))
            start += beats_per_bar
    return found


def _beat_times(
    count: int, tempo: int, beats_per_bar: int, free: bool, rng: np.random.Generator
) -> tuple[float, ...]:
    """Seconds of beats 0..count: steady or wandering, perhaps slower at the end."""
    steps = np.full(count, 60 / tempo)
    if free:
        knots = np.cumsum(rng.standard_normal(max(3, count // 12)))
        knots -= knots.mean()
        wander = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(knots)), knots)
        steps *= 1 + rng.uniform(0.02, 0.06) * wander / max(np.abs(wander).max(), 1e-9)
    if rng.random() < _RITARDANDO:
        length = 2 * beats_per_bar
        steps[-length:] *= 1 + rng.uniform(0.08, 0.3) * np.linspace(0, 1, length) ** 1.5
    times = LEAD_SECONDS + np.concatenate([[0], np.cumsum(steps)])
    return tuple(float(time) for time in times)


def _rounded(seconds: float) -> float:
    return round(seconds, 6)
