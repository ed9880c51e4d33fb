"""Mel -> waveform. A vocoder maps a log-unit mel (B, M, T) to samples (B, T * hop)."""

from __future__ import annotations

from torch import nn

from fastsag.config import GriffinLimConfig, MelConfig, VocosConfig
from fastsag.vocoder.griffin_lim import GriffinLim
from fastsag.vocoder.vocos import Vocos


def build_vocoder(config: VocosConfig | GriffinLimConfig, mel: MelConfig) -> nn.Module:
    """The vocoder that a configuration names, with fresh weights."""
    if isinstance(config, GriffinLimConfig):
        return GriffinLim(mel, config.iterations)
    return Vocos(mel, **config.model_dump(exclude={"kind"}))
