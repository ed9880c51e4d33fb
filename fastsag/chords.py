"""Pitch classes, chords and keys by name: Harte labels inside, what musicians write outside."""

from __future__ import annotations

import re

PITCH_CLASSES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_SHARP_KEYS = (7, 2, 9, 4, 11)  # major tonics on white keys whose signature has sharps
MODES = ("major", "minor")
NO_CHORD = "N"
CHORDS = (
    *(f"{root}:{quality}" for quality in ("maj", "min") for root in PITCH_CLASSES),
    NO_CHORD,
)
TRIADS = {"maj": (0, 4, 7), "min": (0, 3, 7)}

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def pitch_class(name: str) -> int:
    """ "F#" -> 6; sharps and flats may repeat.

    Raises:
        ValueError: not a note name.
    """
    letter, accidentals = name[:1].upper(), name[1:]
    if letter not in _LETTERS or accidentals.strip("#b"):
        raise ValueError(f"{name!r} is not a note name such as C, F# or Bb")
    return (_LETTERS[letter] + accidentals.count("#") - accidentals.count("b")) % 12


def chord_index(label: str) -> int:
    """Index in `CHORDS` of a Harte label; any spelling of the root is taken.

    Raises:
        ValueError: not one of the triads or `N`.
    """
    if label == NO_CHORD:
        return len(CHORDS) - 1
    root, _, quality = label.partition(":")
    if quality not in TRIADS:
        raise ValueError(f"{label!r} is not a chord such as C:maj, A:min or N")
    return (12 if quality == "min" else 0) + pitch_class(root)


def chord_tones(index: int) -> tuple[int, ...]:
    """Pitch classes of `CHORDS[index]`, root first; empty for no chord."""
    if index == len(CHORDS) - 1:
        return ()
    quality = "min" if index >= 12 else "maj"
    return tuple((index + step) % 12 for step in TRIADS[quality])


def key_index(key: str) -> int:
    """Index of a key such as "A minor": tonic, plus 12 for minor."""
    tonic, _, mode = key.partition(" ")
    if mode not in MODES:
        raise ValueError(f"{key!r} is not a key such as 'C major' or 'A minor'")
    return pitch_class(tonic) + 12 * MODES.index(mode)


def key_name(index: int) -> str:
    """Inverse of `key_index`, spelled with `PITCH_CLASSES`."""
    return f"{PITCH_CLASSES[index % 12]} {MODES[index // 12]}"


def moved(index: int, steps: int) -> int:
    """Index in `CHORDS` of a chord `steps` semitones higher; no chord stays."""
    if index == len(CHORDS) - 1:
        return index
    return index // 12 * 12 + (index + steps) % 12


_WRITTEN = re.compile(
    r"(?P<root>[A-G](?:#+|b+)?)"
    r"(?P<quality>:?(?:m(?!aj)(?:in)?|-|dim|o|aug|\+|sus[24]?|maj|M)?)"
    r"(?P<more>[0-9#b+()a-zM,]*)"
    r"(?:/(?P<bass>[A-G](?:#+|b+)?|[b#]?[0-9]+))?"
)
_MINOR_QUALITIES = ("m", "min", "-", "dim", "o")


def parse_chord(text: str) -> str:
    """What a musician writes ("F#m7", "Bb", "G/B", "N.C.") or a Harte label -> a label of `CHORDS`.

    The band knows major and minor triads: other tones and the bass are read and left out.

    Raises:
        ValueError: not a chord.
    """
    if text.upper().rstrip(".") in ("N", "NC", "N.C"):
        return NO_CHORD
    match = _WRITTEN.fullmatch(text[:1].upper() + text[1:])
    if match is None:
        raise ValueError(f"{text!r} is not a chord such as C, F#m, Bb7, G/B or N.C.")
    minor = match["quality"].lstrip(":") in _MINOR_QUALITIES
    root = PITCH_CLASSES[pitch_class(match["root"])]
    return f"{root}:{'min' if minor else 'maj'}"


def written(label: str, key: str | None = None) -> str:
    """A label of `CHORDS` as a musician writes it, in a key: "Ab:min" -> "G#m" in E major."""
    if label == NO_CHORD:
        return "N.C."
    return respelled(label.replace(":maj", "").replace(":min", "m"), key)


def respelled(name: str, key: str | None) -> str:
    """A note or chord ("Ab3", "Ebm7") with the sharps or flats of a key's signature."""
    match = re.match(r"[A-G][#b]*", name)
    if match is None or key is None:
        return name
    return spelling(key)[pitch_class(match[0])] + name[match.end() :]


def spelling(key: str) -> tuple[str, ...]:
    """Names of the twelve pitch classes in a key such as "A minor".

    A tonic with a sharp or flat says itself which it is. C major and A minor mix them.
    """
    tonic, mode = key.split(" ", 1)
    if len(tonic) > 1:
        return _SHARPS if "#" in tonic else _FLATS
    major = (pitch_class(tonic) + (0 if mode == "major" else 3)) % 12
    if major in _SHARP_KEYS:
        return _SHARPS
    # Minor keys on white keys with flats: D, G, C and F minor.
    return PITCH_CLASSES if major == 0 else _FLATS


def parse_key(text: str) -> str:
    """ "A minor", "Am", "F# major" or "Bb" -> a key as `key_name` spells it.

    Raises:
        ValueError: not a key.
    """
    tonic, _, mode = text.strip().partition(" ")
    mode = mode.strip().lower()
    if not mode:
        mode = "minor" if tonic.endswith("m") else "major"
        tonic = tonic.removesuffix("m")
    modes = {"major": "major", "maj": "major", "minor": "minor", "min": "minor"}
    if mode not in modes:
        raise ValueError(f"{text!r} is not a key such as 'C major', 'A minor' or 'F#m'")
    return key_name(key_index(f"{tonic} {modes[mode]}"))
