"""MERT as the paper's semantic encoder: transformers' Hubert, one hidden layer, normalised frames.

The weights are not ours: MERT-v1-95M is licensed CC-BY-NC-4.0 (non-commercial).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsag.errors import UserError, require


class MertEncoder(nn.Module):
    """Waveform (B, N) at 24 kHz -> (B, S, D), 75 frames a second, frozen.

    N is cut to a multiple of the hop; the valid convolutions give S = N // hop - 1. All recordings
    of a batch have equal length: there is no attention mask.

    Args:
        model: hub name or folder of a Hubert-layout checkpoint.
        layer: which transformer layer's output; later layers are dropped, they are never needed.

    Raises:
        UserError: the weights cannot be loaded.
    """

    def __init__(self, model: str, layer: int, hop_length: int = 320) -> None:
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
        self.rate_hz = 24_000 / hop_length

    @torch.no_grad()
    def forward(self, wave: Tensor) -> Tensor:
        wave = wave[:, : wave.shape[1] // self.hop_length * self.hop_length]
        states = self.hubert(wave, output_hidden_states=True).hidden_states
        return normalize_frames(states[self.layer])


def normalize_frames(features: Tensor) -> Tensor:
    """Zero mean and unit variance over the features of each frame (B, S, D)."""
    centred = features - features.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.var(-1, keepdim=True) + 1e-7)
