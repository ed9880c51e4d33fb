"""The three losses of the paper and their sum (Eq. 9-12), and the noise levels of training (Eq. 3).

Tensors in, scalars out. Masks are (B, 1, T), one for a real frame and zero for padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor


def semantic_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of S'_nv against S_nv, both (B, S, D) (Eq. 9)."""
    return (predicted - target).square().mean()


def prior_loss(
    prior: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    kind: Literal["l2", "gaussian"] = "l2",
) -> Tensor:
    """Error of the rough mel against the mel, both (B, M, T), over real frames (Eq. 10).

    "l2" is the mean squared error. "gaussian" is the authors': the negative log-likelihood under a
    unit Gaussian around the prior, half of that plus a constant ln(2 pi) / 2.
    """
    error = (prior - target).square()
    if kind == "gaussian":
        error = 0.5 * (error + math.log(2 * math.pi))
    return _masked_mean(error, mask)


def diffusion_loss(
    denoised: Tensor,
    target: Tensor,
    sigma: Tensor,
    sigma_data: float = 0.5,
    mask: Tensor | None = None,
    weighting: Literal["edm", "none"] = "edm",
    count_padding: bool = False,
    bands: Tensor | None = None,
) -> Tensor:
    """Error of the denoised mel against the mel, both (B, M, T), at levels sigma (B,) (Eq. 11).

    Args:
        weighting: "none" is Eq. 11 as printed; "edm" multiplies by 1 / c_out^2 of Karras et al.,
            (sigma^2 + sigma_data^2) / (sigma sigma_data)^2, as the authors do.
        count_padding: divide by all frames, as the authors do, instead of the real ones.
        bands: weights (M,) of the mel bands, 1 on the average; None: all 1, as in the paper.
    """
    error = (denoised - target).square()
    if weighting == "edm":
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        error = weight[:, None, None] * error
    if bands is not None:
        error = bands[:, None] * error
    if count_padding and mask is not None:
        return (error * mask).mean()
    return _masked_mean(error, mask)


def noise_levels(normal: Tensor, P_mean: float = -1.2, P_std: float = 1.2) -> Tensor:
    """Training noise levels, ln(sigma) ~ N(P_mean, P_std^2), of standard normal numbers (Eq. 3)."""
    return (P_mean + P_std * normal).exp()


def total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of named losses (Eq. 12).

    Raises:
        ValueError: terms and weights do not have the same names, or there are none.
    """
    if not terms or terms.keys() != weights.keys():
        raise ValueError(f"losses {sorted(terms)} do not match the weights {sorted(weights)}")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _masked_mean(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (B, M, T) over the real frames."""
    if mask is None:
        return error.mean()
    return (error * mask).sum() / (mask.sum() * error.shape[1])
