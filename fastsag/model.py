"""FastSAG = conditioning + denoiser: the paper's Figure 1 on one page.

    S_v  voice semantics (B, S, D)
     |   semantic projection (WaveNet)
    S'_nv + S_v
     |   resampler: Perceiver-IO or bilinear interpolation
    R'_nv (B, M, T)
     |   prior (WaveNet); with a plan, its features join here and below
    prior (B, M, T)
     |   EDM denoiser, sampled
    mel (B, M, T), normalised units

Two ablations of the paper's Table 1 read the voice's normalised mel (B, M, T): in the place of
R'_nv, without projection and resampler (`condition: mel`), or added to it (`semantics+mel`).

The semantic encoder and the vocoder are not part of it: a checkpoint holds trained weights only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.conditioning.planner import Planner
from fastsag.conditioning.prior import Prior
from fastsag.conditioning.projection import SemanticProjection
from fastsag.conditioning.resampler import InterpolationResampler, PerceiverResampler
from fastsag.config import Config, PerceiverConfig
from fastsag.diffusion.dit import DiT
from fastsag.diffusion.precond import EDMDenoiser, guided
from fastsag.diffusion.samplers import Callback, Denoise, Sampler
from fastsag.diffusion.unet import UNet2d
from fastsag.lead_sheet import PLAN_FEATURES, PLAN_PARTS

_FRAME_MULTIPLE = 4  # the U-Net halves time twice
_NETWORKS: dict[str, Callable[..., nn.Module]] = {"unet": UNet2d, "dit": DiT}


class Conditions(NamedTuple):
    """What the denoiser is told.

    semantics: predicted accompaniment semantics S'_nv (B, S, D); None without a projection.
    prior: rough mel (B, M, T'), normalised units; T' is T padded as the network needs.
    channels: (B, C, T') prior, then plan features and context where the model has them.
    null: (B, C, T') the same without prior and plan, for guidance.
    mask: (B, 1, T') 1 at real frames, or None where nothing was padded.
    """

    semantics: Tensor | None
    prior: Tensor
    channels: Tensor
    null: Tensor
    mask: Tensor | None


class FastSAG(nn.Module):
    """The trainable system.

    Args:
        projection, resampler, prior, denoiser: the parts, in the order of the data. The first two
            are both None in a model that reads the voice's mel alone.
        vocal_mel: the prior reads the voice's mel, beside what is resampled if there is that.
        planner: predicts the plan from the voice's semantics; None as in the paper.
        plan_parts: of `PLAN_PARTS`, what of a plan the model is told; the rest is zero.
        context: the denoiser is shown the end of the previous window (M + 1 extra channels).
        padded_frames: T' of shorter input, as trained; None is the next multiple of 4.
    """

    told: Tensor

    def __init__(
        self,
        *,
        projection: SemanticProjection | None,
        resampler: InterpolationResampler | PerceiverResampler | None,
        prior: Prior,
        denoiser: EDMDenoiser,
        vocal_mel: bool = False,
        planner: Planner | None = None,
        plan_parts: Sequence[str] = tuple(PLAN_PARTS),
        context: bool = False,
        padded_frames: int | None = None,
    ) -> None:
        super().__init__()
        if (projection is None) != (resampler is None) or not (projection or vocal_mel):
            raise ValueError("the prior reads projected and resampled semantics, the mel, or both")
        self.projection = projection
        self.resampler = resampler
        self.vocal_mel = vocal_mel
        self.prior = prior
        self.denoiser = denoiser
        self.planner = planner
        told = torch.zeros(PLAN_FEATURES, 1)
        for part in plan_parts:
            told[PLAN_PARTS[part]] = 1
        self.register_buffer("told", told, persistent=False)
        self.context = context
        self.padded_frames = padded_frames or 0

    def condition(
        self,
        semantics: Tensor,
        frames: int,
        plan: Tensor | None = None,
        context: Tensor | None = None,
        vocal_mel: Tensor | None = None,
    ) -> Conditions:
        """The condition block (paper section 4.2).

        Args:
            semantics: S_v (B, S, D); not read where the mel is the only condition.
            frames: T, mel frames wanted.
            plan: (B, P, T), for models with a planner.
            context: (B, M + 1, T): mel frames already known and, last, 1 where they are; None is
                "nothing known". For models with context.
            vocal_mel: the voice's mel (B, M, T), normalised, for models that read it.

        Raises:
            ValueError: a plan, context or mel for a model without, or a plan or mel missing.
        """
        if (plan is None) != (self.planner is None):
            raise ValueError("a plan belongs to exactly those models that have a planner")
        if context is not None and not self.context:
            raise ValueError("this model was built without context")
        if (vocal_mel is None) == self.vocal_mel:
            raise ValueError("the voice's mel belongs to exactly those models that read it")
        projected, read = self._read(semantics, frames, vocal_mel)
        pad = max(frames + -frames % _FRAME_MULTIPLE, self.padded_frames) - frames
        plan = None if plan is None else F.pad(plan * self.told, (0, pad))
        prior = self.prior(F.pad(read, (0, pad)), plan)
        parts = [prior] if plan is None else [prior, plan]
        nulls = [torch.zeros_like(part) for part in parts]
        if self.context:
            if context is None:
                shape = (prior.shape[0], prior.shape[1] + 1, prior.shape[2])
                known = prior.new_zeros(shape)
            else:
                known = F.pad(context, (0, pad))
            parts.append(known)
            nulls.append(known)
        mask = None
        if pad:
            mask = F.pad(prior.new_ones(prior.shape[0], 1, frames), (0, pad))
        return Conditions(projected, prior, torch.cat(parts, 1), torch.cat(nulls, 1), mask)

    def _read(
        self, semantics: Tensor, frames: int, vocal_mel: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """S'_nv (B, S, D) if it is predicted, and what the prior reads (B, M, T)."""
        if self.projection is None or self.resampler is None:
            assert vocal_mel is not None
            return None, vocal_mel
        projected = self.projection(semantics)
        resampled = self.resampler(projected + semantics, frames)
        return projected, resampled if vocal_mel is None else resampled + vocal_mel

    def denoise(
        self,
        conditions: Conditions,
        guidance: float = 1.0,
        rescale: float = 0.0,
        ceiling: float | None = None,
        interval: tuple[float, float] | None = None,
    ) -> Denoise:
        """The denoiser under `conditions`: (x (B, M, T), sigma (B,)) -> x0 (B, M, T).

        T is the frames that were asked of `condition`; what the network needs beyond them is added
        and taken off again. `guidance` 1 is the conditional model, more follows it harder; for
        `rescale`, `ceiling` (normalised units) and `interval` see `guided`.
        """
        padded = guided(
            self.denoiser,
            guidance,
            condition=conditions.channels,
            null=None if guidance == 1.0 else conditions.null,
            mask=conditions.mask,
            rescale=rescale,
            ceiling=ceiling,
            interval=interval,
        )
        return _unpadded(padded, conditions)

    @staticmethod
    def jump(student: EDMDenoiser, conditions: Conditions, ceiling: float | None = None) -> Denoise:
        """A distilled `student` of this model under `conditions`, as `few_step` takes it.

        Its teacher never went above `ceiling` (normalised units), so what does is cut.
        """

        def padded(x: Tensor, sigma: Tensor, following: Tensor) -> Tensor:
            out = student(x, sigma, conditions.channels, conditions.mask, following)
            return out if ceiling is None else out.clamp(max=ceiling)

        return _unpadded(padded, conditions)

    def generate(
        self,
        denoise: Denoise,
        noise: Tensor,
        sigmas: Tensor,
        sampler: Sampler,
        callback: Callback | None = None,
    ) -> Tensor:
        """Sample a mel (B, M, T) in normalised units.

        Args:
            denoise: from `denoise`, or several of them put together.
            noise: standard normal (B, M, T).
            sigmas: noise levels, descending to 0.
            sampler: one of `fastsag.diffusion.samplers`.
        """
        epsilon = self.denoiser.epsilon
        if epsilon and len(sigmas) > 2 and math.isclose(sigmas[-2], epsilon, rel_tol=1e-5):
            # D(x; epsilon) = x (Eq. 8): the step from there to 0 changes nothing.
            sigmas = sigmas[:-1]
        return sampler(denoise, noise * sigmas[0], sigmas, callback)


def _unpadded(denoise: Denoise, conditions: Conditions) -> Denoise:
    """`denoise` of padded mels as one of mels as they are."""
    size = conditions.channels.shape[-1]

    def of(x: Tensor, *levels: Tensor) -> Tensor:
        frames = x.shape[-1]
        return denoise(F.pad(x, (0, size - frames)), *levels)[..., :frames]

    return of


def build_student(config: Config) -> EDMDenoiser:
    """The denoiser of `config`, told where each of its answers leads to, with fresh weights."""
    return _denoiser(config, targeted=True)


def build(config: Config) -> FastSAG:
    """The model that a configuration describes, with fresh weights."""
    n_mels, dim = config.mel.n_mels, config.encoder.size
    plan = PLAN_FEATURES if config.planner else 0
    projection: SemanticProjection | None = None
    if config.projection:
        projection = SemanticProjection(dim=dim, **config.projection.model_dump())
    resampler: InterpolationResampler | PerceiverResampler | None = None
    if isinstance(config.resampler, PerceiverConfig):
        sizes = config.resampler.model_dump(exclude={"kind"})
        resampler = PerceiverResampler(dim=dim, n_mels=n_mels, **sizes)
    elif config.resampler:
        resampler = InterpolationResampler(n_mels)
    planner = None
    if config.planner:
        sizes = config.planner.model_dump(exclude={"window"})
        planner = Planner(dim=dim, rate_hz=config.encoder.rate_hz, **sizes)
    return FastSAG(
        projection=projection,
        resampler=resampler,
        prior=Prior(n_mels=n_mels, plan_features=plan, **config.prior.model_dump()),
        denoiser=_denoiser(config),
        vocal_mel=config.condition != "semantics",
        planner=planner,
        plan_parts=config.plan,
        context=bool(config.window.context),
        padded_frames=getattr(config.denoiser, "padded_frames", None),
    )


def _denoiser(config: Config, **options: bool) -> EDMDenoiser:
    n_mels, edm = config.mel.n_mels, config.edm
    plan = PLAN_FEATURES if config.planner else 0
    context = n_mels + 1 if config.window.context else 0
    sizes = config.denoiser.model_dump(exclude={"kind", "padded_frames"}) | options
    channels = n_mels + plan + context
    network = _NETWORKS[config.denoiser.kind](n_mels=n_mels, condition_channels=channels, **sizes)
    return EDMDenoiser(
        network,
        sigma_data=edm.sigma_data,
        sigma_min=edm.sigma_min,
        boundary=edm.boundary,
        noise_input=edm.noise_input,
    )
