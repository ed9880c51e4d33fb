"""Arrangement: a score becomes parts for a band, by MMA's grooves.

MMA (Musical MIDI Accompaniment, GPL) is run as a program: chart in, MIDI out. It plays in whole
BPM and steady time; its notes are then laid on the score's beats, and given the form's dynamics,
layers, fills and ending.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.errors import UserError, require
from fastsag.songs.band import stem_of
from fastsag.songs.composition import Score
from fastsag.songs.families import BY_NAME
from fastsag.songs.harmony import mma_name
from fastsag.songs.syllables import INSTALL

_LOWEST = 28  # MIDI, the E string of a bass
TABLE = "grooves.json"  # measured by `fastsag songs grooves`
Row = dict[str, Any]  # of the table


@dataclass(frozen=True)
class Grooves:
    """What a band plays where: rows of the table; verse and chorus always, intro and fill perhaps.

    time, bar: MMA's and the song's beats in a bar of the chart.
    """

    verse: Row
    chorus: Row
    intro: Row | None
    fill: Row | None

    @property
    def time(self) -> int:
        return int(self.verse["time"])

    @property
    def bar(self) -> int:
        return int(self.verse["bar"])

    @property
    def names(self) -> list[str]:
        """The grooves played, "file:Name"."""
        rows = (self.verse, self.chorus, self.intro, self.fill)
        return sorted({row["groove"] for row in rows if row})


@cache
def grooves() -> dict[str, list[Row]]:
    """Usable grooves by family, each with its role, beats a bar and scores."""
    text = (resources.files("fastsag.songs") / TABLE).read_text(encoding="utf-8")
    return json.loads(text)


def choose_grooves(family: str, rng: np.random.Generator) -> Grooves:
    """Grooves of one library file, files evenly, the better scored the likelier."""
    rows = grooves()[family]
    files = sorted({_file(row) for row in rows})
    file = files[rng.integers(len(files))]
    mains = [row for row in rows if _file(row) == file and row["role"] == "main"]
    weights = np.array([row["chord"] * row["beat"] ** 2 for row in mains])
    verse, chorus = (mains[rng.choice(len(mains), p=weights / weights.sum())] for _ in range(2))
    if chorus["time"] != verse["time"] or rng.random() < 0.25:
        chorus = verse
    others = [row for row in rows if _file(row) == file and row["time"] == verse["time"]]
    intros = [row for row in others if row["role"] == "intro"]
    fills = [row for row in others if row["role"] == "fill"]
    return Grooves(
        verse,
        chorus,
        intros[rng.integers(len(intros))] if intros and rng.random() < 0.5 else None,
        fills[rng.integers(len(fills))] if fills and rng.random() < 0.7 else None,
    )


def _file(row: Row) -> str:
    return str(row["groove"]).partition(":")[0]


def arrange(score: Score, played: Grooves, rng: np.random.Generator) -> Any:
    """The band's parts as a `pretty_midi.PrettyMIDI` in the seconds of the score.

    Raises:
        UserError: MMA is not installed, or does not compile the chart.
    """
    tempo = round(played.time * score.tempo / played.bar)
    midi = compile_chart(chart(score, played, tempo, int(rng.integers(2**31))))
    last = len(score.beat_times) - 1
    for part in midi.instruments:
        for note in part.notes:
            # In beats of the song for now.
            note.start, note.end = (
                time * tempo / 60 * played.bar / played.time for time in (note.start, note.end)
            )
        part.notes = [note for note in part.notes if note.start < last]
    _raise_lowest(midi)
    _shape(midi, score, rng)
    if played.fill is None:
        _fill(midi, score, rng)
    if rng.random() < 0.65:
        _hold_last_chord(midi, score)
    for part in midi.instruments:
        for note in part.notes:
            note.start, note.end = score.seconds(note.start), score.seconds(note.end)
    return midi


def chart(score: Score, played: Grooves, tempo: int, seed: int) -> str:
    """MMA's chart of a score."""
    lines = [f"RndSeed {seed}", f"Tempo {tempo}"]
    beat, number = 0, 0
    spans = list(score.spans)
    for place, section in enumerate(score.sections):
        main = played.verse if section.name in ("intro", "verse", "bridge") else played.chorus
        if section.name == "intro" and played.intro and len(section.bars) == 4:
            main = played.intro
        lines.append(f"Groove stdlib/{main['groove']}")
        end = beat + len(section.bars) * score.beats_per_bar
        ends = place + 1 < len(score.sections) and score.sections[place + 1].name != "ending"
        while beat < end:
            if played.fill and ends and beat + played.bar >= end and end - beat == played.bar:
                lines.append(f"Groove stdlib/{played.fill['groove']}")
            number += 1
            inside = [span for span in spans if beat <= span.start < beat + played.bar]
            lines.append(f"{number} " + " ".join(_placed(span, beat, played) for span in inside))
            beat += played.bar
    return "\n".join(lines) + "\n"


def _placed(span: Any, beat: int, played: Grooves) -> str:
    """A chord at its place in MMA's bar: "Am", or "G7@3"."""
    position = 1 + (span.start - beat) * played.time / played.bar
    return mma_name(span.chord) + ("" if position == 1 else f"@{position:g}")


def compile_chart(text: str) -> Any:
    """An MMA chart -> `pretty_midi.PrettyMIDI`.

    Raises:
        UserError: MMA is not installed, or refuses the chart.
    """
    pretty_midi = require("pretty_midi", extra="songs")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "song.mma", Path(folder) / "song.mid"
        source.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                ["mma", "-f", str(target), str(source)], capture_output=True, text=True, cwd=folder
            )
        except FileNotFoundError:
            raise UserError(f"mma: not installed; run: {INSTALL}") from None
        if done.returncode or not target.exists():
            raise UserError(f"mma: cannot compile the chart ({done.stdout[-300:].strip()})")
        return pretty_midi.PrettyMIDI(str(target))


def _raise_lowest(midi: Any) -> None:
    """Some grooves write the bass an octave under its strings: nobody would hear those notes."""
    for part in midi.instruments:
        if not part.is_drum:
            for note in part.notes:
                while note.pitch < _LOWEST:
                    note.pitch += 12


def _shape(midi: Any, score: Score, rng: np.random.Generator) -> None:
    """Loudness of the sections, a rise into the louder ones, and parts that wait their turn."""
    starts = [*score.section_starts(), len(score.beat_times) - 1]
    levels = [section.level_db for section in score.sections]
    rises = rng.random() < 0.6
    resting = _resting(midi, score, rng)
    for number, part in enumerate(midi.instruments):
        kept = []
        for note in part.notes:
            place = int(np.searchsorted(starts[1:], note.start + 0.05, side="right"))
            place = min(place, len(levels) - 1)
            if number in resting[place]:
                continue
            gain = levels[place]
            left = starts[place + 1] - note.start
            if rises and place + 1 < len(levels) and left < score.beats_per_bar:
                change = levels[place + 1] - gain
                gain += max(0.0, change) * (1 - left / score.beats_per_bar)
            # FluidSynth's loudness goes with the square of the velocity.
            note.velocity = int(np.clip(note.velocity * 10 ** (gain / 40), 1, 127))
            kept.append(note)
        part.notes = kept


def _resting(midi: Any, score: Score, rng: np.random.Generator) -> list[set[int]]:
    """Parts that do not play, by section; the bass and a chord part always do."""
    parts = list(enumerate(midi.instruments))
    chordal = [n for n, part in parts if stem_of(part) == "chords"]
    drums = {n for n, part in parts if part.is_drum}
    # The part that sounds most of the time carries the harmony.
    chordal.sort(key=lambda n: -sum(note.end - note.start for note in midi.instruments[n].notes))
    extra = [n for n in chordal[1:] if rng.random() < 0.6]
    quiet_intro = rng.random() < 0.2
    quiet_verse = rng.random() < 0.45
    resting = []
    for section in score.sections:
        quiet = section.name == "intro" or (section.name == "verse" and quiet_verse)
        silent = set(extra) if quiet else set()
        if section.name == "intro" and quiet_intro and chordal:
            silent |= drums
        resting.append(silent)
    return resting


_FILLS = ((38, 38, 38, 38), (38, 38, 48, 45), (48, 48, 45, 43), (38, 48, 45, 41), (38, 45, 38, 45))
_CRASH, _KICK = 49, 36  # General MIDI


def _fill(midi: Any, score: Score, rng: np.random.Generator) -> None:
    """Snare and toms in the last beat or two before some sections, a crash on the bar line."""
    drums = next((part for part in midi.instruments if part.is_drum), None)
    if drums is None or rng.random() < 0.3:
        return
    pretty_midi = require("pretty_midi", extra="songs")
    parts = 3 if BY_NAME[score.family].swing > 0.6 or score.meter == "6/8" else 4
    for start, section in list(zip(score.section_starts(), score.sections, strict=True))[1:]:
        if rng.random() < 0.35:
            continue
        length = int(rng.integers(1, 3))
        drums.notes = [n for n in drums.notes if not start - length <= n.start < start - 0.05]
        drum = _FILLS[rng.integers(len(_FILLS))]
        for hit in range(length * parts):
            at = start - length + hit / parts
            loud = 58 + 42 * hit / (length * parts) + section.level_db * 3 + rng.uniform(-6, 6)
            pitch = drum[min(3, hit * 4 // (length * parts))]
            velocity = int(np.clip(loud, 20, 118))
            drums.notes.append(pretty_midi.Note(velocity, pitch, at, at + 0.2))
        for pitch, velocity in ((_CRASH, 72), (_KICK, 90)):
            drums.notes.append(pretty_midi.Note(velocity, pitch, float(start), start + 0.5))


def _hold_last_chord(midi: Any, score: Score) -> None:
    """The band strikes the last chord together and lets it ring."""
    last = len(score.beat_times) - 1
    start = last - (4 if score.meter == "6/8" else score.beats_per_bar)
    root = score.spans[-1].chord.root
    for part in midi.instruments:
        kept = [note for note in part.notes if note.start < start - 0.1]
        final = [note for note in part.notes if note.start >= start - 0.1]
        if final:
            first = min(note.start for note in final)
            struck = [note for note in final if note.start < first + 0.15]
            bass = stem_of(part) == "bass"
            for note in struck:
                if bass:  # which may have been on its way
                    note.pitch += (root - note.pitch + 6) % 12 - 6
                note.start = float(start)
                note.end = note.start + 0.3 if part.is_drum else last + 0.5
            kept += struck
        part.notes = kept
