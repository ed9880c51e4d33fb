"""`fastsag songs`: a corpus out of nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Compose, sing and play songs to learn from.", no_args_is_help=True)


class Voices(StrEnum):
    """Who sings."""

    training = "training"
    reserved = "reserved"


@app.command()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the shards.")],
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of accompaniment.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same songs.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    bands: Annotated[int, typer.Option(min=1, help="Accompaniments for each voice.")] = 3,
    voices: Annotated[
        Voices, typer.Option(help="`reserved` is for evaluation only: never train on it.")
    ] = Voices.training,
) -> None:
    """Write shards of paired voices and accompaniments with ground truth.

    The same command again goes on where a killed one stopped. Needs Debian packages; if they are
    missing, the error names the command that installs them.

    Example: fastsag songs generate -o corpus --hours 10 --seed 1
    """
    from fastsag.songs.generator import generate as run

    started = time.perf_counter()

    def progress(done: int, total: int, made: float) -> None:
        passed = time.perf_counter() - started
        line = f"{done}/{total} shards, {made:.2f} h made, {made * 3600 / passed:.0f}x real time"
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    failures = run(output, hours, seed, workers, bands, voices is Voices.reserved, progress)
    for failure in failures:
        print("song {seed}-{index}: {error}".format(**failure), file=sys.stderr)
    print(f"{output}: done, {len(failures)} songs failed")
    raise typer.Exit(1 if failures else 0)


@app.command()
def unpack(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of songs.")] = 10,
    voices: Annotated[Voices, typer.Option(help="Who sings.")] = Voices.reserved,
) -> None:
    """Write single songs as files: KEY.vocals.wav, KEY.accompaniment.wav, KEY.truth.json.

    Example: fastsag songs unpack -o held-out --seed 900 --count 10
    """
    from fastsag.songs.generator import check_programs, song_records, write_files

    check_programs()
    for index in range(count):
        records = song_records(seed, index, 1, voices is Voices.reserved)
        write_files(records, output)
    print(f"{output}: {count} songs")


@app.command()
def info(folder: Annotated[Path, typer.Argument(help="A folder of shards.")]) -> None:
    """Print what a corpus holds, as JSON."""
    from fastsag.songs.generator import statistics

    print(json.dumps(statistics(folder), indent=2))


@app.command()
def grooves(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE")],
) -> None:
    """Measure MMA's grooves and write the table of those fit to learn from."""
    from fastsag.songs.groove_table import measure

    table = measure(lambda line: print(line, file=sys.stderr))
    rows = {
        style: ",\n".join(f"    {json.dumps(row)}" for row in scores)
        for style, scores in table.items()
    }
    body = ",\n".join(f"  {json.dumps(style)}: [\n{text}\n  ]" for style, text in rows.items())
    output.write_text("{\n" + body + "\n}\n", encoding="utf-8")
    print(f"wrote {output}")
