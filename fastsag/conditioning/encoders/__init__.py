"""Frozen semantics of a waveform: one contract, one file for each encoder.

A semantic encoder maps a waveform (B, N) at `sample_rate` Hz to features (B, S, D) at `rate_hz`
frames a second, frame s centred at sample `s * hop + hop / 2`. It has no trainable weights.
"""

from __future__ import annotations

from torch import nn

from fastsag.conditioning.encoders.melodic import MelodicEncoder
from fastsag.conditioning.encoders.mert import MertEncoder
from fastsag.config import MelodicConfig, MertConfig


def build_encoder(config: MelodicConfig | MertConfig) -> nn.Module:
    """The semantic encoder that a configuration names.

    Raises:
        UserError: MERT without its extra or its weights.
    """
    if isinstance(config, MertConfig):
        return MertEncoder(config.model, config.layer, config.hop_length)
    return MelodicEncoder(config.sample_rate, config.hop_length)
