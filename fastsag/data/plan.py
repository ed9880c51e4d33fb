"""Songs with clips -> shards: who is ready, which split and shard each goes to, and the writing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import hub
from fastsag.data import splits
from fastsag.data.settings import PrepareSettings
from fastsag.data.shards import read_parts, write_parts
from fastsag.data.sources import Source
from fastsag.data.workspace import Workspace, read_record, write_record


@dataclass(frozen=True)
class Clipped:
    """A song whose clips are there.

    song: what splits keep together. seconds: its length. count: clips that passed the gate.
    levels: of all its clips, as `manifest.LEVELS`, dBFS (clips, 4) float32. passed: the gates
    `paper` and `authors` (clips, 2).
    """

    source: Source
    id: str
    song: str
    seconds: float
    count: int
    levels: np.ndarray
    passed: np.ndarray


def collect(
    workspace: Workspace, sources: Iterable[Source]
) -> tuple[list[Clipped], list[dict[str, Any]], int]:
    """Songs that have clips, rows about those that do not or that deserve a note, and how many
    wait for an earlier step."""
    clipped: dict[str, Clipped] = {}
    rows: list[dict[str, Any]] = []
    waiting = 0
    for source in sources:
        failure = read_record(workspace.failure(source))
        if failure:
            rows.append(failure)
            continue
        known = read_record(workspace.source(source)) or {"id": ""}
        found = str(known["id"])
        path = workspace.clips(source, found)
        record = read_record(path, [path.with_suffix(".tar")])
        unready = workspace.settings.features and not workspace.features(source, found).exists()
        if record is None or unready:
            waiting += 1
        elif found in clipped:
            same = clipped[found].source.name
            rows.append(left_out(source, "separate", f"holds the same audio as {same}"))
        else:
            song = found if source.song is None else splits.order("song", source.song)[:16]
            windows = np.array(record["windows"], dtype=np.float32).reshape(-1, 6)
            clipped[found] = Clipped(
                source,
                found,
                song,
                record["seconds"],
                record["kept"],
                windows[:, :4],
                windows[:, 4:].astype(bool),
            )
            for note in record["notes"]:
                rows.append({**left_out(source, "separate", note), "used": True})
    return list(clipped.values()), rows, waiting


def left_out(source: Source, step: str, reason: str) -> dict[str, Any]:
    """A row of the list of failures."""
    return {"path": source.name, "used": False, "step": step, "reason": reason}


def places(clipped: Sequence[Clipped], settings: PrepareSettings) -> dict[str, splits.Place]:
    """The split of each clipped song, by its id, with the clips that are taken."""
    counts: Counter[str] = Counter()
    for one in clipped:
        counts[one.song] += one.count
    if settings.preset == "musdb18-test":
        return {one.id: splits.Place("test", one.count) for one in clipped if one.count}
    of_song = splits.assign(counts, settings.evaluation_clips, settings.validation_clips)
    placed = {}
    left = {song: place.clips for song, place in of_song.items()}
    for one in sorted(clipped, key=lambda one: (one.source.name, one.id)):
        taken = min(one.count, left.get(one.song, 0))
        if taken:
            placed[one.id] = splits.Place(of_song[one.song].split, taken)
            left[one.song] -= taken
    return placed


def plan(
    workspace: Workspace, clipped: Sequence[Clipped], features: str | None
) -> list[dict[str, Any]]:
    """What each shard will hold, as rows for `write_shard`; in order of their names.

    Args:
        workspace: where.
        clipped: the songs.
        features: digest of the features that go into the shards; None for no features.
    """
    placed = places(clipped, workspace.settings)
    sizes: Counter[str] = Counter()
    for place in placed.values():
        sizes[place.split] += place.clips
    shards: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(clipped, key=lambda one: splits.order("record", one.id)):
        if one.id not in placed:
            continue
        split, count = placed[one.id]
        bits = splits.shard_bits(sizes[split], workspace.settings.shard_clips)
        name = f"{split}-{splits.shard_index(one.song, bits):05d}.tar"
        path = workspace.clips(one.source, one.id).with_suffix(".tar")
        entry: dict[str, Any] = {
            "clips": path.relative_to(workspace.folder).as_posix(),
            "count": count,
            "meta": {"song": one.song, "name": one.source.name, "split": split},
        }
        if features:
            stored = workspace.features(one.source, one.id)
            entry["features"] = stored.relative_to(workspace.folder).as_posix()
            entry["meta"]["features"] = features
        shards.setdefault(name, []).append(entry)
    return [{"name": name, "entries": shards[name]} for name in sorted(shards)]


def write_shard(workspace: Workspace, row: dict[str, Any]) -> dict[str, Any]:
    """Write one shard of a `plan`, if it is not there: name, sha256, bytes, clips."""
    path = workspace.folder / row["name"]
    record_path = workspace.work / "shards" / f"{row['name']}.json"
    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    record = read_record(record_path, [path])
    if record is None or record["plan"] != digest:
        count = write_parts(path, _samples(workspace.folder, row["entries"]))
        facts = {"sha256": hub.file_sha256(path), "clips": count}
        write_record(record_path, [path], plan=digest, **facts)
        record = {**facts, "sizes": [path.stat().st_size]}
    return {
        "name": row["name"],
        "clips": record["clips"],
        "bytes": record["sizes"][0],
        "sha256": record["sha256"],
    }


def _samples(
    folder: Path, entries: Iterable[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The encoded records of songs as they go into a shard."""
    for entry in entries:
        with (folder / entry["clips"]).open("rb") as handle:
            clips = dict(read_parts(handle, entry["clips"]))
        arrays = {}
        if "features" in entry:
            with (folder / entry["features"]).open("rb") as handle:
                arrays = dict(read_parts(handle, entry["features"]))
        for key in sorted(clips)[: entry["count"]]:
            parts = clips[key]
            meta = {**json.loads(parts["json"]), **entry["meta"], "source": "prepare"}
            parts["json"] = json.dumps(meta, sort_keys=True).encode()
            yield key, {**parts, **arrays.get(key, {})}
