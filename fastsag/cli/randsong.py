"""`fastsag randsong`: somebody else's band, the anchor of the paper's listening test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag.cli import outputs
from fastsag.cli.outputs import Format, Job

app = typer.Typer(
    help="RandSong, the baseline of randomly chosen bands: make a pool, generate.",
    no_args_is_help=True,
)


@app.callback()
def root() -> None:
    """RandSong, the baseline of randomly chosen bands: make a pool, generate.

    Example:
    fastsag randsong pool --data corpus -o runs/pool.jsonl;
    fastsag randsong generate vocals.wav -o out --pool runs/pool.jsonl
    """


@app.command()
def pool(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Shards of `fastsag songs generate` or your own.")
    ] = Path("corpus"),
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The pool.")
    ] = Path("runs/pool.jsonl"),
    count: Annotated[int, typer.Option(min=1, help="Candidates at most; the paper's number.")] = (
        20_000
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, where there are more.")] = 0,
) -> None:
    """List candidate bands of a corpus. The audio stays in the shards.

    Example: fastsag randsong pool --data corpus -o runs/pool.jsonl
    """
    from fastsag.baselines.randsong import build_pool

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{done}/{total} shards", end="", file=sys.stderr, flush=True)

    made = build_pool(data, count, seed, progress)
    made.save(output)
    songs = len({candidate.song for candidate in made.candidates})
    print(f"{output}: {len(made.candidates)} bands of {songs} songs")


@app.command()
def generate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Recordings of one voice.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ],
    pool: Annotated[Path, typer.Option(metavar="FILE", help="Of `fastsag randsong pool`.")] = Path(
        "runs/pool.jsonl"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same choice.")] = 0,
    level: Annotated[
        float, typer.Option(metavar="DB", help="Loudness of the band against the voice.")
    ] = -3.0,
    format: Annotated[Format, typer.Option(help="Format of the audio files.")] = Format.wav,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist.")
    ] = False,
) -> None:
    """Put a band drawn from the pool under each INPUT, never of the same song.

    The same song is known by the file's name (a record's key) and by <stem>.truth.json beside it.
    A band that is too short begins again, one that is too long is cut. Writes what
    `fastsag accompany` writes.

    Exit status: 0 all done, 1 some inputs failed, 2 none done or wrong usage.

    Example: fastsag randsong generate vocals.wav -o out --pool runs/pool.jsonl --seed 1
    """
    jobs = [Job(source, output, format.value) for source in inputs]
    outputs.plan(jobs, overwrite)
    outputs.make_folder(output)
    from fastsag.baselines.randsong import Pool, RandSong

    system = RandSong(Pool.load(pool), str(pool))

    def play(job: Job) -> None:
        result = system.accompany(job.source, seed=seed, level_db=level)
        outputs.write(job, result)
        outputs.summary(job, result.record)

    outputs.run(jobs, play)
