from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fastsag.diffusion.precond import EDMDenoiser, guided
from fastsag.diffusion.samplers import SAMPLERS, Denoise, Sampler, euler
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.diffusion.unet import UNet2d
from tests.golden.weights import assert_golden, fill, golden

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


@pytest.fixture(scope="module")
def denoiser() -> EDMDenoiser:
    denoiser = EDMDenoiser(UNet2d(n_mels=100, condition_channels=100))
    fill(denoiser.network, "decoder.estimator.")
    return denoiser


def conditional(denoiser: EDMDenoiser, scale: float = 1.0) -> Denoise:
    mu = golden()["samp_mu"]
    return guided(denoiser, scale, condition=mu, null=torch.zeros_like(mu))


@torch.no_grad()
def test_golden_5_steps(denoiser: EDMDenoiser) -> None:
    sigmas = karras_sigmas(5, levels="authors")
    seen: list[tuple[Tensor, Tensor]] = []
    start = golden()["samp_latent"] * sigmas[0]
    out = euler(conditional(denoiser), start, sigmas, lambda i, sigma, x, x0: seen.append((x, x0)))
    inputs, outputs = (torch.stack(part)[..., :8] for part in zip(*seen, strict=True))
    assert_golden(inputs, golden()["samp5_x"])
    assert_golden(outputs, golden()["samp5_denoised"])
    assert_golden(out, golden()["samp5_out"])


@torch.no_grad()
def test_golden_50_steps(denoiser: EDMDenoiser) -> None:
    sigmas = karras_sigmas(50, levels="authors")
    out = euler(conditional(denoiser), golden()["samp_latent"] * sigmas[0], sigmas)
    assert_golden(out, golden()["samp50_out"])


@torch.no_grad()
def test_golden_guidance(denoiser: EDMDenoiser) -> None:
    sigmas = karras_sigmas(3, levels="authors")
    out = euler(conditional(denoiser, 3.0), golden()["samp_latent"] * sigmas[0], sigmas)
    assert_golden(out, golden()["sampcfg3_out"])
