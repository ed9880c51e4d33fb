"""Training records in shards: tar files in WebDataset's layout.

A record is `<key>.vocals.flac`, `<key>.accompaniment.flac` and `<key>.json`, in this order; then,
where there are any, its single tracks `<key>.stem-<name>.flac` and features `<key>.<name>.npy`.
Keys have no dots: what follows the first one is the part's name.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from fastsag.data.store import replacing
from fastsag.errors import UserError

_PARTS = ("vocals.flac", "accompaniment.flac", "json")
_STEM = "stem-"


@dataclass(frozen=True)
class Record:
    """One pair of recordings, mono, of one length, at meta["sample_rate"].

    vocals, accompaniment: (N,) float32. stems: single tracks of the accompaniment by name, each
    like it. features: arrays by name, computed from the pair.
    """

    key: str
    vocals: np.ndarray
    accompaniment: np.ndarray
    meta: dict[str, Any]
    stems: dict[str, np.ndarray] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)


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
    return write_parts(path, ((record.key, dict(_encode(record))) for record in records))


def write_parts(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """As `write_shard`, from parts that are encoded already: key, then bytes by name, in order.

    Raises:
        DiskFull: there is no room; an older shard of this name stays.
    """
    count = 0
    with replacing(path) as handle, tarfile.open(fileobj=handle, mode="w") as tar:
        for key, parts in samples:
            for name, data in parts.items():
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
            count += 1
    return count


def read_shard(path: Path, extras: bool = False) -> Iterator[Record]:
    """The records of a shard; stems and features too with `extras`.

    Raises:
        UserError: not a shard, or a record with a part missing.
    """
    with path.open("rb") as handle:
        yield from read_records(handle, str(path), extras)


def read_records(stream: IO[bytes], origin: str, extras: bool = False) -> Iterator[Record]:
    """The records of an open shard, read once from front to back; `origin` names it in errors.

    Raises:
        UserError: not a shard, or a record with a part missing.
    """
    for key, parts in read_parts(stream, origin, None if extras else _PARTS):
        yield _decode(origin, key, parts)


def read_parts(
    stream: IO[bytes], origin: str, names: Iterable[str] | None = None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The records of an open shard as they are stored: key, then bytes by part name.

    Args:
        stream: read once from front to back.
        origin: names it in errors.
        names: the parts that are wanted; None for all.

    Raises:
        UserError: not a shard.
    """
    wanted = None if names is None else set(names)
    key, parts = "", dict[str, bytes]()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                found, _, name = member.name.partition(".")
                if found != key and parts:
                    yield key, parts
                    parts = {}
                key = found
                if wanted is None or name in wanted:
                    handle = tar.extractfile(member)
                    parts[name] = handle.read() if handle else b""
    except tarfile.TarError as error:
        raise UserError(f"{origin}: not a shard ({error}); delete it and make it again") from None
    if parts:
        yield key, parts


def _encode(record: Record) -> Iterator[tuple[str, bytes]]:
    """The parts of a record by name, in order."""
    rate = record.meta["sample_rate"]
    yield "vocals.flac", encode_audio(record.vocals, rate)
    yield "accompaniment.flac", encode_audio(record.accompaniment, rate)
    yield "json", json.dumps(record.meta, sort_keys=True).encode()
    for name, samples in sorted(record.stems.items()):
        yield f"{_STEM}{name}.flac", encode_audio(samples, rate)
    for name, array in sorted(record.features.items()):
        yield f"{name}.npy", encode_array(array)


def _decode(origin: str, key: str, parts: dict[str, bytes]) -> Record:
    missing = [name for name in _PARTS if name not in parts]
    if missing:
        raise UserError(
            f"{origin}: record {key} is incomplete ({', '.join(missing)}); make the shard again"
        )
    try:
        audio = {
            name.removesuffix(".flac"): decode_audio(data)
            for name, data in parts.items()
            if name.endswith(".flac")
        }
        return Record(
            key,
            audio.pop("vocals"),
            audio.pop("accompaniment"),
            json.loads(parts["json"]),
            {name.removeprefix(_STEM): samples for name, samples in audio.items()},
            {
                name.removesuffix(".npy"): decode_array(data)
                for name, data in parts.items()
                if name.endswith(".npy")
            },
        )
    except (ValueError, soundfile.LibsndfileError) as error:
        raise UserError(f"{origin}: record {key} cannot be read ({error})") from None


def encode_audio(samples: np.ndarray, rate: int, bits: int = 16) -> bytes:
    """Mono samples (N,) as FLAC of 16 or 24 bit."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype=f"PCM_{bits}")
    return buffer.getvalue()


def decode_audio(data: bytes) -> np.ndarray:
    """FLAC -> samples (N,) float32."""
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def encode_array(array: np.ndarray) -> bytes:
    """An array in NumPy's own format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def decode_array(data: bytes) -> np.ndarray:
    """What `encode_array` wrote."""
    return np.load(io.BytesIO(data), allow_pickle=False)
