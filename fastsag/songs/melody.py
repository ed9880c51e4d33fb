"""Melodies: the pitches of a phrase by dynamic programming over what singers and ears accept.

Chord tones on strong beats, other notes only where they come and go by step (passing notes,
neighbours, suspensions), leading tones that resolve, leaps that turn back, a contour, a cadence,
and likeness to an earlier phrase where a motif returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastsag.chords import Chord
from fastsag.songs.harmony import NEAREST, scale_over
from fastsag.songs.rhythm import Beat


@dataclass(frozen=True)
class Note:
    """A sung note: start and end in beats from the first downbeat, MIDI pitch, syllable."""

    start: float
    end: float
    pitch: int
    lyric: str


@dataclass(frozen=True)
class Setting:
    """What the pitches of a phrase are chosen under.

    tonic, mode: the key. Of each note: chords, what sounds under it; later, the chord it is held
    into, if any; strength, 0 weak, 1 on a beat, 2 strong; gaps, the rest before it in beats;
    contour, the MIDI pitch aimed at. low, high: MIDI. cadence: "closed" on the tonic, "open" on
    another tone of the chord, "any" on a chord tone. before: the two pitches before it, if any.
    """

    tonic: int
    mode: str
    chords: Sequence[Chord]
    later: Sequence[Chord | None]
    strength: Sequence[int]
    gaps: Sequence[float]
    contour: Sequence[float]
    low: int
    high: int
    cadence: str
    before: tuple[int, ...] = ()


# Cost of a melodic interval by semitones.
_INTERVALS = np.array([0.55, 0, 0, 0.45, 0.5, 0.9, 6, 1.3, 2.4, 2.2, 6, 7, 2.6])
_TOO_FAR = 14.0
_LIKENESS = 0.9  # cost of leaving the motif
_FREEDOM = 0.45  # scale of the random part


def pitches(setting: Setting, motif: Sequence[int] | None, rng: np.random.Generator) -> list[int]:
    """The pitches of a phrase; `motif` are those of an earlier phrase that it resembles."""
    ladder = np.arange(setting.low, setting.high + 1)
    count = len(setting.chords)
    local = np.stack([_local(setting, index, ladder) for index in range(count)])
    local += _FREEDOM * rng.gumbel(size=local.shape)
    if motif is not None:
        for index, pitch in enumerate(motif[:count]):
            local[index] += _LIKENESS * np.minimum(np.abs(ladder - pitch), 3)
    steps = [_steps(setting, index, ladder) for index in range(count)]
    turn = _turns(ladder)
    # cost[b, c]: of the best way to pitch c at a note and pitch b at the one before it.
    cost = _opening(setting, ladder, local, steps)
    back = []
    for index in range(1 if setting.before else 2, count):
        total = cost[:, :, None] + turn + steps[index][None]
        back.append(total.argmin(0))
        cost = total.min(0) + local[index][None]
    return _traced(cost, back, ladder, count)


def _opening(
    setting: Setting, ladder: np.ndarray, local: np.ndarray, steps: list[np.ndarray]
) -> np.ndarray:
    """Cost of (pitch before, first pitch) if there was one before, else of the first two."""
    if setting.before:
        known = np.full(len(ladder), 1e3)
        known[np.abs(ladder - setting.before[-1]).argmin()] = 0
        return known[:, None] + steps[0] + local[0][None]
    if len(local) == 1:
        return np.broadcast_to(local[0][None], (len(ladder), len(ladder))).copy()
    return local[0][:, None] + steps[1] + local[1][None]


def _traced(cost: np.ndarray, back: list[np.ndarray], ladder: np.ndarray, count: int) -> list[int]:
    before, last = np.unravel_index(cost.argmin(), cost.shape)
    path = [int(last), int(before)]
    for table in reversed(back):
        path.append(int(table[path[-1], path[-2]]))
    return [int(ladder[index]) for index in path[:count][::-1]]


def _local(setting: Setting, index: int, ladder: np.ndarray) -> np.ndarray:
    """Cost of each pitch at a note by itself."""
    chord, strength = setting.chords[index], setting.strength[index]
    classes = ladder % 12
    tones = chord.tones
    cost = np.full(len(ladder), 60.0)
    scale = scale_over(setting.tonic, setting.mode, chord)
    cost[np.isin(classes, scale)] = (0.5, 1.5, 3.2)[strength]
    # A note a semitone over a chord tone grates while it lasts.
    above = np.isin((classes - 1) % 12, tones) & np.isin(classes, scale)
    cost[above] += (0.3, 1.0, 2.5)[strength]
    cost[np.isin(classes, tones[3:])] = (0.2, 0.5, 0.9)[strength]
    cost[np.isin(classes, tones[:3])] = 0.0
    held = setting.later[index]
    if held is not None:
        cost[~np.isin(classes, held.tones)] += 1.5
    cost += 0.17 * np.abs(ladder - setting.contour[index])
    if index == len(setting.chords) - 1:
        cost[~np.isin(classes, tones[:3])] += 6.0
        home = classes == setting.tonic
        if setting.cadence == "closed":
            cost[~home] += 4.5
        elif setting.cadence == "open":
            cost[home] += 1.5
    return cost


def _steps(setting: Setting, index: int, ladder: np.ndarray) -> np.ndarray:
    """Cost (from, to) of moving into note `index` from the one before."""
    moves = ladder[None] - ladder[:, None]
    size = np.abs(moves)
    cost = np.where(size <= 12, _INTERVALS[np.minimum(size, 12)], _TOO_FAR)
    if setting.gaps[index] >= 0.75:
        cost = 0.5 * cost  # a breath makes leaps easy
    here = setting.chords[index]
    before = setting.chords[index - 1] if index else here
    origin, target = ladder[:, None] % 12, ladder[None] % 12
    foreign = ~np.isin(ladder % 12, before.tones)
    cost = cost + np.where(foreign[:, None] & (size > 2), 4.0, 0)
    arriving = ~np.isin(ladder % 12, here.tones)
    hard = (3.0, 2.5, 1.5)[setting.strength[index]]
    cost = cost + np.where(arriving[None] & (size > 2), hard, 0)
    leading = (setting.tonic + 11) % 12
    if leading in before.tones and leading not in here.tones:
        cost = cost + np.where((origin == leading) & (moves != 1), 4.0, 0)
    fourth = (setting.tonic + 5) % 12
    if fourth in before.tones[3:] and before != here:
        cost = cost + np.where((origin == fourth) & ((moves > 0) | (moves < -2)), 1.5, 0)
    if NEAREST[setting.mode] == "minor":  # no augmented second
        pair = {(setting.tonic + 8) % 12, leading}
        odd = (size == 3) & np.isin(origin, list(pair)) & np.isin(target, list(pair))
        cost = cost + np.where(odd, 6.0, 0)
    return cost


def _turns(ladder: np.ndarray) -> np.ndarray:
    """Cost (a, b, c) of three pitches in a row: leaps turn back, and something moves."""
    first = (ladder[None] - ladder[:, None])[:, :, None]
    second = (ladder[None] - ladder[:, None])[None]
    leap = np.abs(first) >= 5
    same = np.sign(first) == np.sign(second)
    cost = np.where(leap & same & (np.abs(second) > 2), 2.5, 0.0)
    cost = cost + np.where(leap & same & (np.abs(second) <= 2), 0.7, 0.0)
    cost = cost + np.where(leap & (np.abs(second) >= 5), 2.0, 0.0)
    return cost + np.where((first == 0) & (second == 0), 1.0, 0.0)


def strengths(notes: Sequence[Beat], beats_per_bar: int) -> list[int]:
    """0 weak, 1 on a beat, 2 strong (bar line, half bar of four, or long), for each note."""
    half = 2 if beats_per_bar == 4 else beats_per_bar
    found = []
    for note in notes:
        anticipates = note.start % 1 == 0.5 and (note.start + 0.5) % half == 0
        tied = anticipates and note.end - note.start > 1
        strong = note.start % half == 0 or tied or note.end - note.start >= 1.5
        found.append(2 if strong else int(note.start % 1 == 0))
    return found


def contour(
    notes: Sequence[Beat], centre: float, span: float, rng: np.random.Generator
) -> list[float]:
    """A shape to aim at: an arch, a fall, a rise or a wave of `span` semitones."""
    at = np.linspace(0, 1, len(notes)) if len(notes) > 1 else np.zeros(1)
    shapes = (
        np.sin(np.pi * at) - 0.5,
        0.5 - at,
        at - 0.5,
        np.sin(2 * np.pi * at) / 2,
        0.5 - np.abs(2 * at - 1),
    )
    shape = shapes[rng.choice(len(shapes), p=[0.35, 0.25, 0.15, 0.15, 0.1])]
    return list(centre + span * shape + rng.normal(0, 0.5))
