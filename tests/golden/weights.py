"""The golden arrays, and the deterministic weights they were computed with.

Every parameter is drawn from a generator seeded by the checksum of its name in the authors'
state dict, so that an implementation with the same names gets the same weights.
"""

from __future__ import annotations

import zlib
from functools import cache
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@cache
def golden() -> dict[str, Tensor]:
    """All numeric golden arrays by name."""
    with np.load(Path(__file__).with_name("golden.npz")) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays if key != "set_name"}


def assert_golden(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of float32 on a CPU."""
    torch.testing.assert_close(actual, expected, atol=5e-5, rtol=1e-4)


def recipe_input(
    tag: str, shape: tuple[int, ...], scale: float = 1.0, set_name: str = "public"
) -> Tensor:
    """An input that is too large to be stored."""
    rng = np.random.default_rng(zlib.crc32(f"input:{set_name}/{tag}".encode()))
    return torch.from_numpy(scale * rng.standard_normal(shape)).float()


def mask_of(lengths: Tensor, frames: int) -> Tensor:
    """Lengths (B,) in frames -> mask (B, 1, T)."""
    return (torch.arange(frames) < lengths[:, None]).float()[:, None]


def fill(module: ModuleT, prefix: str) -> ModuleT:
    """Give every parameter its golden value, in eval mode; `prefix` is the authors' module name."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            parameter.copy_(golden_weight(prefix + key, tuple(parameter.shape)))
    return module.eval()


def golden_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight of the authors' parameter `key`."""
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    last = key.rsplit(".", 1)[-1]
    if last == "weight_g":
        z = 0.6 + 0.06 * z
    elif last == "g":
        z = 0.2 + 0.02 * z
    elif last == "weight" and len(shape) == 1:
        z = 1.0 + 0.1 * z
    elif last in ("latents", "queries"):
        pass
    elif len(shape) >= 2:
        z *= _gain(key) / np.sqrt(prod(shape[1:]))
    else:
        z *= 0.1
    return torch.from_numpy(z).float()


def _gain(key: str) -> float:
    if key.endswith(".to_q.weight"):
        return 2.8
    return 0.85 if ".stacks." in key else 0.7
