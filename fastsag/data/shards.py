"""Training records in shards: tar files in WebDataset's layout.

A record is `<key>.vocals.flac`, `<key>.accompaniment.flac` and `<key>.json`, in this order.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fastsag.errors import UserError


@dataclass(frozen=True)
class Record:
    """One pair. vocals, accompaniment: (N,) float32, mono, same length, at meta["sample_rate"]."""

    key: str
    vocals: np.ndarray
    accompaniment: np.ndarray
    meta: dict[str, Any]


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a corpus in order.

    Raises:
        UserError: there is none.
    """
    paths = sorted(Path(folder).glob("*.tar"))
    if not paths:
        raise UserError(f"{folder}: no shards (*.tar) here; make some: fastsag songs generate")
    return paths


def write_shard(path: Path, records: Iterable[Record]) -> int:
    """Write records to a tar file, atomically and byte for byte repeatable; returns how many."""
    temporary = path.with_suffix(".tmp")
    count = 0
    with tarfile.open(temporary, "w") as tar:
        for record in records:
            rate = record.meta["sample_rate"]
            text = json.dumps(record.meta, sort_keys=True).encode()
            _add(tar, f"{record.key}.vocals.flac", _flac(record.vocals, rate))
            _add(tar, f"{record.key}.accompaniment.flac", _flac(record.accompaniment, rate))
            _add(tar, f"{record.key}.json", text)
            count += 1
    os.replace(temporary, path)
    return count


def read_shard(path: Path) -> Iterator[Record]:
    """The records of a shard.

    Raises:
        UserError: not a shard, or a record with a part missing.
    """
    parts: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                handle = tar.extractfile(member)
                if handle is None:
                    continue
                parts.setdefault(key, {})[suffix] = handle.read()
                if len(parts[key]) == 3:
                    yield _decode(path, key, parts.pop(key))
    except tarfile.TarError as error:
        raise UserError(f"{path}: not a shard ({error}); delete it and generate again") from None
    if parts:
        raise UserError(f"{path}: record {next(iter(parts))} is incomplete; generate it again")


def _decode(path: Path, key: str, files: dict[str, bytes]) -> Record:
    try:
        audio = [
            soundfile.read(io.BytesIO(files[name]), dtype="float32")[0]
            for name in ("vocals.flac", "accompaniment.flac")
        ]
        return Record(key, audio[0], audio[1], json.loads(files["json"]))
    except (KeyError, ValueError, soundfile.LibsndfileError) as error:
        raise UserError(f"{path}: record {key} cannot be read ({error})") from None


def _flac(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
