"""What `--data` names: shards in folders or at addresses, and songs that are made on the fly."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from fastsag.data.shards import Record
from fastsag.data.streams import Shard, Stream, open_stream, weighted
from fastsag.errors import UserError

_HELD_OUT_SONGS = 8
_BANDS = 2  # that accompany each of them
_HELD_OUT_SEED = 500_000  # added to the seed of the songs for validation


def open_sources(sources: Sequence[str], scratch: Path, cache: Path | None = None) -> list[Stream]:
    """The streams of `--data` values.

    Each is a folder of shards, addresses of shards with braces for numbers, or `songs:SEED` for
    songs composed and played while the training runs; `@WEIGHT` at its end gives its share.

    Args:
        sources: the values.
        scratch: folder for the features of generated songs, which are deleted after use.
        cache: folder for all other features; None is beside local shards.

    Raises:
        UserError: nothing there, or what generates songs is not installed.
    """
    streams = []
    for source in sources:
        where, weight = weighted(source)
        if where.startswith("songs:"):
            streams.append(_songs(where, weight, scratch))
        else:
            streams.append(open_stream(where, weight, cache))
    return streams


def _songs(where: str, weight: float, scratch: Path) -> Stream:
    seed_text = where.removeprefix("songs:")
    if not seed_text.isdecimal():
        raise UserError(f"{where}: generated songs are named by a seed, such as songs:1")
    from fastsag.songs.generator import check_programs

    check_programs()
    seed, folder = int(seed_text), str(scratch)
    made = partial(_shard, folder, seed, "train", temporary=True)
    held_out = partial(_shard, folder, seed + _HELD_OUT_SEED, "validation", temporary=False)
    return Stream(where, weight, (), made, tuple(map(held_out, range(_HELD_OUT_SONGS))))


def _shard(folder: str, seed: int, split: str, number: int, *, temporary: bool) -> Shard:
    """Song `number`, with its bands, as a shard of its own."""
    name = f"songs-{seed}-{number}"
    records = partial(generated_records, seed, number, split)
    return Shard(name, records, f"{folder}/{name}", temporary)


def generated_records(seed: int, number: int, split: str) -> Iterator[Record]:
    """The records of song `number`, of one split; none, and a word about it, if it fails.

    A few grooves cannot play every chord: such a song is left out, as in a corpus.
    """
    from fastsag.songs.generator import song_records

    try:
        records = list(song_records(seed, number, _BANDS))
    except Exception as error:
        print(f"song {seed}-{number} left out: {error}", file=sys.stderr)
        return
    for record in records:
        yield dataclasses.replace(record, meta={**record.meta, "split": split})
