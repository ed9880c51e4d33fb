"""Songs of a folder by the functions that training loads with, in this process."""

from functools import partial
from pathlib import Path

from fastsag.config import MelConfig, MelodicConfig, VoiceNoise
from fastsag.data.features import Song, digest, read_features, write_features
from fastsag.data.shards import read_shard, shard_paths


def load_songs(
    folder: Path,
    mel: MelConfig,
    encoder: MelodicConfig,
    splits: tuple[str, ...],
    noise: VoiceNoise | None = None,
    vocal_mel: bool = False,
) -> list[Song]:
    """Features are computed once and kept beside the shards."""
    noise = noise or VoiceNoise()
    songs = []
    for path in shard_paths(folder):
        cache = path.with_name(f"{path.stem}.features-{digest(mel, encoder, noise)}.npz")
        if not cache.exists():
            write_features(partial(read_shard, path, extras=True), cache, mel, encoder, noise)
        songs += read_features(cache, splits, vocal_mel)
    return songs
