"""What a model plays at each validation: pictures and sound of held-out crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from fastsag import audio
from fastsag.config import Config
from fastsag.diffusion.samplers import SAMPLERS
from fastsag.diffusion.sampling import guidance_of
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.errors import require
from fastsag.mel import band_centres, denormalize
from fastsag.plots import mel_panels
from fastsag.training.accompaniment import VALIDATION_SEED, AccompanimentTraining
from fastsag.vocoder.griffin_lim import GriffinLim

FOLDER = "previews"
_ITERATIONS = 32  # Griffin-Lim: the mel is judged here, whatever vocoder will sound it
_PEAK = 0.7


class Previews(Callback):
    """Generates the first held-out crops with the averaged weights at each validation.

    Writes STEP-I.png (voice, prior, generated and true mel) and STEP-I.{voice,generated,truth,
    mix}.wav to the run's `previews` folder and shows both in TensorBoard.

    Args:
        held_out: crops as `CropDataset` gives them, with the voice's mel.
        out: run folder.
        count: of crops; at most what `held_out` has.
    """

    def __init__(
        self, config: Config, held_out: Dataset[dict[str, Tensor]], out: Path, count: int
    ) -> None:
        self.config, self.folder = config, out / FOLDER
        self.held_out, self.count = held_out, count
        self.vocoder = GriffinLim(config.mel, _ITERATIONS)

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        if not self.count or not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        batch = default_collate([self.held_out[index] for index in range(self.count)])
        batch = {name: value.to(module.device) for name, value in batch.items()}
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            mels = self._mels(module, batch)
        for index in range(self.count):
            parts = {
                name: denormalize(value[index].float().cpu(), self.config.mel)
                for name, value in mels.items()
            }
            sounded = tuple(name for name in parts if name != "prior")
            show(trainer, self.folder, index, self.config, parts, self.vocoder, sounded)

    def _mels(self, module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is shown of a batch, normalised (B, M, T), from top to bottom."""
        prior, generated = self._generate(module, batch)
        return {
            "voice": batch["vocal_mel"],
            "prior": prior,
            "generated": generated,
            "truth": batch["mel"],
        }

    def _generate(
        self, module: AccompanimentTraining, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Prior and mel (B, M, T) with the configuration's own sampler."""
        model, sampler, edm = module.model, self.config.sampler, self.config.edm
        mel = batch["mel"]
        conditions = model.condition(
            batch["voice"],
            mel.shape[-1],
            batch["plan"] if model.planner is not None else None,
            vocal_mel=batch["vocal_mel"] if model.vocal_mel else None,
        )
        rng = torch.Generator().manual_seed(VALIDATION_SEED)
        noise = torch.randn(mel.shape, generator=rng).to(mel.device)
        levels = karras_sigmas(sampler.steps, edm.sigma_min, edm.sigma_max, edm.rho, edm.levels)
        denoise = model.denoise(conditions, sampler.guidance, **guidance_of(self.config))
        made = model.generate(denoise, noise, levels.to(mel.device), SAMPLERS[sampler.name])
        return conditions.prior[..., : mel.shape[-1]], made


class StudentPreviews(Previews):
    """What a distilled student makes of held-out crops, beside its teacher, at each validation.

    Writes STEP-I.png (prior, teacher, student in all its numbers of steps) and STEP-I.{teacher,
    1-step,...}.wav to the run's `previews` folder and shows both in TensorBoard.
    """

    def _mels(self, module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mels = {"prior": batch["channels"][:, : self.config.mel.n_mels], "teacher": batch["mel"]}
        for steps in range(len(module.distilled.schedules), 0, -1):
            mels[f"{steps}-step"] = module.play(batch["channels"], batch["noise"], steps)
        return mels


def show(
    trainer: Any,
    folder: Path,
    index: int,
    config: Config,
    mels: dict[str, Tensor],
    vocoder: GriffinLim,
    sounded: tuple[str, ...],
) -> None:
    """One crop: log mels (M, T) by name -> files and TensorBoard.

    Those in `sounded` are heard; with both "voice" and "generated", so is their mix.
    """
    step, mel = trainer.global_step, config.mel
    stem = f"{step:07d}-{index}"
    picture = folder / f"{stem}.png"
    panels = {name: part.numpy() for name, part in mels.items()}
    title = f"step {step}, held-out crop {index}"
    mel_panels(picture, panels, 1 / mel.frame_rate, title, band_centres(mel))
    sounds = {name: vocoder(mels[name][None])[0] for name in sounded}
    if {"voice", "generated"} <= sounds.keys():
        sounds["mix"] = sounds["voice"] + sounds["generated"]
    board = trainer.logger.experiment if trainer.logger else None
    for name, samples in sounds.items():
        samples = samples * (_PEAK / samples.abs().max().clamp(min=1e-6))
        path = folder / f"{stem}.{name}.wav"
        audio.write(path, samples[None].numpy(), mel.sample_rate, "wav")
        if board:
            board.add_audio(f"{name}/{index}", samples, step, mel.sample_rate)
    if board:
        image = require("matplotlib.image", extra="plot").imread(picture)
        board.add_image(f"mels/{index}", image[..., :3], step, dataformats="HWC")
