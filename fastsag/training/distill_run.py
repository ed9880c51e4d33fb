"""One run of distillation: streams -> crops -> solutions -> the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fastsag.config import Config
from fastsag.data.crops import CropDataset
from fastsag.data.streams import Features, Stream, StreamCrops, Window, held_out_songs
from fastsag.training import distillation as part
from fastsag.training.accompaniment import VALIDATION_SEED, AccompanimentTraining
from fastsag.training.loop import fit, started
from fastsag.training.previews import StudentPreviews
from fastsag.training.solutions import count_solutions, write_solutions
from fastsag.training.sources import open_sources

Progress = Callable[[int, int], None]

_HELD_OUT_SONGS = 64


def distil_model(
    teacher: str,
    config: Config,
    data: Sequence[str],
    out: Path,
    cache: Path | None,
    features_progress: Progress,
    solved: Progress,
    devices: int | str = "auto",
) -> None:
    """Solve crops of `data` with checkpoint `teacher`, then train its student; see `fit`.

    What `out` holds already is not done again.
    """
    training, distilled = config.training, config.distilled
    assert distilled is not None
    folders = (out / part.SOLUTIONS, out / part.HELD_OUT)
    counts = (distilled.crops, part.HELD_OUT_CROPS)
    frozen = started(AccompanimentTraining(config), teacher).eval()
    if any(count_solutions(*pair) < pair[1] for pair in zip(folders, counts, strict=True)):
        streams = open_sources(data, out / "generated", cache)
        for crops, folder, count in zip(
            _crops(config, streams, features_progress), folders, counts, strict=True
        ):
            write_solutions(frozen, crops, count, folder, solved)
    torch.manual_seed(training.seed)
    module = part.started(config, frozen.model.denoiser.state_dict())
    del frozen
    held_out = part.HeldOut(folders[1], counts[1], config)
    fit(
        module,
        part.Jumps(
            folders[0], counts[0], config, training.steps * training.batch_size, training.seed
        ),
        held_out,
        out,
        training,
        config,
        devices=devices,
        callbacks=[StudentPreviews(config, held_out, out, training.previews)],
    )


def _crops(
    config: Config, streams: Sequence[Stream], progress: Progress
) -> tuple[StreamCrops, CropDataset]:
    """The crops that the teacher solves, for training and for validation."""
    training, distilled = config.training, config.distilled
    assert distilled is not None
    features = Features(
        config.mel,
        config.encoder,
        training.noise,
        vocal_mel=config.condition != "semantics",
        planned=config.planner is not None,
    )
    window = Window(training.shards_in_memory, training.crops_per_shard, training.lanes)
    frames, seed = training.crop_frames, training.seed
    crops = StreamCrops(streams, features, frames, distilled.crops, seed, window, progress)
    songs = held_out_songs(streams, features, _HELD_OUT_SONGS, progress)
    rate_hz = config.encoder.rate_hz
    held_out = CropDataset(songs, config.mel, frames, rate_hz, part.HELD_OUT_CROPS, VALIDATION_SEED)
    return crops, held_out
