"""Which of MMA's grooves are fit to learn from: measured, filtered, written down.

Polka peaks on the off-beat and some slow grooves are diffuse; a chart that is played by every
groove tells which ones sound the written chords and mark the beat.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.chords import chord_index, chord_tones
from fastsag.errors import UserError
from fastsag.songs.arrangement import arrange

LIBRARY = Path("/usr/share/mma/lib/stdlib")
FAMILIES = {
    "pop": "8beat popballad softrock bubblerock dsoul boneym twist",
    "rock": "basicrock 50srock 60srock rockballad rock-128 jazzrock desert",
    "ballad": "ballad pianoballad guitarballad stringballad ballad128 rb-ballad slowspiritual hymn",
    "folk": "folk folkrock folkballad arpeggio44 cubanguitar lullaby bluefolk",
    "country": "slowcountry bluegrass countryswing westernswing hillcountry march",
    "swing": "swing easyswing fastswing foxtrot jazzguitar mellowjazz gypsyjazz softshoe dixie"
    " ragtime folkyjazz jazzcombo",
    "blues": "blues slowblues countryblues shuffleboggie boggiewoggie rb blues128 fastblues",
    "latin": "salsa samba mambo merengue chacha rhumba beguine calypso son bolero tango lighttango"
    " afro-cuban slowbolero",
    "bossa": "bossanova jazzrhumba",
    "funk": "bvfunk lfusion strut jive",
    "dance": "trance ska quickstep charleston zydeco broadway showtune",
    "waltz": "waltz vienesewaltz countrywaltz jazzwaltz frenchwaltz arpeggiowaltz broadwaywaltz"
    " latinwaltz rockwaltz fastwaltz fastjazzwaltz modernjazzwaltz",
}
LEAST_CHORD, LEAST_BEAT = 0.9, 0.35
_CHART = ("C:maj", "A:min", "F:maj", "G:maj", "E:min", "D:min", "Bb:maj", "C:min")
_TEMPO = 120


def measure(progress: Callable[[str], None] | None = None) -> dict[str, list[dict[str, Any]]]:
    """The table of usable grooves by style.

    Raises:
        UserError: MMA's library is not installed.
    """
    if not LIBRARY.is_dir():
        raise UserError(f"{LIBRARY}: MMA's grooves are absent; install mma")
    table: dict[str, list[dict[str, Any]]] = {}
    for style, files in FAMILIES.items():
        bar = 3 if style == "waltz" else 4
        rows = [row for name in files.split() for row in _file_rows(name, bar)]
        table[style] = [
            row for row in rows if row["chord"] >= LEAST_CHORD and row["beat"] >= LEAST_BEAT
        ]
        if progress:
            progress(f"{style}: {len(table[style])} of {len(rows)} grooves")
    return table


def _file_rows(name: str, beats_per_bar: int) -> list[dict[str, Any]]:
    """Scores of the grooves in one library file that have the wanted metre."""
    path = LIBRARY / f"{name}.mma"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    names = re.findall(r"^DefGroove\s+(\S+)", text, flags=re.MULTILINE | re.IGNORECASE)
    wanted = [n for n in names if not re.search("Intro|End|Fill|Break|Walk", n)]
    rows = []
    for groove in dict.fromkeys(wanted):
        try:
            row = score(f"{name}:{groove}", beats_per_bar)
        except UserError:
            continue
        if row:
            rows.append(row)
    return rows


def score(groove: str, beats_per_bar: int) -> dict[str, Any] | None:
    """Chord and beat score of a groove on the fixed chart; None if its metre is another.

    chord: share of bars whose triad is among the best three of 24 for what sounds in the bar.
    beat: 1 - onset strength half-way between beats / onset strength on beats.
    """
    chords = tuple(chord_index(label) for label in _CHART)
    midi = arrange(chords, _TEMPO, groove, seed=1)
    bar_seconds = beats_per_bar * 60 / _TEMPO
    starts = np.array([n.start for part in midi.instruments for n in part.notes])
    if len(starts) < 16 or not _fits(starts, bar_seconds * len(chords)):
        return None
    hits = [
        _rank(_chroma(midi, bar * bar_seconds, (bar + 1) * bar_seconds), chord) < 3
        for bar, chord in enumerate(chords)
    ]
    return {
        "groove": groove,
        "chord": round(float(np.mean(hits)), 3),
        "beat": round(_beat_score(midi, beats_per_bar), 3),
    }


def _fits(starts: np.ndarray, end: float) -> bool:
    """The last onsets lie in the last bar of the assumed metre, none after it."""
    return bool(0.86 * end < starts.max() < end + 0.05)


def _chroma(midi: Any, start: float, end: float) -> np.ndarray:
    """Duration times velocity by pitch class of what sounds in start..end, drums left out."""
    chroma = np.zeros(12)
    for part in midi.instruments:
        if part.is_drum:
            continue
        for note in part.notes:
            length = min(note.end, end) - max(note.start, start)
            if length > 0.01:
                chroma[note.pitch % 12] += length * note.velocity
    return chroma


def _rank(chroma: np.ndarray, chord: int) -> int:
    """How many triads fit the chroma better than `chord`; all of them if nothing sounds."""
    if not chroma.any():
        return 24
    templates = np.full((24, 12), -0.25)
    for index in range(24):
        templates[index, list(chord_tones(index))] = 1
    fits = templates @ chroma
    return int((fits > fits[chord] + 1e-9).sum())


def _beat_score(midi: Any, beats_per_bar: int) -> float:
    """Onset strength on the beats against half-way between them, on a grid of sixteenths."""
    step = 60 / _TEMPO / 4
    grid = np.zeros(int(8 * beats_per_bar * 4))
    for part in midi.instruments:
        for note in part.notes:
            slot = round(note.start / step)
            if slot < len(grid):
                grid[slot] += note.velocity
    on, off = grid[::4].mean(), grid[2::4].mean()
    return float(1 - off / on) if on > 0 else 0.0
