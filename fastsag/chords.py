"""Pitch classes, chords and keys by name: Harte labels inside, what musicians write outside."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

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
# By Harte's shorthand (5 is no shorthand of his): semitones above the root.
QUALITIES = {
    **TRIADS,
    "5": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
}
_DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")

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


@dataclass(frozen=True)
class Chord:
    """A chord: pitch class of its root, a quality of `QUALITIES`, semitones from root to bass."""

    root: int
    quality: str
    bass: int = 0

    @property
    def tones(self) -> tuple[int, ...]:
        """Pitch classes, root first."""
        return tuple((self.root + step) % 12 for step in QUALITIES[self.quality])

    @property
    def harte(self) -> str:
        """Harte's label with extensions and bass, such as "A:min7/b3"."""
        label = f"{PITCH_CLASSES[self.root]}:{self.quality}"
        return label + (f"/{_DEGREES[self.bass]}" if self.bass else "")

    @property
    def triad(self) -> str:
        """The major or minor triad that serves in its place, a label of `CHORDS`.

        A diminished chord serves as the dominant whose root it lacks; a half-diminished one holds
        the minor triad on its third.
        """
        root, minor = self.root, self.quality.startswith("min")
        if self.quality in ("dim", "dim7"):
            root = (root - 4) % 12
        if self.quality == "hdim7":
            root, minor = (root + 3) % 12, True
        return f"{PITCH_CLASSES[root]}:{'min' if minor else 'maj'}"

    def moved(self, steps: int) -> Chord:
        """The chord `steps` semitones higher."""
        return replace(self, root=(self.root + steps) % 12)


def chord_of(label: str) -> Chord | None:
    """A Harte label -> the chord; None for `N`. Inverse of `Chord.harte`.

    Raises:
        ValueError: not a root, a quality of `QUALITIES` and perhaps a bass.
    """
    if label == NO_CHORD:
        return None
    body, _, bass = label.partition("/")
    root, _, quality = body.partition(":")
    if quality not in QUALITIES or bass not in ("", *_DEGREES):
        raise ValueError(f"{label!r} is not a chord such as C:maj, A:min7/b3 or N")
    return Chord(pitch_class(root), quality, _DEGREES.index(bass) if bass else 0)


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


_MINOR = r"(?:m|min|-)"
_MAJOR = r"(?:maj|M)"
# The first that fits, with extras behind it, counts.
_QUALITIES_WRITTEN = (
    (rf"{_MINOR}7\(?[b-]5\)?|(?:ø|hdim)7?", "hdim7"),
    (r"(?:mM|m(?:in)?\(?maj)7\)?", "minmaj7"),
    (rf"{_MINOR}(?:9|11|13)", "min9"),
    (rf"{_MINOR}7", "min7"),
    (rf"{_MINOR}6", "min6"),
    (_MINOR, "min"),
    (rf"{_MAJOR}(?:9|11|13)", "maj9"),
    (rf"{_MAJOR}7|Δ7?|\^7?", "maj7"),
    (rf"{_MAJOR}?6", "maj6"),
    (r"(?:dim|o|°)7", "dim7"),
    (r"dim|o|°", "dim"),
    (r"(?:aug|\+)7?", "aug"),
    (r"(?:7|9|13)?sus2", "sus2"),
    (r"(?:7|9|13)?sus4?", "sus4"),
    (r"9|11|13", "9"),
    (r"7", "7"),
    (r"5", "5"),
    (rf"{_MAJOR}?", "maj"),
)
_EXTRAS = r"(?:\(?(?:add|no|omit|[b#+-])?[0-9]+\)?)*"
_WRITTEN = re.compile(
    r"(?P<root>[A-G](?:#+|b+)?):?(?P<quality>[^/]*)(?:/(?P<bass>[A-G](?:#+|b+)?|[b#]?[0-9]+))?"
)


def parse_chord(text: str) -> str:
    """What a musician writes ("F#m7", "Bb", "G/B", "N.C.") or a Harte label -> a Harte label.

    The band knows `QUALITIES`; tones beyond them ("7b9", "add9", "no3") are read and left out.

    Raises:
        ValueError: not a chord.
    """
    if text.upper().rstrip(".") in ("N", "NC", "N.C"):
        return NO_CHORD
    match = _WRITTEN.fullmatch(text[:1].upper() + text[1:])
    quality = match and next(
        (name for way, name in _QUALITIES_WRITTEN
         if re.fullmatch(f"(?:{way}){_EXTRAS}", match["quality"])),
        None,
    )  # fmt: skip
    if match is None or quality is None:
        raise ValueError(f"{text!r} is not a chord such as C, F#m, Bb7, G/B or N.C.")
    root = pitch_class(match["root"])
    return Chord(root, quality, _bass(match["bass"], root)).harte


def _bass(text: str | None, root: int) -> int:
    """Semitones from the root to a bass written as a note or as a degree; 0 for none."""
    if text is None:
        return 0
    if text[0] in _LETTERS:
        return (pitch_class(text) - root) % 12
    return _DEGREES.index(text) if text in _DEGREES else 0


_SHORT = {
    "maj": "", "min": "m", "maj6": "6", "min6": "m6", "min7": "m7", "min9": "m9",
    "minmaj7": "mmaj7", "hdim7": "m7b5",
}  # fmt: skip


def written(label: str, key: str | None = None) -> str:
    """A Harte label as a musician writes it, in a key: "Ab:min7/b3" -> "G#m7/B" in E major."""
    chord = chord_of(label)
    if chord is None:
        return "N.C."
    text = label.partition(":")[0] + _SHORT.get(chord.quality, chord.quality)
    text = respelled(text, key)
    if chord.bass:
        text += "/" + respelled(PITCH_CLASSES[(chord.root + chord.bass) % 12], key)
    return text


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
