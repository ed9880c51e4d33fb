"""One run of the accompaniment model: streams -> crops -> the loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fastsag.data.crops import CropDataset
from fastsag.data.streams import Features, Progress, Stream, StreamCrops, Window, held_out_songs
from fastsag.training.accompaniment import VALIDATION_SEED, AccompanimentTraining
from fastsag.training.loop import fit
from fastsag.training.previews import Previews

_HELD_OUT_SONGS = 64
_HELD_OUT_BATCHES = 8


def train_model(
    module: AccompanimentTraining,
    streams: Sequence[Stream],
    features: Features,
    out: Path,
    progress: Progress | None = None,
    *,
    devices: int | str = "auto",
    nodes: int = 1,
) -> None:
    """Train on crops of `streams` as the module's configuration says; see `fit`."""
    config = module.config
    training = config.training
    heard = dataclasses.replace(features, vocal_mel=True)  # previews show the voice
    songs = held_out_songs(streams, heard, _HELD_OUT_SONGS, progress)
    held_out = CropDataset(
        songs,
        config.mel,
        training.crop_frames,
        config.encoder.rate_hz,
        _HELD_OUT_BATCHES * training.batch_size,
        VALIDATION_SEED,
    )
    crops = StreamCrops(
        streams,
        dataclasses.replace(features, vocal_mel=module.model.vocal_mel),
        training.crop_frames,
        training.steps * training.batch_size,
        training.seed,
        Window(training.shards_in_memory, training.crops_per_shard, training.lanes),
        progress,
    )
    previews = Previews(config, held_out, out, min(training.previews, len(held_out)))
    fit(
        module,
        crops,
        held_out,
        out,
        training,
        config,
        devices=devices,
        nodes=nodes,
        callbacks=[previews],
    )
