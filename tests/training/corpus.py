"""A small corpus without any program that makes songs: tones that follow composed scores."""

import dataclasses
from pathlib import Path

import numpy as np

from fastsag.data.shards import Record, write_shard
from fastsag.songs.composition import compose

RATE = 24_000
SECONDS = 9.0


def record(seed: int, split: str = "train") -> Record:
    """The first seconds of a score: the melody for a voice, chord tones and clicks for a band."""
    score = compose(np.random.default_rng(seed))
    count = int(SECONDS * RATE)
    time = np.arange(count) / RATE
    voice, band = np.zeros(count), np.zeros(count)
    truth = score.record()
    for note in truth["notes"]:
        inside = (time >= note["start"]) & (time < note["end"])
        voice[inside] = 0.2 * np.sin(
            2 * np.pi * 440 * 2 ** ((note["pitch"] - 69) / 12) * time[inside]
        )
    for beat in truth["beats"]:
        band += 0.1 * np.exp(-np.abs(time - beat) * 80)
    band += 0.1 * np.sin(2 * np.pi * 110 * time)
    meta = {**truth, "song": f"s{seed}", "split": split, "sample_rate": RATE}
    return Record(f"s{seed}", voice.astype(np.float32), band.astype(np.float32), meta)


def write_corpus(folder: Path, shards: int = 2, songs: int = 2, plan: bool = True) -> Path:
    """Shards of `songs` each; the first song of the first shard is for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        records = []
        for song in range(songs):
            split = "validation" if shard == song == 0 else "train"
            made = record(shard * songs + song, split)
            if not plan:
                known = ("song", "split", "sample_rate")
                meta = {name: made.meta[name] for name in known}
                made = dataclasses.replace(made, meta=meta)
            records.append(made)
        write_shard(folder / f"songs-{shard:03d}.tar", records)
    return folder
