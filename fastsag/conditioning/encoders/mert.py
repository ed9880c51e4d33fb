"""MERT as the paper's semantic encoder: transformers' Hubert, one hidden layer, normalised frames.

The weights are not ours: MERT-v1-95M is licensed CC-BY-NC-4.0 (non-commercial).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fastsag.conditioning.encoders.contract import SemanticEncoder
from fastsag.errors import UserError, require
from fastsag.levels import min_max


class MertEncoder(SemanticEncoder):
    """Waveform (B, N) at 24 kHz -> (B, S, D), 75 frames a second, frozen.

    N is cut to a multiple of the hop; the valid convolutions give S = N // hop - 1. All recordings
    of a batch have equal length: there is no attention mask.

    Args:
        model: hub name or folder of a Hubert-layout checkpoint.
        layer: which transformer layer's output; later layers are dropped, they are never needed.
        hop_length: samples a frame.
        wave: "min_max" scales a recording as the authors' code does, "plain" leaves it.

    Raises:
        UserError: the weights cannot be loaded.
    """

    sample_rate = 24_000
    lost = 1  # convolutions without padding
    piece = 750  # 10 s, as in training; batches have equal lengths: there is no attention mask
    fixed = True

    def __init__(
        self,
        model: str,
        layer: int,
        hop_length: int = 320,
        wave: Literal["plain", "min_max"] = "plain",
    ) -> None:
        super().__init__()
        transformers = require("transformers", extra="mert")
        try:
            hubert = transformers.HubertModel.from_pretrained(model)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{model}: MERT's weights cannot be loaded ({reason}); "
                "download them to the hub cache or give a folder"
            ) from None
        hubert.encoder.layers = hubert.encoder.layers[:layer]
        self.hubert = hubert.eval().requires_grad_(False)
        self.layer, self.hop_length = layer, hop_length
        self.size = int(hubert.config.hidden_size)
        self.wave = wave

    def prepare(self, samples: np.ndarray) -> np.ndarray:
        """Samples (N,) as they are, or scaled to -0.8..0.8."""
        return min_max(samples) if self.wave == "min_max" else samples

    @torch.no_grad()
    def forward(self, wave: Tensor) -> Tensor:
        wave = wave[:, : wave.shape[1] // self.hop_length * self.hop_length]
        states = self.hubert(wave, output_hidden_states=True).hidden_states
        return normalize_frames(states[self.layer])


def normalize_frames(features: Tensor) -> Tensor:
    """Zero mean and unit variance over the features of each frame (B, S, D)."""
    centred = features - features.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.var(-1, keepdim=True) + 1e-7)
