"""The parts of the authors' model with the golden weights, drawn when first asked for.

Sizes are those of configs/paper-authors.yaml. Only `projection` is large (158 M parameters): its
`cache_clear` gives 630 MB back.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from fastsag import config as configuration
from fastsag.conditioning.prior import Prior
from fastsag.conditioning.projection import SemanticProjection
from fastsag.conditioning.resampler import InterpolationResampler, PerceiverResampler
from fastsag.config import Config, PerceiverConfig, UNetConfig
from fastsag.diffusion.precond import EDMDenoiser
from fastsag.model import FastSAG, build
from tests.golden.weights import ModuleT, fill

_CONFIG = Path(__file__).parents[2] / "configs" / "paper-authors.yaml"


@cache
def authors() -> Config:
    """The authors' model."""
    return configuration.load(_CONFIG)


def _empty(config: Config | None = None) -> FastSAG:
    with torch.device("meta"):
        return build(config or authors())


def _drawn(part: ModuleT, inner: str, prefix: str) -> ModuleT:
    part.to_empty(device="cpu")
    fill(part.get_submodule(inner), prefix)
    return part.eval()


@cache
def projection() -> SemanticProjection:
    return _drawn(_empty().projection, "wavenet", "semantic_encoder.0.")


@cache
def prior() -> Prior:
    return _drawn(_empty().prior, "wavenet", "mixed_encoder.")


@cache
def denoiser() -> EDMDenoiser:
    return _drawn(_empty().denoiser, "network", "decoder.estimator.")


@cache
def perceiver(frames: int | None = None) -> PerceiverResampler:
    """With the authors' number of queries, or another."""
    sizes = authors().resampler
    assert isinstance(sizes, PerceiverConfig)
    if frames is not None:
        sizes = sizes.model_copy(update={"frames": frames})
    resampler = _empty(authors().model_copy(update={"resampler": sizes})).resampler
    assert isinstance(resampler, PerceiverResampler)
    return _drawn(resampler, "perceiver", "semantic_encoder.1.")


def interpolation() -> InterpolationResampler:
    return InterpolationResampler(authors().mel.n_mels)


def full_model(resampler: InterpolationResampler | PerceiverResampler) -> FastSAG:
    return FastSAG(
        projection=projection(),
        resampler=resampler,
        prior=prior(),
        denoiser=denoiser(),
        padded_frames=padded_frames(),
    )


def padded_frames() -> int:
    """T' of the whole model."""
    sizes = authors().denoiser
    assert isinstance(sizes, UNetConfig) and sizes.padded_frames
    return sizes.padded_frames
