"""Training of the planner: beat and bar phase, chords, key and style from the voice's semantics."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor

from fastsag.conditioning.planner import Planner, planner_losses
from fastsag.config import Config
from fastsag.training.loop import build_optimizer


class PlannerTraining(lightning.LightningModule):
    """Trains `Planner` alone; a batch is what `PlanDataset` gives.

    `progressions` (2, 25, 25): from `count_progressions`, kept with the weights.
    """

    def __init__(self, config: Config, progressions: np.ndarray | None = None) -> None:
        super().__init__()
        if config.planner is None:
            raise ValueError(f"{config.name}: this configuration has no planner to train")
        self.config = config
        sizes = config.planner.model_dump(exclude={"window"})
        encoder = config.encoder
        self.planner = Planner(dim=encoder.size, rate_hz=encoder.rate_hz, **sizes)
        if progressions is not None:
            self.planner.progressions.copy_(torch.from_numpy(progressions))

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The named losses of one batch, and the share of chords and metres that are right."""
        frames = self.planner(batch["voice"])
        truth = {name: value for name, value in batch.items() if name != "voice"}
        return planner_losses(frames, **truth)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        terms = self.terms(batch)
        total = torch.stack(list(terms.values())).sum()
        logged = {f"train/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(logged | {"train/loss": total.detach()}, sync_dist=True)
        return total

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        terms = self.terms(batch)
        self.log_dict(
            {f"validation/{name}": value for name, value in terms.items()},
            batch_size=len(batch["voice"]),
            sync_dist=True,
        )
        frames = self.planner(batch["voice"])
        known = batch["chord"] >= 0
        right = (frames.chords.argmax(-1) == batch["chord"])[known].float().mean()
        keys = (frames.keys.mean(1).argmax(-1) == batch["key"]).float().mean()
        styles = (frames.styles.mean(1).argmax(-1) == batch["style"]).float().mean()
        self.log_dict(
            {
                "validation/chord_accuracy": right,
                "validation/key_accuracy": keys,
                "validation/style_accuracy": styles,
            },
            batch_size=len(batch["voice"]),
            sync_dist=True,
        )

    def configure_optimizers(self) -> Any:
        return build_optimizer(self.planner.parameters(), self.config.training)
