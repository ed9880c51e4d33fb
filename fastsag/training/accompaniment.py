"""Training of the accompaniment model: the three losses of the paper (Eq. 9-12)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
VALIDATION_SEED = 1
CONTEXT_SHARE = 0.6  # share of crops that know their first frames, as later windows do


class AccompanimentTraining(lightning.LightningModule):
    """Trains projection, prior and denoiser of `FastSAG`; the planner has a training of its own.

    A batch is what `CropDataset` gives: voice (B, S, D), accompaniment (B, S, D), mel (B, M, T),
    plan (B, P, T), item (B,), and vocal_mel (B, M, T) for models that read it. What is drawn at
    random for an item depends on (seed, item) alone, not on the batch or process it came in.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model: FastSAG = build(config)
        if self.model.planner is not None:
            self.model.planner.requires_grad_(False)

    def terms(self, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """The named losses of one batch, whose random part comes from `seed` and its items."""
        edm, weights = self.config.edm, self.config.loss
        mel = batch["mel"]
        draws = Draws(seed, batch["item"], mel.device)
        plan = context = None
        if self.model.planner is not None:
            plan = _drop_style(batch["plan"], draws)
        if self.model.context:
            context = _context(mel, self.config.window.context, draws)
        conditions = self.model.condition(
            batch["voice"], mel.shape[-1], plan, context, batch.get("vocal_mel")
        )
        pad = conditions.channels.shape[-1] - mel.shape[-1]
        target = torch.nn.functional.pad(mel, (0, pad))
        channels = conditions.channels
        if self.model.planner is not None:
            channels = torch.where(draws.chosen(CONDITION_DROPOUT), conditions.null, channels)
        sigma = (edm.P_mean + edm.P_std * draws.normal(())).exp()  # Eq. 3
        noisy = target + draws.normal(target.shape[1:]) * sigma[:, None, None]
        denoised = self.model.denoiser(noisy, sigma, channels, conditions.mask)
        terms = {
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
        if conditions.semantics is not None:
            truth = batch["accompaniment"]
            terms["semantic"] = losses.semantic_loss(conditions.semantics, truth)
        return terms

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        terms = self.terms(batch, self.config.training.seed)
        weights = self.config.loss
        total = losses.total(terms, {name: getattr(weights, name) for name in terms})
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        self.log("train/loss", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        terms = self.terms(batch, VALIDATION_SEED)
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
