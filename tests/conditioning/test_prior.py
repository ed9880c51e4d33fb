from __future__ import annotations

import pytest
import torch

from fastsag.conditioning.prior import Prior


def test_shape_without_and_with_a_plan() -> None:
    resampled, plan = torch.randn(2, 6, 9), torch.randn(2, 3, 9)
    assert Prior(6, channels=8, layers=2, stacks=2)(resampled).shape == (2, 6, 9)
    assert Prior(6, 3, channels=8, layers=2, stacks=2)(resampled, plan).shape == (2, 6, 9)


def test_a_plan_that_does_not_fit_is_refused() -> None:
    resampled, plan = torch.randn(2, 6, 9), torch.randn(2, 3, 9)
    with pytest.raises(ValueError, match="reads 0 plan features, 3 given"):
        Prior(6, channels=8, layers=1, stacks=1)(resampled, plan)
    with pytest.raises(ValueError, match="reads 3 plan features, 0 given"):
        Prior(6, 3, channels=8, layers=1, stacks=1)(resampled)


def test_parameters_of_the_paper() -> None:
    prior = Prior(100, channels=100, layers=8, stacks=4)
    assert sum(p.numel() for p in prior.parameters()) == 1_407_400
