"""Group normalisation and Mish in blocks: torch's own in double precision are the truth."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastsag.nn.mish import group_norm_mish, mish_


def norm(channels: int = 16, groups: int = 8) -> nn.GroupNorm:
    layer = nn.GroupNorm(groups, channels)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


@torch.inference_mode()
@pytest.mark.parametrize("size", [1, 7, 2**17 + 3])
def test_mish_is_the_formula_in_place(size: int) -> None:
    x = 20 * torch.randn(size)
    x[0] = -100.0
    expected = F.mish(x.double())
    out = mish_(x)
    assert out is x
    torch.testing.assert_close(out.double(), expected, atol=1e-30, rtol=2e-6)


@torch.inference_mode()
def test_mish_of_half_precision_rounds_once() -> None:
    x = (5 * torch.randn(3_000)).bfloat16()
    expected = F.mish(x.double())
    assert ((mish_(x).double() - expected).abs() <= 2**-8 * expected.abs()).all()


@torch.inference_mode()
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("block", [1, 100, 2**16])
def test_norm_and_mish_are_torchs(monkeypatch, layout, block: int) -> None:
    monkeypatch.setattr("fastsag.nn.mish._BLOCK", block)
    layer, x = norm(), 3 + 2 * torch.randn(2, 16, 9, 11)
    expected = F.mish(layer.double()(x.double()))
    out = group_norm_mish(x.contiguous(memory_format=layout), layer.float())
    torch.testing.assert_close(out.double(), expected, atol=2e-6, rtol=1e-5)


@torch.inference_mode()
def test_padding_of_a_constant_costs_no_precision() -> None:
    """Where torch's own sums for `channels_last` lose three digits: mostly padding."""
    layer, x = nn.GroupNorm(8, 64), 0.7 + 0.5 * torch.randn(1, 64, 100, 1024)
    x[..., 200:] = 0.1 * torch.randn(64, 1, 1)
    expected = F.mish(layer.double()(x.double()))
    out = group_norm_mish(x.contiguous(memory_format=torch.channels_last), layer.float())
    assert (out.double() - expected).abs().max() < 5e-6


def test_it_has_the_gradient_of_torchs() -> None:
    layer, x = norm(), torch.randn(2, 16, 3, 4, requires_grad=True)
    expected = torch.autograd.grad(F.mish(layer(x)).square().sum(), x)
    found = torch.autograd.grad(group_norm_mish(x, layer).square().sum(), x)
    torch.testing.assert_close(found, expected)
