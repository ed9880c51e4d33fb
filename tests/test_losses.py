from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fastsag.config import MelConfig
from fastsag.losses import diffusion_loss, noise_levels, prior_loss, semantic_loss, total
from fastsag.mel import band_centres, band_weights
from tests.golden.weights import mask_of


def test_semantic_loss_is_a_mean_square() -> None:
    assert semantic_loss(torch.full((2, 3, 4), 3.0), torch.ones(2, 3, 4)).item() == 4.0


def test_prior_loss_ignores_padding() -> None:
    prior, target = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 2.0)
    target[1, :, 1:] = 1e3
    mask = mask_of(torch.tensor([4, 1]), 4)
    assert prior_loss(prior, target, mask).item() == pytest.approx(4.0)


def test_gaussian_prior_loss_is_a_likelihood() -> None:
    prior, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    likelihood = torch.distributions.Normal(prior, 1.0).log_prob(target)
    assert_close(prior_loss(prior, target, kind="gaussian"), -likelihood.mean())
    half = 0.5 * prior_loss(prior, target) + 0.5 * math.log(2 * math.pi)
    assert_close(prior_loss(prior, target, kind="gaussian"), half)


def test_diffusion_loss_choices() -> None:
    denoised, target = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    sigma, mask = torch.full((2,), 0.5), mask_of(torch.tensor([4, 2]), 4)
    plain = diffusion_loss(denoised, target, sigma, mask=mask, weighting="none")
    assert plain.item() == pytest.approx(1.0)
    counted = diffusion_loss(
        denoised, target, sigma, mask=mask, weighting="none", count_padding=True
    )
    assert counted.item() == pytest.approx(0.75)
    weighted = diffusion_loss(denoised, target, sigma, mask=mask)
    assert weighted.item() == pytest.approx((0.25 + 0.25) / 0.25**2)


def test_noise_levels_are_log_normal() -> None:
    levels = noise_levels(torch.randn(20_000, generator=torch.Generator().manual_seed(3)))
    assert levels.log().mean().item() == pytest.approx(-1.2, abs=0.05)
    assert levels.log().std().item() == pytest.approx(1.2, abs=0.05)
    wide = noise_levels(torch.tensor([0.0, 1.0]), P_mean=0.5, P_std=2.0)
    assert wide.log().tolist() == pytest.approx([0.5, 2.5])


def test_total_is_the_weighted_sum() -> None:
    terms = {"semantic": torch.tensor(1.0), "prior": torch.tensor(2.0)}
    assert total(terms, {"semantic": 3.0, "prior": 0.5}).item() == 4.0
    with pytest.raises(ValueError, match="do not match"):
        total(terms, {"semantic": 1.0})


def test_bass_bands_can_count_more() -> None:
    config = MelConfig(sample_rate=24_000, n_fft=2048, win_length=2048, scale="low_linear")
    bands = band_weights(config, 4.0)
    low = torch.from_numpy(band_centres(config) <= 150)
    assert bands.mean().item() == pytest.approx(1) and low.sum() == 12
    assert_close(bands[low], 4 * bands[~low].max().expand(12))
    assert_close(band_weights(config, 1.0), torch.ones(config.n_mels))
    target = torch.zeros(1, config.n_mels, 5)
    wrong = {name: torch.where(part[:, None], 1.0, target) for name, part in zip("bt", (low, ~low))}
    sigma = torch.ones(1)
    bass, treble = (
        diffusion_loss(wrong[name], target, sigma, weighting="none", bands=bands) for name in "bt"
    )
    assert_close(bass / low.sum(), 4 * treble / (~low).sum())
    assert_close(bass + treble, torch.tensor(1.0))
