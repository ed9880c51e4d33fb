"""A 1-D ConvNeXt block, the backbone of the vocoder and of the denoiser's head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, pointwise MLP, layer scale, residual (Liu et al. 2022).

    (B, C, T) -> (B, C, T) with C = `width`; `hidden` is the size of the MLP.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).transpose(1, 2)
        return x + (self.scale * self.mlp(self.norm(y))).transpose(1, 2)
