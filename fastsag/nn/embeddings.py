"""Sinusoidal embedding of a scalar."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal(t: Tensor, dim: int, scale: float = 1000.0) -> Tensor:
    """Embed scalars (B,) as `dim` features (B, dim): sines of dim / 2 frequencies, then cosines.

    Frequencies fall geometrically from 1 to 1e-4 radians per unit of `scale * t`, as in Grad-TTS
    (Popov et al. 2021). `t` may be negative: the paper's is ln(sigma) / 4.

    Raises:
        ValueError: `dim` is odd or less than four.
    """
    if dim % 2 or dim < 4:
        raise ValueError(f"an embedding needs an even number of at least 4 features, not {dim}")
    half = dim // 2
    steps = torch.arange(half, device=t.device, dtype=torch.float32)
    frequencies = torch.exp(-steps * (math.log(10_000.0) / (half - 1)))
    angles = scale * t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
