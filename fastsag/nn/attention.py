"""Attention over the tokens of a sequence; linear attention over the pixels of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PIXELS = 2**11  # whose keys a core makes at once: they stay in its cache


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

    Queries, values and output are linear in the pixels x: with the softmaxed keys k of all pixels,

        out(x) = sum over heads W_out (W_v k^T x)^T W_q x + b,

    so that only the keys are computed for every pixel; the rest is one dim x dim matrix for each
    image, which then maps its pixels. On a CPU the keys are made and used a few rows at a time.
    """

    def __init__(self, dim: int, heads: int = 4, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(dim, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_qkv.weight.chunk(3)
        heads = (self.heads, -1)
        read = query.flatten(1).unflatten(0, heads)  # (heads, head_dim, dim)
        made = value.flatten(1).unflatten(0, heads)
        # Values are a linear map of the pixels, hence of the pixels' weighted sum.
        seen = self._weighted(x, key).unflatten(1, heads) @ made.mT
        matrix = self.to_out.weight.flatten(1) @ (seen.mT @ read).flatten(1, 2)  # (B, dim, dim)
        if len(x) == 1:
            return F.conv2d(x, matrix[0, :, :, None, None], self.to_out.bias)
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        out = pixels @ matrix.mT + self.to_out.bias
        return out.unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)

    def _weighted(self, x: Tensor, key: Tensor) -> Tensor:
        """Sums of all pixels, weighted by each softmaxed key: (B, heads * head_dim, dim).

        `key` (heads * head_dim, dim, 1, 1) makes the keys of (B, dim, H, W).
        """
        whole = x.device.type != "cpu" or torch.is_grad_enabled()
        rows = max(1, _PIXELS * torch.get_num_threads() // x.shape[-1])
        wide = torch.promote_types(x.dtype, torch.float32)
        highest: Tensor | None = None
        total = summed = x.new_zeros(1)
        for part in x.split(x.shape[-2] if whole else rows, dim=2):
            keys = F.conv2d(part, key).flatten(2)
            top = keys.detach().amax(-1, keepdim=True)
            if highest is not None:
                top = torch.maximum(top, highest)
                shrink = (highest - top).to(wide).exp()
                total, summed = total * shrink, summed * shrink
            highest = top
            weights = keys.sub_(top).exp_()
            total = total + weights.sum(-1, keepdim=True).to(wide)
            summed = summed + (weights @ part.flatten(2).mT).to(wide)
        return (summed / total).to(x.dtype)
