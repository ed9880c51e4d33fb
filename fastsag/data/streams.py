"""Training crops from any number of shards: folders, addresses, or shards made on the fly.

Crop i depends on (seed, i) alone, so that a run resumes anywhere and any number of processes draws
the same crops. A corpus that is larger than memory passes through it: each stream holds a window of
shards, into which a new one enters after a fixed number of crops, and the oldest leaves once it is
full. Windows are kept apart by lane (crop i belongs to lane i mod `lanes`), so that a process loads
only the shards of the crops it draws.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastsag.config import MelConfig, MelodicConfig, MertConfig, VoiceNoise
from fastsag.data.crops import crop
from fastsag.data.features import (
    Song,
    cores,
    digest,
    feature_processes,
    read_features,
    write_features,
)
from fastsag.data.shards import Record, read_records, read_shard, shard_paths
from fastsag.errors import UserError, require

_VALIDATION_SHARDS = 64  # looked through for held-out songs
_SEARCHED_SHARDS = 64  # of a lane, for a song that can be used
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:")  # https://..., gs://..., pipe:...
_WEIGHTED = re.compile(r"(?P<where>.+)@(?P<weight>\d+(\.\d+)?)")

_REMEDY = "use a larger corpus"

Progress = Callable[[int, int], None]  # shards ready, shards wanted


@dataclass(frozen=True)
class Shard:
    """Some records and where their features are kept.

    origin: names it in errors. records: opens it, in any process. temporary: its features are
    deleted when they are no longer needed.
    """

    origin: str
    records: Callable[[], Iterator[Record]]
    cache: str  # stem of the file with its features, a path
    temporary: bool = False


@dataclass(frozen=True)
class Stream:
    """Shards of one source: a finite number, shuffled anew in each round, or endless ones.

    name: as given. weight: its share of the crops, against the other streams' weights. shards:
    all of them, or none where `made` gives shard number k. held_out: shards that hold songs for
    validation; None is the stream's own.
    """

    name: str
    weight: float
    shards: tuple[Shard, ...] = ()
    made: Callable[[int], Shard] | None = None
    held_out: tuple[Shard, ...] | None = None

    def at(self, number: int, seed: int) -> Shard:
        """Shard `number` (0, 1, ...) of the endless order that `seed` gives."""
        if self.made is not None:
            return self.made(number)
        turn, place = divmod(number, len(self.shards))
        order = np.random.default_rng((seed, turn)).permutation(len(self.shards))
        return self.shards[order[place]]


@dataclass(frozen=True)
class Features:
    """What is computed from records (see `FeatureExtractor`), and what is read of it.

    vocal_mel: the voice's mel too. planned: only songs whose beats, chords and key are known.
    """

    mel: MelConfig
    encoder: MelodicConfig | MertConfig
    noise: VoiceNoise
    vocal_mel: bool = False
    planned: bool = False

    def cache(self, shard: Shard) -> Path:
        """The file with a shard's features."""
        return Path(f"{shard.cache}.features-{digest(self.mel, self.encoder, self.noise)}.npz")


@dataclass(frozen=True)
class Window:
    """How a large corpus passes through memory.

    shards: held at once, of each stream. crops_per_shard: drawn for each shard that enters. lanes:
    parts that are loaded by themselves; a multiple of the number of processes.
    """

    shards: int = 128
    crops_per_shard: int = 64
    lanes: int = 8


def default_cache() -> Path:
    """Where features of shards that are not local are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fastsag" / "features"


def weighted(text: str) -> tuple[str, float]:
    """`corpus@0.5` -> ("corpus", 0.5); without a weight it is 1."""
    found = None if Path(text).exists() else _WEIGHTED.fullmatch(text)
    return (found["where"], float(found["weight"])) if found else (text, 1.0)


def open_stream(where: str, weight: float = 1.0, cache: Path | None = None) -> Stream:
    """A folder of shards, or addresses with braces: `https://host/songs-{0000..0099}.tar`.

    Features of a folder are kept beside its shards, others in `default_cache()`; `cache` is a
    folder for both.

    Raises:
        UserError: no shards there.
    """
    if _ADDRESS.match(where):
        expand = require("webdataset.shardlists", extra="train").expand_urls
        return Stream(where, weight, tuple(_remote(url, cache) for url in expand(where)))
    paths = shard_paths(Path(where))
    return Stream(where, weight, tuple(_local(path, cache) for path in paths))


def _local(path: Path, cache: Path | None) -> Shard:
    kept = path.with_suffix("") if cache is None else cache / _named(str(path.resolve()))
    return Shard(str(path), partial(read_shard, path, extras=True), str(kept))


def _remote(url: str, cache: Path | None) -> Shard:
    kept = (cache or default_cache()) / _named(url)
    return Shard(url, partial(read_address, url), str(kept))


def _named(origin: str) -> str:
    stem = Path(origin).name.partition(".")[0]
    return f"{stem}-{hashlib.sha256(origin.encode()).hexdigest()[:10]}"


def read_address(url: str) -> Iterator[Record]:
    """The records of a shard at an address that webdataset opens (http, gs, pipe, ...).

    Raises:
        UserError: it cannot be fetched whole, or is no shard.
    """
    gopen = require("webdataset.gopen", extra="train").gopen
    try:
        with gopen(url) as stream:
            yield from read_records(stream, url, extras=True)
            while stream.read(1 << 20):  # the end, where a broken transfer shows
                pass
    except OSError as error:
        raise UserError(f"{url}: cannot be fetched ({error}); check the address") from None


class Loader:
    """Songs of shards, in the background: features are read, or computed and kept first."""

    def __init__(
        self, features: Features, splits: tuple[str, ...], progress: Progress | None = None
    ) -> None:
        self.features, self.splits, self.progress = features, splits, progress
        self.threads = ThreadPoolExecutor(cores(), thread_name_prefix="features")
        self.processes: ProcessPoolExecutor | None = None

    def submit(self, shard: Shard) -> Future[list[Song]]:
        """Begin to load a shard."""
        if self.processes is None and not self.features.cache(shard).exists():
            self.processes = feature_processes(cores())
        return self.threads.submit(self._load, shard)

    def gather(self, futures: Sequence[Future[list[Song]]]) -> list[Song]:
        """The songs of what was submitted, with progress if that takes computing."""
        songs: list[Song] = []
        for done, future in enumerate(futures, 1):
            wait = not future.done()
            songs.extend(future.result())
            if self.progress and wait and self.processes is not None:
                self.progress(done, len(futures))
        return songs

    def close(self) -> None:
        """End the background work."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        if self.processes is not None:
            self.processes.shutdown(wait=False, cancel_futures=True)

    def _load(self, shard: Shard) -> list[Song]:
        settings = self.features
        cache = settings.cache(shard)
        if not cache.exists():
            assert self.processes is not None
            arguments = (settings.mel, settings.encoder, settings.noise)
            self.processes.submit(write_features, shard.records, cache, *arguments).result()
        songs = list(read_features(cache, self.splits, settings.vocal_mel))
        if shard.temporary:
            cache.unlink(missing_ok=True)
        return [song for song in songs if song.planned or not settings.planned]


def held_out_songs(
    streams: Sequence[Stream], features: Features, count: int, progress: Progress | None = None
) -> list[Song]:
    """Up to `count` songs of the validation split, from the first shards that hold any.

    Raises:
        UserError: none of the streams has one.
    """
    shards = [
        shard
        for stream in streams
        for shard in (
            stream.shards[:_VALIDATION_SHARDS] if stream.held_out is None else stream.held_out
        )
    ]
    return _songs(streams, shards, features, "validation", progress)[:count]


def all_songs(
    streams: Sequence[Stream], features: Features, split: str, progress: Progress | None = None
) -> list[Song]:
    """Every song of a split; for what is small enough to be trained from memory.

    Raises:
        UserError: an endless stream, or no song of this split.
    """
    for stream in streams:
        if stream.made is not None:
            raise UserError(f"{stream.name}: has no end; write a corpus: fastsag songs generate")
    shards = [shard for stream in streams for shard in stream.shards]
    return _songs(streams, shards, features, split, progress)


def _songs(
    streams: Sequence[Stream],
    shards: Sequence[Shard],
    features: Features,
    split: str,
    progress: Progress | None,
) -> list[Song]:
    loader = Loader(features, (split,), progress)
    try:
        songs = loader.gather([loader.submit(shard) for shard in shards])
    finally:
        loader.close()
    if not songs:
        names = ", ".join(stream.name for stream in streams)
        raise UserError(f"{names}: no song of the {split} split{_known(features)}; {_REMEDY}")
    return songs


def _known(features: Features) -> str:
    return " whose beats and chords are known (fastsag finetune needs none)" * features.planned


@dataclass
class _Pool:
    """The shards of one stream and lane that are in memory; `at` moves with the crops."""

    at: int = -1
    loading: dict[int, Future[list[Song]]] = field(default_factory=dict)
    songs: list[Song] = field(default_factory=list)


class StreamCrops(Dataset[dict[str, Tensor]]):
    """Crops as `CropDataset` gives them, of the training songs of several streams.

    Args:
        streams: with weights; each has songs that are `frames` long.
        features: what the crops are cut from.
        frames: T, mel frames of a crop.
        length: number of items.
        seed: of the order of the shards and of the crops.
        window: how much is in memory at once.
        progress: told while features are computed that are not cached.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        features: Features,
        frames: int,
        length: int,
        seed: int,
        window: Window = Window(),
        progress: Progress | None = None,
    ) -> None:
        self.streams, self.features, self.frames = list(streams), features, frames
        self.length, self.seed, self.window = length, seed, window
        weights = np.array([stream.weight for stream in streams])
        self.shares = weights / weights.sum()
        self.ratio = features.mel.frame_rate / features.encoder.rate_hz
        self.loader = Loader(features, ("train",), progress)
        self.pools: dict[tuple[int, int], _Pool] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        number = int(rng.choice(len(self.streams), p=self.shares))
        songs = self._songs(number, index)
        song = songs[rng.integers(len(songs))]
        item = crop(song, self.features.mel, self.frames, self.ratio, rng)
        return {**item, "item": torch.tensor(index)}

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("holds threads: use it in the process it was made in")

    def _songs(self, number: int, index: int) -> list[Song]:
        """What crop `index` of stream `number` is drawn from."""
        stream, window = self.streams[number], self.window
        count = len(stream.shards)
        whole = stream.made is None and count <= window.shards
        lanes = window.lanes if stream.made is not None or count >= window.lanes else 1
        lane = index % lanes
        if whole:
            at, wanted = 0, range(lane, count, lanes)
        else:
            crops = index * float(self.shares[number])
            at = int(crops / (lanes * window.crops_per_shard))
            first = max(0, at + 1 - max(1, window.shards // lanes))
            wanted = range(first * lanes + lane, (at + 1) * lanes + lane, lanes)
        pool = self.pools.setdefault((number, lane), _Pool())
        if pool.at != at:
            self._move(stream, pool, at, wanted, whole)
        return pool.songs

    def _move(self, stream: Stream, pool: _Pool, at: int, wanted: range, whole: bool) -> None:
        """Let the shards `wanted` be those in the pool, and begin to load the next one."""
        ahead = [] if whole else [wanted.stop]
        for k in [*wanted, *ahead]:
            if k not in pool.loading:
                pool.loading[k] = self.loader.submit(stream.at(k, self.seed))
        for k in [k for k in pool.loading if k not in wanted and k not in ahead]:
            pool.loading.pop(k)
        found = self.loader.gather([pool.loading[k] for k in wanted])
        usable = [song for song in found if song.mel.shape[1] >= self.frames]
        if not usable:
            usable = self._search(stream, wanted.stop, wanted.step)
        pool.at, pool.songs = at, usable

    def _search(self, stream: Stream, first: int, step: int) -> list[Song]:
        """The songs of the next shard that has any to train on."""
        for k in range(first, first + _SEARCHED_SHARDS * step, step):
            songs = self.loader.submit(stream.at(k, self.seed)).result()
            usable = [song for song in songs if song.mel.shape[1] >= self.frames]
            if usable:
                return usable
        seconds = self.frames / self.features.mel.frame_rate
        raise UserError(
            f"{stream.name}: no song of the train split that lasts {seconds:.1f} s"
            f"{_known(self.features)}; {_REMEDY} or a smaller training.crop_frames"
        )
