"""`fastsag songs`: a corpus out of nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fastsag.cli.progress import tell

app = typer.Typer(help="Compose, sing and play songs to learn from.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(min=0, help="Same seed, same songs.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Settings = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="songs.yaml; `fastsag songs config` prints one."),
]
CORES = os.cpu_count() or 1


class Recording(StrEnum):
    """Keys of `fastsag.songs.settings.RECORDINGS`."""

    clean = "clean"
    room = "room"
    noise = "noise"
    phone = "phone"
    separated = "separated"


class Voices(StrEnum):
    """Who sings."""

    training = "training"
    reserved = "reserved"


@app.command()
def generate(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the shards.")],
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of accompaniment.")] = 1.0,
    seed: Seed = 0,
    workers: Workers = CORES,
    bands: Annotated[int, typer.Option(min=1, help="Accompaniments for each voice.")] = 3,
    voices: Annotated[
        Voices, typer.Option(help="`reserved` is for evaluation only: never train on it.")
    ] = Voices.training,
    config: Settings = None,
    stems: Annotated[
        bool, typer.Option("--stems", help="Keep the band's single tracks: drums, bass, chords.")
    ] = False,
) -> None:
    """Write shards of paired voices and accompaniments with ground truth.

    The same command again goes on where a killed one stopped. `manifest.json` lists the shards
    with their checksums, `failures.jsonl` the songs that failed, if any. Needs Debian packages; if
    they are missing, the error names the command that installs them.

    Example: fastsag songs generate -o corpus --hours 10 --seed 1
    """
    from fastsag.songs.corpus import Recipe
    from fastsag.songs.corpus import generate as run
    from fastsag.songs.settings import load_settings

    started = time.perf_counter()

    def progress(done: int, total: int, made: float) -> None:
        passed = time.perf_counter() - started
        line = f"{done}/{total} shards, {made:.2f} h made, {made * 3600 / passed:.0f}x real time"
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    recipe = Recipe(bands, voices is Voices.reserved, stems, load_settings(config))
    failures = run(output, hours, seed, workers, recipe, progress)
    for failure in failures:
        print("song {seed}-{index}: {error}".format(**failure), file=sys.stderr)
    print(f"{output}: done, {len(failures)} songs failed")
    raise typer.Exit(1 if failures else 0)


@app.command()
def config() -> None:
    """Print the default settings as YAML: every condition with its probability and ranges.

    Example: fastsag songs config > songs.yaml; fastsag songs generate -o corpus --config songs.yaml
    """
    from fastsag.config import dump
    from fastsag.songs.settings import SongSettings

    print(dump(SongSettings()), end="")


@app.command()
def preview(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the files.")],
    seed: Seed = 0,
    index: Annotated[int, typer.Option(min=0, help="Which song of the seed.")] = 0,
    config: Settings = None,
) -> None:
    """Write one song for people: audio files, MIDI, a lead sheet and a picture.

    The voice dry and as recorded, the band, its tracks, the mix; song.mid with melody and band;
    lead-sheet.txt with chords and words; song.png with melody, chords and waveforms.

    Example: fastsag songs preview --seed 1 --index 4 -o preview
    """
    from fastsag.songs.generator import check_programs, takes
    from fastsag.songs.preview import write_preview
    from fastsag.songs.settings import load_settings

    check_programs()
    take = next(takes(seed, index, 1, settings=load_settings(config)))
    for path in write_preview(take, output):
        print(path)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of shards.")],
    songs: Annotated[int, typer.Option(min=1, help="Measure at most so many.")] = 200,
    workers: Workers = CORES,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="For check.json and plots [corpus]."),
    ] = None,
) -> None:
    """Measure a corpus: voices in tune, chords, beats and tempo heard, and what it is made of.

    Checksums are compared first. Writes check.json (also each song's row) and check.png, prints
    the table, and ends with status 1 if a shard is damaged or a goal missed.

    Example: fastsag songs check corpus --songs 200
    """
    from fastsag.songs.check import check as run
    from fastsag.songs.check import summary, table
    from fastsag.songs.corpus import verify
    from fastsag.songs.pictures import check_picture

    damaged = verify(folder)
    if damaged:
        print(f"{folder}: damaged or absent: {', '.join(damaged)}; run generate again")
        raise typer.Exit(1)
    output = output or folder
    output.mkdir(parents=True, exist_ok=True)
    rows = run(folder, songs, workers, _count("shards measured"))
    result = summary(rows)
    (output / "check.json").write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
    check_picture(rows, result, output / "check.png")
    print(table(result))
    raise typer.Exit(0 if all(goal["reached"] for goal in result["goals"]) else 1)


@app.command()
def unpack(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of songs.")] = 10,
    voices: Annotated[Voices, typer.Option(help="Who sings.")] = Voices.reserved,
    recording: Annotated[
        list[Recording] | None,
        typer.Option(help="Each song recorded so, and again for each further --recording."),
    ] = None,
    config: Settings = None,
) -> None:
    """Write single songs as files: KEY.vocals.wav, KEY.accompaniment.wav, KEY.truth.json.

    With --recording the same songs are sung under known conditions, KEY-clean, KEY-phone ...;
    `fastsag evaluate coherence --by recording` compares them.

    Example: fastsag songs unpack -o held-out --seed 900 --count 10 --recording clean
    --recording phone
    """
    from fastsag.songs.generator import check_programs, unpacked, write_files
    from fastsag.songs.settings import load_settings

    check_programs()
    settings = load_settings(config)
    names = [name.value for name in recording or ()]
    for index in range(count):
        write_files(unpacked(seed, index, voices is Voices.reserved, settings, names), output)
        tell("songs", index + 1, count)
    print(f"{output}: {count} songs")


@app.command()
def info(folder: Annotated[Path, typer.Argument(help="A folder of shards.")]) -> None:
    """Print what a corpus holds, as JSON."""
    from fastsag.songs.corpus import statistics

    print(json.dumps(statistics(folder), indent=2))


@app.command()
def grooves(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE")],
    workers: Workers = CORES,
) -> None:
    """Measure MMA's grooves and write the table of those fit to learn from.

    Rows measured so far are kept in FILE.partial: the same command again goes on there.

    Example: fastsag songs grooves -o grooves.json
    """
    from fastsag.songs.groove_table import as_text, measure

    partial = output.with_name(output.name + ".partial")
    table = measure(partial, workers, _count("files measured"))
    output.write_text(as_text(table), encoding="utf-8")
    partial.unlink()
    print(f"{output}: {sum(map(len, table.values()))} grooves of {len(table)} families")


def _count(what: str) -> Callable[[int, int], None]:
    """Progress on one line."""

    def progress(done: int, total: int) -> None:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"{done}/{total} {what}", end=end, file=sys.stderr, flush=True)

    return progress
