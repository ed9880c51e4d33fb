"""Keys, scales and chord loops that songs are built from."""

from __future__ import annotations

import numpy as np

from fastsag.chords import MODES

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
LEADING_TONE = 11  # raised seventh over a major dominant in minor

# Roman numerals: semitones above the tonic and triad quality.
_NUMERALS = {
    "major": {
        "I": (0, "maj"),
        "ii": (2, "min"),
        "iii": (4, "min"),
        "IV": (5, "maj"),
        "iv": (5, "min"),
        "V": (7, "maj"),
        "vi": (9, "min"),
        "bVII": (10, "maj"),
        "II": (2, "maj"),
        "III": (4, "maj"),
    },
    "minor": {
        "i": (0, "min"),
        "III": (3, "maj"),
        "iv": (5, "min"),
        "IV": (5, "maj"),
        "v": (7, "min"),
        "V": (7, "maj"),
        "VI": (8, "maj"),
        "VII": (10, "maj"),
    },
}
_LOOPS = {
    "major": (
        "I V vi IV",
        "vi IV I V",
        "I vi IV V",
        "I IV V I",
        "I IV I V",
        "I iii IV V",
        "IV V iii vi",
        "I IV ii V",
        "vi V IV V",
        "I V IV V",
        "I ii IV V",
        "ii V I vi",
        "I vi ii V",
        "I bVII IV I",
        "IV I V vi",
        "IV iv I V",
        "I III vi IV",
        "I II IV I",
        "I V vi iii IV I IV V",
        "I I IV IV V V I I",
        "I vi IV V iii vi ii V",
        "IV IV I I V V vi vi",
        "I V ii IV I V IV IV",
        "vi IV I V vi IV V V",
    ),
    "minor": (
        "i VI III VII",
        "i iv V i",
        "i VII VI V",
        "i VI iv V",
        "i iv VII III",
        "i VII VI VII",
        "VI VII i i",
        "i v VI iv",
        "i iv i V",
        "i III VII IV",
        "iv i V i",
        "i VII III VI",
        "i i iv V",
        "i iv VII III VI iv V V",
        "i i VII VII VI VI V V",
        "i VI III VII i VI V V",
    ),
}


def random_loop(mode: str, rng: np.random.Generator) -> list[tuple[int, str]]:
    """A chord loop of 4 or 8 bars: (semitones above the tonic, quality) for each bar."""
    loops = _LOOPS[mode]
    numerals = loops[rng.integers(len(loops))].split()
    return [_NUMERALS[mode][numeral] for numeral in numerals]


def random_key(rng: np.random.Generator) -> tuple[int, str]:
    """Tonic pitch class and mode; three songs in five are major."""
    return int(rng.integers(12)), MODES[int(rng.random() < 0.4)]


def scale_over(tonic: int, mode: str, tones: tuple[int, ...]) -> list[int]:
    """Pitch classes to sing over a chord: the scale, its degrees bent to the chord's tones."""
    scale = {(tonic + step) % 12 for step in SCALES[mode]}
    for tone in tones:
        if tone not in scale:
            scale -= {(tone + 1) % 12, (tone - 1) % 12}
            scale.add(tone)
    return sorted(scale)
