"""`fastsag singsong`: the paper's autoregressive baseline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag import config as configuration
from fastsag.cli import outputs
from fastsag.cli import overrides as override
from fastsag.cli.outputs import Format, Job

app = typer.Typer(
    help="SingSong, the baseline of language models: fit tokens, train, generate.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Argument(help="Such as configs/singsong/tiny.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Such as stages.coarse.training.steps=100."),
]
Data = Annotated[
    Path, typer.Option(metavar="DIR", help="Shards of `fastsag songs generate` or your own.")
]
Run = Annotated[Path, typer.Option(metavar="RUN", help="Folder of the whole system.")]


class StageOption(StrEnum):
    """The stages in order."""

    semantic = "semantic"
    coarse = "coarse"
    fine = "fine"


@app.callback()
def root() -> None:
    """SingSong, the baseline of language models: fit tokens, train, generate.

    Example:
    fastsag singsong fit-tokens configs/singsong/tiny.yaml --data corpus --out runs/singsong;
    fastsag singsong train semantic configs/singsong/tiny.yaml --data corpus --out runs/singsong;
    fastsag singsong train coarse configs/singsong/tiny.yaml --data corpus --out runs/singsong;
    fastsag singsong generate vocals.wav -o out --model runs/singsong
    """


@app.command(name="fit-tokens")
def fit_tokens(
    config: Config,
    overrides: Overrides = None,
    data: Data = Path("corpus"),
    out: Run = Path("runs/singsong"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
    ] = False,
) -> None:
    """Cluster semantic frames, and fit the codec's codebooks where it has none: RUN/tokens.

    Example: fastsag singsong fit-tokens configs/singsong/tiny.yaml --data corpus
    """
    resolved = _resolve(config, overrides)
    if dry_run:
        print(configuration.dump(resolved), end="")
        return
    from fastsag.baselines.singsong.system import TOKENS
    from fastsag.baselines.singsong.tokens import fit_tokens as fit

    tokenizer = fit(resolved, _records(data), _say)
    tokenizer.save(out / TOKENS)
    print(f"{out / TOKENS}: {resolved.clusters} semantic clusters, codec {resolved.codec.kind}")


def _records(data: Path) -> Iterator[Any]:
    """The records of the training split."""
    from fastsag.data.shards import read_shard, shard_paths

    for path in shard_paths(data):
        yield from (record for record in read_shard(path) if record.meta["split"] == "train")


def _say(line: str) -> None:
    """A line of progress; on a terminal the count is written over itself."""
    counts = line.startswith("heard")
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="" if counts else "\n", file=sys.stderr, flush=True)
    elif not counts:
        print(line, file=sys.stderr, flush=True)


@app.command()
def train(
    stage: Annotated[StageOption, typer.Argument(help="semantic, coarse or fine.")],
    config: Config,
    overrides: Overrides = None,
    data: Data = Path("corpus"),
    out: Run = Path("runs/singsong"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
    ] = False,
) -> None:
    """Train one stage into RUN/STAGE; the same command again goes on where it stopped.

    The corpus is turned into tokens once, cached beside the shards.

    Example: fastsag singsong train coarse configs/singsong/tiny.yaml --data corpus
    """
    resolved = _resolve(config, overrides)
    if dry_run:
        print(configuration.dump(resolved), end="")
        return
    from fastsag.baselines.singsong.corpus import load_tokens
    from fastsag.baselines.singsong.system import TOKENS
    from fastsag.baselines.singsong.tokens import Tokenizer
    from fastsag.baselines.singsong.training import train_stage
    from fastsag.checkpoint import device_of

    def progress(done: int, total: int) -> None:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"tokens: {done}/{total} shards", end=end, file=sys.stderr, flush=True)

    tokenizer = Tokenizer.load(out / TOKENS, resolved).to(device_of("auto"))
    songs = load_tokens(data, tokenizer, progress)
    train_stage(resolved, stage.value, tokenizer, songs, out / stage.value)


@app.command()
def generate(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Recordings of one voice.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ],
    model: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder with tokens and trained stages.")
    ] = Path("runs/singsong"),
    stages: Annotated[
        int, typer.Option(min=2, max=3, help="2: semantic and coarse (s+c); 3: fine too (s+c+f).")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same band.")] = 0,
    level: Annotated[
        float, typer.Option(metavar="DB", help="Loudness of the band against the voice.")
    ] = -3.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    format: Annotated[Format, typer.Option(help="Format of the audio files.")] = Format.wav,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist.")
    ] = False,
) -> None:
    """Play a band to each INPUT, token by token.

    Writes what `fastsag accompany` writes: DIR/<stem>.accompaniment.wav, DIR/<stem>.mix.wav and
    DIR/<stem>.json. Length and sample rate are the input's.

    Exit status: 0 all done, 1 some inputs failed, 2 none done or wrong usage.

    Example: fastsag singsong generate vocals.wav -o out --model runs/singsong --stages 3
    """
    jobs = [Job(source, output, format.value) for source in inputs]
    outputs.plan(jobs, overwrite)
    outputs.make_folder(output)
    from fastsag.baselines.singsong.system import SingSong

    system = SingSong.from_pretrained(model, stages, device, precision)

    def play(job: Job) -> None:
        with outputs.bar(job.source.name) as progress:
            result = system.accompany(job.source, seed=seed, level_db=level, progress=progress)
        outputs.write(job, result)
        outputs.summary(job, result.record)

    outputs.run(jobs, play)


def _resolve(config: Path, overrides: list[str] | None) -> Any:
    from fastsag.baselines.singsong.config import SingSongConfig

    values = override.apply(configuration.read_yaml(config), overrides or [])
    return configuration.parse(values, str(config), SingSongConfig)
