"""Rhythms of sung phrases, built from cells of one bar.

A cell is written in grid steps (eighths) as durations; "r" is a rest: "3 1 r2 2".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastsag.songs.families import Family


@dataclass(frozen=True)
class Beat:
    """A note of a rhythm: start and end in beats from the phrase's first bar line."""

    start: float
    end: float


_CELLS = {
    "4/4": "4 4|2 2 4|2 2 2 2|3 1 4|3 3 2|2 1 1 4|1 1 2 4|4 2 2|6 2|3 1 2 2|2 2 3 1|1 1 2 2 2|"
    "2 1 1 2 2|1 1 1 1 4|3 1 3 1|2 2 1 1 2|1 2 1 4|1 2 2 2 1|r2 2 2 2|r1 1 1 1 2 2|r1 1 2 4|"
    "r1 1 1 1 4|r2 2 4|1 1 1 1 2 2|2 1 1 1 1 2|1 1 1 1 1 1 2|3 3 1 1|r1 1 1 1 1 1 2|4 r1 1 2|8",
    "3/4": "4 2|2 2 2|6|3 1 2|2 4|2 1 1 2|2 2 1 1|r2 2 2|1 1 2 2|3 3|4 1 1|1 1 1 1 2|3 2 1|"
    "r2 1 1 2",
    "6/8": "3 3|2 1 3|2 1 2 1|1 1 1 3|3 2 1|6|1 1 1 2 1|3 1 1 1|2 1 1 1 1|1 1 1 1 1 1|5 1",
}
_ENDINGS = {
    "4/4": "6 r2|4 r4|2 2 r4|2 4 r2|1 1 4 r2|3 1 2 r2|5 r3|2 2 2 r2|1 1 2 r4|2 1 1 r4|7 r1|3 r5|"
    "1 3 r4|2 1 3 r2",
    "3/4": "4 r2|3 r3|2 2 r2|5 r1|2 r4|2 3 r1|1 1 2 r2",
    "6/8": "3 r3|5 r1|2 1 r3|4 r2|2 1 2 r1|1 1 1 r3",
}
_PICKUPS = {"4/4": "1|1 1|2|1 1 1|2 2", "3/4": "2|1 1|1", "6/8": "1|2 1|1|3"}
_BREATH_SECONDS = 0.4
_SHORTEST_SECONDS = 0.17  # of a note that has a syllable of its own
_STEPS_PER_BEAT = {"4/4": 2, "3/4": 2, "6/8": 3}
_FINAL_NOTE = 0.92  # of the last bar that the last note holds


def phrase(
    family: Family, count: int, tempo: int, lively: float, rng: np.random.Generator
) -> tuple[Beat, ...]:
    """A phrase of `count` bars: cells, an ending with room to breathe, perhaps a pickup.

    lively: factor on the family's notes a second.
    """
    bar_seconds = family.beats_per_bar * 60 / tempo
    wanted = family.density * lively * bar_seconds
    quick = _eighth_seconds(family, tempo) < _SHORTEST_SECONDS
    first = _draw(_CELLS[family.meter], wanted, quick, rng)
    cells = []
    for bar in range(count - 1):
        again = bar > 0 and rng.random() < 0.45  # a basic idea comes back within the phrase
        cells.append(first if again else _draw(_CELLS[family.meter], wanted, quick, rng))
    if cells:
        cells[0] = first
    cells.append(_draw(_ENDINGS[family.meter], 0.7 * wanted, quick, rng))
    notes = _notes(" ".join(cells), family)
    if not quick:
        notes = _anticipated(notes, family, rng)
    if tempo <= 84 and family.meter != "6/8":
        notes = _divided(notes, rng)
    notes[-1] = _with_breath(notes[-1], count * family.beats_per_bar, tempo)
    if rng.random() < 0.4:
        notes = [*_pickup(family, quick, rng), *notes]
    return tuple(notes)


def closing(notes: tuple[Beat, ...], count: int, family: Family) -> tuple[Beat, ...]:
    """A phrase that runs into a long note on the bar line after it."""
    end = float(count * family.beats_per_bar)
    kept = [note for note in notes if note.start < end - 0.3]
    kept[-1] = Beat(kept[-1].start, min(end, kept[-1].start + family.beats_per_bar / 2))
    return (*kept, Beat(end, end + family.beats_per_bar * _FINAL_NOTE))


def swung(beat: float, share: float) -> float:
    """A position on the even grid -> on a grid whose first eighth takes `share` of the beat."""
    whole, part = divmod(beat, 1)
    if part <= 0.5:
        return whole + part * 2 * share
    return whole + share + (part - 0.5) * 2 * (1 - share)


def _with_breath(note: Beat, end: int, tempo: int) -> Beat:
    """The last note of a phrase stops in time to breathe before `end`."""
    latest = end - _BREATH_SECONDS * tempo / 60
    return Beat(note.start, max(note.start + 0.5, min(note.end, latest)))


def _eighth_seconds(family: Family, tempo: int) -> float:
    """The shorter of two eighths."""
    return 60 / tempo * (1 / 3 if family.meter == "6/8" else 1 - family.swing)


def _draw(cells: str, wanted: float, quick: bool, rng: np.random.Generator) -> str:
    """A cell with about `wanted` notes; hardly one with eighths where these are too quick."""
    options = cells.split("|")
    counts = np.array([sum(not part.startswith("r") for part in cell.split()) for cell in options])
    weights = np.exp(-(((counts - wanted) / 1.1) ** 2)) + 1e-6
    if quick:
        weights *= [1e-4 if "1" in cell.split() else 1 for cell in options]
    return options[rng.choice(len(options), p=weights / weights.sum())]


def _notes(steps: str, family: Family) -> list[Beat]:
    per_beat = _STEPS_PER_BEAT[family.meter]
    notes, position = [], 0
    for step in steps.split():
        length = int(step.removeprefix("r"))
        if not step.startswith("r"):
            notes.append(Beat(position / per_beat, (position + length) / per_beat))
        position += length
    return notes


def _pickup(family: Family, quick: bool, rng: np.random.Generator) -> list[Beat]:
    options = [one for one in _PICKUPS[family.meter].split("|") if not quick or "1" not in one]
    notes = _notes(options[rng.integers(len(options))], family)
    length = notes[-1].end
    return [Beat(note.start - length, note.end - length) for note in notes]


def _anticipated(notes: list[Beat], family: Family, rng: np.random.Generator) -> list[Beat]:
    """Some strong notes an eighth early, tied over the beat."""
    if family.meter == "6/8":
        return notes
    notes = list(notes)
    for index in range(1, len(notes)):
        before, note = notes[index - 1], notes[index]
        strong = note.start % family.beats_per_bar in (0, 2)
        room = before.end - before.start >= 1 and before.end == note.start
        if strong and room and note.end - note.start >= 1 and rng.random() < family.syncopation:
            notes[index - 1] = Beat(before.start, note.start - 0.5)
            notes[index] = Beat(note.start - 0.5, note.end)
    return notes


def _divided(notes: list[Beat], rng: np.random.Generator) -> list[Beat]:
    """Sixteenths here and there in slow songs."""
    divided = []
    for note in notes:
        length = note.end - note.start
        if length == 1 and note.start % 1 == 0 and rng.random() < 0.2:
            cut = note.start + rng.choice([0.5, 0.75])
            divided += [Beat(note.start, cut), Beat(cut, note.end)]
        else:
            divided.append(note)
    return divided
