"""Systems beside anchors on a set of songs: every song scored once, in as many processes as wished.

A song's scores are kept by content (candidate, voice, truth), so that an interrupted run goes on
where it stopped and the anchors are not scored again for each new system.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.chords import key_index
from fastsag.errors import UserError
from fastsag.evaluation import truth as truths
from fastsag.evaluation.coherence import VERSION, coherence, judged
from fastsag.evaluation.fad import default_cache
from fastsag.evaluation.sets import Clip, candidate, clips, mono
from fastsag.evaluation.texture import read_bank
from fastsag.kernels import compile_kernels

TRUE, RANDOM, DRONE = "true band", "random pairing", "tonic drone"
NOISE, SILENCE, VOICE = "white noise", "silence", "voice itself"
ANCHORS = (TRUE, RANDOM, DRONE, NOISE, SILENCE, VOICE)
FIT = (
    *("in_key", "consonance", "chord", "chord_soft", "chord_move", "key"),
    *("beat", "pulse", "onset", "tempo", "leak", "coherence"),
)
SOUND = ("steadiness", "attack", "tonality_db", "sound_gap", "mel_fd", "activity", "level_db")

Progress = Callable[[str, str, int, int], None]  # system, song, done, in all


@dataclass(frozen=True)
class Job:
    """One accompaniment to score. source: its file, or an anchor's name. partner: whose band is
    the random pairing's."""

    system: str
    clip: Clip
    source: Path | str
    partner: Clip
    truth: truths.Source = "annotation"
    bank: Path | None = None
    cache: Path = Path()


def compare(
    songs: Path,
    systems: Sequence[tuple[str, Path]],
    *,
    truth: str | None = None,
    bank: Path | None = None,
    anchors: Sequence[str] = ANCHORS,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """One record for each system and song: {"system", "song", scores}; anchors come first.

    Args:
        songs: a set of clips, see `fastsag.evaluation.sets`.
        systems: names and folders of accompaniments.
        truth: one of `truths.SOURCES`; None takes annotations where all songs have one, else
            estimates from their bands, else from their voices.
        bank: of rendered bands; None is the package's.
        anchors: which of `ANCHORS`; those that need a band are left out where songs have none.
        workers: processes.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    known = clips(songs)
    source = _source(songs, known, truth)
    read_bank(bank)  # a wrong one is an error before any work
    where = (cache or default_cache()) / f"coherence-{VERSION}"
    jobs = [
        replace(job, truth=source, bank=bank, cache=where) for job in plan(known, systems, anchors)
    ]
    rows = _run(jobs, workers, progress)
    return [{"system": job.system, "song": job.clip.key, **row} for job, row in zip(jobs, rows)]


def plan(
    known: Sequence[Clip], systems: Sequence[tuple[str, Path]], anchors: Sequence[str]
) -> list[Job]:
    """Every anchor and system on every clip; anchors without the bands they need are left out.

    Raises:
        UserError: a system lacks a clip.
    """
    banded = all(clip.band for clip in known)
    kept = [name for name in anchors if banded or name not in (TRUE, RANDOM)]
    songs = [_song(clip) for clip in known]
    if len(set(songs)) < 2:
        kept = [name for name in kept if name != RANDOM]
    partners = _partners(songs)
    played: list[tuple[str, Path | None]] = [*((name, None) for name in kept), *systems]
    return [
        Job(
            name,
            clip,
            name if folder is None else candidate(folder, clip.key),
            known[partners[index]],
        )
        for name, folder in played
        for index, clip in enumerate(known)
    ]


def _song(clip: Clip) -> str:
    """Which song a clip is a recording of: others of it are no random partners."""
    if clip.truth is None:
        return clip.key
    return str(json.loads(clip.truth.read_text(encoding="utf-8")).get("song", clip.key))


def _partners(songs: Sequence[str]) -> list[int]:
    """For each clip the next one of another song; of itself, if there is no other song."""
    count = len(songs)
    following = [[(index + step) % count for step in range(1, count)] for index in range(count)]
    return [
        next((other for other in others if songs[other] != songs[index]), index)
        for index, others in enumerate(following)
    ]


def _source(songs: Path, known: Sequence[Clip], truth: str | None) -> truths.Source:
    """Where truth comes from: as asked, or the best source that all clips have."""
    if truth is None:
        if all(clip.truth for clip in known):
            return "annotation"
        return "band" if all(clip.band for clip in known) else "voice"
    if truth not in truths.SOURCES:
        raise UserError(f"--truth {truth}: unknown; choose one of {', '.join(truths.SOURCES)}")
    if truth in ("band", "mix") and not all(clip.band for clip in known):
        raise UserError(f"{songs}: --truth {truth} needs KEY.accompaniment.* of every song")
    if truth == "annotation" and not all(clip.truth for clip in known):
        raise UserError(f"{songs}: --truth annotation needs KEY.truth.json of every song")
    return truth  # type: ignore[return-value]


def _run(jobs: list[Job], workers: int, progress: Progress | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in jobs]

    def done(index: int, row: dict[str, Any]) -> None:
        rows[index] = row
        if progress:
            progress(jobs[index].system, jobs[index].clip.key, sum(map(bool, rows)), len(jobs))

    if workers == 1:
        for index, job in enumerate(jobs):
            done(index, score(job))
        return rows
    compile_kernels()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        waiting = {pool.submit(score, job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(waiting):
                done(waiting[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def score(job: Job) -> dict[str, Any]:
    """Scores of one accompaniment, from the cache or anew."""
    sung, rate = mono(job.clip.voice)
    own = None if job.clip.band is None else mono(job.clip.band)
    reference = None if own is None else audio.resample(own[0][None], own[1], rate)[0]
    known = _truth(job, sung, rate, reference)
    samples, own_rate = samples_of(job, known["key"])
    if own_rate != rate:
        sung = audio.resample(sung[None], rate, own_rate)[0]
        if reference is not None:
            reference = audio.resample(reference[None], rate, own_rate)[0]
    bank = read_bank(job.bank)
    parts = [samples, sung, reference, bank.mean, bank.deviation, own_rate]
    file = job.cache / f"{_digest(*parts, json.dumps(known, sort_keys=True))}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    row = coherence(samples, sung, own_rate, known, reference, bank).row()
    file.parent.mkdir(parents=True, exist_ok=True)
    audio.write_text(file, json.dumps(row))
    return row


def _truth(job: Job, sung: np.ndarray, rate: int, reference: np.ndarray | None) -> dict[str, Any]:
    if job.truth == "annotation" and job.clip.truth is not None:
        return truths.read(job.clip.truth)
    file = job.cache / f"truth-{_digest(job.truth, sung, reference, rate)}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    band = None if reference is None else judged(reference, rate)
    known = truths.estimate(job.truth, judged(sung, rate), band)
    file.parent.mkdir(parents=True, exist_ok=True)
    audio.write_text(file, json.dumps(known))
    return known


def samples_of(job: Job, key: str | None = None) -> tuple[np.ndarray, int]:
    """Samples (N,) and rate of what is scored: a file, or an anchor as long as the voice.

    Args:
        key: of the song, which the tonic drone needs.
    """
    if isinstance(job.source, Path):
        return mono(job.source)
    if job.source in (TRUE, RANDOM):
        clip = job.clip if job.source == TRUE else job.partner
        assert clip.band is not None
        return mono(clip.band)
    sung, rate = mono(job.clip.voice)
    if job.source == VOICE:
        return sung, rate
    if job.source == SILENCE:
        return np.zeros(len(sung), dtype=np.float32), rate
    if job.source == DRONE:
        assert key is not None
        return drone(len(sung), rate, key), rate
    seed = int(hashlib.sha256(job.clip.key.encode()).hexdigest()[:8], 16)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(len(sung))
    return noise.astype(np.float32), rate


def drone(count: int, rate: int, key: str) -> np.ndarray:
    """The key's tonic (N,), held without end: eight partials from C2 to B2, falling as 1/k."""
    hz = 65.406 * 2 ** (key_index(key) % 12 / 12)
    time = np.arange(count) / rate
    tone = sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 9))
    return (0.1 * np.asarray(tone)).astype(np.float32)


def _digest(*parts: Any) -> str:
    """Of arrays, numbers and text."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.tobytes() if isinstance(part, np.ndarray) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:24]


def means(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    """The mean of a score by system; NaN where no song has it."""
    found: dict[str, float] = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        values = [row[name] for row in rows if row["system"] == system and row[name] is not None]
        found[system] = float(np.mean(values)) if values else float("nan")
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means by system as two Markdown tables: how it fits, and how it sounds."""
    return "\n\n".join(_table(rows, names) for names in (FIT, SOUND))


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    columns = {name: means(rows, name) for name in names}
    lines = ["| system | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for system in dict.fromkeys(row["system"] for row in rows):
        cells = (columns[name][system] for name in names)
        text = ("-" if np.isnan(cell) else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {system} | " + " | ".join(text) + " |")
    return "\n".join(lines)
