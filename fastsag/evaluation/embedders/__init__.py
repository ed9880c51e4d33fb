"""Embedders: audio -> the vectors whose distributions FAD compares. One contract, one file each.

An embedder's scores mean something only beside others of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from fastsag.errors import UserError


class Embedder(Protocol):
    """Samples (N,) at `sample_rate` Hz, float32, full scale 1 -> embeddings (frames, size)."""

    name: str
    sample_rate: int
    size: int

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Embeddings (frames, size) of samples (N,)."""
        ...


def build(name: str) -> Embedder:
    """The embedder of a name.

    Raises:
        UserError: unknown name, or its weights are not on this machine.
    """
    if name not in BUILDERS:
        raise UserError(f"{name}: unknown embedder; choose one of {', '.join(BUILDERS)}")
    return BUILDERS[name]()


def _offline() -> Embedder:
    from fastsag.evaluation.embedders.offline import Offline

    return Offline()


def _vggish() -> Embedder:
    from fastsag.evaluation.embedders import vggish

    return vggish.build()


def _mert(layer: int | None) -> Callable[[], Embedder]:
    def make() -> Embedder:
        from fastsag.evaluation.embedders import mert

        return mert.build(layer)

    return make


def _clap(name: str) -> Callable[[], Embedder]:
    def make() -> Embedder:
        from fastsag.evaluation.embedders import clap

        return clap.build(name)

    return make


BUILDERS: dict[str, Callable[[], Embedder]] = {
    "offline-v1": _offline,
    "vggish": _vggish,
    "mert": _mert(None),
    "mert-4": _mert(4),
    "mert-7": _mert(7),
    "mert-11": _mert(11),
    "clap": _clap("clap"),
    "clap-larger": _clap("clap-larger"),
}
