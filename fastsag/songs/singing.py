"""What the singer sings in each section: themes that return, pickups, words, a last note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastsag.chords import Chord
from fastsag.songs.families import Family
from fastsag.songs.form import Section
from fastsag.songs.harmony import Bar
from fastsag.songs.lyrics import MELISMA, line, vocabulary
from fastsag.songs.melody import Note, Setting, contour, pitches, strengths
from fastsag.songs.rhythm import Beat, closing, phrase

_PATTERNS = {
    1: ("a",),
    2: ("ab", "aa"),
    3: ("aab",),
    4: ("aabc", "abac", "aaba", "abab", "aaab", "abcb"),
}
_CENTRES = {"verse": 0.4, "chorus": 0.6, "bridge": 0.52}  # of the range the song uses
_LIVELY = {"verse": 1.05, "chorus": 0.95, "bridge": 0.9}
_MELISMA_CHANCE = 0.05
_BREATH_SECONDS = 0.35
_TIED = 0.9  # beats of a note under another chord that make it count


@dataclass(frozen=True)
class _Phrase:
    """A phrase in place: its rhythm in beats of the section, its pitches, whether it is a motif."""

    beats: tuple[Beat, ...]
    pitches: tuple[int, ...]


@dataclass(frozen=True)
class _Voice:
    """What stays the same over a song. key: tonic and mode. low, high: MIDI used."""

    family: Family
    tempo: int
    key: tuple[int, str]
    low: int
    high: int

    def phrase_bars(self, section: Section) -> int:
        """Bars of a phrase: two, or four where bars are short and in the blues."""
        long_enough = 2 * self.family.beats_per_bar * 60 / self.tempo >= 2.9
        return 2 if long_enough and len(section.bars) != 12 else 4


def sung_notes(
    sections: Sequence[Section],
    family: Family,
    tempo: int,
    key: tuple[int, str],
    vocal_range: tuple[int, int],
    language: str,
    rng: np.random.Generator,
) -> list[Note]:
    """The melody over all sections, in beats of the even grid from the first downbeat."""
    low, high = vocal_range
    headroom = max(section.shift for section in sections)
    span = min(int(rng.integers(12, 18)), high - low - headroom)
    low = int(rng.integers(low, high - headroom - span + 1))
    voice = _Voice(family, tempo, key, low, low + span)
    words = vocabulary(language, rng)
    themes: dict[str, list[_Phrase]] = {}
    lines: dict[str, list[str]] = {}
    notes: list[Note] = []
    phrases: set[float] = set()
    start = 0.0
    for place, section in enumerate(sections):
        length = len(section.bars) * family.beats_per_bar
        if section.sung:
            following = sections[place + 1].bars[0][0]
            theme = _theme(section, themes.get(section.name), voice, following, rng)
            themes.setdefault(section.name, theme)
            placed = _placed(theme, start, section.shift)
            phrases |= {one.beats[0].start + start for one in theme if one.beats}
            known = lines.get(section.name, []) if section.name == "chorus" else []
            chosen = _words(placed, words, known, rng)
            lines[section.name] = chosen
            notes += [replace(note, lyric=word) for note, word in zip(placed, chosen, strict=True)]
        start += length
    return _tidied(notes, phrases, _BREATH_SECONDS * tempo / 60)


def _theme(
    section: Section,
    known: list[_Phrase] | None,
    voice: _Voice,
    following: Chord,
    rng: np.random.Generator,
) -> list[_Phrase]:
    """The phrases of a section: new, or those of its kind with an end or a detail changed."""
    if known is None:
        return _new_theme(section, voice, following, rng)
    theme = list(known)
    changed = {int(rng.integers(len(theme)))} if rng.random() < 0.3 else set()
    if section.last:
        changed.add(len(theme) - 1)
    harmony = _unshifted(section)
    for place in sorted(changed):
        last = section.last and place == len(theme) - 1
        beats = theme[place].beats
        if not beats:  # a phrase left to the band
            continue
        if last:
            beats = _closed(beats, voice, rng)
        before = theme[place - 1].pitches[-2:] if place and theme[place - 1].pitches else ()
        setting = _setting(
            beats, harmony, following.moved(-section.shift), section.name, voice,
            "closed" if last else "any", before, rng,
        )  # fmt: skip
        motif = theme[place].pitches
        theme[place] = _Phrase(beats, tuple(pitches(setting, motif, rng)))
    return theme


def _new_theme(
    section: Section, voice: _Voice, following: Chord, rng: np.random.Generator
) -> list[_Phrase]:
    """Phrases by a pattern such as "aaba": a letter brings back its rhythm and its motif."""
    count = max(1, len(section.bars) // voice.phrase_bars(section))
    pattern = _PATTERNS[count][rng.integers(len(_PATTERNS[count]))]
    lively = _LIVELY[section.name] * rng.uniform(0.8, 1.25)
    length = min(voice.phrase_bars(section), len(section.bars))
    rhythms: dict[str, tuple[Beat, ...]] = {}
    motifs: dict[str, tuple[int, ...]] = {}
    theme: list[_Phrase] = []
    silent = int(rng.integers(1, 3)) if count == 4 and rng.random() < 0.1 else None
    for place, letter in enumerate(pattern):
        if letter not in rhythms:
            rhythms[letter] = phrase(voice.family, length, voice.tempo, lively, rng)
        offset = place * length * voice.family.beats_per_bar
        beats = tuple(Beat(note.start + offset, note.end + offset) for note in rhythms[letter])
        last = place == count - 1
        if last and section.last:
            beats = _closed(beats, voice, rng)
        if place == silent:
            beats = ()
        before = next((p.pitches[-2:] for p in reversed(theme) if p.pitches), ())
        at_home = section.last or section.bars[-1][-1].root == voice.key[0]
        cadence = "closed" if last and at_home else "any"
        if not last and count > 1 and place == count // 2 - 1:
            cadence = "open"
        chosen: tuple[int, ...] = ()
        if beats:
            setting = _setting(
                beats, _unshifted(section), following.moved(-section.shift), section.name, voice,
                cadence, before, rng,
            )  # fmt: skip
            motif = _sequenced(motifs.get(letter), rng)
            chosen = tuple(pitches(setting, motif, rng))
            motifs.setdefault(letter, chosen)
        theme.append(_Phrase(beats, chosen))
    return theme


def _closed(beats: tuple[Beat, ...], voice: _Voice, rng: np.random.Generator) -> tuple[Beat, ...]:
    """Most last phrases of a song run into a long note on the ending's first beat."""
    if not beats or rng.random() < 0.3:
        return beats
    bar = voice.family.beats_per_bar
    end = int(np.ceil((beats[-1].end - 0.01) / bar))
    return closing(beats, end, voice.family)


def _setting(
    beats: Sequence[Beat],
    harmony: Sequence[Bar],
    following: Chord,
    name: str,
    voice: _Voice,
    cadence: str,
    before: tuple[int, ...],
    rng: np.random.Generator,
) -> Setting:
    bar = voice.family.beats_per_bar
    span = voice.high - voice.low
    centre = voice.low + span * _CENTRES[name]
    starts = [beats[0].start - 1.0, *(note.end for note in beats[:-1])]
    sounding = [_sounding(note, harmony, following, bar) for note in beats]
    return Setting(
        tonic=voice.key[0],
        mode=voice.key[1],
        chords=[chord for chord, _ in sounding],
        later=[later for _, later in sounding],
        strength=strengths(beats, bar),
        gaps=[note.start - end for note, end in zip(beats, starts, strict=True)],
        contour=contour(beats, centre, span * rng.uniform(0.35, 0.8), rng),
        low=voice.low,
        high=voice.high,
        cadence=cadence,
        before=before,
    )


def _sounding(
    note: Beat, harmony: Sequence[Bar], following: Chord, bar: int
) -> tuple[Chord, Chord | None]:
    """The chord that a note belongs to, and the one it is held into.

    A note that comes early belongs to the chord it anticipates.
    """

    def at(beat: float) -> Chord:
        whole, part = divmod(max(beat, 0.0), bar)
        if whole >= len(harmony):
            return following
        chords = harmony[int(whole)]
        return chords[int(part / bar * len(chords))]

    early = note.start % 1 > 0.3 and note.end - note.start > 0.6
    chord = at(note.start + 0.5) if early else at(note.start)
    held = at(note.end - 0.05)
    if held == chord or at(max(note.start, note.end - _TIED)) == chord:
        return chord, None
    return chord, held


def _unshifted(section: Section) -> list[Bar]:
    """The bars in the song's first key; a modulating melody is composed there, then moved."""
    return [tuple(chord.moved(-section.shift) for chord in bar) for bar in section.bars]


def _sequenced(motif: tuple[int, ...] | None, rng: np.random.Generator) -> tuple[int, ...] | None:
    """A motif as it was, or as a sequence a step or two lower or higher."""
    if motif is None or rng.random() < 0.65:
        return motif
    step = int(rng.choice([-3, -2, 2, 3]))
    return tuple(pitch + step for pitch in motif)


def _placed(theme: list[_Phrase], start: float, shift: int) -> list[Note]:
    return [
        Note(note.start + start, note.end + start, pitch + shift, "")
        for one in theme
        for note, pitch in zip(one.beats, one.pitches, strict=True)
    ]


def _words(
    notes: list[Note], words: list[list[str]], known: list[str], rng: np.random.Generator
) -> list[str]:
    """A syllable for each note: those known of the section, then new ones.

    Now and then one syllable goes on over the next note.
    """
    held = [False]
    for before, note in pairwise(notes):
        close = note.start - before.end < 0.05 and 0 < abs(note.pitch - before.pitch) <= 3
        held.append(close and not held[-1] and rng.random() < _MELISMA_CHANCE)
    held = held[len(known) :]
    syllables = iter(line(words, held.count(False), rng))
    fresh = [MELISMA if tied else next(syllables) for tied in held]
    return [*known, *fresh][: len(notes)]


def _tidied(notes: list[Note], phrases: set[float], breath: float) -> list[Note]:
    """In order from the first downbeat on, with small gaps; pickups give way to what sounds.

    Before a phrase (its first note's start is in `phrases`) is a rest of `breath` beats, if the
    note before is long enough.
    """
    kept: list[Note] = []
    for note in sorted(notes, key=lambda note: note.start):
        if note.start < 0:
            continue
        if kept and note.start < kept[-1].end - 1e-6:
            shorter = note.start - kept[-1].start
            if shorter < 0.45:
                continue
            kept[-1] = replace(kept[-1], end=note.start)
        kept.append(note)
    tidy = []
    for note, after in zip(kept, [*kept[1:], None], strict=True):
        legato = after is not None and after.lyric == MELISMA
        length = note.end - note.start
        gap = 0.0 if legato else min(0.1, 0.08 * length)
        if after is not None and after.start in phrases:
            rest = breath - (after.start - note.end)
            gap = max(gap, min(rest, 0.6 * length, length - 0.4 * breath))
        tidy.append(replace(note, end=note.end - gap))
    if tidy and tidy[0].lyric == MELISMA:
        tidy[0] = replace(tidy[0], lyric="ah")
    return tidy
