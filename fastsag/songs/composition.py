"""Composition: a form of chord loops and a sung melody, as a score with ground truth.

Composing takes milliseconds, so that thousands of scores can train the planner without audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsag.chords import CHORDS, PITCH_CLASSES, chord_index
from fastsag.lead_sheet import STYLES
from fastsag.songs.harmony import random_key, random_loop
from fastsag.songs.melody import Note, melody

LEAD_SECONDS = 0.3  # silence before the first downbeat
TAIL_SECONDS = 1.5  # for the last chord to ring
_RANGES = ((41, 60), (46, 65), (50, 69), (55, 74), (60, 79))  # MIDI: bass to soprano
_TEMPI = {
    "ballad": (60, 92),
    "bossa": (96, 150),
    "blues": (70, 132),
    "folk": (76, 136),
    "waltz": (84, 160),
    "dance": (104, 150),
    "funk": (84, 120),
    "swing": (96, 176),
    "latin": (88, 150),
}
_ANY_TEMPO = (72, 144)
_SHORTEST_SECONDS, _LONGEST_SECONDS = 22.0, 46.0


@dataclass(frozen=True)
class Score:
    """A composed song.

    Attributes:
        tonic, mode: the key. beats_per_bar: 3 or 4. tempo: whole BPM (mma drops fractions).
        style: one of `STYLES`. chords: index in `CHORDS` for each bar. notes: the sung melody,
        in beats from the first downbeat. sung_from: bar in which the voice enters.
    """

    tonic: int
    mode: str
    beats_per_bar: int
    tempo: int
    style: str
    chords: tuple[int, ...]
    notes: tuple[Note, ...]
    sung_from: int
    vocal_range: tuple[int, int]

    @property
    def beat_seconds(self) -> float:
        return 60.0 / self.tempo

    @property
    def end_seconds(self) -> float:
        """End of the last bar."""
        return LEAD_SECONDS + len(self.chords) * self.beats_per_bar * self.beat_seconds

    @property
    def duration(self) -> float:
        """Length of the recording in seconds."""
        return self.end_seconds + TAIL_SECONDS

    def seconds(self, beat: float) -> float:
        """Time of a beat position."""
        return LEAD_SECONDS + beat * self.beat_seconds

    def record(self) -> dict[str, Any]:
        """The ground truth in the form of a training record's JSON."""
        beats = range(len(self.chords) * self.beats_per_bar + 1)
        bars = range(0, len(self.chords) * self.beats_per_bar, self.beats_per_bar)
        return {
            "song": f"{PITCH_CLASSES[self.tonic]}-{self.mode}-{self.tempo}",
            "duration": round(self.duration, 6),
            "key": f"{PITCH_CLASSES[self.tonic]} {self.mode}",
            "tempo": float(self.tempo),
            "beats_per_bar": self.beats_per_bar,
            "beats": [round(self.seconds(beat), 6) for beat in beats],
            "downbeats": [round(self.seconds(beat), 6) for beat in bars],
            "chords": [
                {
                    "start": round(self.seconds(start), 6),
                    "end": round(self.seconds(start + self.beats_per_bar), 6),
                    "label": CHORDS[chord],
                }
                for start, chord in zip(bars, self.chords, strict=True)
            ],
            "notes": [
                {
                    "start": round(self.seconds(note.start), 6),
                    "end": round(self.seconds(note.end), 6),
                    "pitch": note.pitch,
                    "lyric": note.lyric,
                }
                for note in self.notes
            ],
            "style": self.style,
        }


def compose(rng: np.random.Generator, style: str | None = None) -> Score:
    """A new song; `style` None draws one. The waltz is the style in three-time."""
    style = style or STYLES[rng.integers(len(STYLES))]
    beats_per_bar = 3 if style == "waltz" else 4
    low, high = _TEMPI.get(style, _ANY_TEMPO)
    tempo = int(rng.integers(low, high + 1))
    tonic, mode = random_key(rng)
    bar_seconds = beats_per_bar * 60 / tempo
    intro = int(rng.choice([0, 0, 1, 2, 2, 4]))
    room = _LONGEST_SECONDS / bar_seconds - intro - 1
    sections = int(np.clip(room // 8, 1, 3))
    while sections < 4 and (intro + 8 * sections) * bar_seconds < _SHORTEST_SECONDS:
        sections += 1
    loops = [random_loop(mode, rng) for _ in range(2)]
    sung = _harmony(loops, sections, tonic)
    # An ending on the tonic; the intro borrows the first loop.
    home = _chord(tonic, (0, "min" if mode == "minor" else "maj"))
    before = [_chord(tonic, loops[0][bar % len(loops[0])]) for bar in range(intro)]
    chords = (*before, *sung, home)
    vocal_range = _RANGES[rng.integers(len(_RANGES))]
    notes = melody(chords, intro, tonic, mode, beats_per_bar, vocal_range, tempo, rng)
    return Score(tonic, mode, beats_per_bar, tempo, style, chords, tuple(notes), intro, vocal_range)


def _harmony(loops: list[list[tuple[int, str]]], sections: int, tonic: int) -> list[int]:
    """Verse, chorus, verse ...: eight bars each, alternating the loops."""
    return [
        _chord(tonic, loops[section % 2][bar % len(loops[section % 2])])
        for section in range(sections)
        for bar in range(8)
    ]


def _chord(tonic: int, numeral: tuple[int, str]) -> int:
    step, quality = numeral
    return chord_index(f"{PITCH_CLASSES[(tonic + step) % 12]}:{quality}")
