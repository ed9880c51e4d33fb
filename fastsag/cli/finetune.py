"""`fastsag finetune`: a checkpoint learns from a user's own songs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag.cli import overrides as override
from fastsag.cli.options import Devices, DryRun, Overrides, Run


def finetune(
    checkpoint: Annotated[str, typer.Argument(help="Such as compact, or a folder.")],
    overrides: Overrides = None,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="A folder for each song, with vocals.wav and accompaniment.wav; or shards.",
        ),
    ] = Path("songs"),
    out: Run = Path("runs/finetune"),
    devices: Devices = 0,
    dry_run: DryRun = False,
) -> None:
    """Teach a checkpoint the sound of your own songs, ten or more of them.

    One song in ten is held out; the run's `previews` folder shows and sounds it as training goes
    on. At the end RUN/checkpoint is ready for `fastsag accompany --checkpoint`.

    Example: fastsag finetune compact --data my-songs --out runs/mine
    """
    from fastsag import checkpoint as checkpoints
    from fastsag import config as configuration
    from fastsag.training import finetune as part

    own = configuration.load(checkpoints.resolve(checkpoint) / checkpoints.CONFIG)
    config = part.settings_of(own, lambda values: override.apply(values, overrides or []))
    if dry_run:
        print(configuration.dump(config), end="")
        return
    import torch

    from fastsag.cli.train import progress
    from fastsag.data.streams import Features
    from fastsag.pipeline import Accompanist
    from fastsag.training.accompaniment import AccompanimentTraining
    from fastsag.training.loop import started
    from fastsag.training.run import train_model
    from fastsag.training.sources import open_sources

    def read(done: int, total: int) -> None:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"songs: {done}/{total}", end=end, file=sys.stderr, flush=True)

    shards = part.write_pairs(data, out, Accompanist.from_pretrained(checkpoint, "cpu"), read)
    torch.manual_seed(config.training.seed)
    module = started(AccompanimentTraining(config), checkpoint)
    streams = open_sources([str(shards)], out / "generated")
    features = Features(config.mel, config.encoder, config.training.noise)
    train_model(module, streams, features, out, progress, devices=devices or "auto")
    folder = part.export(out, config, checkpoint)
    print(f"wrote {folder}; try: fastsag accompany VOICE.wav --checkpoint {folder} -o out")
