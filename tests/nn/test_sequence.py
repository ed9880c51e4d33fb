"""Convolutions on (B, C, 1, T) are the 1-D ones."""

import pytest
import torch
from torch import nn

from fastsag.nn import sequence


@torch.no_grad()
@pytest.mark.parametrize("dilation", [1, 3])
def test_convolutions_are_the_1d_ones(dilation: int) -> None:
    layer = nn.Conv1d(6, 4, 5, padding=2 * dilation, dilation=dilation)
    up = nn.ConvTranspose1d(6, 3, 8, 4, padding=2)
    x = torch.randn(2, 6, 23)
    expected = layer(x), up(x)
    both = nn.ModuleList([layer, up])
    sequence.store_by_frame(both)
    assert layer.weight.stride() == (30, 1, 6) and layer.weight.shape == (4, 6, 5)
    out = (
        sequence.conv(layer, sequence.by_frame(x)),
        sequence.conv_transpose(up, sequence.by_frame(x)),
    )
    for found, wanted in zip(out, expected, strict=True):
        torch.testing.assert_close(found[:, :, 0], wanted, atol=1e-5, rtol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_loading_keeps_how_weights_are_stored() -> None:
    layer = nn.Conv1d(3, 2, 5)
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    sequence.store_by_frame(layer)
    layer.load_state_dict(state)
    assert layer.weight.stride() == (15, 1, 3) and torch.equal(layer.weight, state["weight"])
