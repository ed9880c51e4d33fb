"""Clusters against a brute-force search and known groups."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag.codec.kmeans import fit_centroids, nearest
from fastsag.errors import UserError


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
def test_the_nearest_is_what_a_search_finds(count, clusters, size, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, size, generator=generator, dtype=torch.float64)
    centroids = torch.randn(clusters, size, generator=generator, dtype=torch.float64)
    distances = torch.cdist(vectors, centroids)
    found = distances.gather(1, nearest(vectors, centroids).unsqueeze(1)).squeeze(1)
    assert torch.allclose(found, distances.min(1).values)


def test_axes_before_the_last_are_kept():
    assert nearest(torch.randn(2, 3, 5), torch.randn(4, 5)).shape == (2, 3)


def test_known_groups_are_found_and_repeatable():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)
    points = (centres[:, None] + 0.1 * rng.standard_normal((4, 200, 2))).reshape(-1, 2)
    found = fit_centroids(points, 4)
    order = np.argsort(found @ [1, 10])
    assert np.allclose(found[order], centres, atol=0.1)
    assert np.array_equal(found, fit_centroids(points, 4))


def test_too_few_frames_are_refused():
    with pytest.raises(UserError, match="3 frames"):
        fit_centroids(np.zeros((3, 2)), 4)
