"""Arrangement: a chord chart becomes parts for a band, by MMA's grooves.

MMA (Musical MIDI Accompaniment, GPL) is run as a program: chart in, MIDI out.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.chords import CHORDS, NO_CHORD, PITCH_CLASSES
from fastsag.errors import UserError, require
from fastsag.songs.syllables import INSTALL

TABLE = "grooves.json"  # measured by `fastsag songs grooves`


@cache
def grooves() -> dict[str, list[dict[str, Any]]]:
    """Usable grooves by style, each with its name, beats a bar and scores."""
    text = (resources.files("fastsag.songs") / TABLE).read_text(encoding="utf-8")
    return json.loads(text)


def choose_groove(style: str, rng: np.random.Generator) -> str:
    """A groove of a style, the better scored the likelier."""
    options = grooves()[style]
    weights = np.array([option["chord"] * option["beat"] for option in options])
    return str(options[rng.choice(len(options), p=weights / weights.sum())]["groove"])


def arrange(chords: tuple[int, ...], tempo: int, groove: str, seed: int) -> Any:
    """The band's parts for one chord a bar, as a `pretty_midi.PrettyMIDI` from bar 1 at time 0.

    Args:
        chords: index in `CHORDS` for each bar.
        tempo: whole BPM; MMA drops fractions.
        groove: "file:Name", such as "folk:FolkSus".
        seed: of MMA's random choices.

    Raises:
        UserError: MMA is not installed, or does not compile the chart.
    """
    lines = [f"RndSeed {seed}", f"Tempo {tempo}", f"Groove stdlib/{groove}"]
    lines += [f"{bar + 1} {mma_chord(chord)}" for bar, chord in enumerate(chords)]
    return compile_chart("\n".join(lines) + "\n")


def compile_chart(chart: str) -> Any:
    """An MMA chart -> `pretty_midi.PrettyMIDI`."""
    pretty_midi = require("pretty_midi", extra="songs")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "song.mma", Path(folder) / "song.mid"
        source.write_text(chart, encoding="utf-8")
        try:
            done = subprocess.run(
                ["mma", "-f", str(target), str(source)], capture_output=True, text=True, cwd=folder
            )
        except FileNotFoundError:
            raise UserError(f"mma: not installed; run: {INSTALL}") from None
        if done.returncode or not target.exists():
            raise UserError(f"mma: cannot compile the chart ({done.stdout[-300:].strip()})")
        return pretty_midi.PrettyMIDI(str(target))


def mma_chord(chord: int) -> str:
    """MMA's name of a chord index: C, Am, Bb; `z` is silence."""
    label = CHORDS[chord]
    if label == NO_CHORD:
        return "z"
    return PITCH_CLASSES[chord % 12] + ("m" if chord >= 12 else "")
