from __future__ import annotations

import pytest
import torch

from fastsag.nn.wavenet import WaveNet


@pytest.mark.parametrize(
    ("channels", "layers", "stacks", "parameters"),
    [(768, 8, 8, 158_178_816), (100, 8, 4, 1_407_400)],
)
def test_parameters_of_the_paper(channels: int, layers: int, stacks: int, parameters: int) -> None:
    with torch.device("meta"):
        net = WaveNet(channels, channels, channels, layers, stacks)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_keeps_the_length_and_changes_the_channels(kernel_size: int) -> None:
    net = WaveNet(5, 8, 3, layers=3, stacks=2, kernel_size=kernel_size)
    assert net(torch.randn(2, 5, 7)).shape == (2, 3, 7)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        WaveNet(4, 4, 4, 1, 1, kernel_size=2)


def test_receptive_field() -> None:
    """1 + stacks * largest dilation on either side, and in gaps: the chains do not mix."""
    net = WaveNet(1, 4, 1, layers=3, stacks=2).double()
    x = torch.randn(1, 1, 41, dtype=torch.double, requires_grad=True)
    net(x)[0, 0, 20].backward()
    assert x.grad is not None
    seen = {int(offset) - 20 for offset in x.grad[0, 0].nonzero()}
    taps = {d * k for d in (1, 2, 4) for k in (-2, -1, 0, 1, 2)}
    assert seen == {tap + k for tap in taps for k in (-1, 0, 1)}
    assert max(seen) == 1 + 2 * 4
