"""Melodies: phrases with motifs, rests and pickups that lean on the chords."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastsag.chords import chord_tones
from fastsag.songs.harmony import scale_over

SYLLABLES = (  # noqa: SIM905 - one word a line would fill a page
    "la da na ma no oh love night day you me sun rain home time go know see way heart sky fall"
    " run light long blue road dream song more low near gone down wind moon new line rose man"
    " one may river sea boy girl lonely over away alone all I'm we're"
).split()


@dataclass(frozen=True)
class Note:
    """A sung note: start and end in beats from the first downbeat, MIDI pitch, syllable."""

    start: float
    end: float
    pitch: int
    lyric: str


@dataclass(frozen=True)
class _Motif:
    """A phrase without pitch: onsets and ends in beats, and steps of the scale between notes."""

    onsets: tuple[float, ...]
    ends: tuple[float, ...]
    steps: tuple[int, ...]


def melody(
    chords: tuple[int, ...],
    first_bar: int,
    tonic: int,
    mode: str,
    beats_per_bar: int,
    vocal_range: tuple[int, int],
    tempo: int,
    rng: np.random.Generator,
) -> list[Note]:
    """A melody over `chords` (one a bar) from `first_bar` on, ending on the tonic's triad.

    Sections of eight bars are four phrases of two bars (A A' B A or A B A B); motifs come back
    in later sections.
    """
    density = rng.uniform(0.35, 0.8) * np.clip(110 / tempo, 0.6, 1.3)
    words = _words(rng)
    motifs = {name: _motif(beats_per_bar, density, rng) for name in "ABCD"}
    notes: list[Note] = []
    pitch = int(np.mean(vocal_range))
    last_bar = len(chords) - 1
    for phrase, bar in enumerate(range(first_bar, last_bar, 2)):
        section = phrase // 4
        name = ("AABA", "CDCD", "AABA")[section % 3][phrase % 4]
        motif = motifs[name]
        if rng.random() < 0.3:
            motif = replace(motif, steps=_vary(motif.steps, rng))
        for note in _place(motif, bar, chords, tonic, mode, beats_per_bar, vocal_range, pitch, rng):
            notes.append(replace(note, lyric=words[rng.integers(len(words))]))
        if notes:
            pitch = notes[-1].pitch
    notes = [note for note in notes if note.end <= last_bar * beats_per_bar]
    home = _nearest(pitch, {tonic}, vocal_range)
    start = float(last_bar * beats_per_bar)
    notes.append(Note(start, start + beats_per_bar * 0.9, home, words[0]))
    return _without_overlaps(notes)


def _words(rng: np.random.Generator) -> list[str]:
    """The syllables of one song: humming, "la la", or words."""
    kind = rng.random()
    if kind < 0.1:
        return ["mm"]
    if kind < 0.3:
        return [("la", "da", "na", "oh")[rng.integers(4)]]
    return [str(word) for word in rng.choice(SYLLABLES, size=10, replace=False)]


def _motif(beats_per_bar: int, density: float, rng: np.random.Generator) -> _Motif:
    """Rhythm of a two-bar phrase on an eighth-note grid, with a rest at its end."""
    length = 2 * beats_per_bar
    stop = length - rng.choice([0.5, 1.0, 1.0, 1.5, 2.0])
    first = rng.choice([0.0, 0.0, 0.0, 0.5, 1.0, -0.5, -1.0])
    onsets = [first]
    for slot in np.arange(first + 0.5, stop - 0.4, 0.5):
        strong = slot % beats_per_bar == 0
        chance = 0.9 if strong else (0.95 if slot % 1 == 0 else 0.55) * density
        if rng.random() < chance:
            onsets.append(float(slot))
    ends = [*onsets[1:], stop]
    gaps = [end - min(0.15, 0.12 * (end - start)) for start, end in zip(onsets, ends, strict=True)]
    steps = tuple(int(step) for step in _random_steps(len(onsets), rng))
    return _Motif(tuple(float(onset) for onset in onsets), tuple(gaps), steps)


def _random_steps(count: int, rng: np.random.Generator) -> np.ndarray:
    """Scale steps between notes: mostly seconds, some repeats, few leaps."""
    return rng.choice([-4, -3, -2, -1, 0, 1, 2, 3, 4], size=count, p=_STEP_ODDS)


_STEP_ODDS = np.array([0.02, 0.04, 0.11, 0.24, 0.16, 0.24, 0.12, 0.04, 0.03])
_STEP_ODDS = _STEP_ODDS / _STEP_ODDS.sum()


def _vary(steps: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """The same steps with one or two changed."""
    changed = list(steps)
    for index in rng.integers(len(steps), size=2):
        changed[index] = int(_random_steps(1, rng)[0])
    return tuple(changed)


def _place(
    motif: _Motif,
    bar: int,
    chords: tuple[int, ...],
    tonic: int,
    mode: str,
    beats_per_bar: int,
    vocal_range: tuple[int, int],
    pitch: int,
    rng: np.random.Generator,
) -> list[Note]:
    """A motif sung over the chords from `bar` on, starting near `pitch`."""
    notes = []
    middle = np.mean(vocal_range)
    for onset, end, step in zip(motif.onsets, motif.ends, motif.steps, strict=True):
        start = bar * beats_per_bar + onset
        if start < 0:
            continue
        chord = chords[min(int(start // beats_per_bar), len(chords) - 1)]
        tones = chord_tones(chord)
        ladder = _ladder(scale_over(tonic, mode, tones), vocal_range)
        position = int(np.abs(ladder - pitch).argmin()) + step
        # Pull back towards the middle of the range.
        if abs(pitch - middle) > 6 and np.sign(step) == np.sign(pitch - middle):
            position -= 2 * step
        pitch = int(ladder[np.clip(position, 0, len(ladder) - 1)])
        on_beat = start % 1 == 0
        strong = start % beats_per_bar in (0, 2) and on_beat and beats_per_bar == 4
        strong = strong or start % beats_per_bar == 0 or end - onset >= 1.5
        if rng.random() < (0.92 if strong else 0.45 if on_beat else 0.2):
            pitch = _nearest(pitch, set(tones), vocal_range)
        notes.append(Note(start, bar * beats_per_bar + end, pitch, ""))
    return notes


def _ladder(pitch_classes: list[int], vocal_range: tuple[int, int]) -> np.ndarray:
    """MIDI pitches of the scale within a range."""
    pitches = np.arange(vocal_range[0], vocal_range[1] + 1)
    return pitches[np.isin(pitches % 12, pitch_classes)]


def _nearest(pitch: int, pitch_classes: set[int], vocal_range: tuple[int, int]) -> int:
    """The pitch of one of `pitch_classes` nearest to `pitch`, in range."""
    ladder = _ladder(sorted(pitch_classes), vocal_range)
    return int(ladder[np.abs(ladder - pitch).argmin()])


def _without_overlaps(notes: list[Note]) -> list[Note]:
    """Notes in order; a pickup shortens the note before it."""
    notes = sorted(notes, key=lambda note: note.start)
    kept: list[Note] = []
    for note in notes:
        if kept and kept[-1].end > note.start:
            kept[-1] = replace(kept[-1], end=note.start)
            if kept[-1].end - kept[-1].start < 0.2:
                kept.pop()
        kept.append(note)
    return kept
