"""The lead sheet: beats, metre, key, chords and style of a song, and its frame-level features.

It is the plan that the band plays from: the planner writes one from the voice, the denoiser reads
it as `PLAN_FEATURES` channels beside the prior.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from fastsag.chords import NO_CHORD, chord_of, written

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
# Beat and bar phase as sine and cosine, chord tones, bass, style.
PLAN_FEATURES = 2 + 2 + 12 + 12 + len(STYLES)
PLAN_PARTS = {"phase": slice(0, 4), "harmony": slice(4, 28), "style": slice(28, PLAN_FEATURES)}


@dataclass(frozen=True)
class LeadSheet:
    """What the band plays from.

    Attributes:
        beats: times of all beats in seconds, ascending, at least two.
        beats_per_bar: 3 or 4.
        first_downbeat: index in `beats` of the first beat of a bar.
        key: such as "A minor".
        chords: a Harte label for each bar, or several with spaces between that share it equally;
            bar 0 is the pickup before the first downbeat (it may hold no beat), bar k starts at
            beat `first_downbeat + (k - 1) * beats_per_bar`.
        style: one of `STYLES`, or None for any.
        tuning: of the singer in cents against A440.
        confidence: by field name, 0..1, where it was estimated.
    """

    beats: np.ndarray
    beats_per_bar: int
    first_downbeat: int
    key: str
    chords: tuple[str, ...]
    style: str | None = None
    tuning: float = 0.0
    confidence: dict[str, float] = field(default_factory=dict)

    @property
    def tempo(self) -> float:
        """Median tempo in beats per minute."""
        return float(60.0 / np.median(np.diff(self.beats)))

    @property
    def ending(self) -> float | None:
        """Seconds at which the band has ended: where bars without a chord follow; else None."""
        sounding = [bar for bar, entry in enumerate(self.chords) if entry != NO_CHORD]
        if not sounding or sounding[-1] == len(self.chords) - 1:
            return None
        beat = self.first_downbeat + sounding[-1] * self.beats_per_bar
        last = len(self.beats) - 1
        return float(np.interp(beat, np.arange(last + 1), self.beats)) if beat <= last else None

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
        harmony = self.harmony_at(position)
        style = np.zeros((len(STYLES), len(seconds)))
        if self.style is not None:
            style[STYLES.index(self.style)] = 1
        phases = [np.sin(beat_phase), np.cos(beat_phase), np.sin(bar_phase), np.cos(bar_phase)]
        return np.concatenate([np.stack(phases), harmony, style]).astype(np.float32)

    def harmony_at(self, position: np.ndarray) -> np.ndarray:
        """Chord tones and bass (24, T) as ones at fractional beat positions (T,)."""
        bars = [entry.split() for entry in self.chords]
        counts = np.array([len(bar) for bar in bars])
        offsets = np.cumsum(counts) - counts
        tones = np.stack([_tones(label) for bar in bars for label in bar])
        bar = self.bar_of_beat(position)
        within = (position - self.first_downbeat) / self.beats_per_bar % 1
        return tones[offsets[bar] + np.floor(within * counts[bar]).astype(int)].T

    def chord_times(self) -> list[tuple[float, str]]:
        """(start in seconds, label) of each chord, from the first downbeat on."""
        times = []
        for bar, entry in enumerate(self.chords[1:]):
            labels = entry.split()
            for index, label in enumerate(labels):
                beat = self.first_downbeat + (bar + index / len(labels)) * self.beats_per_bar
                if beat <= len(self.beats) - 1:
                    time = np.interp(beat, np.arange(len(self.beats)), self.beats)
                    times.append((float(time), label))
        return times

    def written_chords(self) -> list[tuple[float, str]]:
        """As `chord_times`, as a musician writes them in this key."""
        return [(time, written(label, self.key)) for time, label in self.chord_times()]

    def stretched(self, factor: float) -> LeadSheet:
        """The same song `factor` times as long."""
        return replace(self, beats=self.beats * factor)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["beats"] = [round(float(beat), 4) for beat in self.beats]
        values["tempo"] = round(self.tempo, 3)
        return values


@dataclass(frozen=True)
class Hints:
    """What is known of a song before listening; None is to be estimated.

    bpm, beats (times in seconds), metre (beats a bar), downbeat (seconds of the first bar line),
    key, style and tuning (cents) as in `LeadSheet`; chords: entries of bars from the downbeat on,
    played again from the start when they end; pickup: the chord before the downbeat.
    """

    bpm: float | None = None
    beats: tuple[float, ...] | None = None
    metre: int | None = None
    downbeat: float | None = None
    key: str | None = None
    chords: tuple[str, ...] | None = None
    pickup: str | None = None
    style: str | None = None
    tuning: float | None = None

    def stretched(self, factor: float) -> Hints:
        """The same of a song `factor` times as long."""
        return replace(
            self,
            bpm=self.bpm and self.bpm / factor,
            beats=self.beats and tuple(beat * factor for beat in self.beats),
            downbeat=None if self.downbeat is None else self.downbeat * factor,
        )

    def over(self, others: Hints) -> Hints:
        """These, and what they leave open from `others`."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        if "bpm" in own or "beats" in own:  # one takes the place of the other
            others = replace(others, bpm=None, beats=None)
        return replace(others, **own)


def from_record(record: dict[str, Any]) -> LeadSheet:
    """The true lead sheet of a training record (its JSON)."""
    beats = np.asarray(record["beats"], dtype=np.float64)
    first = int(np.argmin(np.abs(beats - record["downbeats"][0])))
    bar = record["beats_per_bar"]
    later = 0.5 * float(np.median(np.diff(beats)))
    on_beats = [_chord_at(record["chords"], time + later) for time in beats[first:]]
    chords = [_bar_entry(on_beats[at : at + bar]) for at in range(0, len(on_beats), bar)]
    return LeadSheet(
        beats=beats,
        beats_per_bar=bar,
        first_downbeat=first,
        key=record["key"],
        chords=(chords[0].split()[0], *chords),
        style=record["style"],
    )


def _bar_entry(on_beats: list[str]) -> str:
    """The chords on a bar's beats as an entry of `LeadSheet.chords`: as few as say the same."""
    count = len(on_beats)
    for parts in range(1, count):
        size = count // parts
        if count % parts == 0 and all(
            len(set(on_beats[at : at + size])) == 1 for at in range(0, count, size)
        ):
            return " ".join(on_beats[::size])
    return " ".join(on_beats)


def _tones(label: str) -> np.ndarray:
    """Chord tones and bass of a label (24,)."""
    tones = np.zeros(24)
    chord = chord_of(label)
    if chord is not None:
        tones[list(chord.tones)] = 1
        tones[12 + (chord.root + chord.bass) % 12] = 1
    return tones


def _chord_at(chords: list[dict[str, Any]], time: float) -> str:
    for chord in chords:
        if chord["start"] <= time < chord["end"]:
            return str(chord.get("harte", chord["label"]))
    return NO_CHORD
