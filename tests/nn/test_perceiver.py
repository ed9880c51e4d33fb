from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fastsag.nn.perceiver import PerceiverIO, drop_frames


def test_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        net = PerceiverIO(768, 100, queries=937)
    assert sum(p.numel() for p in net.parameters()) == 15_243_876


@torch.no_grad()
def test_order_of_the_frames_does_not_matter() -> None:
    net = PerceiverIO(6, 5, queries=4, latents=3, latent_dim=8, depth=1, heads=2, head_dim=4).eval()
    x = torch.randn(2, 9, 6)
    assert_close(net(x), net(x.flip(1)))


@torch.no_grad()
def test_training_drops_frames_and_evaluation_does_not() -> None:
    net = PerceiverIO(6, 5, queries=4, latents=3, latent_dim=8, depth=1, heads=2, head_dim=4)
    x = torch.randn(1, 20, 6)
    assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


@pytest.mark.parametrize(("frames", "kept"), [(749, 674), (10, 9), (1, 1)])
def test_dropped_frames_are_distinct_and_fresh_per_example(frames: int, kept: int) -> None:
    x = torch.arange(2.0 * frames).reshape(2, frames, 1).expand(-1, -1, 3)
    out = drop_frames(x, 0.9)
    assert out.shape == (2, kept, 3)
    for given, left in zip(x[..., 0], out[..., 0], strict=True):
        assert len(set(left.tolist())) == kept
        assert set(left.tolist()) <= set(given.tolist())
