"""Which of MMA's grooves are fit to learn from: measured, filtered, written down.

A fixed chart is played by every groove of the families. A first look at the MIDI drops grooves
whose metre is another or that do not sound the written chords; the rest is rendered, and a beat
tracker says whether the beat can be heard.
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.chords import chord_index, chord_tones
from fastsag.errors import UserError
from fastsag.kernels import compile_kernels
from fastsag.songs.arrangement import compile_chart
from fastsag.songs.band import RATE, Band, play
from fastsag.songs.families import BY_NAME, FAMILIES, Family
from fastsag.songs.tracking import beat_agreement, track

LIBRARY = Path("/usr/share/mma/lib/stdlib")
LEAST_CHORD, LEAST_BEAT = 0.9, 0.9
LEAST_PULSE = 0.2  # of the first look at the MIDI, for rendering to be worth while
ROLES = ("main", "intro", "fill", "end")
_CHART = "C Am F G Em Dm Bb Cm C F G Am".split()  # noqa: SIM905 - reads as a chart
_CHART_LABELS = [
    f"{name.removesuffix('m')}:{'min' if name.endswith('m') else 'maj'}" for name in _CHART
]
_CHARTED_TEMPO = 120  # of the MIDI; stretched to the family's for the tracker
_PLAIN = Band("FluidR3Mono_GM.sf3", swap=0, spread_db=0, bass_db=0, drums_db=0, room=0, seed=1)


def measure(
    partial: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """The table of usable grooves by family.

    Args:
        partial: file of the rows measured so far, one JSON a line; a killed run goes on from it.
        workers: processes.
        progress: told of (files done, files in all).

    Raises:
        UserError: MMA's library is not installed.
    """
    if not LIBRARY.is_dir():
        raise UserError(f"{LIBRARY}: MMA's grooves are absent; install mma")
    lines = partial.read_text(encoding="utf-8").splitlines() if partial.exists() else []
    known = [json.loads(line) for line in lines]
    files = [(family.name, name) for family in FAMILIES for name in family.files.split()]
    finished = {(entry["family"], entry["file"]) for entry in known}
    todo = [pair for pair in files if pair not in finished]
    compile_kernels()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, partial.open("a") as handle:
        for future in as_completed([pool.submit(measure_file, *pair) for pair in todo]):
            known.append(future.result())
            handle.write(json.dumps(known[-1]) + "\n")
            handle.flush()
            if progress:
                progress(len(known), len(files))
    return usable(known)


def usable(measured: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows fit to learn from by family; other roles stay where their file has a main groove."""
    table: dict[str, list[dict[str, Any]]] = {family.name: [] for family in FAMILIES}
    for entry in sorted(measured, key=lambda entry: (entry["family"], entry["file"])):
        rows = [row for row in entry["rows"] if row["chord"] >= LEAST_CHORD]
        rows = [row for row in rows if row["role"] != "main" or row["beat"] >= LEAST_BEAT]
        if any(row["role"] == "main" for row in rows):
            table[entry["family"]] += rows
    return table


def as_text(table: dict[str, list[dict[str, Any]]]) -> str:
    """The table as JSON, one groove a line."""
    blocks = []
    for family, rows in table.items():
        lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        blocks.append(f"  {json.dumps(family)}: [\n{lines}\n  ]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def measure_file(family: str, file: str) -> dict[str, Any]:
    """Scores of all grooves of one library file: {"family", "file", "rows"}."""
    rows = []
    for groove, time in _defined(file):
        try:
            row = score(f"{file}:{groove}", time, BY_NAME[family])
        except UserError:
            continue
        if row:
            rows.append(row)
    return {"family": family, "file": file, "rows": rows}


def _defined(file: str) -> Iterator[tuple[str, int]]:
    """(groove, MMA beats of its bar) in a library file, each once."""
    path = LIBRARY / f"{file}.mma"
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    time, seen = 4, set()
    found = re.findall(
        r"^\s*(Time(?=\s+\d)|DefGroove)\s+(\S+)", text, flags=re.MULTILINE | re.IGNORECASE
    )
    for directive, value in found:
        if directive.lower() == "time":
            time = int(value)
        elif value not in seen:
            seen.add(value)
            yield value, time


def role_of(groove: str) -> str | None:
    """What a groove is for, by its name; None for parts that songs here do not use."""
    if re.search("Break|Metronome|Intro8|-44", groove):
        return None
    return next((role for role in ROLES[1:] if role in groove.lower()), "main")


def score(groove: str, time: int, family: Family) -> dict[str, Any] | None:
    """Scores of a groove on the fixed chart; None if it cannot serve the family.

    chord: share of bars whose triad is among the best three of 24 for what sounds in the bar.
    beat: agreement of the tracked beats of its sound with the written ones at the family's middle
    tempo (main grooves alone, else 0). time: MMA beats a bar. bar: beats of the song a bar.
    """
    role = role_of(groove.partition(":")[2])
    bar = bar_beats(time, family.meter)
    if role is None or bar is None:
        return None
    midi = compile_chart(chart_lines(groove))
    bar_seconds = time * 60 / _CHARTED_TEMPO
    starts = np.array([n.start for part in midi.instruments for n in part.notes])
    if len(starts) < 12 or not _fits(starts, bar_seconds * len(_CHART), role):
        return None
    hits = [
        rank(chroma(midi, number * bar_seconds, (number + 1) * bar_seconds), chord_index(label)) < 3
        for number, label in enumerate(_CHART_LABELS)
    ]
    chord, beat = round(float(np.mean(hits)), 3), 0.0
    if role == "main" and chord >= LEAST_CHORD and _pulse(midi, bar_seconds / bar) > LEAST_PULSE:
        beat = round(_heard(midi, time, bar, family), 3)
    row = {"groove": groove, "role": role, "time": time, "bar": bar}
    return {**row, "chord": chord, "beat": beat}


def chart_lines(groove: str) -> str:
    """The fixed chart for one groove."""
    lines = [f"RndSeed 1\nTempo {_CHARTED_TEMPO}\nGroove stdlib/{groove}"]
    return "\n".join([*lines, *(f"{bar + 1} {name}" for bar, name in enumerate(_CHART))]) + "\n"


def bar_beats(time: int, meter: str) -> int | None:
    """Beats of a song in a bar of `time` MMA beats; None if the metres do not go together."""
    return {
        ("4/4", 4): 4, ("4/4", 2): 2, ("3/4", 3): 3,
        ("6/8", 2): 2, ("6/8", 6): 2, ("6/8", 3): 2, ("6/8", 4): 4,
    }.get((meter, time))  # fmt: skip


def _heard(midi: Any, time: int, bar: int, family: Family) -> float:
    """Render the chart at the family's middle tempo and track its beats."""
    tempo = float(np.mean(family.tempo))
    stretch = (bar * 60 / tempo) / (time * 60 / _CHARTED_TEMPO)
    for part in midi.instruments:
        for note in part.notes:
            note.start, note.end = note.start * stretch, note.end * stretch
    count = bar * len(_CHART)
    beats = 0.3 + np.arange(count + 1) * 60 / tempo
    sound = play(midi, _PLAIN, 0.3, float(beats[-1]) + 0.5)
    return beat_agreement(track(sound, RATE)[1], beats, family.meter)


def _fits(starts: np.ndarray, end: float, role: str) -> bool:
    """The last onsets lie in the last bar of the assumed metre, none after it."""
    return bool((role == "end" or 0.86 * end < starts.max()) and starts.max() < end + 0.05)


def chroma(midi: Any, start: float, end: float) -> np.ndarray:
    """Duration times velocity by pitch class of what sounds in start..end, drums left out."""
    total = np.zeros(12)
    for part in midi.instruments:
        if part.is_drum:
            continue
        for note in part.notes:
            length = min(note.end, end) - max(note.start, start)
            if length > 0.01:
                total[note.pitch % 12] += length * note.velocity
    return total


def rank(heard: np.ndarray, chord: int) -> int:
    """How many triads fit a chroma better than `chord`; all of them if nothing sounds."""
    if not heard.any():
        return 24
    templates = np.full((24, 12), -0.25)
    for index in range(24):
        templates[index, list(chord_tones(index))] = 1
    fits = templates @ heard
    return int((fits > fits[chord] + 1e-9).sum())


def _pulse(midi: Any, beat_seconds: float) -> float:
    """1 - onset strength half-way between beats / on beats, on a grid of twelfths of a beat."""
    grid = np.zeros(12)
    for part in midi.instruments:
        for note in part.notes:
            grid[round(note.start / beat_seconds * 12) % 12] += note.velocity
    on, off = grid[[0, 1, 11]].sum(), grid[5:8].sum()
    return float(1 - off / on) if on > 0 else 0.0
