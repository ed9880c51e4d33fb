"""`fastsag evaluate`: judge folders of audio."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Judge accompaniments against known songs.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Judge accompaniments against known songs."""


@app.command()
def coherence(
    songs: Annotated[
        Path, typer.Argument(metavar="SONGS", help="Folder made by `fastsag songs unpack`.")
    ],
    systems: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SYSTEM]...", help="Folders with an accompaniment of each song."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Scores as JSON.")
    ] = None,
) -> None:
    """Key, consonance, chords, beat and pulse of each SYSTEM, beside anchors.

    Anchors are the songs' own bands, another song's band and white noise.

    Example:
    fastsag songs unpack -o held-out --seed 900 --count 10;
    fastsag accompany held-out/*.vocals.wav -o ours;
    fastsag evaluate coherence held-out ours
    """
    from fastsag.audio import write_text
    from fastsag.evaluation.report import compare, table

    def progress(system: str, song: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{system}: {song}", end="", file=sys.stderr)

    rows = compare(songs, systems or [], progress)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(table(rows))
    if output is not None:
        write_text(output, json.dumps(rows, indent=1) + "\n")
