"""Configuration of a SingSong system (`configs/singsong/*.yaml`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fastsag.config import MelodicConfig, MertConfig, Strict, TrainingConfig, VoiceNoise

StageName = Literal["semantic", "coarse", "fine"]
STAGES: tuple[StageName, ...] = ("semantic", "coarse", "fine")


class EncodecConfig(Strict):
    """Encodec's 24 kHz model; 6 kbit/s are 8 codebooks of 1,024 at 75 Hz."""

    kind: Literal["encodec"] = "encodec"
    model: str = "encodec"  # folder, or name of `fastsag checkpoint download`
    bandwidth: float = 6.0  # kbit/s


class MelCodecConfig(Strict):
    """Residual k-means of the log spectrogram, sounded by a checkpoint's vocoder."""

    kind: Literal["mel"] = "mel"
    checkpoint: str = "compact"  # whose spectrogram and vocoder
    patch: int = 2  # mel frames a token frame
    codebooks: int = 8
    codebook_size: int = 1_024


class TransformerConfig(Strict):
    """Size of each stage's language model."""

    width: int
    depth: int
    heads: int
    head_size: int = 64
    hidden: int  # of the gated feed-forward layers
    key_value_heads: int = 1  # one for all heads
    ff_dropout: float = 0.1
    grad_shrink: float = 0.1  # share of the gradient that reaches the token embeddings
    forget: float = 0.15  # share of earlier tokens hidden in training


class StageConfig(Strict):
    """How a stage is trained and sampled."""

    window_seconds: float = Field(gt=0)
    overlap: float = Field(0.5, ge=0, lt=1)  # share of a window that the one before has made
    temperature: float = Field(1.0, gt=0)
    training: TrainingConfig


class Stages(Strict):
    """The three stages."""

    semantic: StageConfig
    coarse: StageConfig
    fine: StageConfig

    def __getitem__(self, name: StageName) -> StageConfig:
        return {"semantic": self.semantic, "coarse": self.coarse, "fine": self.fine}[name]


class SingSongConfig(Strict):
    """A whole SingSong system."""

    name: str
    encoder: MelodicConfig | MertConfig
    clusters: int = 1_024  # semantic tokens
    codec: EncodecConfig | MelCodecConfig = Field(discriminator="kind")
    coarse_codebooks: int = 3  # of the coarse stage; the fine stage has the rest
    fit_frames: int = 500_000  # frames that the clusters and codebooks are fitted to
    transformer: TransformerConfig
    top_k: float = Field(0.1, gt=0, le=1)  # share of a codebook that is sampled from
    noise: VoiceNoise = VoiceNoise()  # on the voices
    stages: Stages
