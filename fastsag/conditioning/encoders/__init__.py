"""Frozen semantics of a waveform: one contract, one file for each encoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastsag.conditioning.encoders.contract import SemanticEncoder
from fastsag.conditioning.encoders.melodic import MelodicEncoder
from fastsag.conditioning.encoders.mert import MertEncoder
from fastsag.config import MelodicConfig, MertConfig
from fastsag.spool import Array

__all__ = ["SemanticEncoder", "build_encoder", "encode"]


def build_encoder(config: MelodicConfig | MertConfig) -> SemanticEncoder:
    """The semantic encoder that a configuration names.

    Raises:
        UserError: MERT without its extra or its weights.
    """
    if isinstance(config, MertConfig):
        return MertEncoder(config.model, config.layer, config.hop_length, config.wave)
    return MelodicEncoder(config.sample_rate, config.hop_length)


@torch.inference_mode()
def encode(encoder: SemanticEncoder, samples: Array, device: torch.device | None = None) -> Tensor:
    """Prepared samples, (N,) or (1, N), of any length -> semantics (S, D), piece by piece.

    Frame s describes the time from s to s + 1 over `rate_hz`. With an encoder of fixed pieces S is
    a whole number of pieces: the rest of the last one is silence, as in its training.
    """
    hop, piece, margin = encoder.hop_length, encoder.piece, encoder.margin
    frames = -(-samples.shape[-1] // hop)
    total = -(-frames // piece) * piece if encoder.fixed else frames
    whole: Tensor | None = None
    for first in range(0, frames, piece):
        last = min(first + piece, total)
        start, stop = max(0, first - margin), last + margin
        wave = samples[..., start * hop : stop * hop].reshape(-1)
        wave = np.pad(wave, (0, max(0, (last - start) * hop - len(wave))))
        part = encoder(torch.from_numpy(wave).unsqueeze(0).to(device))[0]
        part = part[first - start : last - start]
        missing = last - first - len(part)
        if whole is None:
            whole = part.new_empty(total, part.shape[1])
        whole[first:last] = F.pad(part.T, (0, missing), mode="replicate").T if missing else part
    assert whole is not None, "no samples"
    return whole
