"""The lead sheet: beats, metre, key, chords and style of a song, and its frame-level features.

It is the plan that the band plays from: the planner writes one from the voice, the denoiser reads
it as `PLAN_FEATURES` channels beside the prior.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

PITCH_CLASSES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
STYLES = (
    "pop",
    "rock",
    "ballad",
    "folk",
    "country",
    "swing",
    "blues",
    "latin",
    "bossa",
    "funk",
    "dance",
    "waltz",
)
NO_CHORD = "N"
CHORDS = (
    *(f"{root}:{quality}" for quality in ("maj", "min") for root in PITCH_CLASSES),
    NO_CHORD,
)
TRIADS = {"maj": (0, 4, 7), "min": (0, 3, 7)}

# Beat and bar phase as sine and cosine, chord tones, root, style.
PLAN_FEATURES = 2 + 2 + 12 + 12 + len(STYLES)

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


@dataclass(frozen=True)
class LeadSheet:
    """What the band plays from.

    Attributes:
        beats: times of all beats in seconds, ascending, at least two.
        beats_per_bar: 3 or 4.
        first_downbeat: index in `beats` of the first beat of a bar.
        key: such as "A minor".
        chords: one Harte label for each bar; bar 0 is the pickup before the first downbeat (it may
            hold no beat), bar k starts at beat `first_downbeat + (k - 1) * beats_per_bar`.
        style: one of `STYLES`, or None for any.
        confidence: by field name, 0..1, where it was estimated.
    """

    beats: np.ndarray
    beats_per_bar: int
    first_downbeat: int
    key: str
    chords: tuple[str, ...]
    style: str | None = None
    confidence: dict[str, float] = field(default_factory=dict)

    @property
    def tempo(self) -> float:
        """Median tempo in beats per minute."""
        return float(60.0 / np.median(np.diff(self.beats)))

    def bar_of_beat(self, beat: np.ndarray) -> np.ndarray:
        """Index into `chords` of fractional beat positions."""
        bars = np.floor((beat - self.first_downbeat) / self.beats_per_bar).astype(int) + 1
        return np.clip(bars, 0, len(self.chords) - 1)

    def beat_position(self, seconds: np.ndarray) -> np.ndarray:
        """Fractional beat index of times; extended at the first and last tempo outside."""
        beats = self.beats
        index = np.arange(len(beats), dtype=np.float64)
        position = np.interp(seconds, beats, index)
        before, after = beats[1] - beats[0], beats[-1] - beats[-2]
        position = np.where(seconds < beats[0], (seconds - beats[0]) / before, position)
        late = index[-1] + (seconds - beats[-1]) / after
        return np.where(seconds > beats[-1], late, position)

    def features(self, seconds: np.ndarray) -> np.ndarray:
        """Frame-level plan (P, T) at the frame times `seconds` (T,), values in -1..1."""
        position = self.beat_position(seconds)
        beat_phase = 2 * np.pi * position
        bar_phase = 2 * np.pi * (position - self.first_downbeat) / self.beats_per_bar
        tones = np.zeros((len(CHORDS), 24))
        for index in range(len(CHORDS) - 1):
            tones[index, list(chord_tones(index))] = 1
            tones[index, 12 + chord_tones(index)[0]] = 1
        chords = np.array([chord_index(label) for label in self.chords])
        harmony = tones[chords[self.bar_of_beat(position)]].T
        style = np.zeros((len(STYLES), len(seconds)))
        if self.style is not None:
            style[STYLES.index(self.style)] = 1
        phases = [np.sin(beat_phase), np.cos(beat_phase), np.sin(bar_phase), np.cos(bar_phase)]
        return np.concatenate([np.stack(phases), harmony, style]).astype(np.float32)

    def chord_times(self) -> list[tuple[float, str]]:
        """(start in seconds, label) of each bar's chord, from the first downbeat on."""
        starts = self.beats[self.first_downbeat :: self.beats_per_bar]
        return [(float(t), label) for t, label in zip(starts, self.chords[1:], strict=False)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["beats"] = [round(float(beat), 4) for beat in self.beats]
        values["tempo"] = round(self.tempo, 3)
        return values


def from_record(record: dict[str, Any]) -> LeadSheet:
    """The true lead sheet of a training record (its JSON)."""
    beats = np.asarray(record["beats"], dtype=np.float64)
    first = int(np.argmin(np.abs(beats - record["downbeats"][0])))
    downbeats = beats[first :: record["beats_per_bar"]]
    middles = downbeats + 0.5 * np.median(np.diff(beats))
    chords = [_chord_at(record["chords"], time) for time in middles]
    return LeadSheet(
        beats=beats,
        beats_per_bar=record["beats_per_bar"],
        first_downbeat=first,
        key=record["key"],
        chords=(chords[0], *chords),
        style=record["style"],
    )


def _chord_at(chords: list[dict[str, Any]], time: float) -> str:
    for chord in chords:
        if chord["start"] <= time < chord["end"]:
            return str(chord["label"])
    return NO_CHORD
