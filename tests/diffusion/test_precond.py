from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fastsag.diffusion.precond import EDMDenoiser, c_in, c_noise, c_out, c_skip, guided
from fastsag.diffusion.unet import UNet2d


class Loud(nn.Module):
    """A network whose output depends on all it is given."""

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor, level: Tensor) -> Tensor:
        return 3 * x.cos() + condition + level[:, None, None]


@pytest.mark.parametrize(("boundary", "sigma"), [("consistency", 0.002), ("edm", 0.0)])
def test_boundary(boundary: str, sigma: float) -> None:
    epsilon = 0.002 if boundary == "consistency" else 0.0
    level = torch.tensor([sigma])
    assert c_skip(level, 0.5, epsilon).item() == 1.0
    assert c_out(level, 0.5, epsilon).item() == 0.0


def test_denoiser_is_the_identity_at_sigma_min() -> None:
    x, condition = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    sigma = torch.full((3,), 0.002)
    assert torch.equal(EDMDenoiser(Loud())(x, sigma, condition), x)
    assert not torch.equal(EDMDenoiser(Loud(), boundary="edm")(x, sigma, condition), x)


def test_edm_scales_give_unit_variance() -> None:
    """EDM's requirement: network input and training target have variance one at every level."""
    sigma = torch.tensor([0.01, 0.5, 3.0, 80.0], dtype=torch.double)
    data = 0.7
    assert_close(c_in(sigma, data) ** 2 * (sigma**2 + data**2), torch.ones_like(sigma))
    skip = c_skip(sigma, data, 0.0)
    target = ((1 - skip) ** 2 * data**2 + skip**2 * sigma**2) / c_out(sigma, data, 0.0) ** 2
    assert_close(target, torch.ones_like(sigma))


def test_noise_level_is_a_quarter_of_the_logarithm() -> None:
    assert_close(c_noise(torch.tensor([1.0, 80.0])), torch.tensor([0.0, 1.095507]))


def test_weights_live_under_network() -> None:
    keys = EDMDenoiser(UNet2d(8, 8, dim=8)).state_dict()
    assert keys
    assert all(key.startswith("network.") for key in keys)


def test_guidance_is_linear_in_its_scale() -> None:
    denoiser = EDMDenoiser(Loud())
    x, sigma = torch.randn(2, 4, 5), torch.tensor([0.3, 2.0])
    condition, null = torch.randn(2, 4, 5), torch.zeros(2, 4, 5)

    def at(scale: float) -> Tensor:
        return guided(denoiser, scale, condition=condition, null=null)(x, sigma)

    assert torch.equal(at(1.0), denoiser(x, sigma, condition))
    assert_close(at(0.0), denoiser(x, sigma, null))
    assert_close(at(3.0), at(0.0) + 3 * (at(1.0) - at(0.0)))


def test_rescaled_guidance_keeps_the_spread_of_the_conditional_model() -> None:
    denoiser = EDMDenoiser(Loud())
    x, sigma = torch.randn(2, 4, 5), torch.tensor([0.3, 2.0])
    condition, null = torch.randn(2, 4, 5), torch.zeros(2, 4, 5)

    def spread(scale: float, rescale: float) -> Tensor:
        options = {"condition": condition, "null": null, "rescale": rescale}
        return guided(denoiser, scale, **options)(x, sigma).std((1, 2))

    assert_close(spread(4.0, 1.0), spread(1.0, 0.0))
    assert_close(spread(4.0, 0.5), (spread(4.0, 0.0) + spread(1.0, 0.0)) / 2)


def test_guidance_cuts_what_is_louder_than_its_ceiling() -> None:
    denoiser = EDMDenoiser(Loud())
    x, sigma = torch.randn(2, 4, 5), torch.tensor([0.3, 2.0])
    options = {"condition": torch.randn(2, 4, 5), "null": torch.zeros(2, 4, 5)}
    free = guided(denoiser, 4.0, **options)(x, sigma)
    ceiling = float(free.median())
    cut = guided(denoiser, 4.0, **options, ceiling=ceiling)(x, sigma)
    assert free.max() > ceiling and torch.equal(cut, free.clamp(max=ceiling))


def test_guidance_within_an_interval() -> None:
    """Inside as everywhere; outside the conditional model, in one call."""
    calls: list[int] = []

    class Counting(Loud):
        def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x, *rest)

    denoiser = EDMDenoiser(Counting())
    x = torch.randn(1, 4, 5)
    options = {"condition": torch.randn(1, 4, 5), "null": torch.zeros(1, 4, 5)}
    whole = guided(denoiser, 4.0, **options)
    within = guided(denoiser, 4.0, **options, interval=(0.1, 2.0))
    for level, same in ((0.05, False), (0.1, True), (2.0, True), (2.1, False)):
        sigma = torch.tensor([level])
        expected = whole(x, sigma) if same else denoiser(x, sigma, options["condition"])
        calls.clear()
        assert_close(within(x, sigma), expected)
        assert sum(calls) == (2 if same else 1)


def test_guidance_needs_a_null_condition() -> None:
    condition = torch.zeros(1, 4, 5)
    guided(EDMDenoiser(Loud()), 1.0, condition=condition)
    with pytest.raises(ValueError, match="null condition"):
        guided(EDMDenoiser(Loud()), 2.0, condition=condition)
