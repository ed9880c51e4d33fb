"""Semantic projection: the voice's semantics -> the accompaniment's (paper section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from fastsag.nn.wavenet import WaveNet


class SemanticProjection(nn.Module):
    """S'_nv = WaveNet(S_v): (B, S, D) of the voice -> (B, S, D) of the accompaniment.

    The paper's size is dim = channels = 768, 8 layers, 8 stacks: 158,178,816 parameters.
    """

    def __init__(self, dim: int, channels: int, layers: int, stacks: int) -> None:
        super().__init__()
        self.wavenet = WaveNet(dim, channels, dim, layers, stacks)

    def forward(self, semantics: Tensor) -> Tensor:
        return self.wavenet(semantics.transpose(1, 2)).transpose(1, 2)
