from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fastsag.diffusion.unet import UNet2d
from tests.golden.weights import fill, mask_of


@pytest.fixture(scope="module")
def paper() -> UNet2d:
    net = UNet2d(n_mels=100, condition_channels=100)
    fill(net, "decoder.estimator.")
    return net


def small(condition_channels: int = 8) -> UNet2d:
    return UNet2d(8, condition_channels, dim=8, mults=(1, 2, 4))


def test_parameters_of_the_paper(paper: UNet2d) -> None:
    assert sum(p.numel() for p in paper.parameters()) == 7_634_887
    assert sum(p.numel() for p in paper.mlp.parameters()) == 33_088
    sizes = [sum(p.numel() for p in down.parameters()) for down in paper.downs]
    assert sizes == [190_785, 755_841, 2_265_089]


@torch.no_grad()
def test_no_mask_is_a_mask_of_ones() -> None:
    net = small()
    x, condition, level = torch.randn(2, 8, 12), torch.randn(2, 8, 12), torch.randn(2)
    assert_close(net(x, None, condition, level), net(x, torch.ones(2, 1, 12), condition, level))


@torch.no_grad()
def test_content_of_the_padding_has_no_effect() -> None:
    net = fill(small(), "decoder.estimator.")
    x, condition, level = torch.randn(1, 8, 16), torch.randn(1, 8, 16), torch.randn(1)
    mask = mask_of(torch.tensor([9]), 16)
    out = net(x, mask, condition, level)
    noisier = net(x + 5 * (1 - mask), mask, condition - 3 * (1 - mask), level)
    assert_close(out, noisier)
    assert not out[..., 9:].any()


def test_condition_of_several_images() -> None:
    net = small(condition_channels=24)
    out = net(torch.randn(1, 8, 8), None, torch.randn(1, 24, 8), torch.zeros(1))
    assert out.shape == (1, 8, 8)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="10 frames: the U-Net needs a multiple of 4"):
        small()(torch.randn(1, 8, 10), None, torch.randn(1, 8, 10), torch.zeros(1))
    with pytest.raises(ValueError, match="12 channels are no whole images of 8 bands"):
        small(condition_channels=12)
    with pytest.raises(ValueError, match="10 bands: the U-Net needs a multiple of 4"):
        UNet2d(10, 10, dim=8)
