"""Where the files of a preparation lie, and the small records that say what is complete.

    <work>/sources/<ab>/<hash of path>.json        content id of a file, while it does not change
    <work>/stems-<key>/<ab>/<id>.{voice,band}.flac 44.1 kHz mono, 24 bit; <id>.json when complete
    <work>/clips-<key>/<ab>/<id>.tar               records as in a shard; <id>.json when complete
    <work>/features-<key>/<ab>/<id>.tar            arrays of the same keys
    <work>/failed/<ab>/<hash of path>.json         why a song was left out
    <work>/tries/<ab>/<hash of path>.json          how often a cluster has begun it in this run

<key> hashes the settings that a step depends on, <id> the audio of a song.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsag.data.settings import PrepareSettings
from fastsag.data.sources import Source, content_id
from fastsag.data.store import save
from fastsag.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """Where the files of one output folder lie."""

    folder: Path
    settings: PrepareSettings

    @property
    def work(self) -> Path:
        """Everything but shards and reports."""
        return self.folder / "work"

    def source(self, source: Source) -> Path:
        return self._by_path("sources", source)

    def failure(self, source: Source) -> Path:
        return self._by_path("failed", source)

    def tries(self, source: Source) -> Path:
        """Record of the tries of a song that is at work."""
        return self._by_path("tries", source)

    def stems(self, source: Source, song: str) -> Path:
        """Record of a song's stems; `stem_files` lie beside it."""
        return self._by_id(f"stems-{self.settings.stems_key(source.given)}", song)

    def clips(self, source: Source, song: str) -> Path:
        """Record of a song's clips; their tar lies beside it."""
        return self._by_id(f"clips-{self.settings.clips_key(source.given)}", song)

    def features(self, source: Source, song: str) -> Path:
        """Tar of the features of a song's clips."""
        key = f"features-{self.settings.features_key(source.given)}"
        return self._by_id(key, song).with_suffix(".tar")

    def _by_id(self, folder: str, song: str) -> Path:
        return self.work / folder / song[:2] / f"{song}.json"

    def _by_path(self, folder: str, source: Source) -> Path:
        absolute = [source.name, *map(os.path.abspath, source.files)]
        digest = hashlib.sha256("\n".join(absolute).encode()).hexdigest()[:16]
        return self.work / folder / digest[:2] / f"{digest}.json"


def song_id(workspace: Workspace, source: Source) -> str:
    """The content id of a song; its files are read again only if they changed.

    Raises:
        UserError: the source has a problem.
        OSError: a file cannot be read.
    """
    if source.problem:
        raise UserError(source.problem)
    path = workspace.source(source)
    stats = [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, source.files)]
    known = read_record(path)
    if known and known["stats"] == stats:
        return str(known["id"])
    song = content_id(source)
    write_record(path, stats=stats, id=song)
    return song


def read_record(path: Path, files: Iterable[Path] = ()) -> dict[str, Any] | None:
    """A step's record; None if it is absent or damaged, or one of its `files` is."""
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        sizes = [file.stat().st_size for file in files]
    except (OSError, ValueError):
        return None
    return record if record.get("sizes", []) == sizes else None


def write_record(path: Path, files: Iterable[Path] = (), **values: Any) -> None:
    """Say that a step is complete; written after its `files`."""
    values["sizes"] = [file.stat().st_size for file in files]
    save(path, json.dumps(values, sort_keys=True).encode())


def stem_files(record: Path) -> list[Path]:
    return [record.with_suffix(f".{name}.flac") for name in ("voice", "band")]
