"""Resampling module: semantic grid (S, D) -> mel grid (M, T) (paper section 4.2, Figure 2).

The two kinds of the paper behind one signature: `resampler(semantics (B, S, D), frames T)` gives
(B, M, T).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.nn.perceiver import PerceiverIO


class InterpolationResampler(nn.Module):
    """Bilinear interpolation of the (D x S) image to (M x T); it has no weights.

    Edges are aligned as pixel areas (align_corners=False), without anti-aliasing.
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.n_mels = n_mels

    def forward(self, semantics: Tensor, frames: int) -> Tensor:
        image = semantics.transpose(1, 2).unsqueeze(1)
        size = (self.n_mels, frames)
        return F.interpolate(image, size, mode="bilinear", align_corners=False).squeeze(1)


class PerceiverResampler(nn.Module):
    """R'_nv = PerceiverIO(S'_nv + S_v), with one learned query per mel frame.

    The number of queries fixes the only T it can give (937 for the paper's 10 s). The paper's size
    has 15,243,876 parameters.
    """

    def __init__(
        self,
        dim: int,
        n_mels: int,
        frames: int = 937,
        latents: int = 32,
        latent_dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        head_dim: int = 128,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.perceiver = PerceiverIO(
            dim, n_mels, frames, latents, latent_dim, depth, heads, head_dim
        )

    def forward(self, semantics: Tensor, frames: int) -> Tensor:
        """(B, S, D) -> (B, M, T).

        Raises:
            ValueError: `frames` is not the number of learned queries.
        """
        if frames != self.frames:
            raise ValueError(
                f"{frames} frames were asked of a Perceiver resampler with {self.frames} queries: "
                f"it gives exactly {self.frames} frames"
            )
        return self.perceiver(semantics).transpose(1, 2)
