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


@app.command()
def fad(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Folder of real music.")],
    systems: Annotated[
        list[Path], typer.Argument(metavar="SYSTEM...", help="Folders to compare with it.")
    ],
    embedder: Annotated[
        list[str] | None,
        typer.Option(help="offline-v1, vggish, mert, mert-4, mert-7, mert-11, clap, clap-larger."),
    ] = None,
    infinity: Annotated[
        bool, typer.Option("--infinity", help="Also extrapolate to infinitely many frames.")
    ] = False,
    per_song: Annotated[
        bool, typer.Option("--per-song", help="Also each file's distance, in the JSON.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the extrapolation.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of cached embeddings.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Scores as JSON.")
    ] = None,
) -> None:
    """Fréchet audio distance of each SYSTEM from REFERENCE; smaller is nearer.

    The paper compares mixtures of voice and band. Figures of different embedders are not
    comparable. offline-v1, the default, needs no download; the others say what they need.

    Example: fastsag evaluate fad true-mixes our-mixes --embedder mert --embedder vggish
    """
    from fastsag.audio import write_text
    from fastsag.evaluation import fad as part
    from fastsag.evaluation.embedders import build

    def progress(folder: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r\x1b[K{folder}: {done}/{total} files", end=end, file=sys.stderr)

    records = [
        part.fad(
            reference,
            system,
            space,
            cache=cache,
            infinity=infinity,
            per_song=per_song,
            seed=seed,
            progress=progress,
        )
        for space in map(build, embedder or ["offline-v1"])
        for system in systems
    ]
    print(part.table(records))
    if output is not None:
        write_text(output, json.dumps(records, indent=1) + "\n")
