"""Convolutions over sequences laid out frame by frame, all channels of a frame together.

A sequence (B, C, T) travels as an image (B, C, 1, T) in `channels_last`: 2-D convolutions have fast
kernels for that layout on every device, 1-D ones have none, and a stretch of time is one piece of
memory. The modules stay `nn.Conv1d`, so that names and shapes of their weights do, too.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def by_frame(x: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T), stored frame by frame."""
    return x.mT.contiguous().mT.unsqueeze(2)


def conv(layer: Any, x: Tensor) -> Tensor:
    """What `layer`, an `nn.Conv1d`, does, on (B, C, 1, T)."""
    (dilation,), padding = layer.dilation, layer.padding[0]
    return F.conv2d(
        x, layer.weight.unsqueeze(2), layer.bias, padding=(0, padding), dilation=(1, dilation)
    )


def conv_transpose(layer: Any, x: Tensor) -> Tensor:
    """What `layer`, an `nn.ConvTranspose1d`, does, on (B, C, 1, T)."""
    (stride,), (padding,) = layer.stride, layer.padding
    return F.conv_transpose2d(
        x, layer.weight.unsqueeze(2), layer.bias, stride=(1, stride), padding=(0, padding)
    )


def store_by_frame(module: nn.Module) -> None:
    """Store the weights of every 1-D convolution in a module as `conv` reads them fastest."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            layer.weight.data = layer.weight.data.mT.contiguous().mT
