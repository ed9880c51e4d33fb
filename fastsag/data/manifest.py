"""Songs with clips -> shards, their manifest, and the list of what was left out and why."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fastsag import hub
from fastsag.data import splits
from fastsag.data.settings import PrepareSettings
from fastsag.data.shards import read_parts, write_parts
from fastsag.data.sources import Source
from fastsag.data.store import save
from fastsag.data.workspace import Workspace, read_record, write_record
from fastsag.errors import UserError
from fastsag.version import __version__

MANIFEST, FAILURES = "manifest.json", "failures.jsonl"
EVALUATION, ZERO_SHOT = "evaluation.jsonl", "zero-shot.jsonl"
PAPER_ZERO_SHOT_CLIPS = 348  # of the MUSDB18 test songs (paper section 5.1)
_PACKAGES = ("torch", "numpy", "soundfile", "soxr", "demucs", "av")
_NUMBERS = re.compile(r"\[[-\d.,\s]+\]")
_LEVEL_BINS = list(range(-60, 1, 2))  # dBFS; what is outside counts in the first or last


@dataclass(frozen=True)
class Clipped:
    """A song whose clips are there. song: what splits keep together. record: of its clips."""

    source: Source
    id: str
    song: str
    record: dict[str, Any]

    @property
    def count(self) -> int:
        """Clips that passed the gate."""
        return int(self.record["kept"])


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
            clipped[found] = Clipped(source, found, song, record)
            for note in record["notes"]:
                rows.append({**left_out(source, "separate", note), "used": True})
    return list(clipped.values()), rows, waiting


def left_out(source: Source, step: str, reason: str) -> dict[str, Any]:
    """A row of `FAILURES`."""
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


def describe(
    workspace: Workspace,
    clipped: Sequence[Clipped],
    rows: Sequence[dict[str, Any]],
    shards: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The manifest: everything that is the same for the same songs and settings."""
    settings = workspace.settings
    placed = places(clipped, settings)
    return {
        "fastsag": __version__,
        "software": software(),
        "settings": settings.model_dump(mode="json"),
        "songs": {
            "with_clips": sum(one.count > 0 for one in clipped),
            "without_clips": sum(one.count == 0 for one in clipped),
            "left_out": sum(not row["used"] for row in rows),
            "hours": round(sum(one.record["seconds"] for one in clipped) / 3600, 4),
            "minutes": _histogram([one.record["seconds"] / 60 for one in clipped]),
        },
        "gates": gate_report(clipped),
        "levels": _levels(clipped),
        "splits": _split_report(clipped, placed, settings.clip_seconds),
        "shards": list(shards),
    }


def gate_report(clipped: Iterable[Clipped]) -> dict[str, Any]:
    """How many clips each reading of the paper's gate keeps."""
    windows = [row for one in clipped for row in one.record["windows"]]
    return {
        "clips": len(windows),
        "paper": sum(bool(row[2]) for row in windows),
        "authors": sum(bool(row[3]) for row in windows),
    }


def _split_report(
    clipped: Sequence[Clipped], placed: dict[str, splits.Place], clip_seconds: float
) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        inside = [one for one in clipped if one.id in placed and placed[one.id].split == split]
        count = sum(placed[one.id].clips for one in inside)
        report[split] = {
            "songs": len({one.song for one in inside}),
            "clips": count,
            "hours": round(count * clip_seconds / 3600, 4),
        }
    taken = sum(place.clips for place in placed.values())
    surplus = sum(one.count for one in clipped) - taken
    return {**report, "surplus_clips": surplus}  # of the last song of the test split


def _histogram(values: Sequence[float]) -> list[int]:
    """Songs that last 0-1, 1-2, ... minutes."""
    counts = Counter(int(value) for value in values)
    return [counts[minute] for minute in range(max(counts, default=-1) + 1)]


def _levels(clipped: Iterable[Clipped]) -> dict[str, Any]:
    """Histograms of the levels of all clips, kept or not."""
    rows = [row for one in clipped for row in one.record["windows"]]
    columns = {
        f"{stem} {measure}": [row[index][number] for row in rows]
        for index, stem in enumerate(("vocals", "accompaniment"))
        for number, measure in enumerate(("peak_rms_db", "rms_db"))
    }
    edges = np.array(_LEVEL_BINS)
    counts = {
        name: np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()
        for name, values in columns.items()
    }
    return {"edges_db": _LEVEL_BINS, **counts}


def software() -> dict[str, str]:
    """Versions of what may change the bytes."""
    versions = {"python": platform.python_version(), "libsndfile": soundfile.__libsndfile_version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def evaluation_rows(
    clipped: Sequence[Clipped], settings: PrepareSettings
) -> Iterator[dict[str, Any]]:
    """One row for each clip of the test split; with a preset for each that passes either gate."""
    placed = places(clipped, settings)
    for one in sorted(clipped, key=lambda one: one.source.name):
        place, rank = placed.get(one.id), 0
        for index, (voice, band, paper, authors) in enumerate(one.record["windows"]):
            passed = {"paper": paper, "authors": authors, "none": True}[settings.gate]
            inside = bool(place and place.split == "test" and passed and rank < place.clips)
            rank += passed
            if inside or (settings.preset and (paper or authors)):
                yield {
                    "clip": f"{one.id}-{index:04d}",
                    "name": one.source.name,
                    "offset": index * settings.clip_seconds,
                    "vocals_db": voice,
                    "accompaniment_db": band,
                    "paper": paper,
                    "authors": authors,
                    "in_shards": inside,
                }


def render(manifest: dict[str, Any]) -> str:
    """JSON for people: indented, lists of numbers on one line."""
    text = json.dumps(manifest, indent=1)
    return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder of shards; None if it has none.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        return manifest
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run fastsag prepare again") from None


def save_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines, atomically."""
    save(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())
