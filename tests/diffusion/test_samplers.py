from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fastsag.diffusion.samplers import SAMPLERS, Sampler, euler
from fastsag.diffusion.schedule import karras_sigmas

SPREAD = torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=torch.double)[None, :, None]
MEAN = 0.3


def gaussian_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """The ideal denoiser of data ~ N(MEAN, SPREAD^2)."""
    variance = sigma[:, None, None].to(x.dtype) ** 2
    return MEAN + SPREAD**2 / (SPREAD**2 + variance) * (x - MEAN)


def error(sampler: Sampler, steps: int) -> float:
    """Largest distance from the exact end of the ODE from the same noise."""
    sigmas = karras_sigmas(steps, sigma_min=0.01, sigma_max=20.0).double()
    generator = torch.Generator().manual_seed(0)
    start = MEAN + 20 * torch.randn(2, 4, 6, dtype=torch.double, generator=generator)
    exact = MEAN + SPREAD / (SPREAD**2 + sigmas[0] ** 2).sqrt() * (start - MEAN)
    return (sampler(gaussian_denoiser, start, sigmas) - exact).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    """The error falls by 2^order when the steps double."""
    ratio = error(SAMPLERS[name], 40) / error(SAMPLERS[name], 80)
    assert ratio == pytest.approx(2**order, rel=0.25)


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_second_order_is_worth_it(steps: int) -> None:
    assert error(SAMPLERS["dpmpp_2m"], steps) < 0.5 * error(euler, steps)
    assert error(SAMPLERS["heun"], steps) < error(euler, steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_and_number_of_calls(name: str) -> None:
    calls: list[float] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (2,)
        calls.append(sigma[0].item())
        return 0.5 * x

    told: list[tuple[int, float]] = []
    sigmas = karras_sigmas(5)
    x = torch.randn(2, 3, 4)
    before = x.clone()
    SAMPLERS[name](denoise, x, sigmas, lambda i, sigma, x, x0: told.append((i, sigma)))
    assert told == list(enumerate(sigmas[:-1].tolist()))
    assert len(calls) == (9 if name == "heun" else 5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_is_one_denoising(name: str) -> None:
    x = 20 * torch.randn(1, 4, 6, dtype=torch.double)
    out = SAMPLERS[name](gaussian_denoiser, x, torch.tensor([20.0, 0.0]))
    assert_close(out, gaussian_denoiser(x, torch.tensor([20.0])))
