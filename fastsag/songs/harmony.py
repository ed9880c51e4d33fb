"""Chords by their tones, Roman numerals, and the progressions of each mode.

Numerals count from the major scale in every mode, so that bVII is always a whole step under the
tonic. Upper case is major, lower case minor; then may follow a quality, an inversion and, after
">", the degree that the chord is borrowed from: "V7>vi", "I/3", "iiø7", "V7sus4".
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from fastsag.chords import PITCH_CLASSES, QUALITIES, Chord

# Semitones above the tonic. The mode that the band's key names know is the nearest of two.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "natural minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 10),  # its seventh is raised over the dominant
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
NEAREST = {
    "major": "major",
    "mixolydian": "major",
    "natural minor": "minor",
    "harmonic minor": "minor",
    "dorian": "minor",
}
# What MMA calls the qualities that songs use.
_MMA = {
    "maj": "",
    "min": "m",
    "7": "7",
    "maj7": "M7",
    "min7": "m7",
    "maj6": "6",
    "9": "9",
    "sus4": "sus4",
    "dim": "dim3",
    "dim7": "dim7",
    "hdim7": "m7b5",
}


def mma_name(chord: Chord) -> str:
    """MMA's name, such as "Am7/C"."""
    name = PITCH_CLASSES[chord.root] + _MMA[chord.quality]
    return name + (f"/{PITCH_CLASSES[(chord.root + chord.bass) % 12]}" if chord.bass else "")


_NUMERAL = re.compile(
    r"(?P<shift>[b#]?)(?P<degree>[IViv]+)(?P<more>maj7|ø7|°7|°|7sus4|sus4|7|6|9)?"
    r"(?:/(?P<bass>[357]))?(?:>(?P<of>.+))?"
)
_ROOTS = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_SUFFIXES = {"ø7": "hdim7", "°": "dim", "°7": "dim7", "6": "maj6", "7sus4": "sus4"}


def numeral(text: str, tonic: int = 0) -> Chord:
    """A Roman numeral -> the chord over `tonic`.

    Raises:
        ValueError: not a numeral.
    """
    match = _NUMERAL.fullmatch(text)
    if match is None or match["degree"].upper() not in _ROOTS:
        raise ValueError(f"{text!r} is not a numeral such as IV, bVII, V7>ii or I/3")
    if match["of"]:
        tonic = numeral(match["of"], tonic).root
    shift = {"": 0, "b": -1, "#": 1}[match["shift"]]
    root = (tonic + _ROOTS[match["degree"].upper()] + shift) % 12
    minor, more = match["degree"].islower(), match["more"] or ""
    quality = _SUFFIXES.get(more, more) or ("min" if minor else "maj")
    if quality == "7" and minor:
        quality = "min7"
    chord = Chord(root, quality)
    if match["bass"]:
        chord = replace(chord, bass=QUALITIES[quality][{"3": 1, "5": 2, "7": 3}[match["bass"]]])
    return chord


# One bar between spaces; a comma shares the bar equally.
PROGRESSIONS = {
    "major": """
I V vi IV | vi IV I V | I vi IV V | I IV V I | I IV I V | I iii IV V | IV V iii vi | I IV ii V
I V IV V | I ii IV V | ii V I vi | I vi ii V | IV I V vi | I V/3 vi IV | I I/3 IV V
IV iv I V7 | I III vi IV | I II7 IV I | I V7>vi vi IV | I V7>IV IV iv | I bVII IV I
I bVI bVII I | I iii vi IV | vi V IV V | IV V I vi | I V vi,iii IV | I,V/3 vi,I/5 IV V
vi ii V7 I | I vi7 ii7 V7 | iii7 vi7 ii7 V7 | Imaj7 IVmaj7 iii7 vi7 | I ii7 iii7 IVmaj7
I IV vi V | IV V vi I/3 | ii IV I V | I V7>ii ii V7 | I V7>V V V7 | I IV/5 V7 I
I V vi iii IV I IV V | I I IV IV V V I I | I vi IV V iii vi ii V | IV IV I I V V vi vi
I V ii IV I V IV V | vi IV I V vi IV V V | I I7 IV iv I V7 I V | I V7>vi vi V7>V ii7 V7 I V7
I IV I V I IV V7 I | I V I IV I V7>V V V7 | I I/3 IV V7>V I/5 V7 I I""",
    "natural minor": """
i bVI bIII bVII | i bVII bVI bVII | bVI bVII i i | i v bVI iv | i bIII bVII iv | i iv bVII bIII
i bVII bIII bVI | iv bVI i bVII | i bVI iv bVII | i i bVII bVII bVI bVI bVII bVII
i iv v i | i bIII iv bVI | bVI bIII bVII i | i v iv bVII | i bVI bIII bVII i bVI bVII bVII
i7 iv7 bVII bIIImaj7""",
    "harmonic minor": """
i iv V i | i bVI iv V | i bVII bVI V | iv i V i | i i iv V | i V i V7 | i iiø7 V7 i
i iv bVII bIII bVI iv V V | i i bVII bVII bVI bVI V V | i bVI bIII bVII i bVI V V
i V7>iv iv V7 | i iv i V7 | bVI V i i | i bVI iiø7 V7 | i7 iv7 bVII7 bIIImaj7 bVImaj7 iiø7 V7 i
i V/3 i V7 | i i/3 iv V7""",
    "dorian": """
i IV i IV | i bVII IV i | i bIII IV i | i ii bIII IV | i v IV i | i IV bVII i | i7 IV7 i7 IV7
i bIII bVII IV | i bVII IV IV | i ii i bVII | i IV bIII bVII | i v i IV""",
    "mixolydian": """
I bVII IV I | I v IV I | I bVII I IV | IV bVII I I | I IV bVII I | I bVII v I | I7 bVII IV I
I IV I bVII | I v bVII IV | I bVII IV bVII | I I bVII IV""",
}  # fmt: skip
_BLUES = {
    "major": (
        "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
        "I7 IV7 I7 I7 IV7 IV7 I7 V7>ii ii7 V7 I7 V7",
        "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 V7 I7 V7",
    ),
    "minor": (
        "i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7",
        "i7 iv7 i7 i7 iv7 iv7 i7 i7 iiø7 V7 i7 V7",
    ),
}
# Bars that close or open a section, by mode.
CLOSED = {
    "major": ("V7 I", "IV,V I", "V I", "ii7,V7 I", "IV I", "iv I", "I/5,V7 I"),
    "natural minor": ("bVII i", "iv i", "bVI,bVII i", "v i"),
    "harmonic minor": ("V7 i", "iv,V7 i", "V i", "iiø7,V7 i"),
    "dorian": ("IV i", "bVII i", "v i", "IV,bVII i"),
    "mixolydian": ("bVII I", "IV I", "bVII,IV I", "v I"),
}
OPEN = {
    "major": ("IV V", "ii7 V7", "ii V", "V7>V V", "IV V7sus4,V7"),
    "natural minor": ("bVI bVII", "iv bVII", "bVI v"),
    "harmonic minor": ("iv V", "bVI V", "iiø7 V7", "iv V7sus4,V7"),
    "dorian": ("IV bVII", "i IV", "bIII IV"),
    "mixolydian": ("IV bVII", "I bVII", "v IV"),
}
Bar = tuple[Chord, ...]  # the chords that share a bar equally, tonic C


def bars(text: str) -> list[Bar]:
    """A progression in numerals -> its bars in C."""
    return [tuple(numeral(part) for part in bar.split(",")) for bar in text.split()]


def loops(mode: str) -> list[list[Bar]]:
    """The progressions of a mode."""
    lines = PROGRESSIONS[mode].replace("\n", "|").split("|")
    return [bars(line) for line in lines if line.strip()]


def blues(mode: str, rng: np.random.Generator) -> list[Bar]:
    """Twelve bars of blues."""
    choices = _BLUES[NEAREST[mode]]
    return bars(choices[rng.integers(len(choices))])


def random_mode(minor: float, rng: np.random.Generator) -> str:
    """A mode; `minor` is the share of minor ones."""
    if rng.random() < minor:
        return str(rng.choice(["natural minor", "harmonic minor", "dorian"], p=[0.4, 0.42, 0.18]))
    return str(rng.choice(["major", "mixolydian"], p=[0.87, 0.13]))


def scale_over(tonic: int, mode: str, chord: Chord) -> list[int]:
    """Pitch classes to sing over a chord: the scale, its degrees bent to the chord's tones.

    A foreign major third is a raised degree (a leading tone), any other foreign tone a lowered one.
    """
    scale = {(tonic + step) % 12 for step in SCALES[mode]}
    third = (chord.root + 4) % 12
    for tone in chord.tones:
        if tone not in scale:
            scale.discard((tone - 1) % 12 if tone == third else (tone + 1) % 12)
            scale.add(tone)
    return sorted(scale)
