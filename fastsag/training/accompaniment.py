"""Training of the accompaniment model: the three losses of the paper (Eq. 9-12)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import torch
from torch import Tensor

from fastsag import losses
from fastsag.config import Config
from fastsag.lead_sheet import PLAN_FEATURES, STYLES
from fastsag.mel import band_weights
from fastsag.model import Conditions, FastSAG, build
from fastsag.training.loop import build_optimizer

CONDITION_DROPOUT = 0.12  # share of crops that train the null condition of guidance
STYLE_DROPOUT = 0.15  # share of crops that do not say their style
VALIDATION_SEED = 1
LEVELS = (-0.6745, 0.0, 0.6745)  # quartiles of ln(sigma), in standard deviations
CONTEXT_SHARE = 0.6  # share of crops that know their first frames, as later windows do


class Estimate(NamedTuple):
    """A batch denoised once.

    conditions: what the denoiser was told. target: mel (B, M, T'), padded as the network needs.
    sigma: noise levels (B,). denoised: (B, M, T').
    """

    conditions: Conditions
    target: Tensor
    sigma: Tensor
    denoised: Tensor


class AccompanimentTraining(lightning.LightningModule):
    """Trains projection, prior and denoiser of `FastSAG`; the planner has a training of its own.

    A batch is what `CropDataset` gives: voice (B, S, D), accompaniment (B, S, D), mel (B, M, T),
    plan (B, P, T), item (B,), and vocal_mel (B, M, T) for models that read it. What is drawn at
    random for an item depends on (seed, item) alone, not on the batch or process it came in.
    """

    bands: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model: FastSAG = build(config)
        if self.model.planner is not None:
            self.model.planner.requires_grad_(False)
        bands = band_weights(config.mel, config.loss.bass)
        self.register_buffer("bands", bands, persistent=False)

    def estimate(self, batch: dict[str, Tensor], seed: int) -> Estimate:
        """One denoising of each item at a random noise level; `seed` and the item choose it."""
        edm, mel = self.config.edm, batch["mel"]
        draws = Draws(seed, batch["item"], mel.device)
        conditions = self.conditions(batch, draws)
        pad = conditions.channels.shape[-1] - mel.shape[-1]
        target = torch.nn.functional.pad(mel, (0, pad))
        channels = conditions.channels
        if self.model.planner is not None:
            channels = torch.where(draws.chosen(CONDITION_DROPOUT), conditions.null, channels)
        sigma = losses.noise_levels(draws.normal(()), edm.P_mean, edm.P_std)
        noisy = target + draws.normal(target.shape[1:]) * sigma[:, None, None]
        denoised = self.model.denoiser(noisy, sigma, channels, conditions.mask)
        return Estimate(conditions, target, sigma, denoised)

    def conditions(self, batch: dict[str, Tensor], draws: Draws) -> Conditions:
        """What the denoiser is told of a batch, some of it left out at random."""
        mel = batch["mel"]
        plan = context = None
        if self.model.planner is not None:
            plan = _drop_style(batch["plan"], draws)
        if self.model.context:
            context = _context(mel, self.config.window.context, draws)
        heard = batch["vocal_mel"] if self.model.vocal_mel else None
        return self.model.condition(batch["voice"], mel.shape[-1], plan, context, heard)

    def terms(self, batch: dict[str, Tensor], estimate: Estimate) -> dict[str, Tensor]:
        """The named losses (Eq. 9-11)."""
        conditions, target, _, _ = estimate
        kind = self.config.loss.prior_kind
        terms = {
            "prior": losses.prior_loss(conditions.prior, target, conditions.mask, kind),
            "diffusion": self._diffusion(estimate),
        }
        if conditions.semantics is not None:
            truth = batch["accompaniment"]
            terms["semantic"] = losses.semantic_loss(conditions.semantics, truth)
        return terms

    def _diffusion(self, estimate: Estimate, items: slice = slice(None)) -> Tensor:
        conditions, target, sigma, denoised = estimate
        mask, weights = conditions.mask, self.config.loss
        return losses.diffusion_loss(
            denoised[items],
            target[items],
            sigma[items],
            self.config.edm.sigma_data,
            None if mask is None else mask[items],
            weights.diffusion_weighting,
            weights.count_padding,
            self.bands,
        )

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        terms = self.terms(batch, self.estimate(batch, self.config.training.seed))
        weights = self.config.loss
        total = losses.total(terms, {name: getattr(weights, name) for name in terms})
        logged = {f"train/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(logged | {"train/loss": total.detach()}, sync_dist=True)
        return total

    def on_validation_epoch_start(self) -> None:
        self.by_level = torch.zeros(len(LEVELS) + 1, 2, device=self.device)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        estimate = self.estimate(batch, VALIDATION_SEED)
        terms = self.terms(batch, estimate)
        self.log_dict(
            {f"validation/{name}": value for name, value in terms.items()},
            batch_size=len(batch["mel"]),
            sync_dist=True,
        )
        edges = torch.tensor(self._edges(), device=self.device)
        for item, level in enumerate(torch.bucketize(estimate.sigma, edges).tolist()):
            loss = self._diffusion(estimate, slice(item, item + 1))
            self.by_level[level] += torch.stack([loss, torch.ones_like(loss)])

    def on_validation_epoch_end(self) -> None:
        """Logs the diffusion loss by noise level, under noise/LOWEST-HIGHEST."""
        sums = self.trainer.strategy.reduce(self.by_level, reduce_op="sum")
        edges = ["0", *(f"{edge:.2g}" for edge in self._edges()), "inf"]
        for (low, high), (loss, count) in zip(pairwise(edges), sums.tolist(), strict=True):
            if count:
                self.log(f"noise/{low}-{high}", loss / count)

    def _edges(self) -> list[float]:
        """Noise levels that part the training distribution at `LEVELS`."""
        edm = self.config.edm
        return [math.exp(edm.P_mean + edm.P_std * level) for level in LEVELS]

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        parts = self.config.training.clip_parts
        if not parts or gradient_clip_val is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for part in parts:
            parameters = self.model.get_submodule(part).parameters()
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return build_optimizer(trained, self.config.training)


class Draws:
    """Random numbers of each item of a batch from (seed, item), whatever batch it is in."""

    def __init__(self, seed: int, items: Tensor, device: torch.device) -> None:
        self.device = device
        self.generators = [
            torch.Generator(device).manual_seed((seed + 1) * 1_000_000_007 + item)
            for item in items.tolist()
        ]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal (B, *shape)."""
        return self._stack(torch.randn, shape)

    def chosen(self, share: float) -> Tensor:
        """Boolean (B, 1, 1), true with probability `share`."""
        return self._stack(torch.rand, (1, 1)) < share

    def _stack(self, draw: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        parts = [draw(shape, generator=part, device=self.device) for part in self.generators]
        return torch.stack(parts)


def _drop_style(plan: Tensor, draws: Draws) -> Tensor:
    """Plan (B, P, T) with the style rows zeroed in some crops."""
    first = PLAN_FEATURES - len(STYLES)
    keep = ~draws.chosen(STYLE_DROPOUT)
    return torch.cat([plan[:, :first], plan[:, first:] * keep], dim=1)


def _context(mel: Tensor, frames: int, draws: Draws) -> Tensor:
    """Context (B, M + 1, T): the first `frames` of some crops, as a later window knows them."""
    known = torch.zeros_like(mel[:, :1])
    known[:, :, :frames] = 1
    known = known * draws.chosen(CONTEXT_SHARE)
    return torch.cat([mel * known, known], dim=1)
