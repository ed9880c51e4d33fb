from __future__ import annotations

import torch

from fastsag.conditioning.projection import SemanticProjection


def test_shape() -> None:
    projection = SemanticProjection(dim=12, channels=8, layers=2, stacks=2)
    assert projection(torch.randn(2, 9, 12)).shape == (2, 9, 12)


def test_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        projection = SemanticProjection(dim=768, channels=768, layers=8, stacks=8)
    assert sum(p.numel() for p in projection.parameters()) == 158_178_816
