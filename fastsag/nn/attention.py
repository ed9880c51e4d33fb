"""Attention over the tokens of a sequence; linear attention over the pixels of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of `dim`-sized tokens to themselves or to a context.

    Shapes: x (B, Lq, dim), context (B, Lk, context_dim) -> (B, Lq, dim).
    """

    def __init__(
        self, dim: int, context_dim: int | None = None, heads: int = 8, head_dim: int = 128
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(context_dim or dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        key, value = self.to_kv(x if context is None else context).chunk(2, dim=-1)
        query, key, value = (self._split(part) for part in (self.to_q(x), key, value))
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, L, heads * head_dim) -> (B, heads, L, head_dim)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class LinearAttention(nn.Module):
    """Attention over all pixels of an image (B, dim, H, W) in time linear in H * W.

    Keys are normalised over the pixels and summarise the values in one head_dim x head_dim matrix
    (Katharopoulos et al. 2020, in the form of Grad-TTS: raw queries, no scale). The normalisation
    sees padding, so the result depends on the padded width.
    """

    def __init__(self, dim: int, heads: int = 4, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(dim, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pixels = self.to_qkv(x).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = pixels.unbind(1)  # each (B, heads, head_dim, H * W)
        summary = torch.softmax(key, dim=-1) @ value.transpose(-1, -2)
        attended = summary.transpose(-1, -2) @ query
        return self.to_out(attended.flatten(1, 2).unflatten(-1, (height, width)))
