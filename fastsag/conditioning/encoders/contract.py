"""What every semantic encoder is: a frozen map from a waveform to features."""

from __future__ import annotations

import numpy as np
from torch import nn

from fastsag.spool import Array


class SemanticEncoder(nn.Module):
    """Waveform (B, N) at `sample_rate` Hz -> features (B, S, D) at `rate_hz` frames a second.

    Frame s is centred near sample s * hop + hop / 2. Nothing in it is trained here.

    size: D. hop_length: samples a frame. lost: frames fewer than N // hop that one pass gives.
    piece: frames of one pass through a long recording. margin: frames added around a piece to hear
    its neighbours. fixed: every piece has its full length, padded with silence. bf16: it may be
    computed in half precision.
    """

    size: int
    sample_rate: int
    hop_length: int
    lost: int = 0
    piece: int
    margin: int = 0
    fixed: bool = False
    bf16: bool = False

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def prepare(self, samples: np.ndarray) -> np.ndarray:
        """Samples (N,) of a recording at the level that the encoder expects."""
        gain, offset = self.level(samples[None])
        return samples * np.float32(gain) + np.float32(offset)

    def level(self, samples: Array) -> tuple[float, float]:
        """Gain and offset that bring samples (1, N) of a recording to that level."""
        raise NotImplementedError
