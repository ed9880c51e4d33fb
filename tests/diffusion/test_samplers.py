from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fastsag.diffusion.samplers import SAMPLERS, Sampler, euler, few_step
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


def flow(x: Tensor, sigma: float, following: float) -> Tensor:
    """The exact solution of the ODE of `gaussian_denoiser` from one level to another."""
    spread = ((SPREAD**2 + following**2) / (SPREAD**2 + sigma**2)).sqrt()
    return MEAN + spread * (x - MEAN)


@pytest.mark.parametrize("levels", [[20.0, 0.0], [20.0, 1.5, 0.0], [20.0, 7.0, 0.4, 0.03, 0.0]])
def test_a_perfect_student_needs_one_step(levels: list[float]) -> None:
    """Jumps that hit the path are exact however few they are, where Euler's are far off."""

    def jump(x: Tensor, sigma: Tensor, following: Tensor) -> Tensor:
        start, end = sigma[0].item(), following[0].item()
        return (flow(x, start, end) - end / start * x) / (1 - end / start)

    generator = torch.Generator().manual_seed(0)
    start = MEAN + 20 * torch.randn(2, 4, 6, dtype=torch.double, generator=generator)
    sigmas = torch.tensor(levels, dtype=torch.double)
    told: list[float] = []
    end = few_step(jump, start, sigmas, lambda i, sigma, x, x0: told.append(sigma))
    assert_close(end, flow(start, levels[0], 0.0))
    assert told == levels[:-1]
    assert (euler(gaussian_denoiser, start, sigmas) - end).abs().max() > 0.1


def test_the_last_step_of_a_student_gives_its_answer() -> None:
    """At the level 0 nothing of the noise is left."""
    answer = torch.randn(1, 4, 6)
    end = few_step(lambda *_: answer, torch.randn(1, 4, 6), torch.tensor([80.0, 2.0, 0.0]))
    assert_close(end, answer)
