"""Sets of paired clips: folders of KEY.vocals.*, KEY.accompaniment.* and, where known, truths."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.audio import SUFFIXES
from fastsag.data.shards import Record, read_shard, shard_paths
from fastsag.errors import UserError
from fastsag.evaluation.truth import NEEDED

MANIFEST = "clips.csv"  # of an unpacked set: what each clip was cut from
_COLUMNS = ("clip", "song", "offset", "split", "source", "seconds")


@dataclass(frozen=True)
class Clip:
    """One voice with its own band. truth: the annotation's file, if there is one."""

    key: str
    voice: Path
    band: Path | None
    truth: Path | None


def audio_files(folder: Path) -> list[Path]:
    """The audio files of a folder, by name.

    Raises:
        UserError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no audio file here ({', '.join(SUFFIXES)})")
    return paths


def clips(folder: Path) -> list[Clip]:
    """The clips of a set, by key.

    Raises:
        UserError: no such folder, or no voice in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of KEY.vocals.wav")
    voices = sorted(p for p in folder.glob("*.vocals.*") if p.suffix.lower() in SUFFIXES)
    named = {p.stem.removesuffix(".vocals"): p for p in voices if p.stem.endswith(".vocals")}
    if not named:
        raise UserError(
            f"{folder}: no KEY.vocals.wav here; make songs (fastsag songs unpack) or unpack shards "
            "(fastsag evaluate unpack)"
        )
    found = []
    for key, voice in named.items():
        bands = [
            path
            for path in folder.glob(f"{_escaped(key)}.accompaniment.*")
            if path.suffix.lower() in SUFFIXES
        ]
        truth = folder / f"{key}.truth.json"
        found.append(
            Clip(key, voice, bands[0] if bands else None, truth if truth.is_file() else None)
        )
    return found


def candidate(folder: Path, key: str, part: str = "accompaniment") -> Path:
    """What a system made for `key`: KEY[...].accompaniment.EXTENSION, or another part.

    Raises:
        UserError: none, or more than one.
    """
    exact, others = [], []
    for path in folder.glob(f"{_escaped(key)}*.{part}.*"):
        if path.suffix.lower() not in SUFFIXES:
            continue
        between = path.name.removeprefix(key).removesuffix(f".{part}{path.suffix}")
        if between in ("", ".vocals"):
            exact.append(path)
        elif between.startswith("."):
            others.append(path)
    found = exact or others
    if len(found) != 1:
        raise UserError(f"{folder}: {len(found)} files {key}*.{part}.*; one is needed")
    return found[0]


def _escaped(key: str) -> str:
    return key.replace("[", "[[]")


def mono(path: Path) -> tuple[np.ndarray, int]:
    """Samples (N,) and rate of a file."""
    recording = audio.read(path)
    return audio.to_mono(recording.samples)[0], recording.sample_rate


def unpack(
    shards: Path,
    output: Path,
    split: str | None = None,
    count: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write records of shards as a set of clips, with a manifest; files already there are kept.

    Args:
        shards: folder of *.tar, as `fastsag prepare` and `fastsag songs generate` write them.
        split: only records of this split.
        count: so many of them, drawn at random.
        seed: of the draw.
        progress: told of (clips done, clips in all).

    Returns:
        How many clips the set has.

    Raises:
        UserError: no shards, or not enough records.
    """
    paths = shard_paths(shards)
    chosen = _choose(paths, split, count, seed)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for path in paths:
        if not any(name == path.name for name, _ in chosen):
            continue
        for record in read_shard(path):
            if (path.name, record.key) in chosen:
                _write(record, output)
                rows.append(_row(record))
                if progress:
                    progress(len(rows), len(chosen))
    lines = [",".join(_COLUMNS), *(_csv_line(row) for row in rows)]
    audio.write_text(output / MANIFEST, "\n".join(lines) + "\n")
    return len(rows)


def _choose(
    paths: list[Path], split: str | None, count: int | None, seed: int
) -> set[tuple[str, str]]:
    """(shard, key) of the records wanted."""
    known = [
        (path.name, key)
        for path in paths
        for key, meta in _metas(path)
        if split is None or meta.get("split") == split
    ]
    if not known:
        what = "record" if split is None else f"record of the split {split}; leave out --split"
        raise UserError(f"{paths[0].parent}: no {what}")
    if count is None:
        return set(known)
    if count > len(known):
        raise UserError(
            f"{paths[0].parent}: {len(known)} records, {count} asked for; lower --count"
        )
    drawn = np.random.default_rng(seed).permutation(len(known))[:count]
    return {known[index] for index in drawn}


def _metas(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and meta of a shard's records, without their audio."""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                handle = tar.extractfile(member) if name == "json" else None
                if handle is not None:
                    yield key, json.loads(handle.read())
    except (tarfile.TarError, ValueError) as error:
        raise UserError(f"{path}: not a shard ({error}); make it again") from None


def _write(record: Record, folder: Path) -> None:
    rate = int(record.meta["sample_rate"])
    for part, samples in (("vocals", record.vocals), ("accompaniment", record.accompaniment)):
        path = folder / f"{record.key}.{part}.flac"
        if not path.exists():
            audio.write(path, samples[None], rate, "flac")
    if all(name in record.meta for name in NEEDED):
        text = json.dumps(record.meta, indent=1)
        audio.write_text(folder / f"{record.key}.truth.json", text + "\n")


def _row(record: Record) -> dict[str, Any]:
    seconds = len(record.vocals) / record.meta["sample_rate"]
    return {**record.meta, "clip": record.key, "seconds": round(seconds, 3)}


def _csv_line(row: dict[str, Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([row.get(name, "") for name in _COLUMNS])
    return text.getvalue()


def bands(folder: Path, longest_seconds: float | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Samples (N,) and rate of the bands of a corpus: shards, or KEY.accompaniment files.

    Args:
        longest_seconds: of all together; None is everything.

    Raises:
        UserError: neither is there.
    """
    seconds = 0.0
    for samples, rate in _bands(folder):
        yield samples, rate
        seconds += len(samples) / rate
        if longest_seconds is not None and seconds >= longest_seconds:
            return


def _bands(folder: Path) -> Iterator[tuple[np.ndarray, int]]:
    files = sorted(p for p in folder.glob("*.accompaniment.*") if p.suffix.lower() in SUFFIXES)
    if files:
        yield from map(mono, files)
        return
    for path in shard_paths(folder):
        for record in read_shard(path):
            yield record.accompaniment, int(record.meta["sample_rate"])
