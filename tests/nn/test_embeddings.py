from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fastsag.nn.embeddings import sinusoidal


def test_formula() -> None:
    out = sinusoidal(torch.tensor([0.3]), 6, scale=10.0)[0]
    frequencies = [1.0, 1e-2, 1e-4]
    expected = [math.sin(3 * f) for f in frequencies] + [math.cos(3 * f) for f in frequencies]
    assert_close(out, torch.tensor(expected))


@pytest.mark.parametrize("dim", [5, 2])
def test_impossible_sizes_are_refused(dim: int) -> None:
    with pytest.raises(ValueError, match="even number"):
        sinusoidal(torch.zeros(1), dim)
