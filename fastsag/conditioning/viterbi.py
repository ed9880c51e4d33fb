"""The strongest path through a table of scores, by dynamic programming (Viterbi)."""

from __future__ import annotations

import numpy as np


def best_path(scores: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Columns (T,) of the path through scores (T, K) whose sum is largest.

    `transition` (K, K) is added for each step from row to column.
    """
    score = scores[0]
    back = np.zeros(scores.shape, dtype=int)
    for step in range(1, len(scores)):
        options = score[:, None] + transition
        back[step] = options.argmax(0)
        score = options.max(0) + scores[step]
    path = [int(score.argmax())]
    for step in range(len(scores) - 1, 0, -1):
        path.append(int(back[step, path[-1]]))
    return np.array(path[::-1])
