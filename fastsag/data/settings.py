"""What prepared shards depend on besides the songs: one frozen model, part of the manifest.

Each step's files lie in a folder named by a hash of what they depend on, so that changed settings
never meet stale files, and what did not change is not done again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field

from fastsag.config import MelConfig, MelodicConfig, MertConfig, Strict, VoiceNoise

_VERSION = 1  # raise when the same settings give other files


class FeatureSettings(Strict):
    """Which features are stored; those of a `Config`."""

    mel: MelConfig
    encoder: MelodicConfig | MertConfig
    noise: VoiceNoise

    @property
    def digest(self) -> str:
        """The name by which training knows these features again."""
        from fastsag.data.features import digest

        return digest(self.mel, self.encoder, self.noise)


class SeparationSettings(Strict):
    """How mixes are separated."""

    separator: str = "htdemucs"
    weights: str = ""  # hash of the separator's weights
    shifts: int = Field(default=1, ge=0)
    overlap: float = Field(default=0.25, ge=0, lt=1)
    seed: int = 0  # of the shifts, together with the song
    device: Literal["cpu", "cuda"] = "cpu"  # their arithmetic differs in the last bits


class PrepareSettings(Strict):
    """All of them."""

    separation: SeparationSettings | None = None  # None: every song is separated already
    lowest_rate: int = 16_000  # Hz; recordings of less lack what a model should learn
    longest_minutes: float = 20.0  # of a song
    clip_seconds: float = Field(default=10.0, gt=0)
    gate: Literal["paper", "authors", "none"] = "paper"
    features: FeatureSettings | None = None
    preset: Literal["musdb18-test"] | None = None
    evaluation_clips: int = Field(default=2_000, ge=0)  # of the in-domain evaluation set
    validation_clips: int = Field(default=500, ge=0)
    shard_clips: int = Field(default=1_000, ge=1)  # about as many in a shard

    def stems_key(self, given: bool) -> str:
        """Names the stems of a song that is given as stems, or as a mix."""
        separation = None if given or self.separation is None else self.separation.model_dump()
        return _key("stems", separation, self.lowest_rate, self.longest_minutes)

    def clips_key(self, given: bool) -> str:
        """Names the clips of a song."""
        return _key("clips", self.stems_key(given), self.clip_seconds, self.gate)

    def features_key(self, given: bool) -> str:
        """Names the features of a song's clips."""
        return _key("features", self.clips_key(given), self.features and self.features.digest)


def _key(*parts: object) -> str:
    text = json.dumps([_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
