"""Vector quantisation by k-means: centroids from scikit-learn, the assignment in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastsag.errors import UserError, require

_BATCH = 8_192  # vectors of one mini-batch, and of one piece of an assignment


def fit_centroids(vectors: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` centroids (K, D) of vectors (n, D), by `MiniBatchKMeans`.

    Raises:
        UserError: fewer vectors than centroids.
        MissingExtra: scikit-learn is not installed.
    """
    cluster = require("sklearn.cluster", extra="singsong")
    if len(vectors) < count:
        raise UserError(
            f"{len(vectors)} frames cannot make {count} clusters; give more music or set fewer"
        )
    model = cluster.MiniBatchKMeans(
        count, batch_size=_BATCH, n_init=1, max_iter=40, random_state=seed, reassignment_ratio=0.01
    )
    return model.fit(np.asarray(vectors, dtype=np.float32)).cluster_centers_.astype(np.float32)


def nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Index (...) of the centroid (K, D) nearest to each of vectors (..., D)."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    # |x - c|^2 without |x|^2, which is the same for all centroids.
    offset = centroids.square().sum(1)
    parts = [(offset - 2 * part @ centroids.T).argmin(1) for part in flat.split(_BATCH)]
    return torch.cat(parts).reshape(vectors.shape[:-1])
