"""Perceiver-IO: a sequence of any length -> a few latents -> a fixed number of output queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.nn.attention import Attention

KEPT_IN_TRAINING = 0.9  # share of the input frames the latents may see in a training step


class PerceiverIO(nn.Module):
    """Perceiver-IO (Jaegle et al. 2022; paper section 4.2): (B, L, dim) -> (B, queries, out_dim).

    l -> z1 = crossAttn(x, l) -> z2 = multiSelfAttn(z1) -> z3 = crossAttn(o, z2), with learned
    latents l (paper: N = 32 of D = 256) and learned output queries o. There is no position code on
    the input: the output does not depend on the order of the frames.

    In training only `KEPT_IN_TRAINING` of the frames, drawn afresh per example, are attended to.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        queries: int,
        latents: int = 32,
        latent_dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        head_dim: int = 128,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, latent_dim))
        self.queries = nn.Parameter(torch.randn(queries, latent_dim))

        def attention(context_dim: int | None = None) -> PreNorm:
            block = Attention(latent_dim, context_dim, heads, head_dim)
            return PreNorm(latent_dim, block, context_dim)

        def feed_forward() -> PreNorm:
            return PreNorm(latent_dim, FeedForward(latent_dim))

        self.cross_attend_blocks = nn.ModuleList([attention(dim), feed_forward()])
        self.layers = nn.ModuleList(
            nn.ModuleList([attention(), feed_forward()]) for _ in range(depth)
        )
        self.decoder_cross_attn = attention(latent_dim)
        self.to_logits = nn.Linear(latent_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = drop_frames(x, KEPT_IN_TRAINING)
        cross_attend, cross_feed = self.cross_attend_blocks
        z = self.latents.expand(x.shape[0], -1, -1)
        z = z + cross_attend(z, x)
        z = z + cross_feed(z)
        for layer in self.layers:
            attend, feed = layer.children()
            z = z + attend(z)
            z = z + feed(z)
        queries = self.queries.expand(x.shape[0], -1, -1)
        return self.to_logits(self.decoder_cross_attn(queries, z))


class PreNorm(nn.Module):
    """Layer normalisation in front of a block, and of its context where it has one."""

    def __init__(self, dim: int, fn: nn.Module, context_dim: int | None = None) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(context_dim) if context_dim else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm_context is None:
            return self.fn(self.norm(x))
        return self.fn(self.norm(x), self.norm_context(context))


class FeedForward(nn.Module):
    """GELU-gated feed-forward layer, four times as wide inside: (B, L, dim) -> (B, L, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8 * dim), GEGLU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class GEGLU(nn.Module):
    """(..., 2 n) -> (..., n): the first half times the GELU of the second (Shazeer 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


def drop_frames(x: Tensor, keep: float) -> Tensor:
    """A random subset of int(keep * L) frames, at least one, of each example of (B, L, D)."""
    kept = max(1, int(keep * x.shape[1]))
    chosen = torch.rand(x.shape[:2], device=x.device).topk(kept, dim=1).indices
    return x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))
