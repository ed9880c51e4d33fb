"""Noise levels of sampling (paper Eq. 4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Levels = Literal["paper", "authors"]


def karras_sigmas(
    n: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    levels: Levels = "paper",
) -> Tensor:
    """Falling noise levels from sigma_max to sigma_min, then 0 (paper Eq. 4, EDM Eq. 5).

    "paper" has n levels, at i / (n - 1); "authors" has the published code's n + 1, at i / n. The
    zero is appended to either: (n + 1,) or (n + 2,) float32 values in all, on the CPU.

    Raises:
        ValueError: `n` is less than one.
    """
    if n < 1:
        raise ValueError(f"sampling needs at least one step, not {n}")
    count = n if levels == "paper" else n + 1
    ramp = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (start + ramp * (end - start)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()
