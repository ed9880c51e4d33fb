"""What a folder of shards holds, read from their JSON parts alone, and whether they are whole."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import hub
from fastsag.data.manifest import read_manifest
from fastsag.data.shards import Record, read_shard, shard_paths
from fastsag.errors import UserError

EXAMPLES = 3


@dataclass
class SplitFacts:
    """Of one split. seconds: of each record."""

    songs: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return sum(self.seconds) / 3600


def by_split(folder: Path) -> dict[str, SplitFacts]:
    """Songs and durations by split.

    Raises:
        UserError: no shards, or one that is damaged.
    """
    facts: dict[str, SplitFacts] = {}
    for path in shard_paths(folder):
        for meta in read_metas(path):
            split = facts.setdefault(str(meta["split"]), SplitFacts())
            split.songs.add(str(meta["song"]))
            split.seconds.append(float(meta["duration"]))
    return facts


def read_metas(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON of each record of a shard; audio is skipped, not read."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                handle = tar.extractfile(member) if member.name.endswith(".json") else None
                if handle:
                    yield json.loads(handle.read())
    except (tarfile.TarError, ValueError) as error:
        raise UserError(f"{path}: not a shard ({error}); make it again") from None


def examples(folder: Path, count: int = EXAMPLES) -> list[Record]:
    """The first record of up to `count` shards, spread over the folder."""
    paths = shard_paths(folder)
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    records = (next(read_shard(paths[index]), None) for index in chosen)
    return [record for record in records if record]


def verify(folder: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """How the shards differ from their manifest: nothing, if they are as they were written.

    Raises:
        UserError: there is no manifest.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder}: no manifest to compare with; only fastsag prepare writes one")
    faults = []
    shards: Sequence[dict[str, Any]] = manifest["shards"]
    for done, shard in enumerate(shards, 1):
        path = folder / shard["name"]
        if not path.is_file():
            faults.append(f"{path}: is missing")
        elif path.stat().st_size != shard["bytes"]:
            faults.append(f"{path}: has {path.stat().st_size:,} bytes, not {shard['bytes']:,}")
        elif hub.file_sha256(path) != shard["sha256"]:
            faults.append(f"{path}: its checksum differs")
        if progress:
            progress(done, len(shards))
    known = {shard["name"] for shard in shards}
    extra = [path for path in shard_paths(folder) if path.name not in known]
    return faults + [f"{path}: is not in the manifest" for path in extra]
