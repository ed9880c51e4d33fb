"""Fine-tuning: a checkpoint learns from a user's own pairs of voice and band.

Pairs have no lead sheet, which a model with a planner plays from. Its own planner writes one from
each voice, as it would when accompanying, and singer and band are brought to A440 together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from fastsag import audio, checkpoint
from fastsag import config as configuration
from fastsag.audio import SUFFIXES, Recording
from fastsag.config import Config
from fastsag.data.shards import Record, read_shard, write_shard
from fastsag.errors import UserError
from fastsag.lead_sheet import LeadSheet
from fastsag.pipeline import Accompanist
from fastsag.training.loop import averaged_weights

# What a few songs ask for: small steps, few of them, an average over the last hundred.
SETTINGS: dict[str, Any] = {
    "steps": 300,
    "batch_size": 4,
    "accumulate": 1,
    "learning_rate": 1e-4,
    "warmup_steps": 20,
    "schedule": "cosine",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "clip_parts": [],
    "ema_decay": 0.99,
    "precision": "fp32",
    "validate_every": 100,
    "save_every": 50,
}
CHECKPOINT, PAIRS = "checkpoint", "pairs"
_HELD_OUT = 10  # one song in so many is validated on, at least one
_BANDS = ("accompaniment", "no_vocals")

Progress = Callable[[int, int], None]  # songs read, songs in all


def pairs_of(folder: Path) -> list[tuple[str, Path, Path]]:
    """Song, voice and band of `<song>/vocals.*` with `accompaniment.*` or `no_vocals.*`.

    Raises:
        UserError: fewer than two of them.
    """
    found = []
    for song in sorted(path for path in folder.iterdir() if path.is_dir()):
        voice, band = _audio(song, ("vocals",)), _audio(song, _BANDS)
        if voice and band:
            found.append((song.name, voice, band))
    if len(found) < 2:
        raise UserError(
            f"{folder}: {len(found)} songs here, at least two are needed; each is a folder with "
            "vocals.wav and accompaniment.wav"
        )
    return found


def _audio(song: Path, stems: Sequence[str]) -> Path | None:
    files = [path for path in sorted(song.iterdir()) if path.suffix.lower() in SUFFIXES]
    return next((path for path in files if path.stem in stems), None)


def write_pairs(source: Path, out: Path, player: Accompanist, progress: Progress) -> Path:
    """A folder of pairs or of shards -> shards that `player`'s model can learn from.

    Shards that need nothing more are used as they are; the others are written to `out`/pairs, where
    those of a run that was interrupted are kept.

    Returns:
        the folder of the shards.

    Raises:
        UserError: no pairs, or audio that cannot be used.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")
    shards = sorted(source.glob("*.tar"))
    planned = player.model.planner is not None
    if shards and (not planned or "beats" in next(read_shard(shards[0])).meta):
        return source
    folder = out / PAIRS
    folder.mkdir(parents=True, exist_ok=True)
    todo: list[tuple[Path, Iterator[Record]]]
    if shards:
        todo = [(folder / path.name, read_shard(path)) for path in shards]
    else:
        songs = pairs_of(source)
        todo = [
            (folder / f"{number:04d}.tar", _pair(*song, held_out=number % _HELD_OUT == 0))
            for number, song in enumerate(songs)
        ]
    for done, (path, records) in enumerate(todo, 1):
        if not path.exists():
            write_shard(path, (annotated(record, player) for record in records))
        progress(done, len(todo))
    return folder


def _pair(song: str, voice: Path, band: Path, held_out: bool) -> Iterator[Record]:
    sung, played = audio.read(voice), audio.read(band)
    rate = sung.sample_rate
    samples = audio.resample(audio.to_mono(played.samples), played.sample_rate, rate)
    vocals = audio.to_mono(sung.samples)[0]
    count = min(len(vocals), samples.shape[1])
    split = "validation" if held_out else "train"
    meta = {"song": song, "offset": 0.0, "split": split, "source": "pairs", "sample_rate": rate}
    key = song.replace(".", "-")
    yield Record(key, vocals[:count], samples[0, :count], meta)


def annotated(record: Record, player: Accompanist) -> Record:
    """`record` at A440, with the lead sheet that the model's planner writes if it has one."""
    if player.model.planner is None or "beats" in record.meta:
        return record
    rate = record.meta["sample_rate"]
    _, sheet, cents = player.listen(Recording(record.vocals[None], rate))
    assert sheet is not None
    stretch = 2 ** (cents / 1200)
    vocals, accompaniment = (
        part if stretch == 1 else audio.resample(part[None], rate / stretch, rate)[0]
        for part in (record.vocals, record.accompaniment)
    )
    truth = truth_of(sheet.stretched(stretch), len(vocals) / rate)
    meta = {**record.meta, **truth, "duration": len(vocals) / rate, "tuning_cents": cents}
    return dataclasses.replace(record, vocals=vocals, accompaniment=accompaniment, meta=meta)


def truth_of(sheet: LeadSheet, duration: float) -> dict[str, Any]:
    """A lead sheet in the words of a training record (see `from_record`)."""
    starts = sheet.chord_times()
    ends = [*(start for start, _ in starts[1:]), duration]
    return {
        "beats": [float(beat) for beat in sheet.beats],
        "downbeats": [
            float(beat) for beat in sheet.beats[sheet.first_downbeat :: sheet.beats_per_bar]
        ],
        "beats_per_bar": sheet.beats_per_bar,
        "key": sheet.key,
        "chords": [
            {"start": start, "end": end, "label": label}
            for (start, label), end in zip(starts, ends, strict=True)
        ],
        "style": sheet.style,
    }


def settings_of(config: Config, overrides: Callable[[dict[str, Any]], dict[str, Any]]) -> Config:
    """A checkpoint's configuration with `SETTINGS`, and with what the user changes in it."""
    values = config.model_dump(mode="json")
    values["training"] = {**values["training"], **SETTINGS}
    return configuration.parse(overrides(values), config.name, Config)


def export(run: Path, config: Config, source: str) -> Path:
    """The checkpoint of a run, with the vocoder of the checkpoint it started from.

    Of several processes the first one writes it.
    """
    folder = run / CHECKPOINT
    if getattr(rank_zero_only, "rank", 0):
        return folder
    _, _, vocoder = checkpoint.load(source)
    checkpoint.export(folder, config, averaged_weights(run, "model"), vocoder.state_dict())
    return folder
