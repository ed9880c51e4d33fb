"""Mel -> waveform. A vocoder maps a log-unit mel (B, M, T) to samples (B, T * hop)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fastsag import hub, published
from fastsag.config import BigVGANConfig, GriffinLimConfig, MelConfig, VocosConfig
from fastsag.errors import UserError
from fastsag.vocoder.bigvgan import VARIANTS, BigVGAN, folded
from fastsag.vocoder.griffin_lim import GriffinLim
from fastsag.vocoder.vocos import Vocos

PUBLISHED = "bigvgan_generator.pt"


def build_vocoder(
    config: VocosConfig | BigVGANConfig | GriffinLimConfig, mel: MelConfig
) -> nn.Module:
    """The vocoder that a configuration names, with fresh weights.

    Raises:
        UserError: a BigVGAN of another spectrogram.
    """
    if isinstance(config, GriffinLimConfig):
        return GriffinLim(mel, config.iterations)
    if isinstance(config, BigVGANConfig):
        vocoder = BigVGAN(**VARIANTS[config.variant] | {"channels": config.channels})
        if (vocoder.n_mels, vocoder.hop) != (mel.n_mels, mel.hop_length):
            raise UserError(
                f"{config.variant}: wants {vocoder.n_mels} bands every {vocoder.hop} samples, "
                f"not {mel.n_mels} every {mel.hop_length}; set mel to match"
            )
        return vocoder
    return Vocos(mel, **config.model_dump(exclude={"kind"}))


def load_published(vocoder: nn.Module, config: BigVGANConfig) -> None:
    """Fill a BigVGAN with NVIDIA's weights from a file, a folder or the hub cache.

    Raises:
        UserError: the file is absent or its tensors do not fit.
    """
    source = Path(config.source or f"nvidia/{config.variant}")
    path = source / PUBLISHED if source.is_dir() else source
    if not path.is_file():
        path = hub.local(str(source), PUBLISHED)
    try:
        vocoder.load_state_dict(folded(published.read(path)))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not the weights of {config.variant} ({reason})") from None
