"""Systems against anchors on a folder of songs with known truth, as records and as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.errors import UserError
from fastsag.evaluation.coherence import coherence

ANCHORS = ("true band", "random pairing", "white noise")


def truths(folder: Path) -> dict[str, dict[str, Any]]:
    """Ground truth by key: every KEY.truth.json of a folder.

    Raises:
        UserError: there is none.
    """
    files = sorted(folder.glob("*.truth.json"))
    if not files:
        raise UserError(f"{folder}: no KEY.truth.json here; make songs: fastsag songs unpack")
    return {
        file.name.removesuffix(".truth.json"): json.loads(file.read_text(encoding="utf-8"))
        for file in files
    }


def candidate(folder: Path, key: str) -> Path:
    """The accompaniment of `key` in a system's folder: KEY[...].accompaniment.EXTENSION.

    Raises:
        UserError: none, or more than one.
    """
    found = sorted(folder.glob(f"{key}*.accompaniment.*"))
    if len(found) != 1:
        raise UserError(f"{folder}: {len(found)} files {key}*.accompaniment.*; one is needed")
    return found[0]


def anchor(name: str, songs: Path, keys: list[str], index: int) -> tuple[np.ndarray, int]:
    """Samples (N,) and rate of an anchor for song `index`."""
    partner = keys[(index + 1) % len(keys)] if name == "random pairing" else keys[index]
    recording = audio.read(songs / f"{partner}.accompaniment.wav")
    samples = audio.to_mono(recording.samples)[0]
    if name == "white noise":
        samples = 0.1 * np.random.default_rng(index).standard_normal(len(samples))
    return samples.astype(np.float32), recording.sample_rate


def compare(
    songs: Path, systems: Iterable[Path], progress: Callable[[str, str], None] | None = None
) -> list[dict[str, Any]]:
    """One record for each system and song: {"system", "song", scores}; anchors come first.

    Args:
        songs: folder of KEY.vocals.wav, KEY.accompaniment.wav, KEY.truth.json.
        systems: folders of accompaniments.
        progress: told of (system, song).
    """
    truth = truths(songs)
    keys = list(truth)
    rows = []
    judged: list[str | Path] = [*ANCHORS, *systems]
    for name in judged:
        for index, key in enumerate(keys):
            if isinstance(name, Path):
                recording = audio.read(candidate(name, key))
                samples, rate = audio.to_mono(recording.samples)[0], recording.sample_rate
            else:
                samples, rate = anchor(name, songs, keys, index)
            voice = audio.read(songs / f"{key}.vocals.wav")
            sung = audio.resample(audio.to_mono(voice.samples), voice.sample_rate, rate)[0]
            scores = coherence(samples, sung, rate, truth[key])
            label = name.name if isinstance(name, Path) else name
            rows.append({"system": label, "song": key, **scores.row()})
            if progress:
                progress(label, key)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Means by system, as a Markdown table."""
    names = [name for name in rows[0] if name not in ("system", "song")]
    lines = ["| system | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        means = (f"{np.mean([row[name] for row in own]):.2f}" for name in names)
        lines.append(f"| {system} | " + " | ".join(means) + " |")
    return "\n".join(lines)
