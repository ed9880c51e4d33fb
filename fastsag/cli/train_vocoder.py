"""`fastsag train-vocoder`: a vocoder from the accompaniments of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastsag import config as configuration
from fastsag.cli import overrides as override
from fastsag.cli.options import Devices, DryRun, Overrides, Run
from fastsag.config import VocoderTraining
from fastsag.errors import UserError


def train_vocoder(
    config: Annotated[Path, typer.Argument(help="Such as configs/vocoder/vocos.yaml.")],
    overrides: Overrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help="Folder or addresses of shards; again for more of them."
        ),
    ] = None,
    out: Run = Path("runs/vocoder"),
    init: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Start from the weights of a run or a checkpoint."),
    ] = None,
    devices: Devices = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; run the command on each.")] = 1,
    dry_run: DryRun = False,
) -> None:
    """Train a vocoder; its validation lines show Griffin-Lim's scores beside its own.

    Example: fastsag train-vocoder configs/vocoder/vocos.yaml --data corpus --out runs/vocoder
    """
    values = override.apply(configuration.read_yaml(config), overrides or [])
    resolved = configuration.parse(values, str(config), VocoderTraining)
    if dry_run:
        print(configuration.dump(resolved), end="")
        return
    import torch

    from fastsag.training.loop import fit, started
    from fastsag.training.sources import open_sources
    from fastsag.training.vocoder import VocoderModule, WaveCrops, load_music

    training = resolved.training
    sources = data or ["corpus"]
    music = load_music(open_sources(sources, out / "generated"), resolved.mel.sample_rate)
    for split in ("train", "validation"):
        if split not in music:
            names = ", ".join(sources)
            raise UserError(f"{names}: no song of the {split} split; generate a larger corpus")
    size = training.crop_frames * resolved.mel.hop_length
    items = training.steps * training.batch_size
    crops = WaveCrops(music["train"], size, items, training.seed)
    held_out = WaveCrops(music["validation"], size, 4 * training.batch_size, 1)
    torch.manual_seed(training.seed)
    module = started(VocoderModule(resolved), init)
    fit(module, crops, held_out, out, training, resolved, devices=devices or "auto", nodes=nodes)
