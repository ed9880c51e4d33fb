"""Lead sheets on paper: text that musicians read and edit, JSON and MIDI.

The text form:

    key: E minor
    tempo: 97
    meter: 4/4
    downbeat: 0.31
    style: folk

    | Em | C | G D | Am |

Every field may be left out and is then estimated. `downbeat` is the time in seconds of the first
bar line; what comes before it is pickup. Chords in one bar share it equally, `%` repeats the bar
before, `N.C.` is no chord. Instead of a tempo, `beats:` may be followed by lines of beat times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.audio import write_text
from fastsag.chords import chord_of, parse_chord, parse_key, written
from fastsag.errors import Unwritable, UserError, require
from fastsag.lead_sheet import STYLES, Hints, LeadSheet, from_record

BPM_RANGE = (30.0, 300.0)
_METRES = (3, 4)
_DOWNBEAT_SECONDS = (-10.0, 3600.0)  # beats are laid out over all the time between
_STEADY_SECONDS = 0.01  # beats closer than that to an even grid are written as a tempo
_BARS_A_LINE = 4


def bars(text: str) -> tuple[str, ...]:
    """ "C | G7 | Am F | %" -> entries for `Hints.chords`, one a bar.

    Raises:
        ValueError: a chord that cannot be read, or none at all.
    """
    entries: list[str] = []
    for bar in text.strip().strip("|").split("|"):
        if bar.strip() in ("%", ""):
            if not entries:
                raise ValueError("the first bar has no chord")
            entries.append(entries[-1])
        else:
            entries.append(" ".join(parse_chord(chord) for chord in bar.split()))
    return tuple(entries)


def _number(low: float, high: float, unit: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"{text} is not within {low:g}..{high:g} {unit}")
        return value

    return parse


def _metre(text: str) -> int:
    beats, _, unit = text.partition("/")
    if beats.strip() not in map(str, _METRES) or unit.strip() not in ("", "4"):
        raise ValueError(f"{text!r} is not a meter that the band knows: 3/4 or 4/4")
    return int(beats)


def _style(text: str) -> str:
    if text not in STYLES:
        raise ValueError(f"{text}: unknown; choose one of {', '.join(STYLES)}")
    return text


FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "key": ("key", parse_key),
    "tempo": ("bpm", _number(*BPM_RANGE, "beats a minute")),
    "meter": ("metre", _metre),
    "downbeat": ("downbeat", _number(*_DOWNBEAT_SECONDS, "seconds")),
    "pickup": ("pickup", parse_chord),
    "chords": ("chords", bars),
    "style": ("style", _style),
    "tuning": ("tuning", _number(-100, 100, "cents")),
}
"""Fields of the text form: their name in `Hints` and how they are read."""


def field(name: str, text: str) -> Hints:
    """One field of the text form alone.

    Raises:
        UserError: it cannot be read; names the field.
    """
    attribute, parse = FIELDS[name]
    try:
        return Hints(**{attribute: parse(text.strip())})
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None


def read(path: Path) -> Hints:
    """A lead sheet from a text file, or from JSON: as `accompany` writes it, or a song's truth.

    Raises:
        UserError: the file cannot be read; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a text or JSON file") from None
    if path.suffix == ".json":
        return _from_json(text, path)
    return parse(text, str(path))


def sheet_of(recording: Path, folder: Path) -> Path:
    """The lead sheet in `folder` of "song.vocals.wav": song.vocals.lead-sheet.txt (or .json),
    song.lead-sheet.txt (or .json), or song.truth.json.

    Raises:
        UserError: there is none.
    """
    song = recording.name.partition(".")[0]
    stems = dict.fromkeys((recording.stem, song))
    names = [f"{stem}.lead-sheet{kind}" for stem in stems for kind in (".txt", ".json")]
    names.append(f"{song}.truth.json")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: no lead sheet of {recording.name}; looked for {', '.join(names)}")


def parse(text: str, origin: str = "lead sheet") -> Hints:
    """The text form -> what it says.

    Raises:
        UserError: a line that cannot be read.
    """
    hints, lines, times = Hints(), [], None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        try:
            if not line or line.startswith("# ") or line == "#":
                continue
            if "|" in line and name not in FIELDS:
                lines.append(line.strip("|"))
            elif colon and name == "beats":
                times = [float(time) for time in value.split()]
            elif colon and name in FIELDS:
                hints = field(name, value).over(hints)
            elif times is not None:
                times.extend(float(time) for time in line.split())
            else:
                known = ", ".join([*FIELDS, "beats"])
                raise ValueError(f"neither bars between | nor one of {known}")
        except (ValueError, UserError) as error:
            raise UserError(f"{origin}, line {number}: {error}") from None
    try:
        chords = bars("|".join(lines)) if lines else hints.chords
        return Hints(chords=chords, beats=_beats(times)).over(hints)
    except ValueError as error:
        raise UserError(f"{origin}: {error}") from None


def read_beats(path: Path) -> Hints:
    """Beat times in seconds from a text file: the first number of each line.

    Raises:
        UserError: it cannot be read.
    """
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
        return Hints(beats=_beats([float(row.split()[0]) for row in rows if row.strip()]))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a list of beat times ({error}); one a line") from None


def _beats(times: list[float] | None) -> tuple[float, ...] | None:
    if times is None:
        return None
    if len(times) < 2 or not all(map(math.isfinite, times)) or np.diff(times).min() < 0.1:
        raise ValueError("beats: at least two ascending times in seconds, 0.1 apart, are needed")
    if times[0] < _DOWNBEAT_SECONDS[0] or times[-1] > _DOWNBEAT_SECONDS[1]:
        low, high = _DOWNBEAT_SECONDS
        raise ValueError(f"beats: {times[0]:g} to {times[-1]:g} s is not within {low:g}..{high:g}")
    return tuple(times)


def _from_json(text: str, path: Path) -> Hints:
    try:
        values = json.loads(text)
        values = values.get("lead_sheet", values)
        if "downbeats" in values:  # a record of songs: its tuning is not known
            values = {**from_record(values).to_dict(), "tuning": None}
        tuning = values.get("tuning", 0.0)
        first, chords = int(values["first_downbeat"]), [str(bar) for bar in values["chords"]]
        return Hints(
            beats=_beats([float(beat) for beat in values["beats"]]),
            metre=_metre(str(values["beats_per_bar"])),
            downbeat=float(values["beats"][first]),
            key=parse_key(values["key"]),
            chords=bars("|".join(chords[1:] or chords)),
            pickup=parse_chord(chords[0].split()[0]),
            style=values["style"] and _style(values["style"]),
            tuning=None if tuning is None else float(tuning),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a lead sheet in JSON ({type(error).__name__}: {error}); "
            "make one: fastsag lead-sheet vocals.wav -o song.json"
        ) from None


def text_of(sheet: LeadSheet) -> str:
    """The text form of a lead sheet; what `parse` reads back."""
    beats, first = sheet.beats, sheet.first_downbeat
    index = np.arange(len(beats))
    slope, start = np.polyfit(index, beats, 1)
    even = np.abs(beats - (start + slope * index)).max() < _STEADY_SECONDS
    lines = [
        "# Lead sheet; edit it and play it: fastsag accompany vocals.wav --lead-sheet song.txt",
        f"key: {sheet.key}",
        f"meter: {sheet.beats_per_bar}/4",
    ]
    if even:
        lines.append(f"tempo: {60 / slope:.4f}")
    lines.append(f"downbeat: {start + slope * first if even else beats[first]:.4f}")
    if first:
        lines.append(f"pickup: {written(sheet.chords[0].split()[-1], sheet.key)}")
    if sheet.style:
        lines.append(f"style: {sheet.style}")
    lines.append(f"tuning: {sheet.tuning:.0f}")
    cells = [
        " ".join(written(label, sheet.key) for label in entry.split()) for entry in sheet.chords[1:]
    ]
    width = max(map(len, cells), default=1)
    lines.append("")
    for line in range(0, len(cells), _BARS_A_LINE):
        row = " | ".join(cell.ljust(width) for cell in cells[line : line + _BARS_A_LINE])
        lines.append(f"| {row} |")
    if not even:
        lines.extend(["", "beats:"])
        for line in range(0, len(beats), 8):
            lines.append(" ".join(f"{beat:.4f}" for beat in beats[line : line + 8]))
    return "\n".join(lines) + "\n"


def write(sheet: LeadSheet, path: Path) -> None:
    """Write a lead sheet as .txt, .json or .mid, atomically.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    if path.suffix == ".txt":
        write_text(path, text_of(sheet))
    elif path.suffix == ".json":
        write_text(path, json.dumps(sheet.to_dict(), indent=2) + "\n")
    elif path.suffix == ".mid":
        _write_midi(sheet, path)
    else:
        raise UserError(f"{path}: unknown kind; name it .txt, .json or .mid")


def _write_midi(sheet: LeadSheet, path: Path) -> None:
    """Chords and bass as a piano and a bass track, beats as a click track."""
    midi = require("pretty_midi", extra="midi")
    song = midi.PrettyMIDI(initial_tempo=sheet.tempo)
    piano, bass, click = (
        midi.Instrument(0, name="chords"),
        midi.Instrument(32, name="bass"),
        midi.Instrument(0, is_drum=True, name="beats"),
    )
    chords = sheet.chord_times()
    ends = [*(time for time, _ in chords[1:]), float(sheet.beats[-1])][: len(chords)]
    for (start, label), end in zip(chords, ends, strict=True):
        chord = chord_of(label)
        if end <= start or chord is None:
            continue
        bass.notes.append(midi.Note(90, 36 + (chord.root + chord.bass) % 12, start, end))
        piano.notes.extend(midi.Note(80, 60 + tone, start, end) for tone in chord.tones)
    for index, beat in enumerate(sheet.beats):
        down = (index - sheet.first_downbeat) % sheet.beats_per_bar == 0
        click.notes.append(midi.Note(100 if down else 60, 76 if down else 77, beat, beat + 0.05))
    song.instruments.extend([piano, bass, click])
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        song.write(str(temporary))
        temporary.replace(path)
    except OSError as error:
        raise Unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
