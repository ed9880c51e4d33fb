"""One song as files for people: sound, MIDI, a lead sheet with words, a picture."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fastsag.audio import write_text
from fastsag.chords import PITCH_CLASSES, respelled, written
from fastsag.errors import require
from fastsag.songs.band import stem_of
from fastsag.songs.composition import Score
from fastsag.songs.generator import Take
from fastsag.songs.harmony import NEAREST
from fastsag.songs.lyrics import MELISMA
from fastsag.songs.melody import Note
from fastsag.songs.pictures import song_picture

_MELODY_PROGRAM = 73  # flute
_BARS_A_LINE = 4
_CELL = 26  # letters of a bar


def write_preview(take: Take, folder: Path) -> list[Path]:
    """Write all files of a song; returns their paths.

    Raises:
        UserError: the folder cannot be written to.
        MissingExtra: matplotlib or pretty_midi is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = take.record
    sounds = {
        "voice-dry": take.sung.voice,
        "vocals": record.vocals,
        "accompaniment": record.accompaniment,
        **{f"stem-{name}": samples for name, samples in record.stems.items()},
        "mix": 0.9 * (record.vocals + record.accompaniment)
        / max(1.0, float(np.abs(record.vocals + record.accompaniment).max())),
    }  # fmt: skip
    written = []
    for name, samples in sounds.items():
        written.append(folder / f"{name}.wav")
        soundfile.write(written[-1], samples, record.meta["sample_rate"], subtype="PCM_16")
    midi = with_melody(take)
    midi.write(str(folder / "song.mid"))
    write_text(folder / "lead-sheet.txt", lead_sheet(take.score))
    write_text(folder / "truth.json", json.dumps(record.meta, indent=1) + "\n")
    parts: dict[str, list[tuple[float, float, int]]] = {}
    for part in take.midi.instruments:
        notes = [(note.start, note.end, note.pitch) for note in part.notes]
        parts.setdefault(stem_of(part), []).extend(notes)
    shown = {name: samples for name, samples in sounds.items() if name != "mix"}
    song_picture(record.meta, shown, parts, folder / "song.png")
    names = ("song.mid", "lead-sheet.txt", "truth.json", "song.png")
    return [*written, *(folder / name for name in names)]


def with_melody(take: Take) -> Any:
    """The band's MIDI with the sung melody and its words as the first part."""
    pretty_midi = require("pretty_midi", extra="songs")
    midi = copy.deepcopy(take.midi)
    melody = pretty_midi.Instrument(_MELODY_PROGRAM, name="melody")
    for note in take.record.meta["notes"]:
        melody.notes.append(pretty_midi.Note(100, note["pitch"], note["start"], note["end"]))
        # MIDI is written as Latin-1; this puts UTF-8 into the file.
        text = note["lyric"].encode().decode("latin-1")
        midi.lyrics.append(pretty_midi.Lyric(text, note["start"]))
    midi.instruments.insert(0, melody)
    return midi


def lead_sheet(score: Score) -> str:
    """Chords of each bar over the notes and words sung in it, section by section."""
    key = f"{PITCH_CLASSES[score.tonic]} {score.mode}"
    lines = [
        f"{score.family} in {key}, {score.meter}, {score.tempo} BPM; {score.voice}, "
        f"words: {score.language}" + (", free tempo" if score.free_tempo else "")
    ]
    start = 0
    for section in score.sections:
        change = f", {section.shift} semitones up" if section.shift else ""
        lines += ["", f"[{section.name}{change}]"]
        key = f"{PITCH_CLASSES[(score.tonic + section.shift) % 12]} {NEAREST[score.mode]}"
        bars = list(_bars(score, start, len(section.bars), key))
        start += len(section.bars) * score.beats_per_bar
        for line in range(0, len(bars), _BARS_A_LINE):
            shown = bars[line : line + _BARS_A_LINE]
            for row in range(3):
                cells = [bar[row] for bar in shown]
                if row == 0 or any(cell.strip() for cell in cells):
                    lines.append("| " + " | ".join(cell.ljust(_CELL) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _bars(score: Score, start: int, count: int, key: str) -> Iterator[tuple[str, str, str]]:
    """Chords, pitches and words of each bar, spelled in a major or minor key."""
    for bar in range(count):
        first = start + bar * score.beats_per_bar
        last = first + score.beats_per_bar
        spans = [span for span in score.spans if first <= span.start < last]
        chords = [written(span.chord.harte, key) for span in spans]
        notes = [note for note in score.notes if first <= note.start < last]
        yield (
            "  ".join(chords),
            " ".join(respelled(_pitch(note), key) for note in notes),
            " ".join("_" if note.lyric == MELISMA else note.lyric for note in notes),
        )


def _pitch(note: Note) -> str:
    return f"{PITCH_CLASSES[note.pitch % 12]}{note.pitch // 12 - 1}"
