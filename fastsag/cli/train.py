"""`fastsag train`: the accompaniment model or its planner, from shards of songs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag import config as configuration
from fastsag.cli import overrides as override
from fastsag.config import Config
from fastsag.errors import UserError

SYMBOLIC_SONGS = 6_000  # scores without audio that the planner also learns from
WALTZ_SHARE = 0.2  # of them: three-time is one style of twelve, too rare to learn its bars from
TRAINING_SEED = 1_000_003  # keeps symbolic songs apart from generated corpora


class Part(StrEnum):
    """What a run trains."""

    model = "model"
    planner = "planner"


def train(
    config: Annotated[Path, typer.Argument(help="Such as configs/compact.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Such as training.steps=100."),
    ] = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Shards of `fastsag songs generate`.")
    ] = Path("corpus"),
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Run folder; the same command again resumes.")
    ] = Path("runs/model"),
    part: Annotated[Part, typer.Option(help="The model, or the planner beside it.")] = Part.model,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Apply CONFIG's changes to this configuration instead."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Start from the averaged weights of another run."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
    ] = False,
) -> None:
    """Train on a corpus; features are computed once and cached beside the shards.

    Example: fastsag train configs/compact.yaml --data corpus --out runs/model training.steps=2000
    """
    values = override.apply(configuration.read_yaml(config, base), overrides or [])
    resolved = configuration.parse(values, str(config), Config)
    if dry_run:
        print(configuration.dump(resolved), end="")
        return
    import torch

    torch.manual_seed(resolved.training.seed)  # initial weights
    songs = {split: _songs(data, resolved, split) for split in ("train", "validation")}
    if part is Part.planner:
        _train_planner(resolved, songs, out, init)
    else:
        _train_model(resolved, songs, out, init)


def _songs(data: Path, config: Config, split: str) -> list[Any]:
    """Features of a split, with a line of progress while they are computed."""
    from fastsag.data.features import load_songs

    def progress(done: int, total: int) -> None:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"features: {done}/{total} shards", end=end, file=sys.stderr, flush=True)

    songs = load_songs(
        data,
        config.mel,
        config.encoder,
        (split,),
        progress,
        config.training.noise,
        vocal_mel=config.condition != "semantics",
    )
    if not songs:
        raise UserError(f"{data}: no song of the {split} split; generate a larger corpus")
    return songs


def _train_model(config: Config, songs: dict[str, list[Any]], out: Path, init: Path | None) -> None:
    from fastsag.data.crops import CropDataset
    from fastsag.training.accompaniment import AccompanimentTraining
    from fastsag.training.loop import fit, started

    training = config.training
    items = training.steps * training.batch_size
    shape = (config.mel, training.crop_frames, config.encoder.rate_hz)
    crops = CropDataset(songs["train"], *shape, items, training.seed)
    held_out = CropDataset(songs["validation"], *shape, 8 * training.batch_size, 1)
    module = started(AccompanimentTraining(config), init)
    fit(module, crops, held_out, out, training, config)


def _train_planner(
    config: Config, songs: dict[str, list[Any]], out: Path, init: Path | None
) -> None:
    import numpy as np

    from fastsag.conditioning.planner import METRES
    from fastsag.data.crops import PlanDataset
    from fastsag.data.progressions import count_progressions
    from fastsag.data.symbolic import symbolic_song
    from fastsag.songs.composition import compose
    from fastsag.training.loop import fit, started
    from fastsag.training.planner import PlannerTraining

    training, planner = config.training, config.planner
    if planner is None:
        raise UserError(f"{config.name}: this configuration has no planner")
    rate = config.encoder.sample_rate / config.encoder.hop_length
    scores = []
    for index in range(SYMBOLIC_SONGS):
        rng = np.random.default_rng((TRAINING_SEED, index))
        style = "waltz" if rng.random() < WALTZ_SHARE else None
        scores.append(symbolic_song(compose(rng, style).record(), rate, rng))
    frames = planner.window * planner.patch
    items = training.steps * training.batch_size
    shape = (frames, planner.patch, rate, METRES)
    crops = PlanDataset(songs["train"], scores, *shape, items, training.seed)
    held_out = PlanDataset(songs["validation"], [], *shape, 64, 1, augment=False)
    every = [*songs["train"], *scores]
    module = started(PlannerTraining(config, count_progressions(every)), init)
    fit(module, crops, held_out, out, training, config)
