from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fastsag.conditioning.resampler import InterpolationResampler, PerceiverResampler


def test_interpolation_between_pixel_centres() -> None:
    """Twice as many frames lie at quarters between the given ones; the edges repeat."""
    semantics = torch.tensor([0.0, 4.0, 8.0]).reshape(1, 3, 1)
    out = InterpolationResampler(n_mels=1)(semantics, 6)
    assert_close(out[0, 0], torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 8.0]))


@pytest.mark.parametrize("frames", [1, 200, 1500])
def test_interpolation_gives_any_length(frames: int) -> None:
    out = InterpolationResampler(n_mels=10)(torch.randn(2, 75, 16), frames)
    assert out.shape == (2, 10, frames)


def test_perceiver_gives_its_own_length_only() -> None:
    resampler = PerceiverResampler(
        6, 5, frames=8, latents=3, latent_dim=8, depth=1, heads=2, head_dim=4
    )
    assert resampler(torch.randn(2, 7, 6), 8).shape == (2, 5, 8)
    with pytest.raises(ValueError, match=r"9 frames .* 8 queries"):
        resampler(torch.randn(2, 7, 6), 9)
