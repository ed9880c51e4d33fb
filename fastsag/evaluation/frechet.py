"""The Fréchet distance of two Gaussians, and their statistics in one exact pass.

Kilgour et al. 2019 (FAD); constants and rules as in FADTK (Gui et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastsag.errors import UserError

INFINITY_SIZES = 25  # sample sizes of FAD-infinity
INFINITY_SMALLEST = 500  # frames
_BLOCK = 8192  # frames in double precision at once


@dataclass(frozen=True)
class Statistics:
    """Of embeddings (n, D): count, mean (D,) and scatter (D, D), the sum of centred products."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), divided by n - 1.

        Raises:
            UserError: fewer than two frames.
        """
        if self.count < 2:
            raise UserError(f"{self.count} frames: at least two are needed for a distance")
        return self.scatter / (self.count - 1)

    def __add__(self, other: Statistics) -> Statistics:
        """Of both together (Chan et al. 1979), exact up to rounding."""
        count = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / count)
        spread = np.outer(gap, gap) * (self.count * other.count / count)
        return Statistics(count, mean, self.scatter + other.scatter + spread)


def statistics(embeddings: np.ndarray) -> Statistics:
    """Of embeddings (n, D) of any precision, summed in double precision, block by block.

    Raises:
        UserError: no frames.
    """
    return merged(
        _of_block(embeddings[start : start + _BLOCK].astype(np.float64))
        for start in range(0, len(embeddings), _BLOCK)
    )


def _of_block(values: np.ndarray) -> Statistics:
    mean = values.mean(0)
    centred = values - mean
    return Statistics(len(values), mean, centred.T @ centred)


def merged(parts: Iterable[Statistics]) -> Statistics:
    """Of all parts together.

    Raises:
        UserError: there is none.
    """
    total: Statistics | None = None
    for part in parts:
        total = part if total is None else total + part
    if total is None:
        raise UserError("no embeddings: at least one frame is needed")
    return total


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2).

    The last trace is the sum of the singular values of C1^(1/2) C2^(1/2), the square roots of the
    eigenvalues of C1 C2. Taken so, they are not rounded before the root: with fewer frames than
    dimensions, as in one short file, roots of eigenvalues were wrong in the third digit.

    Raises:
        UserError: fewer than two frames.
    """
    first, second = one.covariance, other.covariance
    cross = np.linalg.svd(_root(first) @ _root(second), compute_uv=False).sum()
    gap = one.mean - other.mean
    return float(max(0.0, gap @ gap + np.trace(first) + np.trace(second) - 2 * cross))


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root (D, D)."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def fad_infinity(
    reference: Statistics, embeddings: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """FAD extrapolated to infinitely many frames (Chong and Forsyth 2020), and the fit's r2.

    Sizes from 500 to n, each drawn with replacement; FAD is linear in one over the size.

    Args:
        reference: statistics that stay fixed.
        embeddings: (n, D) of the candidate.
        seed: of the draws.

    Raises:
        UserError: not more than 500 frames.
    """
    count = len(embeddings)
    if count <= INFINITY_SMALLEST:
        raise UserError(
            f"{count} frames: FAD-infinity needs more than {INFINITY_SMALLEST}; give more audio"
        )
    rng = np.random.default_rng(seed)
    sizes = np.linspace(INFINITY_SMALLEST, count, INFINITY_SIZES).astype(int)
    scores = [
        frechet_distance(reference, statistics(embeddings[rng.integers(count, size=size)]))
        for size in sizes
    ]
    slope, intercept = np.polyfit(1 / sizes, scores, 1)
    fitted = intercept + slope / sizes
    spread = np.square(np.array(scores) - np.mean(scores)).sum()
    r2 = 1 - np.square(np.array(scores) - fitted).sum() / max(spread, 1e-300)
    return float(intercept), float(r2)
