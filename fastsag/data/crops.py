"""Random crops of songs for training; crop i depends on (seed, i) alone, so that runs resume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastsag.config import MelConfig
from fastsag.data.features import Song
from fastsag.mel import normalize

# A slow song in eighths and a fast one in quarters sound alike from the voice alone. The planner
# learns one answer, beats no slower than this; a slower song's count twice as fast.
SLOWEST_BPM = 78.0


class CropDataset(Dataset[dict[str, Tensor]]):
    """Aligned crops of voice semantics, accompaniment semantics, mel and plan.

    Item: voice (S, D), accompaniment (S, D), mel (M, T) normalised, plan (P, T), all float32, the
    voice's mel (M, T) normalised where the songs have it, and item (), the index.

    Args:
        songs: at least one that is `frames` long.
        mel: its normalisation and rate.
        frames: T, mel frames of a crop.
        rate_hz: semantic frames a second.
        length: number of items.
        seed: of the crops.

    Raises:
        ValueError: no song is long enough.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        mel: MelConfig,
        frames: int,
        rate_hz: float,
        length: int,
        seed: int,
    ) -> None:
        self.songs = [song for song in songs if song.mel.shape[1] >= frames]
        if not self.songs:
            raise ValueError(f"none of {len(songs)} songs has {frames} mel frames")
        self.mel, self.frames, self.ratio = mel, frames, mel.frame_rate / rate_hz
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        song = self.songs[rng.integers(len(self.songs))]
        item = crop(song, self.mel, self.frames, self.ratio, rng)
        return {**item, "item": torch.tensor(index)}


def crop(
    song: Song, mel: MelConfig, frames: int, ratio: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """A random crop of `frames` mel frames, `ratio` of them to a semantic frame."""
    size = int(frames / ratio)  # whole frames, as an encoder without padding gives
    start = int(rng.integers(len(song.voice) - size + 1))
    first = min(round(start * ratio), song.mel.shape[1] - frames)
    semantic, framed = slice(start, start + size), slice(first, first + frames)
    item = {
        "voice": _tensor(song.voice[semantic]),
        "accompaniment": _tensor(song.accompaniment[semantic]),
        "mel": normalize(_tensor(song.mel[:, framed]), mel),
        "plan": _tensor(song.plan[:, framed]),
    }
    if song.vocal_mel.size:
        item["vocal_mel"] = normalize(_tensor(song.vocal_mel[:, framed]), mel)
    return item


class PlanDataset(Dataset[dict[str, Tensor]]):
    """Crops of voices with the truth that the planner learns, transposed at random.

    Half of the items come from `songs` (real audio), half from `symbolic` (features drawn from
    scores, `data/symbolic.py`). Item: voice (S, D), beat, bar (L,) in turns, chord (L,), metre,
    key and style (), at L = S // patch tokens.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        symbolic: Sequence[Song],
        frames: int,
        patch: int,
        rate_hz: float,
        metres: tuple[int, ...],
        length: int,
        seed: int,
        augment: bool = True,
    ) -> None:
        self.pools = [pool for pool in (list(songs), list(symbolic)) if pool]
        self.frames, self.patch, self.rate_hz, self.metres = frames, patch, rate_hz, metres
        self.length, self.seed, self.augment = length, seed, augment

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        pool = self.pools[rng.integers(len(self.pools))]
        song = pool[rng.integers(len(pool))]
        start = int(rng.integers(max(1, len(song.voice) - self.frames + 1)))
        stop = start + self.frames
        voice = _padded(song.voice[start:stop], self.frames)
        chord = _padded(song.chord[start:stop].astype(np.int64), self.frames, -1)
        key = song.key
        if self.augment:
            steps = int(rng.integers(12))
            fine = int(rng.integers(-1, 2))  # thirds of a semitone: singers off pitch
            voice = augment(voice, 3 * steps + fine, rng)
            chord, key = transpose(chord, key, steps)
        middle = slice(self.patch // 2, None, self.patch)
        beat = _extended(song.beat[start:stop], self.frames)
        bar = _extended(song.bar[start:stop], self.frames)
        if tempo(song.beat, self.rate_hz) < SLOWEST_BPM:
            beat, bar = 2 * beat % 1, 2 * bar % 1
        return {
            "voice": torch.from_numpy(voice.astype(np.float32)),
            "beat": _tensor(_at_centres(beat, self.patch)),
            "bar": _tensor(_at_centres(bar, self.patch)),
            "chord": torch.from_numpy(chord[middle]),
            "metre": torch.tensor(self.metres.index(song.metre)),
            "key": torch.tensor(key),
            "style": torch.tensor(song.style),
        }


def tempo(beat: np.ndarray, rate_hz: float) -> float:
    """Beats per minute of a phase track (S,) in turns."""
    turns = np.unwrap(beat.astype(np.float64), period=1.0)
    return float(60 * rate_hz * (turns[-1] - turns[0]) / (len(turns) - 1))


def transpose(chord: np.ndarray, key: int, steps: int) -> tuple[np.ndarray, int]:
    """Chord indices and key index moved up by semitones; no chord and -1 stay."""
    moved = np.where((chord >= 0) & (chord < 24), chord // 12 * 12 + (chord + steps) % 12, chord)
    return moved, key // 12 * 12 + (key + steps) % 12


def augment(voice: np.ndarray, bins: int, rng: np.random.Generator) -> np.ndarray:
    """Voice semantics (S, 39) as another singer in another room would give them.

    Chroma rolled by `bins`, with leaks and noise; energy and onsets rescaled; some voicing lost.
    """
    voice = voice.astype(np.float32)
    chroma, scalars = voice[:, :36], voice[:, 36:].copy()
    chroma = np.roll(chroma, bins, axis=1)
    chroma = chroma ** rng.uniform(0.6, 1.5)
    chroma = chroma + rng.uniform(0, 0.1) * rng.random(chroma.shape, dtype=np.float32)
    scalars[:, 0] = scalars[:, 0] * rng.uniform(0.8, 1.1) + rng.normal(0, 0.02, len(voice))
    scalars[:, 1] = scalars[:, 1] * rng.uniform(0.4, 1.6) + rng.uniform(0, 0.05)
    holes = np.repeat(rng.random(len(voice) // 4 + 1) < rng.uniform(0, 0.06), 4)[: len(voice)]
    chroma[holes] *= 0.2
    return np.clip(np.concatenate([chroma, scalars], axis=1), 0, 1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _padded(array: np.ndarray, length: int, value: float = 0) -> np.ndarray:
    pad = [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)]
    return np.pad(array, pad, constant_values=value)


def _at_centres(phase: np.ndarray, patch: int) -> np.ndarray:
    """A phase track (S,) in turns at the centres of tokens of so many frames: (S // patch,)."""
    if patch % 2:
        return phase[patch // 2 :: patch]
    after = phase[patch // 2 :: patch]
    before = phase[patch // 2 - 1 :: patch][: len(after)]
    return (before + ((after - before + 0.5) % 1 - 0.5) / 2) % 1


def _extended(phase: np.ndarray, length: int) -> np.ndarray:
    """A phase track continued at its last speed."""
    phase = phase.astype(np.float64)
    turns = np.unwrap(phase, period=1.0)
    speed = (turns[-1] - turns[0]) / max(1, len(turns) - 1)
    more = turns[-1] + speed * np.arange(1, length - len(turns) + 1)
    return np.concatenate([turns, more]) % 1
