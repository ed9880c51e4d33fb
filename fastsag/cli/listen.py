"""`fastsag listen`: the paper's listening test."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fastsag.errors import UserError

app = typer.Typer(help="Let people rate accompaniments.", no_args_is_help=True)


class Format(StrEnum):
    """Formats that browsers play."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    ogg = "ogg"


@app.command()
def make(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="SYSTEM=FOLDER...", help="Folders of mixtures, CLIP.wav or CLIP.mix.wav."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="For the page; must be new.")
    ],
    clips: Annotated[int, typer.Option(min=1, help="Clips, at random.")] = 100,
    listeners: Annotated[int, typer.Option(min=1, help="People.")] = 15,
    trials: Annotated[int, typer.Option(min=1, help="Clips that each of them hears.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same test.")] = 0,
    subset: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV (clip,subset); takes in-domain to zero-shot as 2 to 1."
        ),
    ] = None,
    kind: Annotated[Format, typer.Option("--format", help="Of the sounds.")] = Format.flac,
) -> None:
    """Write a page on which listeners rate mixtures from 1 to 5, without knowing who made them.

    The page in DIR works offline; hand the whole folder on. DIR.key.json tells the systems apart:
    keep it.

    Example:
    fastsag listen make Human=human FastSAG=ours RandSong=random -o test
    """
    from fastsag.evaluation.listening.page import make as run
    from fastsag.evaluation.listening.plan import read_subsets

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{total} sounds", end="", file=sys.stderr, flush=True)

    key = run(
        _folders(systems),
        output,
        clips=clips,
        listeners=listeners,
        trials=trials,
        seed=seed,
        subsets=read_subsets(subset) if subset else None,
        kind=kind.value,
        progress=progress,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(f"{output / 'index.html'}: for listeners 1 to {listeners}; hand on the whole folder")
    print(f"{key}: tells who made what; keep it to yourself")


def _folders(systems: list[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for text in systems:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(f"{text}: write SYSTEM=FOLDER, such as FastSAG=ours")
        if name in folders:
            raise UserError(f"{text}: {name} is {folders[name]} already; choose another name")
        folders[name] = Path(folder)
    return folders


@app.command()
def results(
    files: Annotated[
        list[Path], typer.Argument(metavar="CSV...", help="What the listeners downloaded.")
    ],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The test's DIR.key.json.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Scores as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Scores as a PNG picture.")
    ] = None,
) -> None:
    """Mean opinion scores with 95 % intervals and paired tests, beside the paper's Table 3.

    Example:
    fastsag listen results ratings/*.csv --key test.key.json -o scores.json --plot scores.png
    """
    from fastsag.audio import write_text
    from fastsag.evaluation.listening import ratings as given
    from fastsag.evaluation.listening import results as part

    known = given.read_key(key)
    ratings = given.read_ratings(files, known)
    for line in given.gaps(ratings, known):
        print(line, file=sys.stderr)
    found = part.summary(ratings)
    print(part.table(found))
    if output is not None:
        write_text(output, json.dumps(found, indent=1) + "\n")
    if plot is not None:
        part.plot(plot, found)
