"""A pre-norm transformer with rotary positions, optionally modulated by a noise level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary position embedding: (B, L, W) -> (B, L, W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Tensor, keep: Tensor | None = None) -> Tensor:
        """`rotation` from `rotary`; `keep` (B, L) is false at tokens nobody may look at."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mask = None if keep is None else keep[:, None, None, :]
        mixed = F.scaled_dot_product_attention(
            rotate(query, rotation), rotate(key, rotation), value, attn_mask=mask
        )
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention and MLP with residuals; with `modulated`, adaptive layer norm (DiT's adaLN-zero).

    The modulation vector (B, W) sets shift, scale and gate of both halves; its projection starts
    at zero, so that a modulated block starts as the identity.
    """

    def __init__(self, width: int, heads: int, modulated: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=not modulated)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=not modulated)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width) if modulated else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, rotation: Tensor, level: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        if self.modulation is None:
            x = x + self.attention(self.norm1(x), rotation, keep)
            return x + self.mlp(self.norm2(x))
        parts = self.modulation(level).unsqueeze(1).chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        attended = self.attention(self.norm1(x) * (1 + scale1) + shift1, rotation, keep)
        x = x + gate1 * attended
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class Transformer(nn.Module):
    """A stack of blocks and a final norm: (B, L, W) -> (B, L, W).

    Args:
        width, depth, heads: sizes; width must divide by heads into an even size.
        modulated: blocks take a modulation vector (B, W).
    """

    def __init__(self, *, width: int, depth: int, heads: int, modulated: bool = False) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} does not split into {heads} heads of even size")
        self.head_size = width // heads
        self.blocks = nn.ModuleList(Block(width, heads, modulated) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, level: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        rotation = rotary(x.shape[1], self.head_size, x)
        for block in self.blocks:
            x = block(x, rotation, level, keep)
        return self.norm(x)


def rotary(length: int, size: int, like: Tensor) -> Tensor:
    """Cosines and sines (2, length, size / 2) of rotary position embedding (Su et al. 2021)."""
    inverse = 10_000 ** (-torch.arange(0, size, 2, device=like.device) / size)
    angle = torch.arange(length, device=like.device)[:, None] * inverse
    return torch.stack([angle.cos(), angle.sin()]).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the halves of the last axis of x (..., L, size) as complex pairs."""
    cos, sin = rotation
    real, imaginary = x.chunk(2, dim=-1)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
