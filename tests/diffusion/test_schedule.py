from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fastsag.diffusion.schedule import Levels, karras_sigmas


@pytest.mark.parametrize(("levels", "count"), [("paper", 10), ("authors", 11)])
def test_falls_from_sigma_max_to_sigma_min_then_zero(levels: Levels, count: int) -> None:
    sigmas = karras_sigmas(10, 0.01, 20.0, levels=levels)
    assert sigmas.shape == (count + 1,)
    assert (sigmas.diff() < 0).all()
    assert_close(sigmas[[0, -2, -1]], torch.tensor([20.0, 0.01, 0.0]))


def test_equation_4() -> None:
    n, i = 8, 3
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert karras_sigmas(n)[i].item() == pytest.approx(expected, rel=1e-6)


def test_one_step() -> None:
    assert_close(karras_sigmas(1), torch.tensor([80.0, 0.0]))


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        karras_sigmas(0)
