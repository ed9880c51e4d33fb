"""Non-causal WaveNet of parallel dilation chains."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WaveNet(nn.Module):
    """Map a sequence (B, in_channels, L) to (B, out_channels, L).

    A stack holds one block per dilation 1, 2, 4, ..., 2^(layers-1). Block i of a stack reads block
    i of the stack before, never its neighbours: the network is `layers` independent chains, each of
    one dilation and `stacks` blocks deep, which meet in the sum of their skip outputs.

    Padding is zeros, symmetric and length-preserving; one output frame sees
    1 + stacks * 2^(layers-1) frames on either side for kernel size 3.

    Args:
        kernel_size: odd, in frames; of the first and of the dilated convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        layers: int,
        stacks: int,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to preserve the length, not {kernel_size}")
        self.init_conv = nn.Conv1d(
            in_channels, channels, kernel_size, padding=(kernel_size - 1) // 2
        )
        self.stacks = nn.ModuleList(
            Stack(channels, layers, kernel_size, has_skip=stack == stacks - 1)
            for stack in range(stacks)
        )
        self.final_conv = nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.init_conv(x)
        skips = torch.zeros_like(first)
        for chain in zip(*(stack.blocks for stack in self.stacks), strict=True):
            h = first
            for block in chain:
                h = block(h)
            skips = skips + chain[-1].skip_conv(h)
        return self.final_conv(skips)


class Stack(nn.Module):
    """One gated block per dilation; the blocks are links of separate chains."""

    def __init__(self, channels: int, layers: int, kernel_size: int, has_skip: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            GatedBlock(channels, kernel_size, 2**layer, has_skip) for layer in range(layers)
        )


class GatedBlock(nn.Module):
    """tanh(h) * sigmoid(h) of one dilated convolution h, plus a 1x1 residual: (B, C, L) -> same."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, has_skip: bool) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=padding, dilation=dilation)
        self.res_conv = nn.Conv1d(channels, channels, 1)
        if has_skip:
            self.skip_conv = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return torch.tanh(h) * torch.sigmoid(h) + self.res_conv(x)
