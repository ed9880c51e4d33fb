"""Fréchet audio distance of folders, prepared as FADTK does (Gui et al. 2024).

Mono by the mean of the channels, resampled by a Kaiser-windowed sinc, rounded to 16 bits; the
statistics are over all frames of all files. Embeddings are cached in half precision, by content.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastsag import audio
from fastsag.evaluation.embedders import Embedder
from fastsag.evaluation.frechet import (
    Statistics,
    fad_infinity,
    frechet_distance,
    merged,
    statistics,
)
from fastsag.evaluation.sets import audio_files

_ZEROS, _ROLLOFF, _BETA = 64, 0.9475937167399596, 14.769656459379492  # of the resampling filter
_VERSION = 1  # raise when embeddings of the same audio change

Progress = Callable[[str, int, int], None]  # folder, files done, files in all


def default_cache() -> Path:
    """Where embeddings are kept: under XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fastsag" / "embeddings"


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """(N,) at `rate` Hz -> (ceil(N * new_rate / rate),) by a windowed sinc (Smith 1984)."""
    if rate == new_rate:
        return samples
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    cutoff = min(old, new) * _ROLLOFF
    width = math.ceil(_ZEROS * old / cutoff)
    time = (np.arange(-width, width + old) / old - np.arange(new)[:, None] / new) * cutoff
    time = time.clip(-_ZEROS, _ZEROS)
    window = np.i0(_BETA * np.sqrt(1 - (time / _ZEROS) ** 2)) / np.i0(_BETA)
    kernels = torch.from_numpy(np.sinc(time) * window * cutoff / old).float().unsqueeze(1)
    padded = torch.from_numpy(np.pad(samples, (width, width + old))).float()
    out = torch.nn.functional.conv1d(padded[None, None], kernels, stride=old)
    return out[0].T.flatten()[: math.ceil(new * len(samples) / old)].numpy()


def prepared(path: Path, rate: int) -> np.ndarray:
    """An audio file as the embedders hear it: mono (N,), 16-bit values, full scale 1."""
    recording = audio.read(path)
    mono = audio.to_mono(recording.samples)[0]
    wave = resample(mono, recording.sample_rate, rate)
    return (np.clip(np.round(wave * 32_768), -32_768, 32_767) / 32_768).astype(np.float32)


def embeddings(path: Path, embedder: Embedder, cache: Path) -> np.ndarray:
    """Embeddings (frames, size) of a file, float16, computed once for its content.

    Raises:
        UserError: not audio that can be read.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:24]
    kept = cache / f"{embedder.name}-{_VERSION}" / f"{content}.npy"
    return _kept(kept, lambda: embedder(prepared(path, embedder.sample_rate)))


class Cached:
    """An embedder that embeds the same samples once; in half precision, as FADTK keeps them."""

    def __init__(self, embedder: Embedder, cache: Path | None = None) -> None:
        self.embedder, self.cache = embedder, cache or default_cache()
        self.name, self.size = embedder.name, embedder.size
        self.sample_rate = embedder.sample_rate

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Embeddings (frames, size) of samples (N,), float16."""
        content = hashlib.sha256(np.ascontiguousarray(samples, dtype=np.float32).tobytes())
        kept = self.cache / f"{self.name}-samples-{_VERSION}" / f"{content.hexdigest()[:24]}.npy"
        return _kept(kept, lambda: self.embedder(samples))


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A cached array, float16, made if it is not there."""
    if path.exists():
        return np.load(path)
    values = make().astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        np.save(handle, values)
    temporary.replace(path)
    return values


def fad(
    reference: Path,
    candidate: Path,
    embedder: Embedder,
    *,
    cache: Path | None = None,
    infinity: bool = False,
    per_song: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """FAD of a folder against another, as a record for JSON.

    Args:
        reference, candidate: folders of audio.
        embedder: whose space is used; its name is part of the record.
        cache: folder for embeddings.
        infinity: also extrapolate to infinitely many frames.
        per_song: also the distance of each file by itself.
        seed: of the extrapolation.
        progress: told of (folder, files done, files in all).

    Raises:
        UserError: a folder without audio, a file that cannot be read, too few frames.
    """
    cache = cache or default_cache()
    known, _ = _folder(reference, embedder, cache, progress)
    found, parts = _folder(candidate, embedder, cache, progress)
    record: dict[str, Any] = {
        "system": candidate.name,
        "reference": reference.name,
        "embedder": embedder.name,
        "fad": frechet_distance(known, found),
        "files": len(parts),
        "frames": found.count,
    }
    if infinity:
        everything = np.concatenate(list(parts.values()))
        record["fad_infinity"], record["r2"] = fad_infinity(known, everything, seed)
    if per_song:
        record["songs"] = {
            name: frechet_distance(known, statistics(part))
            for name, part in parts.items()
            if len(part) > 1
        }
    return record


def _folder(
    folder: Path, embedder: Embedder, cache: Path, progress: Progress | None
) -> tuple[Statistics, dict[str, np.ndarray]]:
    """Statistics of a folder, and the embeddings by file."""
    paths = audio_files(folder)
    parts = {}
    for index, path in enumerate(paths):
        parts[path.name] = embeddings(path, embedder, cache)
        if progress:
            progress(folder.name, index + 1, len(paths))
    return merged(map(statistics, parts.values())), parts


def table(records: list[dict[str, Any]]) -> str:
    """Records as a Markdown table, one row for each system and embedder."""
    extra = ["fad_infinity", "r2"] if "fad_infinity" in records[0] else []
    names = ["system", "embedder", "fad", *extra, "files", "frames"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for record in records:
        cells = (f"{record[n]:.4f}" if n in ("fad", *extra) else str(record[n]) for n in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
