"""Accompaniment prompt adherence: does a band fit its voice, by an embedder's ear?

Grachten and Nistal, "Accompaniment Prompt Adherence" (arXiv 2503.06346): where candidate mixes lie
between the true mixes of voice and band, and mixes whose bands were dealt to other voices. Their
windows and levels; the figure is of one embedder, whose name belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio, levels
from fastsag.errors import UserError
from fastsag.evaluation import report
from fastsag.evaluation.embedders import Embedder
from fastsag.evaluation.fad import Cached, resample
from fastsag.evaluation.frechet import frechet_distance, statistics
from fastsag.evaluation.sets import clips, mono

WINDOW_SECONDS = 5.0  # windows do not overlap; a rest that fills none is left out
BAND_LEVEL_DB = 0.0  # loudness of the band minus that of the voice, in each window
MIX_LUFS = -20.0
ANCHORS = tuple(name for name in report.ANCHORS if name != report.DRONE)  # it needs a key


@dataclass(frozen=True)
class Adherence:
    """apa: 0 (like bands dealt at random) to 1 (like the true bands). The others are distances."""

    apa: float
    to_true: float
    to_shuffled: float
    true_to_shuffled: float

    def row(self) -> dict[str, float]:
        """The figures by name, for JSON."""
        return asdict(self)


def apa(to_true: float, to_shuffled: float, true_to_shuffled: float) -> float:
    """1/2 + (FAD(C, R') - FAD(C, R)) / (2 FAD(R, R')), clipped to 0..1.

    C candidate, R true, R' shuffled mixes. Fréchet distances, being squares, do not keep to the
    triangle inequality: hence the clipping. 0 where all three distances are 0, as in the authors'
    package.

    Args:
        to_true: FAD(C, R).
        to_shuffled: FAD(C, R').
        true_to_shuffled: FAD(R, R').
    """
    gain = max(to_shuffled, 0.0) - max(to_true, 0.0)
    scale = max(true_to_shuffled, abs(gain))
    return 0.5 + gain / (2 * scale) if scale > 0 else 0.0


def adherence(candidate: np.ndarray, true: np.ndarray, shuffled: np.ndarray) -> Adherence:
    """Adherence from the embeddings (frames, D) of candidate, true and shuffled mixes.

    Raises:
        UserError: fewer than two frames of one of them.
    """
    ours, known, dealt = (statistics(part) for part in (candidate, true, shuffled))
    distances = (
        frechet_distance(ours, known),
        frechet_distance(ours, dealt),
        frechet_distance(known, dealt),
    )
    return Adherence(apa(*distances), *distances)


def adherence_of_songs(
    voices: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    candidate: Sequence[np.ndarray],
    rate: int,
    embedder: Embedder,
    seed: int = 0,
) -> Adherence:
    """Adherence of a system's bands to the voices of the same songs.

    Args:
        voices, true, candidate: one recording (N,) a song, in the same order; the longest of a
            song's three is cut to the shortest.
        rate: of all recordings, Hz.
        embedder: hears each window by itself, at its own rate.
        seed: of the deal.

    Raises:
        UserError: not as many recordings of each kind, or fewer than two windows in all.
    """
    if not len(voices) == len(true) == len(candidate):
        counts = f"{len(voices)} voices, {len(true)} true bands, {len(candidate)} of the system"
        raise UserError(f"{counts}: one of each is needed for every song")
    sung: list[np.ndarray] = []
    known: list[np.ndarray] = []
    ours: list[np.ndarray] = []
    songs: list[int] = []
    for index, parts in enumerate(zip(voices, true, candidate, strict=True)):
        count = min(map(len, parts))
        for kind, part in zip((sung, known, ours), parts, strict=True):
            kind.extend(windows(part[:count], rate))
        songs += [index] * (len(sung) - len(songs))
    dealt = [known[index] for index in partners(songs, seed)]

    def heard(bands: list[np.ndarray]) -> np.ndarray:
        mixes = (mixed(voice, band, rate) for voice, band in zip(sung, bands, strict=True))
        return np.concatenate([embedder(resample(x, rate, embedder.sample_rate)) for x in mixes])

    return adherence(heard(ours), heard(known), heard(dealt))


def of_systems(
    songs: Path,
    systems: Sequence[tuple[str, Path]],
    embedder: Embedder,
    *,
    anchors: Sequence[str] = ANCHORS,
    cache: Path | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Adherence of systems and anchors on a set of songs, a record each.

    Args:
        songs: a set of clips with their own bands.
        systems: names and folders of accompaniments.
        cache: folder for embeddings of the windows.
        progress: told of (system, systems done, systems in all).

    Raises:
        UserError: a file is missing, or a song has no band of its own.
    """
    known = clips(songs)
    bandless = [clip.key for clip in known if clip.band is None]
    if bandless:
        raise UserError(f"{songs}: {bandless[0]} has no KEY.accompaniment.*; APA needs true bands")
    rate = embedder.sample_rate
    hear = Cached(embedder, cache)

    def heard(samples: np.ndarray, own: int) -> np.ndarray:
        return audio.resample(samples[None], own, rate)[0]

    jobs = report.plan(known, systems, anchors)
    voices = [heard(*mono(clip.voice)) for clip in known]
    true = [heard(*mono(clip.band)) for clip in known if clip.band]
    names = list(dict.fromkeys(job.system for job in jobs))
    records = []
    for index, name in enumerate(names):
        bands = [heard(*report.samples_of(job)) for job in jobs if job.system == name]
        found = adherence_of_songs(voices, true, bands, rate, hear, seed)
        records.append(
            {"system": name, "embedder": embedder.name, **found.row(), "songs": len(known)}
        )
        if progress:
            progress(name, index + 1, len(names))
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """Records as a Markdown table."""
    names = ("system", "embedder", "apa", "to_true", "to_shuffled", "true_to_shuffled", "songs")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for record in records:
        cells = (f"{record[n]:.3f}" if isinstance(record[n], float) else record[n] for n in names)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def windows(samples: np.ndarray, rate: int) -> list[np.ndarray]:
    """Samples (N,) at `rate` Hz -> views of 5 s each."""
    size = round(WINDOW_SECONDS * rate)
    return [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]


def partners(songs: Sequence[int], seed: int = 0) -> np.ndarray:
    """For each window (n,) the window whose band it gets; each band is dealt once.

    No window keeps its own, and none gets one of its own song unless a song holds more than half.

    Args:
        songs: the song of each window.
        seed: of the deal.

    Raises:
        UserError: fewer than two windows.
    """
    count = len(songs)
    if count < 2:
        raise UserError(f"{count} windows of {WINDOW_SECONDS:g} s: at least two are needed")
    rng = np.random.default_rng(seed)
    _, inverse, sizes = np.unique(songs, return_inverse=True, return_counts=True)
    # Windows lie song by song on a ring, songs and windows in random order; a turn by the longest
    # song leads out of every song.
    ring = np.lexsort((rng.random(count), rng.permutation(len(sizes))[inverse]))
    dealt = np.empty(count, dtype=int)
    dealt[ring] = np.roll(ring, -min(int(sizes.max()), count // 2))
    return dealt


def mixed(voice: np.ndarray, band: np.ndarray, rate: int) -> np.ndarray:
    """Voice and band (N,), equally loud (BS.1770), mixed to -20 LUFS: (N,) float32.

    A band under -70 LUFS, which the loudness does not count, stays as faint as it is. A mix that
    would pass full scale is turned down; the authors limit it.
    """
    sung, played = (np.asarray(part, dtype=np.float32)[None] for part in (voice, band))
    mix = levels.mix(sung, played, rate, BAND_LEVEL_DB)
    gain = 10 ** ((MIX_LUFS - mix.mix_lufs) / 20) if np.isfinite(mix.mix_lufs) else 1.0
    samples = mix.samples[0] * gain
    return (samples / max(1.0, float(np.abs(samples).max()))).astype(np.float32)
