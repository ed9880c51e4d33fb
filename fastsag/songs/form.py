"""The form of a song: which sections, their bars of harmony, key and loudness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastsag.chords import QUALITIES, Chord
from fastsag.songs.families import Family
from fastsag.songs.harmony import (
    CLOSED,
    NEAREST,
    OPEN,
    Bar,
    bars,
    blues,
    loops,
    numeral,
)


@dataclass(frozen=True)
class Section:
    """A stretch of the song.

    name: intro, verse, chorus, bridge, solo or ending. bars: chords of each bar, in the song's
    key. shift: semitones of a change of key. level_db: loudness of the band. sung: by the singer.
    last: the last sung section.
    """

    name: str
    bars: tuple[Bar, ...]
    shift: int = 0
    level_db: float = 0.0
    sung: bool = False
    last: bool = False


_FORMS = {
    1: ("V",),
    2: ("VC", "VC", "CV", "VV"),
    3: ("VCC", "VVC", "CVC", "VBC", "VCV"),
    4: ("VCVC", "VCVC", "VVBV", "VCBC", "CVCC"),
    5: ("VCVCC", "VCVBC", "VVCVC", "CVCBC"),
    6: ("VCVCBC", "VVCVCC", "VCVCCC"),
}
_NAMES = {"V": "verse", "C": "chorus", "B": "bridge"}
_LEVELS_DB = {"intro": (-4, -0.5), "verse": (-4.5, -1.5), "chorus": (-0.5, 0.5),
              "bridge": (-4, 0), "solo": (-1.5, 0.5), "ending": (-2, 0.5)}  # fmt: skip
SECONDS = (24.0, 54.0)
_MODULATION, _SOLO = 0.14, 0.3  # chances


def make_form(
    family: Family,
    tempo: int,
    tonic: int,
    mode: str,
    rng: np.random.Generator,
    seconds: tuple[float, float] = SECONDS,
) -> tuple[Section, ...]:
    """Sections of a song that lasts about `seconds`, drawn evenly between the two."""
    bar_seconds = family.beats_per_bar * 60 / tempo
    twelve = family.style == "blues" and rng.random() < 0.6
    size = 12 if twelve else 8
    if not twelve and 8 * bar_seconds > 21:
        size = 4
    room = rng.uniform(*seconds) / bar_seconds
    least = 2 if size == 4 else 1
    count = max(least, round((room - 3) / size))
    form = "V" * count if twelve else _form(count, rng)
    harmony = {kind: _harmony(kind, size, twelve, family, mode, rng) for kind in sorted(set(form))}
    sections = _laid_out(form, harmony, mode, rng)
    sections = _framed(sections, room - size * count, family, mode, rng)
    sections = _modulated(sections, rng)
    return tuple(
        replace(
            section,
            bars=tuple(
                tuple(chord.moved(tonic + section.shift) for chord in bar) for bar in section.bars
            ),
            level_db=float(rng.uniform(*_LEVELS_DB[section.name])) + (0.8 if section.last else 0),
        )
        for section in sections
    )


def _form(count: int, rng: np.random.Generator) -> str:
    """Kinds of `count` sections; a long song is made of several short ones."""
    form = ""
    while len(form) < count:
        options = _FORMS[min(count - len(form), max(_FORMS))]
        form += options[rng.integers(len(options))]
    return form


def _harmony(
    kind: str, size: int, twelve: bool, family: Family, mode: str, rng: np.random.Generator
) -> list[Bar]:
    """Decorated bars of one kind of section in C."""
    if twelve:
        return blues(mode, rng)
    options = [loop for loop in loops(mode) if len(loop) <= size]
    loop = options[rng.integers(len(options))]
    if kind == "B" and NEAREST[mode] == "major":  # a bridge leaves the tonic
        away = [one for one in options if one[0][0].root != 0]
        loop = away[rng.integers(len(away))]
    chosen = [loop[bar % len(loop)] for bar in range(size)]
    chosen = _with_secondary_dominants(chosen, mode, rng)
    chosen = _with_stepwise_bass(chosen, rng)
    chosen = _with_borrowed_fourth(chosen, mode, rng)
    return _with_sevenths(chosen, family.sevenths, rng)


def _laid_out(
    form: str, harmony: dict[str, list[Bar]], mode: str, rng: np.random.Generator
) -> list[Section]:
    """The sung sections, their ends turned towards what follows; one kind ends one way."""
    twelve = len(next(iter(harmony.values()))) == 12
    turns = {kind: _ending_of(kind, form, mode, rng) for kind in sorted(set(form))}
    sections = []
    for place, kind in enumerate(form):
        last = place == len(form) - 1
        end = turns[kind]
        if last and rng.random() < 0.85:
            end = bars(CLOSED[mode][rng.integers(len(CLOSED[mode]))])
        chosen = list(harmony[kind])
        if end and not (twelve and not last):
            chosen[-2:] = end
        sections.append(Section(_NAMES[kind], tuple(chosen), sung=True, last=last))
    return sections


def _ending_of(kind: str, form: str, mode: str, rng: np.random.Generator) -> list[Bar] | None:
    """The last two bars of a kind of section: open before a chorus, closed, or as the loop has."""
    leads_on = kind != "C" and kind + "C" in form
    odds = [0.5, 0.0, 0.5] if leads_on else [0.2, 0.45, 0.35]
    choice = rng.choice(["open", "closed", "loop"], p=odds)
    if choice == "loop":
        return None
    table = OPEN if choice == "open" else CLOSED
    return bars(table[mode][rng.integers(len(table[mode]))])


def _framed(
    sections: list[Section], spare: float, family: Family, mode: str, rng: np.random.Generator
) -> list[Section]:
    """With an intro, perhaps a solo, and an ending on the tonic."""
    home = numeral("I" if NEAREST[mode] == "major" else "i")
    first = sections[0].bars
    intro = int(rng.choice([0, 2, 4], p=[0.25, 0.4, 0.35])) if spare > 2 else 0
    framed = list(sections)
    if len(sections) > 2 and rng.random() < _SOLO:
        place = int(rng.integers(1, len(sections)))
        framed.insert(place, Section("solo", sections[place].bars[:4]))
    if intro:
        lead = list(first[:intro])
        if rng.random() < 0.5:
            lead[-1] = (numeral({"natural minor": "bVII", "dorian": "bVII", "mixolydian": "bVII"}
                                .get(mode, "V7")),)  # fmt: skip
        framed.insert(0, Section("intro", tuple(lead)))
    tag = tuple(first[:2]) if rng.random() < 0.2 else ()
    ending = (*tag, (home,), (home,)) if family.meter == "6/8" else (*tag, (home,))
    return [*framed, Section("ending", ending)]


def _modulated(sections: list[Section], rng: np.random.Generator) -> list[Section]:
    """Now and then the last section and the ending a little higher, by the new key's dominant."""
    last = next(place for place, section in enumerate(sections) if section.last)
    if last < 2 or not sections[last - 1].sung or rng.random() >= _MODULATION:
        return sections
    shift = int(rng.choice([1, 2], p=[0.45, 0.55]))
    before = sections[last - 1]
    dominant = Chord((7 + shift) % 12, "7")
    turned = (*before.bars[:-1], (before.bars[-1][0], dominant))
    lower = [*sections[: last - 1], replace(before, bars=turned)]
    return [*lower, *(replace(section, shift=shift) for section in sections[last:])]


def _with_secondary_dominants(chosen: list[Bar], mode: str, rng: np.random.Generator) -> list[Bar]:
    """The dominant of the next bar's chord in the second half of some bars."""
    chosen = list(chosen)
    wanted = 0.1 if mode in ("major", "harmonic minor") else 0.0
    for index in range(len(chosen) - 1):
        target = chosen[index + 1][0]
        usual = target.root != 0 and target.quality in ("maj", "min", "min7", "maj7")
        if len(chosen[index]) == 1 and usual and rng.random() < wanted:
            dominant = Chord((target.root + 7) % 12, "7")
            if dominant.root != chosen[index][0].root:
                chosen[index] = (chosen[index][0], dominant)
    return chosen


def _with_stepwise_bass(chosen: list[Bar], rng: np.random.Generator) -> list[Bar]:
    """Some chords inverted so that the bass walks between its neighbours."""
    chosen = list(chosen)
    for index in range(1, len(chosen) - 1):
        before, here, after = chosen[index - 1][-1], chosen[index][0], chosen[index + 1][0]
        single = len(chosen[index]) == 1 and here.quality in ("maj", "min") and not here.bass
        if not single or rng.random() >= 0.3:
            continue
        for step in QUALITIES[here.quality][1:]:
            bass = (here.root + step) % 12
            moves = [(bass - before.root - before.bass) % 12, (after.root + after.bass - bass) % 12]
            if all(move in (1, 2) for move in moves) or all(move in (10, 11) for move in moves):
                chosen[index] = (replace(here, bass=step),)
    return chosen


def _with_borrowed_fourth(chosen: list[Bar], mode: str, rng: np.random.Generator) -> list[Bar]:
    """IV turns minor on its way to I in some major songs."""
    chosen = list(chosen)
    four, minor_four = numeral("IV"), numeral("iv")
    for index in range(len(chosen) - 1):
        turns = chosen[index] == (four,) and chosen[index + 1][0].root == 0
        if mode == "major" and turns and rng.random() < 0.15:
            chosen[index] = (four, minor_four)
    return chosen


def _with_sevenths(chosen: list[Bar], share: float, rng: np.random.Generator) -> list[Bar]:
    """Sevenths for a share of the chords, of the dominants first."""

    def coloured(chord: Chord) -> Chord:
        wish = rng.random()
        if chord.quality == "min" and wish < share:
            return replace(chord, quality="min7")
        if chord.quality == "maj" and chord.root == 7 and wish < 0.35 + share:
            return replace(chord, quality="9" if share > 0.5 and wish < 0.2 else "7")
        if chord.quality == "maj" and chord.root in (0, 5) and wish < share - 0.1:
            return replace(chord, quality="maj6" if wish < 0.2 * share else "maj7")
        return chord

    return [tuple(coloured(chord) for chord in bar) for bar in chosen]
