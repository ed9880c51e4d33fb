"""Fréchet distance against closed forms, scipy and exact arithmetic; merging; FAD-infinity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from fastsag.errors import UserError
from fastsag.evaluation import frechet
from fastsag.evaluation.frechet import (
    Statistics,
    fad_infinity,
    frechet_distance,
    merged,
    statistics,
)


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Statistics:
    return Statistics(11, mean, covariance * 10)


def cloud(seed: int, count: int = 300, size: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + rng.normal()


def test_closed_forms():
    one = gaussian(np.zeros(3), np.eye(3))
    moved = gaussian(np.array([3.0, 4.0, 0.0]), np.eye(3))
    assert frechet_distance(one, moved) == pytest.approx(25, rel=1e-12)
    wide = gaussian(np.zeros(3), np.diag([4.0, 9.0, 1.0]))
    assert frechet_distance(one, wide) == pytest.approx((2 - 1) ** 2 + (3 - 1) ** 2, rel=1e-12)
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_scipys(seed):
    one, other = statistics(cloud(seed)), statistics(cloud(seed + 10))
    root = sqrtm(one.covariance @ other.covariance).real
    gap = one.mean - other.mean
    expected = gap @ gap + np.trace(one.covariance + other.covariance - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("frames", "size"), [(6, 30), (10, 128)])
def test_flat_clouds_have_their_exact_distance(frames, size):
    """Fewer frames than dimensions: tr (C1 C2)^(1/2) is the nuclear norm of X1 X2' / (n - 1)."""
    one = 5 * cloud(0, frames, size)
    other = one + 0.3 * np.random.default_rng(1).standard_normal(one.shape)
    first, second = ((part - part.mean(0)) / (frames - 1) ** 0.5 for part in (one, other))
    cross = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    gap = one.mean(0) - other.mean(0)
    expected = gap @ gap + np.square(first).sum() + np.square(second).sum() - 2 * cross
    assert frechet_distance(statistics(one), statistics(other)) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(statistics(one), statistics(one)) < 1e-12 * np.square(first).sum()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.randoms())
def test_merged_parts_are_the_whole_in_any_order(sizes, random):
    values = cloud(3, sum(sizes)) + 1e3
    parts = np.split(values, np.cumsum(sizes)[:-1])
    random.shuffle(parts)
    total, whole = merged(map(statistics, parts)), statistics(values)
    assert total.count == whole.count
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(total.scatter, whole.scatter, rtol=1e-8, atol=1e-6)


def test_infinity_removes_the_bias_of_small_samples():
    rng = np.random.default_rng(0)
    reference = statistics(rng.standard_normal((200_000, 16)))
    candidate = rng.standard_normal((3_000, 16))
    estimate, r2 = fad_infinity(reference, candidate, seed=1)
    assert abs(estimate) < frechet_distance(reference, statistics(candidate[:500])) / 3
    assert r2 > 0.8 and (estimate, r2) == fad_infinity(reference, candidate, seed=1)
    with pytest.raises(UserError, match="more than 500"):
        fad_infinity(reference, candidate[:500])


def test_blocks_and_half_precision(monkeypatch):
    values = cloud(0, 100).astype(np.float16)
    monkeypatch.setattr(frechet, "_BLOCK", 7)
    found = statistics(values)
    assert found.count == 100 and found.scatter.dtype == np.float64
    np.testing.assert_allclose(found.mean, values.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(values.astype(float).T), rtol=1e-10)


def test_too_few_frames():
    with pytest.raises(UserError, match="no embeddings"):
        statistics(np.zeros((0, 3)))
    with pytest.raises(UserError, match="1 frames: at least two"):
        frechet_distance(statistics(np.zeros((1, 3))), statistics(cloud(0, 9, 3)))
