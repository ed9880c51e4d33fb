"""Shards -> tokens, cached beside each shard -> crops of a stage's two blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastsag.baselines.singsong.config import StageName
from fastsag.baselines.singsong.tokens import Tokenizer
from fastsag.data.shards import Record, read_shard, shard_paths


@dataclass(frozen=True)
class SongTokens:
    """One record. voice, band: semantic tokens (S,). codes: (L, Q). int16 all."""

    split: str
    voice: np.ndarray
    band: np.ndarray
    codes: np.ndarray

    def given(self, stage: StageName, coarse: int) -> np.ndarray:
        """Codes (L, Q) that a stage reads."""
        if stage == "fine":
            return self.codes[:, :coarse]
        return (self.voice if stage == "semantic" else self.band)[:, None]

    def wanted(self, stage: StageName, coarse: int) -> np.ndarray:
        """Codes (L, Q) that a stage writes."""
        if stage == "semantic":
            return self.band[:, None]
        return self.codes[:, :coarse] if stage == "coarse" else self.codes[:, coarse:]


def load_tokens(
    folder: Path, tokenizer: Tokenizer, progress: Callable[[int, int], None] | None = None
) -> list[SongTokens]:
    """The tokens of all shards in `folder`; those not cached yet are computed shard by shard.

    Args:
        progress: told of (shards done, shards to do).

    Raises:
        UserError: no shards in the folder.
    """
    paths = shard_paths(folder)
    digest = tokenizer.digest
    caches = [path.with_name(f"{path.stem}.tokens-{digest}.npz") for path in paths]
    todo = [pair for pair in zip(paths, caches, strict=True) if not pair[1].exists()]
    for done, (path, cache) in enumerate(todo, 1):
        _write(cache, [tokenize(record, tokenizer) for record in read_shard(path)])
        if progress:
            progress(done, len(todo))
    return [song for cache in caches for song in _read(cache)]


def tokenize(record: Record, tokenizer: Tokenizer) -> SongTokens:
    """The tokens of one record, the voice with the noise of training."""
    vocals, accompaniment = tokenizer.pair(record)
    band, codes = tokenizer.band(accompaniment)
    arrays = (tokenizer.voice(vocals), band, codes)
    return SongTokens(
        str(record.meta["split"]), *(array.cpu().numpy().astype(np.int16) for array in arrays)
    )


_ARRAYS = ("voice", "band", "codes")


def _write(path: Path, songs: list[SongTokens]) -> None:
    flat: dict[str, Any] = {
        f"{index}.{name}": getattr(song, name)
        for index, song in enumerate(songs)
        for name in _ARRAYS
    }
    flat["split"] = np.array([song.split for song in songs])
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as handle:
        np.savez_compressed(handle, **flat)
    os.replace(temporary, path)


def _read(path: Path) -> list[SongTokens]:
    with np.load(path, allow_pickle=False) as arrays:
        return [
            SongTokens(split, *(arrays[f"{index}.{name}"] for name in _ARRAYS))
            for index, split in enumerate(arrays["split"].tolist())
        ]


class TokenCrops(Dataset[dict[str, Tensor]]):
    """Aligned crops of what a stage reads and writes; crop i depends on (seed, i) alone.

    Item: given (L, Q), wanted (L', Q'), int64.

    Args:
        songs: at least one that is a window long.
        stage: which blocks.
        coarse: codebooks of the coarse stage.
        frames: L and L'.
        ratio: wanted frames a given frame.
        length: number of items.
        seed: of the crops.

    Raises:
        ValueError: no song is long enough.
    """

    def __init__(
        self,
        songs: Sequence[SongTokens],
        stage: StageName,
        coarse: int,
        frames: tuple[int, int],
        ratio: float,
        length: int,
        seed: int,
    ) -> None:
        pairs = [(song.given(stage, coarse), song.wanted(stage, coarse)) for song in songs]
        self.pairs = [
            pair for pair in pairs if len(pair[0]) >= frames[0] and len(pair[1]) >= frames[1]
        ]
        if not self.pairs:
            raise ValueError(f"none of {len(songs)} songs is as long as a window")
        self.frames, self.ratio, self.length, self.seed = frames, ratio, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        given, wanted = self.pairs[rng.integers(len(self.pairs))]
        start = int(rng.integers(len(given) - self.frames[0] + 1))
        first = min(round(start * self.ratio), len(wanted) - self.frames[1])
        return {
            "given": torch.from_numpy(given[start : start + self.frames[0]].astype(np.int64)),
            "wanted": torch.from_numpy(wanted[first : first + self.frames[1]].astype(np.int64)),
        }
