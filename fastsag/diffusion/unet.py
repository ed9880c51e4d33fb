"""The paper's denoiser network: a 2-D U-Net over the (mel, time) image, after Grad-TTS.

Section 4.3 of the paper; Popov et al. 2021. A mask marks real frames; without one all are real.
Group normalisation and attention see padding, so the output depends on the padded length.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fastsag.nn.attention import LinearAttention
from fastsag.nn.embeddings import sinusoidal
from fastsag.nn.mish import group_norm_mish

GROUPS = 8


class UNet2d(nn.Module):
    """F of Eq. 7: noisy mel (B, M, T), condition (B, C, T), c_noise (B,) -> (B, M, T).

    The condition is read as C / M images of M bands, stacked in front of the noisy one as
    channels. The paper's size (dim 64, mults 1, 2, 4, the prior as only image) has 7,634,887
    parameters.

    Args:
        mults: channels of each level as multiples of `dim`; every level but the last halves both
            axes, so M and T must be multiples of 2 ** (len(mults) - 1).
        time_scale: of c_noise before its sinusoidal embedding.
    """

    def __init__(
        self,
        n_mels: int,
        condition_channels: int,
        dim: int = 64,
        mults: tuple[int, ...] = (1, 2, 4),
        time_scale: float = 1_000.0,
    ) -> None:
        super().__init__()
        self.n_mels, self.dim, self.time_scale = n_mels, dim, time_scale
        self.multiple = 2 ** (len(mults) - 1)
        if condition_channels % n_mels:
            raise ValueError(f"{condition_channels} channels are no whole images of {n_mels} bands")
        if n_mels % self.multiple:
            raise ValueError(f"{n_mels} bands: the U-Net needs a multiple of {self.multiple}")
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim))
        images = 1 + condition_channels // n_mels
        levels = list(pairwise([images, *(dim * mult for mult in mults)]))
        widest = levels[-1][1]
        shrinks = [*(Downsample(size) for _, size in levels[:-1]), nn.Identity()]
        self.downs = nn.ModuleList(
            Level(size_in, size_out, dim, shrink)
            for (size_in, size_out), shrink in zip(levels, shrinks, strict=True)
        )
        self.ups = nn.ModuleList(
            Level(2 * size_out, size_in, dim, Upsample(size_in))
            for size_in, size_out in reversed(levels[1:])
        )
        self.mid_block1 = ResnetBlock(widest, widest, dim)
        self.mid_attn = _attention(widest)
        self.mid_block2 = ResnetBlock(widest, widest, dim)
        self.final_block = Block(dim * mults[0], dim * mults[0])
        self.final_conv = nn.Conv2d(dim * mults[0], 1, 1)
        # Convolutions keep the layout of their weights; this one is the faster on every device.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor, c_noise: Tensor) -> Tensor:
        """One evaluation; `mask` is (B, 1, T) or None.

        Raises:
            ValueError: T is not a multiple of 2 ** (len(mults) - 1).
        """
        if x.shape[-1] % self.multiple:
            raise ValueError(f"{x.shape[-1]} frames: the U-Net needs a multiple of {self.multiple}")
        embedding = self.mlp(sinusoidal(c_noise, self.dim, self.time_scale).to(x.dtype))
        masks = [
            None if mask is None else mask[:, None, :, :: 2**level]
            for level in range(len(self.downs))
        ]
        h = torch.cat([condition, x], dim=1).unflatten(1, (-1, self.n_mels))
        skips: list[Tensor] = []
        for down, level_mask in zip(self.downs, masks, strict=True):
            skip, h = down(h, level_mask, embedding)
            skips.append(skip)
        h = self.mid_block1(h, masks[-1], embedding)
        h = self.mid_block2(self.mid_attn(h), masks[-1], embedding)
        for up in self.ups:  # one less than the way down: the first level's skip has no use
            level_mask = masks.pop()
            _, h = up(torch.cat([h, skips.pop()], dim=1), level_mask, embedding)
        h = masked_(self.final_block(masked(h, masks[0])), masks[0])
        return masked(self.final_conv(h), masks[0]).squeeze(1)


class Level(nn.ModuleList):
    """One resolution: two residual blocks, attention, and the way to the next resolution."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int, resize: nn.Module) -> None:
        first = ResnetBlock(size_in, size_out, embedding_size)
        second = ResnetBlock(size_out, size_out, embedding_size)
        super().__init__([first, second, _attention(size_out), resize])

    def forward(self, x: Tensor, mask: Tensor | None, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, size_in, H, W) -> the features (B, size_out, H, W), and the same resized."""
        first, second, attention, resize = self
        h = attention(second(first(x, mask, embedding), mask, embedding))
        return h, resize(masked(h, mask))


class ResnetBlock(nn.Module):
    """Two blocks with the noise level added in between, around a residual: (B, C, H, W)."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(embedding_size, size_out))
        self.block1 = Block(size_in, size_out)
        self.block2 = Block(size_out, size_out)
        self.res_conv = (
            nn.Identity() if size_in == size_out else nn.Conv2d(size_in, size_out, kernel_size=1)
        )

    def forward(self, x: Tensor, mask: Tensor | None, embedding: Tensor) -> Tensor:
        x = masked(x, mask)
        h = self.block1(x).add_(self.mlp(embedding)[:, :, None, None])
        h = masked_(self.block2(masked_(h, mask)), mask)
        return h.add_(self.res_conv(x))


class Block(nn.Module):
    """Convolution, group normalisation and Mish."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(size_in, size_out, kernel_size=3, padding=1),
            nn.GroupNorm(GROUPS, size_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.block.children()
        return group_norm_mish(conv(x), norm)


class Residual(nn.Module):
    """x + fn(x)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class Rezero(nn.Module):
    """g fn(x), with a learned scalar g that starts at zero (Bachlechner et al. 2021)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.g = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.g * self.fn(x)


class Downsample(nn.Module):
    """Halve both axes of (B, C, H, W)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(size, size, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double both axes of (B, C, H, W)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(size, size, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the padding of (B, C, H, W) by a mask (B, 1, 1, W)."""
    return x if mask is None else x * mask.to(x.dtype)


def masked_(x: Tensor, mask: Tensor | None) -> Tensor:
    """`masked` in the place of `x`."""
    return x if mask is None else x.mul_(mask.to(x.dtype))


def _attention(size: int) -> Residual:
    return Residual(Rezero(LinearAttention(size)))
