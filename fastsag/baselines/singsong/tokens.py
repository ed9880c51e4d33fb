"""Waveforms -> tokens: clusters of the semantic encoder's frames, and the codec's codes.

The clusters, and the codebooks of a codec that is fitted here, are made once by
`fastsag singsong fit-tokens` and kept in `RUN/tokens`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastsag import audio, checkpoint, published
from fastsag.audio import Recording
from fastsag.baselines.singsong.config import MelCodecConfig, SingSongConfig, StageName
from fastsag.baselines.singsong.layout import Layout, stage_layout
from fastsag.codec import Codec, EncodecCodec, MelCodec
from fastsag.codec.kmeans import fit_centroids, nearest
from fastsag.conditioning.encoders import build_encoder, encode
from fastsag.conditioning.encoders.melodic import level_gain
from fastsag.config import MelodicConfig, VoiceNoise, dump, parse, read_yaml
from fastsag.data.features import ACCOMPANIMENT_DBFS, add_noise
from fastsag.data.shards import Record
from fastsag.errors import UserError

WEIGHTS, CONFIG = "tokens.safetensors", "config.yaml"
_SEED = 0  # of k-means


def build_codec(config: SingSongConfig) -> Codec:
    """The codec that a configuration names; a fitted one still has empty codebooks.

    Raises:
        UserError: weights or a checkpoint are not on this machine.
    """
    if isinstance(config.codec, MelCodecConfig):
        sizes = config.codec
        system, _, vocoder = checkpoint.load(sizes.checkpoint)
        return MelCodec(system.mel, vocoder, sizes.patch, sizes.codebooks, sizes.codebook_size)
    return EncodecCodec.from_pretrained(config.codec.model, config.codec.bandwidth)


class Tokenizer:
    """Voice -> semantic tokens; band -> semantic tokens and acoustic codes; codes -> band.

    Args:
        config: of the system.
        codec: waveform <-> codes.
        clusters: centroids (K, D) of the semantic encoder's frames.
        encoder: built from the configuration if not given.
    """

    def __init__(
        self, config: SingSongConfig, codec: Codec, clusters: Tensor, encoder: Any = None
    ) -> None:
        self.config, self.codec, self.clusters = config, codec, clusters
        self.encoder = encoder or build_encoder(config.encoder)
        if self.encoder.sample_rate != codec.sample_rate:
            raise UserError(
                f"encoder at {self.encoder.sample_rate} Hz, codec at {codec.sample_rate} Hz: "
                "one sample rate is needed"
            )

    @classmethod
    def load(cls, folder: Path, wanted: SingSongConfig | None = None) -> Tokenizer:
        """From what `fastsag singsong fit-tokens` wrote.

        Args:
            folder: `RUN/tokens`.
            wanted: a configuration that the tokens must be those of.

        Raises:
            UserError: nothing was fitted there, it does not fit the configuration beside it, or
                that is not what is wanted.
        """
        path = folder / WEIGHTS
        if not path.exists():
            raise UserError(f"{path}: no tokens here; run: fastsag singsong fit-tokens first")
        config = parse(read_yaml(folder / CONFIG), str(folder / CONFIG), SingSongConfig)
        if wanted is not None:
            check_same_tokens(wanted, config, str(folder))
        codec, state = build_codec(config), published.tensors(path)
        expected: dict[str, tuple[int, ...]] = {"clusters": (config.clusters, config.encoder.size)}
        if isinstance(codec, MelCodec):
            expected["codebooks"] = tuple(codec.embedding.shape)
        wrong = published.misfits(published.shapes(state), expected)
        if wrong:
            raise UserError(f"{path}: does not fit the {CONFIG} beside it: {'; '.join(wrong)}")
        if isinstance(codec, MelCodec):
            codec.embedding.copy_(state["codebooks"])
        return cls(config, codec, state["clusters"].float())

    def save(self, folder: Path) -> None:
        """Write what was fitted and its configuration."""
        checkpoint.save_weights(self.state(), folder / WEIGHTS, torch.float32)
        audio.write_text(folder / CONFIG, dump(self.config))

    def to(self, device: torch.device) -> Tokenizer:
        """Move everything to a device."""
        self.encoder.to(device)
        self.codec.to(device)
        self.clusters = self.clusters.to(device)
        return self

    def state(self) -> dict[str, Tensor]:
        """What was fitted."""
        fitted = {"clusters": self.clusters}
        if isinstance(self.codec, MelCodec):
            fitted["codebooks"] = self.codec.embedding
        return fitted

    @property
    def digest(self) -> str:
        """Names the tokens of training voices and bands that this gives."""
        text = "".join(
            part.model_dump_json()
            for part in (self.config.encoder, self.config.codec, self.config.noise)
        )
        content = hashlib.sha256(text.encode())
        for part in self.state().values():
            content.update(part.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:10]

    def rate_hz(self, stage: StageName, wanted: bool) -> float:
        """Frames a second of what a stage reads or writes."""
        semantic = stage == "semantic" or (stage == "coarse" and not wanted)
        return self.encoder.rate_hz if semantic else self.codec.rate_hz

    def layout(self, stage: StageName) -> Layout:
        """The layout of a stage."""
        codec = self.codec
        coarse = self.config.coarse_codebooks
        if not coarse < codec.codebooks:
            raise UserError(
                f"coarse_codebooks: {coarse} leave nothing of the codec's {codec.codebooks} "
                "for the fine stage"
            )
        clusters = len(self.clusters)
        return stage_layout(stage, clusters, codec.codebooks, codec.codebook_size, coarse)

    def voice(self, samples: np.ndarray) -> Tensor:
        """Semantic tokens (S,) of a voice (N,) at the encoder's rate."""
        return self._semantic(self.encoder.prepare(samples))

    def band(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """Semantic tokens (S,) and codes (L, Q) of an accompaniment (N,)."""
        levelled = _levelled(samples, self.config)
        wave = torch.from_numpy(levelled).unsqueeze(0).to(self.clusters.device)
        return self._semantic(levelled), self.codec.encode(wave)[0]

    def pair(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        """Voice, with the noise of training, and band of a record (N,) at the encoder's rate."""
        return _pair(record, self.encoder.sample_rate, self.config.noise)

    def prepare(self, recording: Recording, shortest_seconds: float) -> np.ndarray:
        """A recording -> mono samples (N,) at the encoder's rate, padded to a shortest length."""
        rate = self.encoder.sample_rate
        mono = audio.to_mono(recording.samples)
        samples = audio.resample(mono, recording.sample_rate, rate)[0]
        short = int(np.ceil(shortest_seconds * rate)) - len(samples)
        return np.pad(samples, (0, max(0, short)))

    def _semantic(self, samples: np.ndarray) -> Tensor:
        frames = len(samples) // self.encoder.hop_length
        states = encode(self.encoder, samples.astype(np.float32), self.clusters.device)
        return nearest(states[:frames], self.clusters)


def check_same_tokens(one: SingSongConfig, other: SingSongConfig, origin: str) -> None:
    """Raise a `UserError` that begins with `origin` where two systems differ in their tokens."""
    for part in ("encoder", "clusters", "codec", "coarse_codebooks", "noise"):
        if getattr(one, part) != getattr(other, part):
            raise UserError(
                f"{origin}: {part} is not that of the configuration; use the one that the tokens "
                "were fitted with, or another RUN"
            )


def _pair(record: Record, rate: int, noise: VoiceNoise) -> tuple[np.ndarray, np.ndarray]:
    voice, band = (
        audio.resample(part[None], record.meta["sample_rate"], rate)[0]
        for part in (record.vocals, record.accompaniment)
    )
    return add_noise(voice, noise, seed=str(record.meta["song"])), band


def _levelled(samples: np.ndarray, config: SingSongConfig) -> np.ndarray:
    """An accompaniment at the level that models learn: as recorded for MERT, set otherwise."""
    if not isinstance(config.encoder, MelodicConfig):
        return samples.astype(np.float32)
    gain = level_gain(samples, config.encoder.sample_rate) * 10 ** ((ACCOMPANIMENT_DBFS + 20) / 20)
    return (samples * gain).astype(np.float32)


def fit_tokens(
    config: SingSongConfig,
    records: Iterable[Record],
    progress: Callable[[str], None] = lambda line: None,
) -> Tokenizer:
    """Fit the semantic clusters, and the codec's codebooks where it has none yet.

    Voices and bands share one set of clusters. Frames are drawn from every record alike, up to
    `fit_frames` of each kind.

    Args:
        config: of the system.
        records: of the training split; read once.
        progress: told what is done.

    Raises:
        UserError: too little music.
    """
    rng = np.random.default_rng(_SEED)
    codec, encoder = build_codec(config), build_encoder(config.encoder)
    semantic, acoustic = _Reservoir(config.fit_frames, rng), _Reservoir(config.fit_frames, rng)
    for count, record in enumerate(records, 1):
        voice, band = _pair(record, encoder.sample_rate, config.noise)
        band = _levelled(band, config)
        for samples in (encoder.prepare(voice), band):
            frames = len(samples) // encoder.hop_length
            semantic.add(encode(encoder, samples.astype(np.float32))[:frames].numpy())
        if isinstance(codec, MelCodec):
            acoustic.add(codec.patches(torch.from_numpy(band).unsqueeze(0))[0].numpy())
        progress(f"heard {count} records")
    clusters = fit_centroids(semantic.frames(), config.clusters, _SEED)
    progress(f"{config.clusters} clusters of {len(semantic.frames())} semantic frames")
    if isinstance(codec, MelCodec):
        left = codec.fit(acoustic.frames(), _SEED)
        shares = ", ".join(f"{share:.1%}" for share in left)
        progress(f"codebooks leave {shares} of the spectrogram's variance")
    return Tokenizer(config, codec, torch.from_numpy(clusters), encoder)


class _Reservoir:
    """A uniform sample of at most `size` of the frames that come by."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng, self.seen = size, rng, 0
        self.kept: np.ndarray | None = None
        self.keys = np.zeros(0)

    def add(self, frames: np.ndarray) -> None:
        keys = self.rng.random(len(frames))
        pool = frames if self.kept is None else np.concatenate([self.kept, frames])
        self.keys = np.concatenate([self.keys, keys])
        if len(pool) > self.size:
            smallest = np.argpartition(self.keys, self.size)[: self.size]
            pool, self.keys = pool[smallest], self.keys[smallest]
        self.kept = pool

    def frames(self) -> np.ndarray:
        if self.kept is None:
            raise UserError("no record of the training split; generate or prepare a larger corpus")
        return self.kept
