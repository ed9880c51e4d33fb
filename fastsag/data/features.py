"""Shards -> features for training: mel, semantics and the true plan, cached beside each shard.

A cache file is named by a hash of everything its content depends on, so that another spectrogram
or encoder never meets stale features.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastsag.audio import resample
from fastsag.chords import CHORDS, chord_index, key_index
from fastsag.conditioning.encoders import build_encoder, encode
from fastsag.conditioning.encoders.melodic import level_gain
from fastsag.config import MelConfig, MelodicConfig, MertConfig, VoiceNoise, dump
from fastsag.data.shards import Record
from fastsag.lead_sheet import PLAN_FEATURES, STYLES, from_record
from fastsag.mel import LogMel

ACCOMPANIMENT_DBFS = -18.0  # level of the accompaniments that a model learns to play at
COMPUTED = ("voice", "accompaniment", "mel", "vocal_mel")  # what `FeatureExtractor.arrays` gives
_NORMALISATION = ("normalize", "norm_min", "norm_max")  # of the mel; cached without
_VERSION = 4  # raise when the content of a cache file changes


@dataclass(frozen=True)
class Song:
    """Features of one record, time last or first as the model takes them, float16.

    voice: S_v (S, D). accompaniment: S_nv (S, D). mel: (M, T) of the accompaniment and vocal_mel:
    (M, T) of the voice, log units, so that one cache serves with and without normalisation;
    vocal_mel is empty where it was not asked for. plan: (P, T).
    beat, bar: phases in turns at semantic frames (S,). chord: index in `CHORDS` (S,), -1 outside
    the song. metre: beats a bar. key: key index. style: index in `STYLES`. song: id shared by
    versions of one voice.

    Of a record without beats, chords and key nothing of the plan is known (`planned`): metre is 0,
    key, style and chord are -1, and plan, beat and bar are zeros that mean nothing. Style can be -1
    for itself.
    """

    voice: np.ndarray
    accompaniment: np.ndarray
    mel: np.ndarray
    plan: np.ndarray
    beat: np.ndarray
    bar: np.ndarray
    chord: np.ndarray
    metre: int
    key: int
    style: int
    song: str
    split: str
    vocal_mel: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float16))

    @property
    def planned(self) -> bool:
        """Its beats, chords and key are known."""
        return self.metre > 0


class FeatureExtractor:
    """Computes a `Song` from a record of a shard."""

    def __init__(
        self,
        mel: MelConfig,
        encoder: MelodicConfig | MertConfig,
        noise: VoiceNoise | None = None,
    ) -> None:
        self.mel_config, self.encoder_config, self.noise = mel, encoder, noise or VoiceNoise()
        self.mel = LogMel(mel)
        self.encoder = build_encoder(encoder)
        self.digest = digest(mel, encoder, self.noise)

    def __call__(self, vocals: np.ndarray, accompaniment: np.ndarray, meta: dict[str, Any]) -> Song:
        """`vocals` and `accompaniment` (N,) float32 at meta["sample_rate"]."""
        return self.song(self.arrays(vocals, accompaniment, meta), meta)

    @torch.no_grad()
    def arrays(
        self, vocals: np.ndarray, accompaniment: np.ndarray, meta: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """What is computed from audio: `COMPUTED` of a `Song`."""
        rate = self.mel_config.sample_rate
        vocals, accompaniment = (
            resample(samples[None], meta.get("sample_rate", rate), rate)[0]
            for samples in (vocals, accompaniment)
        )
        vocals = add_noise(vocals, self.noise, seed=noise_seed(meta))
        vocals = self.encoder.prepare(vocals)
        voice = self._semantics(vocals)
        if isinstance(self.encoder_config, MertConfig):
            accompaniment = self.encoder.prepare(accompaniment)
        else:
            gain = 10 ** ((ACCOMPANIMENT_DBFS + 20) / 20) * level_gain(accompaniment, rate)
            accompaniment = accompaniment * np.float32(gain)
        return {
            "voice": voice,
            "accompaniment": self._semantics(accompaniment),
            "mel": self._log_mel(accompaniment),
            "vocal_mel": self._log_mel(vocals),
        }

    def song(self, arrays: Mapping[str, Any], meta: dict[str, Any]) -> Song:
        """A `Song` of `arrays`, with the truth that its record knows."""
        count, frames = len(arrays["voice"]), arrays["mel"].shape[1]
        if "beats" in meta:
            truth: dict[str, Any] = self._truth(count, frames, meta)
        else:
            truth = {
                "plan": np.zeros((PLAN_FEATURES, frames), dtype=np.float16),
                "beat": np.zeros(count, dtype=np.float16),
                "bar": np.zeros(count, dtype=np.float16),
                "chord": np.full(count, -1, dtype=np.int8),
                "metre": 0,
                "key": -1,
                "style": -1,
            }
        return Song(**arrays, **truth, song=str(meta["song"]), split=str(meta["split"]))

    def _truth(self, count: int, frames: int, meta: dict[str, Any]) -> dict[str, Any]:
        """The plan at mel frames; beats and chords at `count` semantic frames."""
        sheet = from_record(meta)
        mel_times = (np.arange(frames) + 0.5) / self.mel_config.frame_rate
        times = (np.arange(count) + 0.5) / self.encoder.rate_hz
        position = sheet.beat_position(times)
        return {
            "plan": sheet.features(mel_times).astype(np.float16),
            "beat": (position % 1).astype(np.float16),
            "bar": ((position - sheet.first_downbeat) / sheet.beats_per_bar % 1).astype(np.float16),
            "chord": chord_track(meta, times),
            "metre": int(meta["beats_per_bar"]),
            "key": key_index(meta["key"]),
            "style": -1 if sheet.style is None else STYLES.index(sheet.style),
        }

    def _log_mel(self, samples: np.ndarray) -> np.ndarray:
        return self.mel(torch.from_numpy(samples).float().unsqueeze(0))[0].half().numpy()

    def _semantics(self, samples: np.ndarray) -> np.ndarray:
        frames = len(samples) // self.encoder.hop_length
        return encode(self.encoder, samples.astype(np.float32))[:frames].half().numpy()


def digest(mel: MelConfig, encoder: MelodicConfig | MertConfig, noise: VoiceNoise) -> str:
    """Names the features that these settings give."""
    spectrogram = mel.model_copy(update=dict.fromkeys(_NORMALISATION))
    text = dump(spectrogram) + dump(encoder) + f"{_VERSION} {ACCOMPANIMENT_DBFS}"
    if noise != VoiceNoise():
        text += dump(noise)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def noise_seed(meta: dict[str, Any]) -> str:
    """Clips of one song have noise of their own; versions of one voice share theirs."""
    return str(meta.get("clip", meta.get("song")))


def add_noise(samples: np.ndarray, noise: VoiceNoise, seed: str) -> np.ndarray:
    """Voice (N,) with white noise (paper section 4.1), the same for the same seed.

    Some voices get more, up to a share of their peak, as in the authors' code.
    """
    if noise == VoiceNoise():
        return samples
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    noisy = samples + noise.std * rng.standard_normal(len(samples))
    if rng.random() < noise.chance:
        std = np.abs(noisy).max() * rng.uniform(0, noise.share)
        noisy = noisy + std * rng.standard_normal(len(samples))
    return noisy.astype(np.float32)


def feature_processes(count: int) -> ProcessPoolExecutor:
    """Processes of one thread each for `write_features`."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_modest)


def _modest() -> None:
    """One thread, and after the training step in the queue for a core."""
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)


def cores() -> int:
    """Cores that this process may use: fewer than the machine has in a container or a job."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def write_features(
    records: Callable[[], Iterable[Record]],
    cache: Path,
    mel: MelConfig,
    encoder: MelodicConfig | MertConfig,
    noise: VoiceNoise,
) -> None:
    """Compute the features of a shard's records and write them to `cache`, atomically.

    Features that a record brings along are taken if they were made with these settings.
    """
    extractor = FeatureExtractor(mel, encoder, noise)
    songs = []
    for record in records():
        stored = record.meta.get("features") == extractor.digest
        if stored and set(COMPUTED) <= record.features.keys():
            arrays = {name: record.features[name] for name in COMPUTED}
        else:
            arrays = extractor.arrays(record.vocals, record.accompaniment, record.meta)
        songs.append(extractor.song(arrays, record.meta))
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        np.savez(handle, **_flatten(songs))  # type: ignore[arg-type]
    os.replace(temporary, cache)


def read_features(cache: Path, splits: tuple[str, ...], vocal_mel: bool) -> Iterator[Song]:
    """The songs of a cache file that belong to `splits`."""
    absent = () if vocal_mel else ("vocal_mel",)  # an array is read when it is asked for
    with np.load(cache, allow_pickle=False) as arrays:
        columns = {name: arrays[name].tolist() for name in _SCALARS}
        for i, split in enumerate(columns["split"]):
            if split in splits:
                yield Song(
                    **{name: arrays[f"{i}.{name}"] for name in _ARRAYS if name not in absent},
                    **{name: columns[name][i] for name in _SCALARS},
                )


_ARRAYS = (*COMPUTED, "plan", "beat", "bar", "chord")
_SCALARS = ("metre", "key", "style", "song", "split")


def _flatten(songs: list[Song]) -> dict[str, np.ndarray]:
    flat = {f"{i}.{name}": getattr(song, name) for i, song in enumerate(songs) for name in _ARRAYS}
    for name in _SCALARS:
        flat[name] = np.array([getattr(song, name) for song in songs])
    return flat


def chord_track(meta: dict[str, Any], times: np.ndarray) -> np.ndarray:
    """Index in `CHORDS` at `times`, -1 where the record names no chord."""
    track = np.full(len(times), -1, dtype=np.int8)
    for chord in meta["chords"]:
        index = chord_index(chord["label"])
        assert index < len(CHORDS)
        track[(times >= chord["start"]) & (times < chord["end"])] = index
    return track
