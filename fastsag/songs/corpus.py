"""A corpus: shards of songs, made by many processes, resumed, and listed in a manifest.

`manifest.json` names each shard with its checksum, songs and failures. A shard that it does not
name, or names with other songs, is made again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastsag.audio import write_text
from fastsag.data.shards import Record, read_shard, shard_paths, write_shard
from fastsag.errors import UserError
from fastsag.songs import generator
from fastsag.songs.generator import check_programs
from fastsag.songs.settings import SongSettings
from fastsag.songs.syllables import RATE

SONGS_PER_SHARD = 8
FAILURES = "failures.jsonl"  # beside the shards, one line for each song that failed
MANIFEST = "manifest.json"
_LONGER = 1.13  # songs are, with introduction and ending, than their settings say
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """What all shards of a corpus share.

    bands: accompaniments for each voice. reserved: sing with the held-out voices; such songs are
    all of the test split. stems: keep the band's single tracks.
    """

    bands: int = 3
    reserved: bool = False
    stems: bool = False
    settings: SongSettings = field(default_factory=SongSettings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {"bands": self.bands, "reserved": self.reserved, "stems": self.stems}
        return {**values, "settings": self.settings.model_dump(mode="json")}


@dataclass(frozen=True)
class Job:
    """One shard to make."""

    path: Path
    seed: int
    songs: range
    recipe: Recipe


def generate(
    output: Path,
    hours: float,
    seed: int,
    workers: int,
    recipe: Recipe | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Write shards with about `hours` of accompaniment; returns the songs that failed and why.

    Args:
        output: folder; shards that its manifest names are kept.
        progress: told of (shards done, shards in all, hours of accompaniment made).

    Raises:
        UserError: a program is missing, or the folder holds another corpus.
    """
    check_programs()
    recipe = recipe or Recipe()
    output.mkdir(parents=True, exist_ok=True)
    listed = _read_manifest(output, recipe)
    _write_manifest(output, recipe, listed)
    jobs = _jobs(output, hours, seed, recipe)
    todo = [job for job in jobs if not _is_done(job, listed)]
    done, made = len(jobs) - len(todo), 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(make_shard, job) for job in todo]):
            entry = future.result()
            listed[entry["name"]] = entry
            _write_manifest(output, recipe, listed)
            done, made = done + 1, made + entry["seconds"] / 3600
            if progress:
                progress(done, len(jobs), made)
    return [failure for job in jobs for failure in listed[job.path.name]["failures"]]


def _jobs(output: Path, hours: float, seed: int, recipe: Recipe) -> list[Job]:
    seconds = _LONGER * sum(recipe.settings.seconds) / 2
    songs = max(1, round(hours * 3600 / seconds / recipe.bands))
    return [
        Job(
            output / f"songs-{seed:04d}-{start // SONGS_PER_SHARD:05d}.tar",
            seed,
            range(start, min(start + SONGS_PER_SHARD, songs)),
            recipe,
        )
        for start in range(0, songs, SONGS_PER_SHARD)
    ]


def make_shard(job: Job) -> dict[str, Any]:
    """Write one shard; returns its entry in the manifest."""
    failures: list[dict[str, Any]] = []
    seconds, count = 0.0, 0

    def records() -> Iterator[Record]:
        nonlocal seconds, count
        for index in job.songs:
            recipe = job.recipe
            try:
                made = list(
                    generator.song_records(
                        job.seed, index, recipe.bands, recipe.reserved, recipe.settings
                    )
                )
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                failures.append({"seed": job.seed, "index": index, "error": reason})
                continue
            for record in made:
                seconds, count = seconds + len(record.vocals) / RATE, count + 1
                yield record if recipe.stems else replace(record, stems={})

    write_shard(job.path, records())
    return {
        "name": job.path.name,
        "sha256": checksum(job.path),
        "seed": job.seed,
        "songs": [job.songs.start, job.songs.stop],
        "records": count,
        "seconds": round(seconds, 3),
        "failures": failures,
    }


def _is_done(job: Job, listed: dict[str, Any]) -> bool:
    entry = listed.get(job.path.name)
    songs = [job.songs.start, job.songs.stop]
    return bool(entry and job.path.exists() and entry["songs"] == songs)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def verify(folder: Path) -> list[str]:
    """Shards that are absent or whose checksum is not the manifest's; empty if all is well.

    Raises:
        UserError: the folder has no manifest.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(f"{path}: no manifest; was the corpus made by fastsag songs generate?")
    entries = json.loads(path.read_text(encoding="utf-8"))["shards"]
    paths = [(folder / entry["name"], entry["sha256"]) for entry in entries]
    return [one.name for one, known in paths if not one.exists() or checksum(one) != known]


def _read_manifest(output: Path, recipe: Recipe) -> dict[str, Any]:
    """Entries by shard name of a corpus begun before; none in a new folder."""
    path = output / MANIFEST
    if not path.exists():
        if any(output.glob("songs-*.tar")):
            raise UserError(
                f"{output}: holds shards but no {MANIFEST}; give another folder, or delete them"
            )
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["recipe"] != json.loads(json.dumps(recipe.to_dict())):
        raise UserError(
            f"{output}: was begun with other settings (see {MANIFEST}); repeat them, "
            "or give another folder"
        )
    return {entry["name"]: entry for entry in values["shards"]}


def _write_manifest(output: Path, recipe: Recipe, listed: dict[str, Any]) -> None:
    """The manifest and the list of failures, in the order of the shards' names."""
    entries = [listed[name] for name in sorted(listed)]
    values = {"recipe": recipe.to_dict(), "shards": entries}
    write_text(output / MANIFEST, json.dumps(values, indent=1) + "\n")
    failures = [failure for entry in entries for failure in entry["failures"]]
    if failures:
        write_text(output / FAILURES, "".join(json.dumps(one) + "\n" for one in failures))


def statistics(folder: Path) -> dict[str, Any]:
    """Songs, records and hours of a corpus by split, read from its shards."""
    counts: dict[str, Any] = {}
    for path in shard_paths(folder):
        for record in read_shard(path):
            row = counts.setdefault(
                record.meta["split"], {"records": 0, "songs": set(), "hours": 0.0}
            )
            row["records"] += 1
            row["songs"].add(record.meta["song"])
            row["hours"] += len(record.vocals) / record.meta["sample_rate"] / 3600
    return {
        split: {**row, "songs": len(row["songs"]), "hours": round(row["hours"], 3)}
        for split, row in counts.items()
    }
