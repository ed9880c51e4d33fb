"""Folders of mixtures, voice and band, as the paper compares them.

A folder is written once for its settings and sources; what is already there is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastsag import audio
from fastsag.evaluation.degrade import RoundTrip
from fastsag.evaluation.report import Job, samples_of
from fastsag.evaluation.sets import mono
from fastsag.levels import loudness

_SETTINGS = ".settings.json"

Progress = Callable[[int, int], None]  # files done, files in all


def mixtures(
    jobs: Sequence[Job],
    output: Path,
    *,
    trip: RoundTrip | None = None,
    reference: bool = False,
    matched: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write KEY.wav for every job: its voice with its band, at the levels of the files.

    Args:
        jobs: of one system, see `fastsag.evaluation.report`.
        output: the folder.
        trip: what the voice passes first, and of the reference also the band.
        reference: whether the bands are true ones, which pass it too.
        matched: bring each band to the loudness of the song's own band first.
        progress: told of (files done, files in all).

    Returns:
        `output`.
    """
    output.mkdir(parents=True, exist_ok=True)
    settings = {
        "trip": [trip.name, trip.stamp] if trip else None,
        "reference": reference,
        "matched": matched,
        "sources": [_stamp(job) for job in jobs],
    }
    note = output / _SETTINGS
    text = json.dumps(settings, sort_keys=True)
    if not note.is_file() or note.read_text(encoding="utf-8") != text:
        for stale in output.glob("*.wav"):
            stale.unlink()
        audio.write_text(note, text)
    for index, job in enumerate(jobs):
        path = output / f"{job.clip.key}.wav"
        if not path.exists():
            mix, rate = mixture(job, trip, reference, matched)
            audio.write(path, mix[None], rate, "wav")
        if progress:
            progress(index + 1, len(jobs))
    return output


def mixture(
    job: Job, trip: RoundTrip | None, reference: bool, matched: bool
) -> tuple[np.ndarray, int]:
    """One voice and band, summed as the authors do: (N,) and its rate in Hz."""
    voice, rate = mono(job.clip.voice)
    band, band_rate = samples_of(job)
    if matched and job.clip.band is not None:
        true, true_rate = mono(job.clip.band)
        gain_db = loudness(true[None], true_rate) - loudness(band[None], band_rate)
        band = band * np.float32(10 ** (gain_db / 20)) if np.isfinite(gain_db) else band
    target = trip.sample_rate if trip else rate
    voice, band = (
        audio.resample(part[None], own, target)[0]
        for part, own in ((voice, rate), (band, band_rate))
    )
    if trip:
        voice = trip(voice)
        band = trip(band) if reference else band
    count = min(len(voice), len(band))
    return voice[:count] + band[:count], target


def _stamp(job: Job) -> list[object]:
    """What a mixture depends on: its files, by size and time."""
    files = [job.clip.voice, job.clip.band, job.partner.band, job.source]
    return [
        job.clip.key,
        str(job.source),
        *(
            [file.stat().st_size, file.stat().st_mtime_ns]
            for file in files
            if isinstance(file, Path)
        ),
    ]
