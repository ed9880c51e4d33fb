"""What a preparation says of itself: the manifest, and the lists of failures and test clips."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fastsag.data import splits
from fastsag.data.plan import Clipped, places
from fastsag.data.settings import PrepareSettings
from fastsag.data.store import save
from fastsag.data.workspace import Workspace
from fastsag.errors import UserError
from fastsag.version import __version__

MANIFEST, FAILURES = "manifest.json", "failures.jsonl"
EVALUATION, ZERO_SHOT = "evaluation.jsonl", "zero-shot.jsonl"
PAPER_ZERO_SHOT_CLIPS = 348  # of the MUSDB18 test songs (paper section 5.1)
_PACKAGES = ("torch", "numpy", "soundfile", "soxr", "demucs", "av")
_NUMBERS = re.compile(r"\[[-\d.,\s]+\]")
LEVELS = ("vocals peak_rms", "vocals rms", "accompaniment peak_rms", "accompaniment rms")
_LEVEL_BINS = list(range(-60, 1, 2))  # dBFS; what is outside counts in the first or last


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
            "hours": round(sum(one.seconds for one in clipped) / 3600, 4),
            "minutes": _histogram([one.seconds / 60 for one in clipped]),
        },
        "gates": gate_report(clipped),
        "levels": _levels(clipped),
        "splits": _split_report(clipped, placed, settings.clip_seconds),
        "shards": list(shards),
    }


def gate_report(clipped: Iterable[Clipped]) -> dict[str, Any]:
    """How many clips each reading of the paper's gate keeps."""
    passed = np.concatenate([np.zeros((0, 2), bool), *(one.passed for one in clipped)])
    paper, authors = passed.sum(0).tolist()
    return {"clips": len(passed), "paper": paper, "authors": authors}


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
    edges = np.array(_LEVEL_BINS)
    levels = np.concatenate([np.zeros((0, 4), np.float32), *(one.levels for one in clipped)])
    levels = np.clip(levels, edges[0], edges[-1])
    counts = {
        name: np.histogram(column, edges)[0].tolist()
        for name, column in zip(LEVELS, levels.T, strict=True)
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
        for index, (paper, authors) in enumerate(one.passed.tolist()):
            passed = {"paper": paper, "authors": authors, "none": True}[settings.gate]
            inside = bool(place and place.split == "test" and passed and rank < place.clips)
            rank += passed
            if inside or (settings.preset and (paper or authors)):
                levels = [round(level, 2) for level in one.levels[index].tolist()]
                yield {
                    "clip": f"{one.id}-{index:04d}",
                    "name": one.source.name,
                    "offset": index * settings.clip_seconds,
                    "levels_db": dict(zip(LEVELS, levels, strict=True)),
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
