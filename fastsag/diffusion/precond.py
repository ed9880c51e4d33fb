"""EDM preconditioning: a network F -> the denoiser D (paper Eq. 7-8), and its guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from fastsag.diffusion.samplers import Denoise

Boundary = Literal["consistency", "edm"]
NoiseInput = Literal["log", "quarter_log"]


def c_skip(sigma: Tensor, sigma_data: float, epsilon: float) -> Tensor:
    """Share of the noisy input that passes unchanged (paper Eq. 8; EDM Table 1 for epsilon = 0)."""
    return sigma_data**2 / ((sigma - epsilon) ** 2 + sigma_data**2)


def c_out(sigma: Tensor, sigma_data: float, epsilon: float) -> Tensor:
    """Size of the network's contribution (paper Eq. 8; EDM Table 1 for epsilon = 0)."""
    return sigma_data * (sigma - epsilon) / (sigma**2 + sigma_data**2).sqrt()


def c_in(sigma: Tensor, sigma_data: float) -> Tensor:
    """Scale that gives the network's input unit variance (EDM Table 1; not in the paper)."""
    return (sigma**2 + sigma_data**2).rsqrt()


def c_noise(sigma: Tensor, kind: NoiseInput = "quarter_log") -> Tensor:
    """The noise level as the network sees it.

    "log" is the paper's ln(delta) (section 4.3), "quarter_log" EDM's Table 1 and the authors' code.
    """
    return sigma.log() if kind == "log" else sigma.log() / 4


class EDMDenoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x, mask, condition, c_noise) (paper Eq. 7).

    Args:
        network: F, called as `network(x (B, M, T), mask (B, 1, T) or None, condition (B, C, T),
            c_noise (B,)) -> (B, M, T)`.
        boundary: "consistency" subtracts epsilon = sigma_min as in Eq. 8, so that
            D(x; sigma_min) = x; "edm" is Karras et al.'s, where that holds at sigma = 0.
        noise_input: see `c_noise`.
    """

    def __init__(
        self,
        network: nn.Module,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        boundary: Boundary = "consistency",
        noise_input: NoiseInput = "quarter_log",
    ) -> None:
        super().__init__()
        self.network = network
        self.sigma_data, self.noise_input = sigma_data, noise_input
        self.epsilon = sigma_min if boundary == "consistency" else 0.0

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        condition: Tensor,
        mask: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Noisy x (B, M, T) at levels sigma (B,) -> estimate of the clean mel (B, M, T).

        Frames where `mask` (B, 1, T) is zero are padding: there the estimate is c_skip x. A network
        that was distilled is told the levels `target` (B,) that the sampler goes to with it.
        """
        level = sigma[:, None, None]
        inputs = (c_in(level, self.sigma_data) * x, mask, condition)
        noise = c_noise(sigma, self.noise_input)
        if target is None:
            predicted = self.network(*inputs, noise)
        else:
            predicted = self.network(*inputs, noise, target / sigma)
        skip = c_skip(level, self.sigma_data, self.epsilon)
        return skip * x + c_out(level, self.sigma_data, self.epsilon) * predicted


def guided(
    denoiser: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor],
    scale: float,
    *,
    condition: Tensor,
    null: Tensor | None = None,
    mask: Tensor | None = None,
    rescale: float = 0.0,
    ceiling: float | None = None,
    interval: tuple[float, float] | None = None,
) -> Denoise:
    """Bind a condition: the function of (x, sigma) that a sampler takes.

    Classifier-free guidance (Ho and Salimans 2022): D_uncond + scale (D_cond - D_uncond), where
    D_uncond sees the `null` condition, in one batch with D_cond. At scale 1 that is D_cond alone.
    Guidance widens the range of levels; `rescale` (phi of Lin et al. 2024, section 3.4) is the
    share in which the spread over (M, T) is brought back to D_cond's, and what is above `ceiling`,
    the loudest that the data know, is cut (static thresholding, Saharia et al. 2022). Outside of
    the noise levels `interval`, lowest and highest, there is no guidance and thus one call
    (Kynkäänniemi et al. 2024); to choose by level, a GPU must be waited for.

    Raises:
        ValueError: a scale other than 1 without a null condition.
    """
    if scale != 1.0 and null is None:
        raise ValueError(f"guidance at scale {scale} needs a null condition")

    if scale == 1.0 or null is None:
        return lambda x, sigma: denoiser(x, sigma, condition, mask)
    both = torch.cat([condition, null])
    masks = None if mask is None else torch.cat([mask, mask])

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if interval is not None and not interval[0] <= float(sigma[0]) <= interval[1]:
            return denoiser(x, sigma, condition, mask)
        twice = denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both, masks)
        conditional, unconditional = twice.chunk(2)
        out = torch.lerp(unconditional, conditional, scale)
        if rescale:
            mean = out.mean((1, 2), keepdim=True)
            spread = conditional.std((1, 2), keepdim=True) / out.std((1, 2), keepdim=True)
            out = mean + (out - mean) * torch.lerp(torch.ones_like(spread), spread, rescale)
        return out if ceiling is None else out.clamp(max=ceiling)

    return denoise
