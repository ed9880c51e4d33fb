"""A diffusion transformer over groups of frames, with a convolutional head at frame rate.

Mel bins are channels, so that the cost does not grow with the image but with the frames; the head
sees the noisy frames again beside the tokens, which keeps partials and attacks sharp.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.nn.convnext import ConvNeXtBlock
from fastsag.nn.embeddings import sinusoidal
from fastsag.nn.transformer import Transformer

_LEVEL_FEATURES = 64


class DiT(nn.Module):
    """Denoiser network: x (B, M, T), condition (B, C, T), c_noise (B,) -> (B, M, T).

    Args:
        n_mels: M.
        condition_channels: C.
        width, depth, heads: of the transformer.
        patch: frames a token.
        head_blocks: ConvNeXt blocks after the transformer.
        targeted: the network is also told the noise level that its answer leads to, as a distilled
            one must be (`samplers.few_step`).
    """

    def __init__(
        self,
        *,
        n_mels: int,
        condition_channels: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        head_blocks: int,
        targeted: bool = False,
    ) -> None:
        super().__init__()
        self.patch = patch
        inputs = n_mels + condition_channels
        self.embed = nn.Conv1d(inputs, width, patch, stride=patch)
        self.level = nn.Sequential(
            nn.Linear(_LEVEL_FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.target: nn.Sequential | None = None
        if targeted:
            self.target = nn.Sequential(
                nn.Linear(_LEVEL_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
            )
            _silence(self.target[-1])  # so that it begins as the network it is distilled from
        self.body = Transformer(width=width, depth=depth, heads=heads, modulated=True)
        self.expand = nn.Linear(width, width * patch)
        self.skip = nn.Conv1d(inputs, width, 3, padding=1)
        self.head = nn.Sequential(
            *(ConvNeXtBlock(width, 2 * width) for _ in range(head_blocks)),
            nn.Conv1d(width, n_mels, 1),
        )
        _silence(self.head[-1])

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        condition: Tensor,
        c_noise: Tensor,
        remaining: Tensor | None = None,
    ) -> Tensor:
        """One evaluation.

        Args:
            mask: (B, 1, T), 0 at frames that do not exist; None means that all do.
            remaining: (B,) share of the noise that is left where the answer leads to, 0..1, for a
                network that is `targeted`.
        """
        frames = x.shape[-1]
        inputs = torch.cat([x, condition], dim=1)
        inputs = F.pad(inputs, (0, -frames % self.patch))
        keep = None
        if mask is not None:
            inputs = inputs * F.pad(mask, (0, -frames % self.patch))
            keep = F.max_pool1d(F.pad(mask, (0, -frames % self.patch)), self.patch)[:, 0] > 0
        tokens = self.embed(inputs).transpose(1, 2)
        level = self.level(sinusoidal(c_noise, _LEVEL_FEATURES).to(x.dtype))
        if self.target is not None:
            assert remaining is not None
            level = level + self.target(sinusoidal(remaining, _LEVEL_FEATURES).to(x.dtype))
        tokens = self.body(tokens, level, keep)
        fine = self.expand(tokens).unflatten(-1, (-1, self.patch))  # (B, L, W, patch)
        fine = fine.transpose(1, 2).flatten(2)  # (B, W, L * patch)
        return self.head(fine + self.skip(inputs))[..., :frames]


def _silence(layer: nn.Module) -> None:
    """Let a layer begin by adding nothing."""
    assert isinstance(layer, nn.Conv1d | nn.Linear) and layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
