"""Training of one stage on the project's loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from fastsag.baselines.singsong.config import SingSongConfig, StageName
from fastsag.baselines.singsong.corpus import SongTokens, TokenCrops
from fastsag.baselines.singsong.layout import sequence
from fastsag.baselines.singsong.system import WEIGHTS, Stage
from fastsag.baselines.singsong.tokens import Tokenizer
from fastsag.checkpoint import save_weights
from fastsag.config import TrainingConfig
from fastsag.errors import UserError
from fastsag.training.loop import averaged_weights, build_optimizer, fit

_VALIDATED = 4  # batches


class StageTraining(lightning.LightningModule):
    """Trains the language model of a stage; a batch is what `TokenCrops` gives."""

    def __init__(self, stage: Stage, training: TrainingConfig) -> None:
        super().__init__()
        self.model = stage.model
        self.settings = training

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Nats a token of the wanted block."""
        ids = sequence(self.model.layout, batch["given"], batch["wanted"])
        return self.model.loss(ids, batch["given"].shape[1])

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("validation/loss", self.loss(batch), batch_size=len(batch["given"]))

    def configure_optimizers(self) -> Any:
        return build_optimizer(self.model.parameters(), self.settings)


def train_stage(
    config: SingSongConfig,
    name: StageName,
    tokenizer: Tokenizer,
    songs: list[SongTokens],
    out: Path,
) -> None:
    """Train a stage, or go on where `out` stopped; writes its averaged weights at the end.

    Raises:
        UserError: no song of a split is as long as the stage's window.
    """
    training = config.stages[name].training
    torch.manual_seed(training.seed)  # initial weights
    stage = Stage.build(config, name, tokenizer)
    items = training.steps * training.batch_size
    crops = {}
    for split, length, seed in (
        ("train", items, training.seed),
        ("validation", _VALIDATED * training.batch_size, 1),
    ):
        part = [song for song in songs if song.split == split]
        frames = (stage.given_frames, stage.wanted_frames)
        ratio = stage.wanted_frames / stage.given_frames
        coarse = config.coarse_codebooks
        try:
            crops[split] = TokenCrops(part, name, coarse, frames, ratio, length, seed)
        except ValueError:
            raise UserError(
                f"no song of the {split} split lasts the {stage.settings.window_seconds:g} s of a "
                f"{name} window; use a larger corpus or set stages.{name}.window_seconds"
            ) from None
    module = StageTraining(stage, training)
    fit(module, crops["train"], crops["validation"], out, training, config)
    save_weights(averaged_weights(out, "model"), out / WEIGHTS, torch.float32)
