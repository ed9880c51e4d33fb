"""Mel -> waveform. A vocoder maps a log-unit mel (B, M, T) to samples (B, T * hop)."""

from __future__ import annotations

from torch import nn

from fastsag.config import BigVGANConfig, GriffinLimConfig, MelConfig, VocosConfig
from fastsag.vocoder.griffin_lim import GriffinLim
from fastsag.vocoder.vocos import Vocos


def build_vocoder(
    config: VocosConfig | BigVGANConfig | GriffinLimConfig, mel: MelConfig
) -> nn.Module:
    """The vocoder that a configuration names, with fresh weights."""
    if isinstance(config, GriffinLimConfig):
        return GriffinLim(mel, config.iterations)
    if isinstance(config, BigVGANConfig):
        from fastsag.vocoder.bigvgan import VARIANTS, BigVGAN

        return BigVGAN(**VARIANTS[config.variant] | {"channels": config.channels})
    return Vocos(mel, **config.model_dump(exclude={"kind"}))


def load_published(vocoder: nn.Module, config: BigVGANConfig) -> None:
    """Fill a BigVGAN with NVIDIA's weights from a folder, a file or the hub cache."""
    raise NotImplementedError
