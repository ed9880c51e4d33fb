from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fastsag.nn.attention import Attention, LinearAttention


@torch.no_grad()
def test_attention_is_a_softmax_average() -> None:
    layer = Attention(6, context_dim=5, heads=2, head_dim=3)
    x, context = torch.randn(1, 4, 6), torch.randn(1, 7, 5)
    query = layer.to_q(x)[0]
    key, value = layer.to_kv(context)[0].split(6, dim=-1)
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(query[:, head] @ key[:, head].T / 3**0.5, dim=-1)
        heads.append(weights @ value[:, head])
    assert_close(layer(x, context)[0], layer.to_out(torch.cat(heads, dim=-1)))


@torch.no_grad()
def test_linear_attention_sums_over_pixels() -> None:
    layer = LinearAttention(4, heads=2, head_dim=3)
    x = torch.randn(1, 4, 5, 6)
    qkv = layer.to_qkv(x).reshape(3, 2, 3, 30)
    weights = torch.softmax(qkv[1], dim=-1)
    summary = torch.einsum("hdn,hen->hde", weights, qkv[2])
    out = torch.einsum("hde,hdn->hen", summary, qkv[0]).reshape(1, 6, 5, 6)
    assert_close(layer(x), layer.to_out(out))


@torch.no_grad()
@pytest.mark.parametrize("pixels", [1, 12, 2**11])
def test_linear_attention_is_the_same_in_blocks(monkeypatch, pixels: int) -> None:
    """A few rows at a time, in any order of their maxima, for images of one batch and layout."""
    monkeypatch.setattr("fastsag.nn.attention._PIXELS", pixels)
    layer = LinearAttention(4, heads=2, head_dim=3).double()
    layer.to_qkv.weight.mul_(8)  # keys that a softmax tells apart
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    x[:, :, 5] *= 4
    with torch.enable_grad():  # in one piece
        whole = layer(x)
    assert_close(layer(x), whole, atol=1e-10, rtol=1e-8)
    alone = layer(x[1:].contiguous(memory_format=torch.channels_last))
    assert_close(alone, whole[1:], atol=1e-10, rtol=1e-8)


def test_linear_attention_has_the_right_gradient() -> None:
    layer = LinearAttention(3, heads=2, head_dim=2).double()
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = dict(layer.named_parameters())

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(weights, values, strict=True)), x)

    assert torch.autograd.gradcheck(call, (x, *weights.values()))
