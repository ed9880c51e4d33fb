"""Training of the accompaniment model: the three losses of the paper (Eq. 9-12)."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from fastsag import losses
from fastsag.config import Config
from fastsag.lead_sheet import PLAN_FEATURES, STYLES
from fastsag.model import FastSAG, build
from fastsag.training.loop import build_optimizer

CONDITION_DROPOUT = 0.12  # share of crops that train the null condition of guidance
STYLE_DROPOUT = 0.15  # share of crops that do not say their style
CONTEXT_SHARE = 0.6  # share of crops that know their first frames, as later windows do


class AccompanimentTraining(lightning.LightningModule):
    """Trains projection, prior and denoiser of `FastSAG`; the planner has a training of its own.

    A batch is what `CropDataset` gives: voice (B, S, D), accompaniment (B, S, D), mel (B, M, T),
    plan (B, P, T).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model: FastSAG = build(config)
        if self.model.planner is not None:
            self.model.planner.requires_grad_(False)

    def terms(self, batch: dict[str, Tensor], generator: torch.Generator | None) -> dict[str, Any]:
        """The named losses of one batch."""
        edm, weights = self.config.edm, self.config.loss
        mel = batch["mel"]
        plan = context = None
        if self.model.planner is not None:
            plan = _drop_style(batch["plan"], generator)
        if self.model.context:
            context = _context(mel, self.config.window.context, generator)
        conditions = self.model.condition(batch["voice"], mel.shape[-1], plan, context)
        pad = conditions.channels.shape[-1] - mel.shape[-1]
        target = torch.nn.functional.pad(mel, (0, pad))
        channels = conditions.channels
        if self.model.planner is not None:
            dropped = _chosen(len(mel), CONDITION_DROPOUT, mel, generator)
            channels = torch.where(dropped, conditions.null, channels)
        sigma = losses.noise_levels(len(mel), edm.P_mean, edm.P_std, generator, mel.device)
        noise = torch.randn(target.shape, generator=generator, device=mel.device)
        noisy = target + noise * sigma[:, None, None]
        denoised = self.model.denoiser(noisy, sigma, channels, conditions.mask)
        return {
            "semantic": losses.semantic_loss(conditions.semantics, batch["accompaniment"]),
            "prior": losses.prior_loss(
                conditions.prior, target, conditions.mask, weights.prior_kind
            ),
            "diffusion": losses.diffusion_loss(
                denoised,
                target,
                sigma,
                edm.sigma_data,
                conditions.mask,
                weights.diffusion_weighting,
                weights.count_padding,
            ),
        }

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        terms = self.terms(batch, None)
        weights = self.config.loss
        total = losses.total(terms, {name: getattr(weights, name) for name in terms})
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        self.log("train/loss", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        generator = torch.Generator(batch["mel"].device).manual_seed(index)
        terms = self.terms(batch, generator)
        self.log_dict(
            {f"validation/{name}": value for name, value in terms.items()},
            batch_size=len(batch["mel"]),
        )

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


def _chosen(count: int, share: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Boolean (count, 1, 1), true with probability `share`."""
    return torch.rand(count, 1, 1, generator=generator, device=like.device) < share


def _drop_style(plan: Tensor, generator: torch.Generator | None) -> Tensor:
    """Plan (B, P, T) with the style rows zeroed in some crops."""
    first = PLAN_FEATURES - len(STYLES)
    keep = ~_chosen(len(plan), STYLE_DROPOUT, plan, generator)
    return torch.cat([plan[:, :first], plan[:, first:] * keep], dim=1)


def _context(mel: Tensor, frames: int, generator: torch.Generator | None) -> Tensor:
    """Context (B, M + 1, T): the first `frames` of some crops, as a later window knows them."""
    known = torch.zeros_like(mel[:, :1])
    known[:, :, :frames] = 1
    known = known * _chosen(len(mel), CONTEXT_SHARE, mel, generator)
    return torch.cat([mel * known, known], dim=1)
