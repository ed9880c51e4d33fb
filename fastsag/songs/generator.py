"""A corpus: songs composed, sung, arranged and played, written as shards; and single songs.

Song i of a seed depends on (seed, i) alone: any number of workers gives the same bytes, and a
killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.data.shards import Record, write_shard
from fastsag.errors import UserError, require
from fastsag.songs.arrangement import arrange, choose_groove
from fastsag.songs.band import Band, check_player, play, random_band
from fastsag.songs.composition import LEAD_SECONDS, Score, compose
from fastsag.songs.syllables import INSTALL, RATE, RESERVED
from fastsag.songs.voice import random_singer, sing

SONGS_PER_SHARD = 8
FAILURES = "failures.jsonl"  # beside the shards, one line for each song that failed
_MEAN_SECONDS = 38.0  # of a song; sets how many songs an hour needs
_SPLITS = (("test", 0.05), ("validation", 0.1))  # cumulative; the rest trains


@dataclass(frozen=True)
class Job:
    """One shard to make."""

    path: Path
    seed: int
    songs: range
    bands: int
    reserved: bool


def check_programs() -> None:
    """Everything that songs need is there.

    Raises:
        UserError: names what is missing and the command that installs it.
    """
    missing = [name for name in ("mma", "espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; run: {INSTALL}")
    check_player()
    for module in ("pyworld", "pretty_midi", "fluidsynth"):
        require(module, extra="songs")


def generate(
    output: Path,
    hours: float,
    seed: int,
    workers: int,
    bands: int = 3,
    reserved: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Write shards with `hours` of accompaniment; returns the songs that failed and why.

    Args:
        output: folder; shards already there are kept.
        bands: different bands that accompany each voice, each a record.
        reserved: sing with the held-out voices; such songs are all of the test split.
        progress: told of (shards done, shards in all, hours of accompaniment made).
    """
    check_programs()
    output.mkdir(parents=True, exist_ok=True)
    songs = max(1, round(hours * 3600 / _MEAN_SECONDS / bands))
    starts = range(0, songs, SONGS_PER_SHARD)
    jobs = [
        Job(
            output / f"songs-{seed:04d}-{start // SONGS_PER_SHARD:05d}.tar",
            seed,
            range(start, min(start + SONGS_PER_SHARD, songs)),
            bands,
            reserved,
        )
        for start in starts
    ]
    todo = [job for job in jobs if not job.path.exists()]
    done, made = len(jobs) - len(todo), 0.0
    failures: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(make_shard, job) for job in todo]):
            seconds, failed = future.result()
            done, made = done + 1, made + seconds / 3600
            failures += failed
            if progress:
                progress(done, len(jobs), made)
    if failures:
        with (output / FAILURES).open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(failure) + "\n" for failure in failures)
    return failures


def make_shard(job: Job) -> tuple[float, list[dict[str, Any]]]:
    """Write one shard; returns seconds of accompaniment and failures."""
    failures: list[dict[str, Any]] = []
    seconds = 0.0

    def records() -> Iterator[Record]:
        nonlocal seconds
        for index in job.songs:
            try:
                made = list(song_records(job.seed, index, job.bands, job.reserved))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                failures.append({"seed": job.seed, "index": index, "error": reason})
                continue
            for record in made:
                seconds += len(record.vocals) / RATE
                yield record

    write_shard(job.path, records())
    return seconds, failures


def render_song(seed: int, index: int, reserved_voice: str | None = None) -> Record:
    """Song `index` of `seed` with one band.

    Args:
        reserved_voice: one of `RESERVED`, to judge what was trained on the others.

    Raises:
        ValueError: not a reserved voice.
    """
    if reserved_voice is not None and reserved_voice not in RESERVED:
        raise ValueError(f"{reserved_voice!r} is not one of {RESERVED}")
    return next(_records(seed, index, 1, reserved_voice))


def song_records(seed: int, index: int, bands: int, reserved: bool = False) -> Iterator[Record]:
    """Song `index` of `seed`: one voice, `bands` accompaniments, one record each."""
    return _records(seed, index, bands, RESERVED[index % len(RESERVED)] if reserved else None)


def _records(seed: int, index: int, bands: int, source: str | None) -> Iterator[Record]:
    """The records of a song; `source` is a reserved voice, or None for one of the others."""
    # One generator for each part, so that a change in one leaves the others alone.
    streams = np.random.default_rng((seed, index)).spawn(4)
    score = compose(streams[0])
    singer = random_singer(streams[1], score.vocal_range, source)
    voice = sing(score, singer, streams[2])
    name = f"{seed:04d}-{index:06d}"
    for number, stream in enumerate(streams[3].spawn(bands)):
        band, groove, sound, programs = perform(score, stream)
        meta = {
            **score.record(),
            "song": name,
            "offset": 0.0,
            "split": "test" if source else split_of(name),
            "source": "songs",
            "seed": seed,
            "sample_rate": RATE,
            "groove": groove,
            "instruments": programs,
            "font": band.font,
            "voice": singer.to_dict(),
        }
        yield Record(f"{name}-{number}", voice, sound, meta)


def perform(score: Score, rng: np.random.Generator) -> tuple[Band, str, np.ndarray, list[str]]:
    """A band for a score: how it plays, its groove, its sound (N,), its instruments."""
    groove = choose_groove(score.style, rng)
    band = random_band(rng)
    midi = arrange(score.chords, score.tempo, groove, int(rng.integers(2**31)))
    sound = play(midi, band, LEAD_SECONDS, score.duration)
    programs = sorted({part.name or str(part.program) for part in midi.instruments})
    return band, groove, sound, programs


def split_of(song: str) -> str:
    """train, validation or test by a hash of the song's name: bands of a song never part."""
    share = int(hashlib.sha256(song.encode()).hexdigest()[:8], 16) / 16**8
    return next((name for name, limit in _SPLITS if share < limit), "train")


def write_files(records: Iterator[Record], folder: Path) -> list[Path]:
    """Records as plain files: KEY.vocals.wav, KEY.accompaniment.wav, KEY.truth.json."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for record in records:
        rate = record.meta["sample_rate"]
        for part, samples in (
            ("vocals", record.vocals),
            ("accompaniment", record.accompaniment),
        ):
            path = folder / f"{record.key}.{part}.wav"
            soundfile.write(path, samples, rate, subtype="PCM_16")
            written.append(path)
        truth = folder / f"{record.key}.truth.json"
        truth.write_text(json.dumps(record.meta, indent=1), encoding="utf-8")
        written.append(truth)
    return written


def statistics(folder: Path) -> dict[str, Any]:
    """Songs, records and hours of a corpus by split, read from its shards."""
    from fastsag.data.shards import read_shard, shard_paths

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
