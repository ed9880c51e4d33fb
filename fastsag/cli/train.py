"""`fastsag train`: the accompaniment model or its planner, from shards of songs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastsag import config as configuration
from fastsag.cli import overrides as override
from fastsag.cli.options import Devices, DryRun, Overrides, Run
from fastsag.config import Config
from fastsag.errors import UserError

if TYPE_CHECKING:
    from fastsag.data.streams import Features, Stream

SYMBOLIC_SONGS = 6_000  # scores without audio that the planner also learns from
WALTZ_SHARE = 0.2  # of them: three-time is one style of twelve, too rare to learn its bars from
TRAINING_SEED = 1_000_003  # keeps symbolic songs apart from generated corpora


class Part(StrEnum):
    """What a run trains."""

    model = "model"
    planner = "planner"


DATA_HELP = (
    "Folder of shards, addresses of shards (https://host/x-{000..099}.tar), or songs:SEED for "
    "songs made on the fly; @WEIGHT at the end gives its share. Again for more sources."
)


def train(
    config: Annotated[
        Path | None, typer.Argument(help="Such as configs/compact.yaml.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    data: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help=DATA_HELP)] = None,
    out: Run = Path("runs/model"),
    part: Annotated[Part, typer.Option(help="The model, or the planner beside it.")] = Part.model,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Apply CONFIG's changes to this configuration instead."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Start from the weights of a run or a checkpoint."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For features; else beside the shards."),
    ] = None,
    devices: Devices = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; run the command on each.")] = 1,
    list_them: Annotated[
        bool, typer.Option("--list", help="Print the configurations and the paper's figures.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Train on a corpus; features are computed once and cached beside the shards.

    The run folder holds config.yaml, last.ckpt, TensorBoard logs and previews: pictures and sound
    of held-out songs at each validation.

    Example: fastsag train configs/compact.yaml --data corpus --out runs/model training.steps=2000
    """
    if list_them:
        from fastsag.cli.recipes import table

        print(table())
        return
    if config is None:
        raise UserError("which configuration? give a file, or see them all: fastsag train --list")
    values = override.apply(configuration.read_yaml(config, base), overrides or [])
    resolved = configuration.parse(values, str(config), Config)
    if dry_run:
        print(configuration.dump(resolved), end="")
        return
    import torch

    from fastsag.data.streams import Features
    from fastsag.training.sources import open_sources

    torch.manual_seed(resolved.training.seed)  # initial weights
    streams = open_sources(data or ["corpus"], out / "generated", cache)
    planned = resolved.planner is not None
    features = Features(resolved.mel, resolved.encoder, resolved.training.noise, planned=planned)
    if part is Part.planner:
        _train_planner(resolved, streams, features, out, init, devices or "auto", nodes)
    else:
        _train_model(resolved, streams, features, out, init, devices or "auto", nodes)


def progress(done: int, total: int) -> None:
    """A line while features are computed."""
    end = "\r" if sys.stderr.isatty() and done < total else "\n"
    print(f"features: {done}/{total} shards", end=end, file=sys.stderr, flush=True)


def _train_model(
    config: Config,
    streams: list[Stream],
    features: Features,
    out: Path,
    init: str | None,
    devices: int | str,
    nodes: int,
) -> None:
    from fastsag.training.accompaniment import AccompanimentTraining
    from fastsag.training.loop import started
    from fastsag.training.run import train_model

    module = started(AccompanimentTraining(config), init)
    train_model(module, streams, features, out, progress, devices=devices, nodes=nodes)


def _train_planner(
    config: Config,
    streams: list[Stream],
    features: Features,
    out: Path,
    init: str | None,
    devices: int | str,
    nodes: int,
) -> None:
    import numpy as np

    from fastsag.conditioning.planner import METRES
    from fastsag.data.crops import PlanDataset
    from fastsag.data.progressions import count_progressions
    from fastsag.data.streams import all_songs
    from fastsag.data.symbolic import symbolic_song
    from fastsag.songs.composition import compose
    from fastsag.training.loop import fit, started
    from fastsag.training.planner import PlannerTraining

    training, planner = config.training, config.planner
    if planner is None:
        raise UserError(f"{config.name}: this configuration has no planner")
    songs = {
        split: all_songs(streams, features, split, progress) for split in ("train", "validation")
    }
    rate = config.encoder.sample_rate / config.encoder.hop_length
    scores = []
    for index in range(SYMBOLIC_SONGS):
        rng = np.random.default_rng((TRAINING_SEED, training.seed, index))
        style = "waltz" if rng.random() < WALTZ_SHARE else None
        scores.append(symbolic_song(compose(rng, style).record(), rate, rng))
    frames = planner.window * planner.patch
    items = training.steps * training.batch_size
    shape = (frames, planner.patch, rate, METRES)
    crops = PlanDataset(songs["train"], scores, *shape, items, training.seed)
    held_out = PlanDataset(songs["validation"], [], *shape, 64, 1, augment=False)
    every = [*songs["train"], *scores]
    module = started(PlannerTraining(config, count_progressions(every)), init)
    fit(module, crops, held_out, out, training, config, devices=devices, nodes=nodes)
